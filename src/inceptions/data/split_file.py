"""`split.json`: which image was in which split, so that a run can be repeated, resumed and evaluated honestly."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from inceptions.data.contents import EMPTY, hashed
from inceptions.data.dataset import Dataset, Refused, Split
from inceptions.data.read import load
from inceptions.data.readers.parquet import is_table, read_table
from inceptions.errors import DataError, some
from inceptions.files import write_atomically

_FORMAT = 1
NAME = "split.json"


def write_split(dataset: Dataset, file: Path, *, learned: frozenset[str] = frozenset()) -> tuple[Refused, ...]:
    """Writes every image's name, SHA-256, split and class; the images are neither copied nor moved.

    Args:
        dataset: what `load` gave.
        file: where to write, usually RUN/split.json.
        learned: SHA-256 of images that the network learned from before, and that are none of these.

    Returns:
        The images that cannot even be read as files; their hash is null.

    Raises:
        OSError: `file` cannot be written.
    """
    refused: list[Refused] = []
    lines: list[str] = []
    for part, split in dataset.splits.items():
        whole, failed = hashed(split, description=f"hashing {part}")
        assert whole.hashes is not None
        for index, digest in enumerate(whole.hashes.tolist()):
            if index in failed:
                refused.append(Refused(split.name(index), (failed[index].strerror or str(failed[index])).lower()))
            target = int(split.targets[index])
            entry = {
                "file": split.name(index),
                "sha256": digest.decode("ascii") or None,
                "split": part,
                "class": split.classes[target] if target >= 0 else None,
            }
            lines.append(json.dumps(entry))
    head: dict[str, Any] = {
        "format_version": _FORMAT,
        "source": dataset.source,
        "root": str(dataset.root),
        "layout": dataset.layout,
        "divided": dataset.divided,
        "label": dataset.label,
        "classes": list(dataset.classes),
    }
    if learned:
        head["learned"] = sorted(learned)
    fields = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in head.items())
    write_atomically(file, "{\n" + fields + ',\n"files": [\n' + ",\n".join(lines) + "\n]\n}\n")
    return tuple(refused)


@dataclass(frozen=True, eq=False)
class Record:
    """What a split.json says; no image has been looked for."""

    file: Path
    root: Path
    source: str
    layout: str
    divided: bool
    label: str | None
    classes: tuple[str, ...]
    entries: tuple[dict[str, Any], ...]
    """file, sha256, split and class of each image."""
    before: frozenset[str]
    """SHA-256 of what the network learned from before this run's own images."""

    def contents(self, part: str) -> frozenset[str]:
        """SHA-256 of the images of a split."""
        found = {one["sha256"] for one in self.entries if one["split"] == part}
        return frozenset(found - {None, "", EMPTY})

    @cached_property
    def learned(self) -> frozenset[str]:
        """SHA-256 of every image the network learned from."""
        return self.contents("train") | self.before

    def split(self, part: str, root: Path, classes: tuple[str, ...]) -> Split:
        """The images of a split under `root`, with the names they had."""
        entries = [one for one in self.entries if one["split"] == part]
        index = {name: number for number, name in enumerate(classes)}
        return Split(
            root=root,
            files=np.array([os.fsencode(one["file"]) for one in entries], dtype=np.bytes_),
            targets=np.array([index.get(one["class"], -1) for one in entries], dtype=np.int64),
            classes=classes,
            hashes=np.array([(one["sha256"] or "").encode("ascii") for one in entries], dtype="S64"),
        )


def read_record(file: Path) -> Record:
    """Reads a split.json, wherever its images are now.

    Raises:
        DataError: the file is damaged.
    """
    try:
        record: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if record["format_version"] != _FORMAT:
            raise DataError(f"{file}: format {record['format_version']}, this version reads {_FORMAT}")
        keys = ("file", "sha256", "split", "class")
        entries = tuple({key: one[key] for key in keys} for one in record["files"])
        for one in entries:
            os.fsencode(one["file"])
            if not isinstance(one["sha256"], str | None) or not isinstance(one["split"], str):
                raise TypeError(f"{one} is not the entry of an image")
        return Record(
            file=file,
            root=Path(record["root"]),
            source=str(record["source"]),
            layout=str(record["layout"]),
            divided=bool(record["divided"]),
            label=record.get("label"),
            classes=tuple(record["classes"]),
            entries=entries,
            before=frozenset(record.get("learned", ())),
        )
    except (KeyError, TypeError, AttributeError, UnicodeError, json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"{file} is not a split.json: {type(error).__name__} {error}") from error


