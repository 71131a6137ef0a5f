"""Tiny data sets of every layout."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from inceptions.data import Dataset


def image(path: Path, color: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (color % 256, color // 256, 0)).save(path)
    return path


def folder(root: Path, counts: dict[str, int]) -> Path:
    """`counts`: folder of a class (may have a split's before it) -> images."""
    for number, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            image(root / name / f"{i:03d}.png", 1000 * number + i)
    return root


def names(dataset: Dataset) -> dict[str, set[tuple[str, str]]]:
    """split -> (file, class)."""
    return {
        part: {(split.name(i), split.classes[split.targets[i]]) for i in range(len(split))}
        for part, split in dataset.splits.items()
    }


def manifest(path: Path, rows: Sequence[dict[str, object]]) -> Path:
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def table(
    path: Path, labels: list[object], *, names: list[str] | None = None, column: str = "label", kind: str = "string"
) -> Path:
    import datasets

    rows = []
    for i in range(len(labels)):
        file = io.BytesIO()
        Image.new("RGB", (4, 4), (i % 256, i // 256, 0)).save(file, "PNG")
        rows.append({"bytes": file.getvalue(), "path": None})
    labeled = datasets.ClassLabel(names=names) if names else datasets.Value(kind)
    features = datasets.Features({"img": datasets.Image(decode=False), column: labeled})
    path.parent.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_dict({"img": rows, column: labels}, features=features).to_parquet(str(path))
    return path
