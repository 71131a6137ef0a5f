"""Reading a manifest: CSV or JSON lines with `file_name,label[,split][,group]`."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from inceptions.data.dataset import Entry, Refused
from inceptions.data.readers.folders import Found
from inceptions.data.readers.names import label_of, split_called
from inceptions.data.text import read_text, separator

SUFFIXES = frozenset({".csv", ".tsv", ".jsonl", ".ndjson"})


def read_manifest(path: Path, *, label: str | None = None) -> Found:
    """Reads a manifest; further columns are ignored.

    A `file_name` is relative to the manifest's folder and must not leave it, or absolute; where no such file is, a
    backslash separates folders (Windows wrote it). One that does not exist is refused like any unreadable image;
    everything else that is wrong is a problem, with its line.

    Args:
        path: a .csv or .tsv (with a header) or .jsonl file, text as `read_text` takes it.
        label: the label's column, "label" by default.
    """
    found = Found(layout="manifest")
    column = label or "label"
    splits_of: dict[str, set[str]] = defaultdict(set)
    seen: dict[bytes, int] = {}
    divided: set[bool] = set()
    for line, row in _rows(path, found.problems, ("file_name", column)):
        entry = _entry(path, row, column, f"line {line}", found)
        if entry is None:
            continue
        if entry.file in seen:
            found.problems.append(
                f"line {line}: {os.fsdecode(entry.file)} is listed already, in line {seen[entry.file]}"
            )
            continue
        seen[entry.file] = line
        divided.add(entry.split is not None)
        if entry.group is not None and entry.split is not None:
            splits_of[entry.group].add(entry.split)
        if os.path.isfile(os.path.join(os.fsencode(path.parent), entry.file)):
            found.entries.append(entry)
        else:
            found.refused.append(Refused(os.fsdecode(entry.file), "no such file"))
    if found.refused and not found.entries:
        found.problems.append(_none_exists(path, found.refused))
    if len(divided) == 2:
        found.problems.append("some lines have a split and others have none: give it in all or in none")
    found.problems += [
        f"group {group} is in {' and '.join(sorted(splits))}: a group must not straddle a split"
        for group, splits in splits_of.items()
        if len(splits) > 1
    ]
    return found


def _rows(path: Path, problems: list[str], needed: tuple[str, str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """(line, row) of either format; what cannot be parsed becomes a problem."""
    lines = read_text(path, any_bytes=True, largest=None).split("\n")  # file names may be any bytes
    if path.suffix.lower() in (".csv", ".tsv"):
        yield from _cells(path, lines, problems, needed)
        return
    for line, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            problems.append(f"line {line}: not JSON ({error})")
            continue
        if isinstance(value, dict):
            yield line, value
        else:
            problems.append(f'line {line}: an object {{"file_name": ..., "{needed[1]}": ...}} expected')


def _cells(
    path: Path, lines: list[str], problems: list[str], needed: tuple[str, str]
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """(line, row) of a table whose header names its columns, whatever separates them."""
    above = next((place for place, line in enumerate(lines) if line.strip()), 0)
    if told := re.fullmatch(r'"?sep=(.)"?', lines[above].rstrip(" ")):  # Excel's own first line
        above += 1
    header = lines[above] if above < len(lines) else ""
    between = told[1] if told else separator(header, needed)
    reader = csv.DictReader(io.StringIO("\n".join(lines[above:]), newline=""), delimiter=between)
    try:
        names = [name.strip() for name in reader.fieldnames or ()]
        reader.fieldnames = names
        if missing := [name for name in needed if name not in names]:
            problems.append(
                f"{path}: no column {' and '.join(missing)}; the header is {names}, "
                "file_name,label[,split][,group] expected"
            )
            return
        for row in reader:
            yield above + reader.line_num, row
    except csv.Error as error:
        problems.append(f"line {above + reader.line_num}: {error}")


def _entry(path: Path, row: Mapping[str, Any], column: str, where: str, found: Found) -> Entry | None:
    typed = path.suffix.lower() not in (".csv", ".tsv")
    name, label = row.get("file_name"), label_of(row.get(column), typed=typed)
    said, group = label_of(row.get("split")), label_of(row.get("group"), typed=typed)
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        found.problems.append(f"{where}: no file_name")
        return None
    split = None if said is None else split_called(said)
    if label is None and split == "test":  # a test set is often published without its answers
        found.unlabeled["test"] += 1
        return None
    if label is None:
        found.problems.append(f"{where}: {name} has no {column}")
        return None
    if said is not None and split is None:
        found.problems.append(f"{where}: split {said!r}; one of train, val, test expected")
        return None
    file = _relative(path.parent, name)
    if file.split(os.sep)[0] == os.pardir:
        found.problems.append(
            f"{where}: {name} leaves the manifest's folder; give an absolute path, or move the manifest"
        )
        return None
    return Entry(os.fsencode(file), label, split, group)


def _relative(folder: Path, name: str) -> str:
    file = os.path.normpath(name)
    if "\\" in name and not os.path.exists(os.path.join(folder, file)):
        return os.path.normpath(name.replace("\\", "/"))
    return file


def _none_exists(path: Path, missing: list[Refused]) -> str:
    """What is wrong with a list of files that are all missing; often its paths begin at another folder."""
    folder = path.absolute().parent
    parts = Path(missing[0].file).parts
    for count in range(1, len(parts)):
        if os.path.isfile(folder / Path(*parts[count:])):
            hint = f"; leave {Path(*parts[:count])} out: {Path(*parts[count:])} exists"
            break
    else:
        above = next((parent for parent in folder.parents if os.path.isfile(parent / missing[0].file)), None)
        hint = f"; it exists in {above}: put the manifest there" if above else ""
    return f"none of its {len(missing)} files exists in {folder}, the first being {missing[0].file}{hint}"
