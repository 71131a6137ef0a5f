"""The files an evaluation leaves: `predictions.csv`, `confusion.csv` and an image of the confusion matrix."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from inceptions.engines.probabilities import rank
from inceptions.evaluation.counts import Integers
from inceptions.evaluation.fonts import legible
from inceptions.files import safe_cell, safe_path, to_json, write_atomically

PREDICTION_COLUMNS = ("file", "label", "prediction", "probability", "top_5")
PredictionRow = tuple[str, str, str, float, list[tuple[str, float]]]
"""file, label, prediction, probability, the five most probable as (label, probability)"""


def prediction_rows(
    files: Sequence[str], labels: Sequence[str], logits: Tensor, classes: Sequence[str]
) -> Iterator[PredictionRow]:
    """Rows of `predictions.csv`, one an image."""
    order, probabilities = rank(logits, 5)
    for file, label, places, values in zip(files, labels, order, probabilities, strict=True):
        best = [(classes[place], float(value)) for place, value in zip(places, values, strict=True)]
        yield file, label, *best[0], best


def write_predictions(path: Path, rows: Iterable[PredictionRow]) -> None:
    """Write `predictions.csv` whole or not at all; `top_5` holds JSON: `[["rose", 0.93], ...]`."""
    cells = (
        (safe_path(file), safe_cell(label), safe_cell(prediction), f"{probability:.9g}", top_json(best))
        for file, label, prediction, probability, best in rows
    )
    _write_csv(path, PREDICTION_COLUMNS, cells)


def top_json(best: Iterable[tuple[str, float]]) -> str:
    """Labels with their probabilities as one JSON cell."""
    return to_json([[label, float(f"{value:.9g}")] for label, value in best])


def write_confusion(path: Path, confusion: Integers, classes: Sequence[str]) -> None:
    """Write the confusion matrix: a row a true class, a column a prediction."""
    names = [safe_cell(label) for label in classes]
    _write_csv(path, ("label", *names), ((name, *row) for name, row in zip(names, confusion.tolist(), strict=True)))


def draw_confusion(path: Path, confusion: Integers, classes: Sequence[str]) -> None:
    """Draw the confusion matrix as PNG: colors are shares of the true class; up to 20 classes with their counts."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    n = len(classes)
    side = min(4.0 + 0.35 * n, 16.0)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    FigureCanvasAgg(figure)  # by hand: pyplot keeps every figure, and may want a display
    axes = figure.add_subplot()
    share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, fraction=0.046, label="share of the true class")
    axes.set(xlabel="prediction", ylabel="true class")
    if n <= 60:
        names, families = legible([_short(label) for label in classes], figure=path.name)
        axes.set_xticks(range(n), names, rotation=90, parse_math=False, fontfamily=families)
        axes.set_yticks(range(n), names, parse_math=False, fontfamily=families)
    if n <= 20:
        for row, column in np.argwhere(confusion):
            color = "white" if share[row, column] > 0.5 else "black"
            axes.text(column, row, str(confusion[row, column]), ha="center", va="center", color=color, fontsize=8)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    write_atomically(path, content.getvalue())


def _short(label: str) -> str:
    readable = safe_cell(label)
    return readable if len(readable) <= 24 else f"{readable[:23]}…"


def _write_csv(path: Path, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    content = io.StringIO()
    writer = csv.writer(content, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    write_atomically(path, content.getvalue())
