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

from inceptions.data.folders import Found
from inceptions.data.splits import SPLITS, Entry, Refused
from inceptions.data.text import read_text, separator

SUFFIXES = frozenset({".csv", ".tsv", ".jsonl", ".ndjson"})


def read_manifest(path: Path, *, label: str | None = None) -> Found:
    """Reads a manifest; further columns are ignored.

    A `file_name` is relative to the manifest's folder and must not leave it, or absolute. One that does not exist is
    refused like any unreadable picture; everything else that is wrong is a problem, with its line.

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
        entry = _entry(row, column, f"line {line}", found.problems)
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


def _entry(row: Mapping[str, Any], column: str, where: str, problems: list[str]) -> Entry | None:
    name, label = row.get("file_name"), _word(row.get(column))
    split, group = _word(row.get("split")), _word(row.get("group"))
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        problems.append(f"{where}: no file_name")
        return None
    if label is None:
        problems.append(f"{where}: {name} has no {column}")
        return None
    if split is not None and split.lower() not in SPLITS:
        problems.append(f"{where}: split {split!r}; one of {', '.join(SPLITS)} expected")
        return None
    file = os.path.normpath(name)
    if file.split(os.sep)[0] == os.pardir:
        problems.append(f"{where}: {name} leaves the manifest's folder; give an absolute path, or move the manifest")
        return None
    return Entry(os.fsencode(file), label, None if split is None else SPLITS[split.lower()], group)


def _word(value: Any) -> str | None:
    """A cell as text: numbers are names too (a class "3"), empty cells are none."""
    if isinstance(value, (str, int)) and not isinstance(value, bool):
        return str(value).strip() or None
    return None
