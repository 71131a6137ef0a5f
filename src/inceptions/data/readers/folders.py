"""Reading folders: what in them is a split, and what a class.

The rule. A folder whose name means a split (`data.readers.names`) is a split where it holds folders of classes, and
never a class in silence; what can be read in two ways is a problem that says what to do.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from inceptions.data.dataset import Entry, Refused
from inceptions.data.readers.names import folded, is_wrapper, may_be_class, split_called, splits_among
from inceptions.data.readers.walk import Skipped, Walk, files_called
from inceptions.errors import some
from inceptions.progress import log

_PLAIN = frozenset({"train", "training", "val", "valid", "validation", "test", "testing"})
_TABLES = frozenset({".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet", ".arrow", ".xlsx", ".txt"})
_OR_TABLE = "or list the images in a .csv file (file_name,label[,split][,group])"


@dataclass
class Found:
    """What a reader found: images, and everything that is wrong, to be told at once."""

    entries: list[Entry] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    folders: dict[str | None, list[str]] = field(default_factory=dict)
    """split -> its class folders, empty ones included."""
    layout: str = "classes"
    skipped: Skipped = field(default_factory=Skipped)
    """What in the folders was not taken."""
    unlabeled: Counter[str] = field(default_factory=Counter)
    """Part of a table that is for testing -> its images that have no class."""
    told: dict[str, int] = field(default_factory=dict)
    """What was read in one of several ways -> a level of the log."""
    advice: str = ""
    """Where the classes may be, if these are none."""


def read_folders(root: Path) -> Found:
    """Lists the images of a folder, class by class; nothing is opened.

    Images may lie in sub-folders of a class. What is no image, and hidden or left by a system, is counted.
    """
    top = os.fsencode(root)
    walk = Walk(top)
    found = Found(skipped=walk.skipped)
    names = walk.at(b"").folders
    called = {os.fsencode(name): split for name, split in splits_among(map(os.fsdecode, names)).items()}
    trunks = {name: _trunk(walk, name, split) for name, split in called.items()}
    full = [name for name in called if walk.filled(trunks[name])]
    others = [name for name in names if name not in called and walk.holds(name)]
    levels = [b""]
    if full:
        levels += _read_splits(walk, called, trunks, full, others, found)
    else:
        flat = [name for name in called if walk.holds(name)]
        if not (flat or (called and others)) or _are_classes(called, flat, others, found):
            _read_classes(walk, b"", names, None, found)
        else:
            _refuse_flat(walk, flat or list(called), others, trunks, found)
    _tell_loose(walk, levels, found)
    found.problems = walk.problems + found.problems
    for text, level in found.told.items() if not found.problems else ():
        log.log(level, "%s", text)
    labels = {(entry.split, entry.label) for entry in found.entries}
    if len({label for _, label in labels}) == 1:
        split, label = sorted(labels, key=str)[0]
        parent = next((trunks[name] for name in full if called[name] == split), b"")
        found.advice = _deeper(walk, os.path.join(parent, os.fsencode(label)))
    return found


# --- splits -------------------------------------------------------------------------------------------------------


def _read_splits(
    walk: Walk,
    called: dict[bytes, str],
    trunks: dict[bytes, bytes],
    full: Sequence[bytes],
    others: Sequence[bytes],
    found: Found,
) -> list[bytes]:
    """Reads the folders `full` of `called` (name -> split), whose classes lie in their trunks; gives those read."""
    found.layout = "splits"
    parts: dict[str, bytes] = {}
    for name in full:
        split = called[name]
        if split in parts:
            found.problems.append(f"{_text([parts[split], name])} both mean the {split} split: rename or merge one")
            continue
        parts[split] = name
        _read_classes(walk, trunks[name], walk.at(trunks[name]).folders, split, found)
    unusual = [name for name in parts.values() if os.fsdecode(name).lower() not in _PLAIN]
    if unusual:
        log.info("taken as splits: %s", ", ".join(f"{os.fsdecode(name)} = {called[name]}" for name in unusual))
    for name in called:
        if name in full:
            continue
        count = walk.images(name)
        if called[name] != "test":
            tables = _tables(walk, [name, trunks[name], b""]) if count else ""
            found.problems.append(
                f"{os.fsdecode(name)} holds {count or 'no'} images and no folder of a class: sort them into "
                f"{os.fsdecode(name)}/CLASS/, or move it away{tables}"
            )
        elif count:
            log.warning("ignored: %d images in %s, which holds no folder of a class", count, os.fsdecode(name))
    _judge_others(walk, parts, {c for name in full for c in walk.filled(trunks[name])}, others, found)
    return [trunks[name] for name in parts.values()]


def _judge_others(
    walk: Walk, parts: dict[str, bytes], classes: set[bytes], others: Sequence[bytes], found: Found
) -> None:
    """Folders with images beside splits: what might be a split or a class too is a problem, the rest is told."""
    alike = [name for name in others if classes & set(walk.filled(name))]
    if alike:
        found.problems.append(
            f"{_text(alike)} beside {_text(parts.values())} holds folders of the same classes: a split by another "
            "name? Rename it train, val or test, or move it away"
        )
    elif others and len(parts) == 1:
        ((split, name),) = parts.items()
        found.problems.append(
            f"{os.fsdecode(name)} holds folders ({_text(walk.filled(name))}), as the {split} split would, and beside "
            f"it {_text(others)} hold{'s' * (len(others) == 1)} images, as classes would. If all are classes, put the "
            f"images directly into {os.fsdecode(name)}, {_OR_TABLE}; if not, move {_text(others)} away"
        )
    elif others:
        log.warning(
            "ignored beside %s: %s",
            _text(parts.values()),
            ", ".join(f"{os.fsdecode(name)} ({walk.images(name)} images)" for name in others),
        )


def _trunk(walk: Walk, name: bytes, split: str) -> bytes:
    """Where a split's classes lie: in the folder itself, or deeper (`seg_train/seg_train`, `train/images`)."""
    path = name
    while not walk.at(path).images:
        filled = walk.filled(path)
        inner = os.fsdecode(filled[0]) if len(filled) == 1 else ""
        if not (inner and (filled[0] == name or is_wrapper(inner) or split_called(inner) == split)):
            break
        path = os.path.join(path, filled[0])
    return path


