"""Reading a manifest: CSV or JSON lines with `file_name,label[,split][,group]`."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from inceptions.data.dataset import Entry, Refused
from inceptions.data.readers.columns import columns, none_exists, remarks
from inceptions.data.readers.folders import Found
from inceptions.data.readers.names import label_of, split_called
from inceptions.data.text import read_text, separator

_ADDRESS = "an address, not a file: download it"
SUFFIXES = frozenset({".csv", ".tsv", ".jsonl", ".ndjson"})


def read_manifest(path: Path, *, label: str | None = None) -> Found:
    """Reads a manifest; columns are found as `columns` says, further ones are ignored.

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
    seen: dict[bytes, tuple[int, Entry]] = {}
    again = 0
    divided: set[bool] = set()
    top = os.fsencode(path.absolute().parent)
    for line, row in _rows(path, found, ("file_name", column)):
        entry = _entry(path, row, column, f"line {line}", found)
        if entry is None:
            continue
        key = os.path.join(top, entry.file)
        if key in seen:
            first, other = seen[key]
            if entry[1:] == other[1:]:
                again += 1
            else:
                what = f"{os.fsdecode(entry.file)} is listed already, in line {first}: {_differing(other, entry)}"
                found.problems.append(f"line {line}: {what}")
            continue
        seen[key] = line, entry
        divided.add(entry.split is not None)
        if entry.group is not None and entry.split is not None:
            splits_of[entry.group].add(entry.split)
        if os.path.isfile(key):
            found.entries.append(entry)
        else:
            found.refused.append(
                Refused(os.fsdecode(entry.file), _ADDRESS if _is_address(entry.file) else "no such file")
            )
    if again:
        found.told[f"{path}: {again} lines say again what others say"] = logging.INFO
    if not (seen or found.problems or found.unlabeled):
        found.problems.append("it lists no images")
    if found.refused and not found.entries:
        found.problems.append(none_exists(path, [refused.file for refused in found.refused]))
    if len(divided) == 2:
        found.problems.append("some lines have a split and others have none: give it in all or in none")
    found.problems += [
        f"group {group} is in {' and '.join(sorted(splits))}: a group must not straddle a split"
        for group, splits in splits_of.items()
        if len(splits) > 1
    ]
    return found


def _differing(first: Entry, second: Entry) -> str:
    """In what two lines of one image differ."""
    names = ("label", "split", "group")
    pairs = [(name, getattr(first, name), getattr(second, name)) for name in names]
    return ", ".join(f"{name} {one} and {other}" for name, one, other in pairs if one != other)


def _rows(path: Path, found: Found, needed: tuple[str, str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """(line, row) of either format; what cannot be parsed becomes a problem."""
    lines = read_text(path, any_bytes=True, largest=None).split("\n")  # file names may be any bytes
    if path.suffix.lower() in (".csv", ".tsv"):
        yield from _cells(path, lines, found, needed)
        return
    for line, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            found.problems.append(f"line {line}: not JSON ({error})")
            continue
        if isinstance(value, dict):
            places = {} if needed[0] in value else columns(list(value), needed)
            keys = list(value)
            renamed = {} if isinstance(places, str) else {name: value[keys[place]] for name, place in places.items()}
            yield line, value | renamed
        else:
            found.problems.append(f'line {line}: an object {{"file_name": ..., "{needed[1]}": ...}} expected')


def _cells(
    path: Path, lines: list[str], found: Found, needed: tuple[str, str]
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """(line, row) of a table whose header names its columns, whatever separates them."""
    above = next((place for place, line in enumerate(lines) if line.strip()), 0)
    if told := re.fullmatch(r'"?sep=(.)"?', lines[above].rstrip(" ")):  # Excel's own first line
        above += 1
    header = lines[above] if above < len(lines) else ""
    between = told[1] if told else separator(header, lambda names: not isinstance(columns(names, needed), str))
    reader = csv.reader(io.StringIO("\n".join(lines[above:]), newline=""), delimiter=between)
    try:
        names = [name.strip() for name in next(reader, [])]
        places = columns(names, needed)
        if isinstance(places, str):
            found.problems.append(f"{path}: {places}")
            return
        for remark, level in remarks(names, places).items():
            found.told[f"{path}: {remark}"] = level
        for cells in reader:
            line = above + reader.line_num
            if not any(map(str.strip, cells)):  # what spreadsheets leave of rows that were emptied
                continue
            if any(map(str.strip, cells[len(names) :])):
                found.problems.append(
                    f"line {line}: {len(cells)} cells, the header has {len(names)}: quote a cell that holds {between!r}"
                )
                continue
            yield line, {name: cells[place] if place < len(cells) else None for name, place in places.items()}
    except csv.Error as error:
        found.problems.append(f"line {above + reader.line_num}: {error}")


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
    """The file a name means: as it is, of a `file:` address, without the space around it, with Windows' backslashes."""
    if _is_address(name):
        if not name.lower().startswith("file://"):
            return name
        name = unquote(urlsplit(name).path)
    file = os.path.normpath(name)
    if name != name.strip() and not os.path.exists(os.path.join(folder, file)):
        name = name.strip()
        file = os.path.normpath(name)
    if "\\" in name and not os.path.exists(os.path.join(folder, file)):
        file = os.path.normpath(name.replace("\\", "/"))
    if file.startswith(os.pardir + os.sep):
        whole, inside = os.path.normpath(os.path.join(folder.absolute(), file)), os.path.join(folder.absolute(), "")
        return whole[len(inside) :] if whole.startswith(inside) else file
    return file


def _is_address(name: str | bytes) -> bool:
    return "://" in os.fsdecode(name)[:16]
