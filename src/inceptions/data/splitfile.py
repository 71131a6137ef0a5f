"""`split.json`: which picture was in which split, so that a run can be repeated, resumed and evaluated honestly."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from inceptions.data.load import load
from inceptions.data.splits import Dataset, Refused, Split, listing
from inceptions.data.tables import is_table, read_table
from inceptions.progress import DataError, log, track, write_atomically

_FORMAT = 1


def write_split(dataset: Dataset, file: Path) -> tuple[Refused, ...]:
    """Writes every picture's name, SHA-256, split and class; the pictures are neither copied nor moved.

    Args:
        dataset: what `load` gave.
        file: where to write, usually RUN/split.json.

    Returns:
        The pictures that cannot even be read as files; their hash is null.

    Raises:
        OSError: `file` cannot be written.
    """
    refused: list[Refused] = []
    lines: list[str] = []

    def hashed(split: Split, index: int) -> str | OSError:
        try:
            return split.hash(index)
        except OSError as error:
            return error

    with ThreadPoolExecutor() as threads:  # reading and hashing release the interpreter's lock
        for part, split in dataset.splits.items():
            digests = threads.map(lambda index, split=split: hashed(split, index), range(len(split)))
            for index, digest in enumerate(track(digests, description=f"hashing {part}", total=len(split))):
                if isinstance(digest, OSError):
                    refused.append(Refused(split.name(index), (digest.strerror or str(digest)).lower()))
                target = int(split.targets[index])
                entry = {
                    "file": split.name(index),
                    "sha256": digest if isinstance(digest, str) else None,
                    "split": part,
                    "class": split.classes[target] if target >= 0 else None,
                }
                lines.append(json.dumps(entry))
    head = {
        "format_version": _FORMAT,
        "source": dataset.source,
        "root": str(dataset.root),
        "layout": dataset.layout,
        "divided": dataset.divided,
        "label": dataset.label,
        "classes": list(dataset.classes),
    }
    fields = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in head.items())
    write_atomically(file, "{\n" + fields + ',\n"files": [\n' + ",\n".join(lines) + "\n]\n}\n")
    return tuple(refused)


def read_split(file: Path, *, root: Path | None = None, classes: Sequence[str] | None = None) -> Dataset:
    """Reads what `write_split` wrote: the same splits with the same indices, whatever the folders hold today.

    Args:
        file: a run's split.json.
        root: where the pictures lie now, if they have been moved.
        classes: the model's classes, mapped by name; None: those of the file.

    Raises:
        DataError: the file is damaged, or its pictures are gone.
    """
    try:
        record: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if record["format_version"] != _FORMAT:
            raise DataError(f"{file}: format {record['format_version']}, this version reads {_FORMAT}")
        order = tuple(classes if classes is not None else record["classes"])
        base = root if root is not None else Path(record["root"])
        parts: dict[str, list[dict[str, Any]]] = {}
        for entry in record["files"]:
            parts.setdefault(entry["split"], []).append(entry)
        splits = {part: _recorded(entries, base, order) for part, entries in parts.items()}
        source, layout, divided = str(record["source"]), str(record["layout"]), bool(record["divided"])
    except (KeyError, TypeError, AttributeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{file} is no split.json: {type(error).__name__} {error}") from error
    if layout == "table":
        splits = _with_content(splits, source if root is None else str(root), record["label"])
    elif not base.is_dir():
        raise DataError(f"{file}: its pictures lay in {base}, which is gone: say where they lie now (--data)")
    return Dataset(
        classes=order,
        splits=splits,
        root=base,
        source=source,
        layout=layout,
        divided=divided,
        label=record.get("label"),
        missing_classes=tuple(sorted(set(order) - {entry["class"] for entry in record["files"]})),
        unknown_classes=tuple(sorted({e["class"] for e in record["files"] if e["class"] is not None} - set(order))),
    )


def evaluation_split(
    source: str | Path | None, *, classes: Sequence[str], recorded: Path | None = None, label: str | None = None
) -> tuple[str, Dataset]:
    """What to evaluate a model on.

    Without `source`, or where `source` is what the run divided itself: the run's own validation pictures. Else the
    "val" part of `source`, or "test" if it has no other, or all of it if nobody divided it.

    Args:
        source: what `load` reads; None: the run's own data.
        classes: the model's classes: pictures are mapped to them by name.
        recorded: the run's split.json, if there is one.
        label: the label's column in a manifest or a table.

    Returns:
        (the split's name, the data set): evaluate `dataset.splits[name]`; `dataset.unknown_classes` and
        `dataset.missing_classes` say what could not be mapped. "all" is the name where nobody divided the pictures.

    Raises:
        DataError: the data cannot be used, or there is neither data nor a split.json.
    """
    if recorded is not None and recorded.is_file():
        run = read_split(recorded, classes=classes)
        own = source is None or (not run.divided and _same(source, run.source))
        if own:
            if "val" not in run.splits:
                raise DataError(f"{recorded} has no validation pictures: say which data to evaluate on")
            return "val", run
    if source is None:
        raise DataError("no data given, and the run has no split.json: say which data to evaluate on")
    dataset = load(source, classes=classes, val_fraction=0, label=label)
    for part in ("val", "test"):
        if dataset.divided and part in dataset.splits:
            return part, dataset
    return "all", replace(dataset, splits={"all": dataset.whole()})


def changed(split: Split) -> tuple[Refused, ...]:
    """The pictures that are no longer what split.json recorded, and why.

    Raises:
        ValueError: the split was not read from a split.json.
    """
    if split.hashes is None:
        raise ValueError("this split has no recorded hashes: read it with read_split")
    fresh = replace(split, hashes=None)
    different: list[Refused] = []
    for index, recorded in enumerate(split.hashes):
        try:
            if fresh.hash(index).encode("ascii") != recorded:
                different.append(Refused(split.name(index), "its content has changed"))
        except OSError as error:
            different.append(Refused(split.name(index), (error.strerror or str(error)).lower()))
    return tuple(different)


def _recorded(entries: list[dict[str, Any]], root: Path, classes: tuple[str, ...]) -> Split:
    index = {name: number for number, name in enumerate(classes)}
    return Split(
        root=root,
        files=np.array([entry["file"].encode("utf-8", "surrogateescape") for entry in entries], dtype=np.bytes_),
        targets=np.array([index.get(entry["class"], -1) for entry in entries], dtype=np.int64),
        classes=classes,
        hashes=np.array([(entry["sha256"] or "").encode("ascii") for entry in entries], dtype="S64"),
    )


def _with_content(splits: dict[str, Split], source: str, label: str | None) -> dict[str, Split]:
    """Opens the table again; its rows are found by name."""
    if not is_table(source):
        raise DataError(f"{source}: the table of this split.json is gone")
    _, found, content = read_table(source, label=label)
    rows = {entry.file: entry.row for entry in found.entries}
    gone = [split.name(i) for split in splits.values() for i in range(len(split)) if split.files[i] not in rows]
    if gone:
        raise DataError(f"{source} lacks rows of this split.json:\n{listing(gone)}")
    return {
        part: replace(split, content=content, rows=np.array([rows[name] for name in split.files], dtype=np.int64))
        for part, split in splits.items()
    }


def _same(source: str | Path, recorded: str) -> bool:
    if str(source) == recorded:
        return True
    try:
        return Path(source).resolve() == Path(recorded).resolve()
    except OSError as error:  # a circle of links
        log.debug("%s: %s", source, error)
        return False