def _are_classes(called: dict[bytes, str], flat: Sequence[bytes], others: Sequence[bytes], found: Found) -> bool:
    """Whether folders that hold images and are called like splits are classes all the same."""
    if len(called) != 1 or not others:
        return False
    (name,) = called
    yes = bool(flat) and may_be_class(os.fsdecode(name), map(os.fsdecode, others))
    if yes:
        text = f"{os.fsdecode(name)} is taken for a class, as {_text(others)} beside it"
        found.told[text] = logging.WARNING
    return yes


def _refuse_flat(
    walk: Walk, flat: Sequence[bytes], others: Sequence[bytes], trunks: dict[bytes, bytes], found: Found
) -> None:
    """Split-like folders without classes in them: neither a split's classes nor a class can be read."""
    count = sum(map(walk.images, flat))
    one = len(flat) == 1
    called = (
        f"{_text(flat)} {'is called like a split' if one else 'are called like splits'} and hold{'s' * one} "
        f"{f'{count} images but' if count else 'no images and'} no folder of a class"
    )
    if others:
        found.problems.append(
            f"{called}, beside {_text(others)}: move {'it' if one else 'them'} away, rename what is a class, "
            f"{_OR_TABLE}"
        )
        return
    places = [place for name in flat for place in (name, trunks[name])]
    found.problems.append(f"{called}: sort the images into SPLIT/CLASS/, {_OR_TABLE}{_tables(walk, [*places, b''])}")


def _tables(walk: Walk, places: Iterable[bytes]) -> str:
    """Names files that may hold the labels of images that lie in no class's folder."""
    listings = [(place, walk.at(place)) for place in dict.fromkeys(places)]
    notes = ("readme", "license", "license", "requirements", "notice")
    files = [
        os.fsdecode(os.path.join(walk.top, file))
        for file in files_called(listings, _TABLES)
        if not os.path.basename(os.fsdecode(file)).lower().startswith(notes)
    ]
    if not files:
        return ""
    return f". Their labels may be in {some(files)}: give such a table in place of the folder"


# --- classes ------------------------------------------------------------------------------------------------------