def read_split(
    file: Path, *, root: str | Path | None = None, classes: Sequence[str] | None = None, hint: str | None = None
) -> Dataset:
    """Reads what `write_split` wrote: the same splits with the same indices, whatever the folders hold today.

    Args:
        file: a run's split.json.
        root: where the images lie now, if they have been moved: any data set, in which they are found by content.
        classes: the model's classes, mapped by name; None: those of the file.
        hint: how the user says where they lie now.

    Raises:
        DataError: the file is damaged, or its images are gone.
    """
    record = read_record(file)
    order = tuple(classes if classes is not None else record.classes)
    parts = list(dict.fromkeys(one["split"] for one in record.entries))
    splits = {part: record.split(part, record.root if root is None else Path(root), order) for part in parts}
    if root is not None:
        splits = _found(record, splits, root)
    elif record.layout == "table":
        splits = _with_content(splits, record, hint)
    elif not any(os.path.exists(split.path(index)) for split in splits.values() for index in range(len(split))):
        raise DataError(gone(record, hint))
    layout = record.layout
    if root is not None and splits:
        table = next(iter(splits.values())).content is not None
        layout = "table" if table else "classes" if layout == "table" else layout
    named = {one["class"] for one in record.entries}
    return Dataset(
        classes=order,
        splits=splits,
        root=next(iter(splits.values())).root if splits else record.root,
        source=record.source if root is None else str(Path(root).absolute() if Path(root).exists() else root),
        layout=layout,
        divided=record.divided,
        label=record.label,
        missing_classes=tuple(sorted(set(order) - named)),
        unknown_classes=tuple(sorted(named - {None} - set(order))),
    )


def gone(record: Record, hint: str | None) -> str:
    """That the images are not where they were, and what to do."""
    place = record.source if record.layout == "table" else record.root
    asked = f" ({hint})" if hint else ""
    return f"{record.file}: its images lay in {place}, which is gone: say where they lie now{asked}"


def changed(split: Split) -> tuple[Refused, ...]:
    """The images that are no longer what split.json recorded, and why.

    Raises:
        ValueError: the split was not read from a split.json.
    """
    if split.hashes is None:
        raise ValueError("this split has no recorded hashes: read it with read_split")
    now, failed = hashed(split, description="comparing", fresh=True)
    assert now.hashes is not None
    return tuple(
        Refused(
            split.name(index),
            (failed[index].strerror or str(failed[index])).lower() if index in failed else "its content has changed",
        )
        for index in np.flatnonzero(now.hashes != split.hashes).tolist()
    )


def _found(record: Record, splits: dict[str, Split], place: str | Path) -> dict[str, Split]:
    """The recorded images where they lie now: under their names, or whatever `place` calls those of their content."""
    if not is_table(place) and Path(place).is_dir() and not any(changed(split) for split in splits.values()):
        return splits
    now = load(place, val_fraction=0, label=None if Path(place).is_dir() and not is_table(place) else record.label)
    every, _ = hashed(now.whole(), description="looking for the run's images")
    assert every.hashes is not None
    places = {bytes(digest): index for index, digest in reversed(list(enumerate(every.hashes))) if digest}
    moved: dict[str, Split] = {}
    missing: list[str] = []
    for part, split in splits.items():
        assert split.hashes is not None
        rows = [places.get(bytes(digest), -1) for digest in split.hashes]
        missing += [split.name(index) for index, row in enumerate(rows) if row < 0]
        there = every.subset(np.maximum(rows, 0))
        kept = np.array(rows) < 0
        moved[part] = replace(there, targets=split.targets, classes=split.classes, hashes=split.hashes)
        if kept.any() and there.content is None:  # it stays in its place, and is missing there or another one
            moved[part] = replace(moved[part], files=np.where(kept, split.files, there.files))
    total = sum(map(len, splits.values()))
    if len(missing) == total or (missing and every.content is not None):
        raise DataError(
            f"{place} does not hold {len(missing)} of the {total} images of {record.file}:\n"
            + some(missing, 20, lines=True)
        )
    return moved


def _with_content(splits: dict[str, Split], record: Record, hint: str | None) -> dict[str, Split]:
    """Opens the table again; its rows are found by name."""
    if not is_table(record.source):
        raise DataError(gone(record, hint))
    _, found, content = read_table(record.source, label=record.label)
    rows = {entry.file: entry.row for entry in found.entries}
    gone_rows = [split.name(i) for split in splits.values() for i in range(len(split)) if split.files[i] not in rows]
    if gone_rows:
        raise DataError(f"{record.source} lacks rows of this split.json:\n{some(gone_rows, 20, lines=True)}")
    return {
        part: replace(split, content=content, rows=np.array([rows[name] for name in split.files], dtype=np.int64))
        for part, split in splits.items()
    }
