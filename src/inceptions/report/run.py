"""`report.html` of a run: everything about it, in one file."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from markupsafe import Markup
from PIL import Image

from inceptions.anatomy.cost import cost
from inceptions.anatomy.summary import portrait
from inceptions.evaluation.metrics import wilson
from inceptions.explain import attribute, grid_stage, overlaid, shown
from inceptions.files import write_atomically
from inceptions.image import UnreadableImage
from inceptions.progress import log, track
from inceptions.report.charts import Series, chart, reliability
from inceptions.report.facts import Answer, Run, read_run
from inceptions.report.page import embedded, render

GALLERY = 12
"""Images in each gallery."""
SIDE = 200
"""Pixels of an image's longer side."""
READABLE = 20
"""Classes up to which the confusion matrix is a table; beyond, it is drawn."""
PAIRS = 10
"""Confused pairs that are listed."""


@dataclass(frozen=True, kw_only=True)
class Exhibit:
    """An image of a gallery."""

    answer: Answer
    image: str
    """Data URI."""
    overlay: str
    """Data URI: the same with its Grad-CAM map for the answer that was given."""


def write_report(folder: str | Path, output: Path | None = None, *, data: Path | None = None) -> Path:
    """Write the report of a finished run.

    Args:
        folder: of the run.
        output: the file to write; None: `report.html` in the folder.
        data: where its images lie now, if they have been moved.

    Returns:
        The file.

    Raises:
        FileNotFoundError: the run does not exist or has not finished.
        DataError: a file in it is damaged.
        OSError: the report cannot be written.
    """
    run = read_run(folder, data=data)
    path = output or run.folder / "report.html"
    write_atomically(path, report(run))
    return path


def report(run: Run) -> str:
    """The page."""
    settings = run.settings
    size = run.net.preprocess.size
    counted = cost(run.net, size)
    errors = sorted((answer for answer in run.answers if not answer.right), key=lambda answer: -answer.probability)
    unsure = sorted(run.answers, key=lambda answer: answer.probability)
    return render(
        "run.html",
        run=run,
        settings=settings,
        val=run.metrics.get("val"),
        test=run.metrics.get("test"),
        splits=_splits(run),
        copies=run.copies,
        curves=_curves(run),
        matrix=_matrix(run),
        pairs=_pairs(run),
        reliability=reliability(
            [answer.probability for answer in run.answers], [answer.right for answer in run.answers]
        )
        if run.answers
        else None,
        errors=_exhibits(run, errors[:GALLERY], "confident errors"),
        error_count=len(errors),
        unsure=_exhibits(run, unsure[:GALLERY], "least certain images"),
        looked_at=grid_stage(run.net, size),
        portrait=portrait(run.net),
        stages=[*counted.stages, counted.head],
        seconds=sum(row.get("seconds", 0.0) for row in run.rows),
    )


def _splits(run: Run) -> dict[str, dict[str, int]]:
    """class -> split -> how many images of it there are."""
    counts = {
        name: np.bincount(split.targets[split.targets >= 0], minlength=len(run.data.classes))
        for name, split in run.data.splits.items()
    }
    return {
        label: {name: int(found[index]) for name, found in counts.items()}
        for index, label in enumerate(run.data.classes)
    }


def _curves(run: Run) -> list[tuple[str, Markup]]:
    """Loss, accuracy with the interval that so many images allow, learning rate."""
    epochs = [row["epoch"] for row in run.rows]

    def column(name: str) -> list[float]:
        return [row.get(name, math.nan) for row in run.rows]

    if not any("lr" in row for row in run.rows):  # no epoch yet, or a head that was fitted: nothing to draw
        return []
    n = max(1, len(run.answers))
    intervals = [wilson(round(share * n), n) for share in column("val_top1")]
    accuracy = [
        Series(name="training", x=epochs, y=column("train_top1")),
        Series(
            name="validation",
            x=epochs,
            y=column("val_top1"),
            low=[low for low, _ in intervals],
            high=[high for _, high in intervals],
        ),
    ]
    loss = [
        Series(name="training", x=epochs, y=column("train_loss")),
        Series(name="validation", x=epochs, y=column("val_loss")),
    ]
    rate = [Series(name="learning rate", x=epochs, y=column("lr"))]
    return [
        ("Accuracy", chart(accuracy, x_title="epoch", y_title="top-1", percent=True)),
        ("Loss", chart(loss, x_title="epoch", y_title="nats")),
        ("Learning rate at the end of the epoch", chart(rate, x_title="epoch", y_title="learning rate")),
    ]


def _matrix(run: Run) -> dict[str, Any]:
    """Rows: the classes; columns: the answers. As cells where people can read them, else as an image."""
    classes, found = run.data.classes, run.confusions()
    if len(classes) <= READABLE:
        rows = [
            (
                label,
                [(found[label, answer], label == answer) for answer in classes],
                sum(found[label, a] for a in classes),
            )
            for label in classes
        ]
        return {"classes": classes, "rows": rows, "image": None}
    places = {label: index for index, label in enumerate(classes)}
    counts = np.zeros((len(classes), len(classes)))
    for (label, answer), count in found.items():
        counts[places[label], places[answer]] = count
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    scale = max(1, 640 // len(classes))
    gray = np.rint(255 * (1 - np.sqrt(shares))).astype(np.uint8).repeat(scale, 0).repeat(scale, 1)
    return {"classes": classes, "rows": [], "image": embedded(Image.fromarray(gray), lossless=True)}


def _pairs(run: Run) -> list[tuple[str, str, int]]:
    """What was taken for what, the most frequent first."""
    wrong = [(label, answer, count) for (label, answer), count in run.confusions().items() if label != answer]
    return sorted(wrong, key=lambda pair: -pair[2])[:PAIRS]


def _exhibits(run: Run, answers: Iterable[Answer], what: str) -> list[Exhibit]:
    found = []
    for answer in track(list(answers), description=what):
        try:
            found.append(_exhibit(run, answer))
        except UnreadableImage as error:  # it was judged, and is gone since
            log.warning("not shown in the report: %s: %s", answer.file, error.reason)
    return found


def _exhibit(run: Run, answer: Answer) -> Exhibit:
    preprocess = run.net.preprocess
    image = preprocess.image(run.data.splits["val"].source(answer.index))
    images = preprocess.normalize(torch.from_numpy(image)[None])
    (weights,) = attribute(run.net, images, [run.data.classes.index(answer.prediction)])
    seen = shown(image, preprocess)
    return Exhibit(answer=answer, image=embedded(seen, side=SIDE), overlay=embedded(overlaid(seen, weights), side=SIDE))
