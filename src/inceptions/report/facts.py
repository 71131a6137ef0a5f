"""What a run folder holds, read back."""

from __future__ import annotations

import csv
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from inceptions.data import Dataset, read_split
from inceptions.data.contents import Copies, copies
from inceptions.data.text import read_text
from inceptions.errors import DataError
from inceptions.evaluation.protocol import Protocol, judge
from inceptions.files import safe_cell, safe_path
from inceptions.weights import artifact
from inceptions.zoo import Network


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the model said of one validation image."""

    index: int
    """In the split."""
    file: str
    label: str
    prediction: str
    probability: float

    @property
    def right(self) -> bool:
        return self.label == self.prediction


@dataclass(frozen=True, kw_only=True)
class Run:
    """A finished run."""

    folder: Path
    settings: dict[str, Any]
    sessions: list[dict[str, Any]]
    """Machine, versions and command, each time it was started."""
    rows: list[dict[str, float]]
    """Of results.csv, one an epoch."""
    data: Dataset
    answers: list[Answer]
    unreadable: dict[str, str]
    """Images that could not be read, with the reason."""
    net: Network

    @property
    def metrics(self) -> dict[str, Any]:
        """Of the saved model: `val`, and `test` where the data has one."""
        found: dict[str, Any] = self.net.artifact.get("metrics") or {}
        return found

    @property
    def copies(self) -> Copies:
        """Images that were judged and trained on, and images in two classes, byte for byte."""
        return copies(self.data)

    def confusions(self) -> Counter[tuple[str, str]]:
        """(class, answer) -> how many images."""
        return Counter((answer.label, answer.prediction) for answer in self.answers)


def read_run(folder: str | Path, *, data: Path | None = None) -> Run:
    """Read a run folder; `data` is where its images lie now, if they have been moved.

    Raises:
        FileNotFoundError: the run does not exist or has not finished.
        DataError: a file in it is damaged.
    """
    folder = Path(folder)
    for name in ("config.yaml", "environment.json", "split.json", "results.csv", "predictions.csv"):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder} is not a finished run: {name} is missing; `inceptions train ... --output {folder} --resume` "
                "finishes one that was stopped"
            )
    try:
        net, images = artifact.load(folder), read_split(folder / "split.json", root=data, hint="--data")
        return Run(
            folder=folder,
            settings=yaml.safe_load(read_text(folder / "config.yaml")),
            sessions=json.loads(read_text(folder / "environment.json")),
            rows=_rows(folder / "results.csv"),
            data=images,
            answers=_answers(folder / "predictions.csv", images, _judged_images(net)) or _judged(net, images),
            unreadable=_unreadable(folder / "unreadable.json"),
            net=net,
        )
    except DataError:  # says which file, and what of it
        raise
    except (ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise DataError(f"{folder}: a file of the run is damaged ({error})") from error


def _rows(path: Path) -> list[dict[str, float]]:
    with path.open(newline="", encoding="utf-8") as file:
        return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]


def _judged_images(net: Network) -> int | None:
    """Validation images that the model's own metrics are of."""
    metrics = net.artifact.get("metrics") or {}
    n: int | None = (metrics.get("val") or {}).get("n")
    return n


def _answers(path: Path, data: Dataset, judged: int | None) -> list[Answer]:
    """The file's answers, with names and labels as they are and not as a spreadsheet may show them.

    Empty where the file is of other images - `inceptions val RUN DATA` writes it anew - or of more or fewer than were
    `judged`: it has been cut off.
    """
    split = data.splits["val"]
    places = {safe_path(split.name(index)): index for index in range(len(split))}
    labels = {safe_cell(label): label for label in data.classes}
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    whole = judged is None or len(rows) == judged
    if not whole or not all(row["file"] in places and row["label"] in labels for row in rows):
        return []
    return [
        Answer(
            index=places[row["file"]],
            file=split.name(places[row["file"]]),
            label=labels[row["label"]],
            prediction=labels[row["prediction"]],
            probability=float(row["probability"]),
        )
        for row in rows
    ]


def _judged(net: Network, data: Dataset) -> list[Answer]:
    """The model's answers to the validation images, computed again."""
    split = data.splits["val"]
    outcome = judge([net], split, Protocol(engine="torch"))
    found = zip(outcome.indices, outcome.targets, outcome.best[:, 0], outcome.probabilities[:, 0], strict=True)
    return [
        Answer(
            index=int(index),
            file=split.name(int(index)),
            label=data.classes[target],
            prediction=outcome.classes[best],
            probability=float(probability),
        )
        for index, target, best, probability in found
        if target >= 0
    ]


def _unreadable(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    found: dict[str, str] = json.loads(read_text(path, any_bytes=True))
    return found