def _read_classes(walk: Walk, parent: bytes, classes: Sequence[bytes], split: str | None, found: Found) -> None:
    """Reads the images of each class; a folder of a class may hold folders, each read once."""
    found.folders[split] = [os.fsdecode(name) for name in classes]
    _refuse_unclear(walk, parent, classes, found)
    for name in classes:
        label = os.fsdecode(name)
        for path, listing in walk.below(os.path.join(parent, name)):
            found.entries += [Entry(os.path.join(path, image), label, split) for image in listing.images]
            found.refused += [Refused(_text([os.path.join(path, file)]), reason) for file, reason in listing.broken]


def _refuse_unclear(walk: Walk, parent: bytes, classes: Sequence[bytes], found: Found) -> None:
    """Folders that may not be the classes they would be taken for."""
    where = f"in {os.fsdecode(parent)}: " if parent else ""
    if parent:  # at the top, this was judged before
        called = {os.fsencode(name): s for name, s in splits_among(map(os.fsdecode, classes)).items()}
        rest = [name for name in classes if name not in called]
        if called and not _are_classes(called, list(called), rest, found):
            found.problems.append(
                f"{where}{_text(called)} called like splits, inside a split: move "
                f"{'it' if len(called) == 1 else 'them'} up, rename what is a class, {_OR_TABLE}"
            )
    inner: dict[bytes, set[bytes]] = {}
    for name in classes:
        if walk.at(os.path.join(parent, name)).folders:
            inner[name] = set(walk.filled(os.path.join(parent, name)))
    often = Counter(sub for subs in inner.values() for sub in subs)
    shared = {name: {sub for sub in subs if often[sub] > 1} for name, subs in inner.items()}
    alike = [name for name, subs in shared.items() if len(subs) > 1 and 2 * len(subs) >= len(inner[name])]
    for name, subs in inner.items():
        splits = splits_among(map(os.fsdecode, subs))
        within = any(walk.filled(os.path.join(parent, name, os.fsencode(sub))) for sub in splits)
        if (within or len(set(splits.values())) > 1) and name not in alike[1:]:
            found.problems.append(
                f"{where}{os.fsdecode(name)} holds {', '.join(sorted(splits))}, called like splits: put "
                "splits above classes (SPLIT/CLASS/image), or give "
                f"{os.fsdecode(os.path.join(walk.top, parent, name))}"
            )
    if len(alike) > 1:
        found.problems.append(
            f"{where}{_text(alike)} hold folders of the same names ({_text(sorted(shared[alike[0]]))}): are they "
            "splits? Rename them train, val and test. Are they the classes? Put the images of each together, "
            f"{_OR_TABLE}"
        )
    together = [f"{os.fsdecode(name)} ({_text(sorted(subs), 3)})" for name, subs in inner.items() if subs]
    if together:
        text = f"{where}folders in a class's folder belong to that class: {some(together, 3)}"
        found.told[text] = logging.INFO
    same: dict[str, list[bytes]] = {}
    for name in classes:
        same.setdefault(folded(os.fsdecode(name)), []).append(name)
    for key, group in same.items():
        if len(group) > 1 and len(key) > 1:  # "a" and "A" are two letters, Cat and cat are one animal
            found.problems.append(f"{where}{_text(group)} differ only in capitals, spaces or accents: rename or merge")


def _deeper(walk: Walk, folder: bytes) -> str:
    """The folder that the user may have meant, where what was given holds only one that is filled."""
    path = folder
    while True:
        filled = walk.filled(path)
        if len(filled) > 1 or splits_among(map(os.fsdecode, filled)):
            where = os.fsdecode(os.path.join(walk.top, path))
            return f"if the folders in it ({_text(filled)}) are what you mean, give {where}"
        if len(filled) != 1 or walk.at(path).images:
            return ""
        path = os.path.join(path, filled[0])


def _tell_loose(walk: Walk, levels: Sequence[bytes], found: Found) -> None:
    """Images that lie beside the folders of classes, or where no class is at all."""
    for level in levels:
        loose = walk.at(level).images
        if loose and found.entries:
            one = os.fsdecode(os.path.join(level, loose[0]))
            log.warning("ignored: %d images that lie in no class's folder, as %s", len(loose), one)
        elif loose and not found.problems:
            found.problems.append(
                f"{len(loose)} images lie directly in {os.fsdecode(walk.top)}, which says nothing of their class: make "
                f"one folder a class and put them there, {_OR_TABLE}{_tables(walk, [level])}"
            )


def _text(names: Iterable[bytes], limit: int = 8) -> str:
    return some(map(os.fsdecode, names), limit)
