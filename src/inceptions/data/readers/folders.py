"""Reading folders: what in them is a split, and what a class.

The rule. A folder whose name means a split (`data.readers.names`) is a split where it holds folders of classes, and
never a class in silence; what can be read in two ways is a problem that says what to do.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from inceptions.data.dataset import Entry, Refused
from inceptions.data.readers.names import is_wrapper, split_called, splits_among
from inceptions.data.readers.unclear import OR_TABLE, Unclear, are_classes, deeper, place, tables, text_of
from inceptions.data.readers.walk import Skipped, Walk
from inceptions.progress import log

_PLAIN = frozenset({"train", "training", "val", "valid", "validation", "test", "testing"})


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
        if not (flat or (called and others)) or are_classes(called, flat, others, found.told):
            _read_classes(walk, b"", names, None, found)
        else:
            _refuse_flat(walk, flat or list(called), others, trunks, found)
    _tell_loose(walk, levels, found)
    found.problems = walk.problems + found.problems
    labels = {(entry.split, entry.label) for entry in found.entries}
    if len({label for _, label in labels}) == 1:
        split, label = sorted(labels, key=str)[0]
        parent = next((trunks[name] for name in full if called[name] == split), b"")
        found.advice = deeper(walk, os.path.join(parent, os.fsencode(label)))
        if not found.advice and (beside := tables(walk, [b"", parent, os.path.join(parent, os.fsencode(label))])):
            found.advice = "it may be all of them" + beside
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
            found.problems.append(f"{text_of([parts[split], name])} both mean the {split} split: rename or merge one")
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
            beside = tables(walk, [name, trunks[name], b""]) if count else ""
            alone = f", or give {place(walk, trunks[full[0]])} alone" if len(full) == 1 else ""
            found.problems.append(
                f"{os.fsdecode(name)} holds {count or 'no'} images and no folder of a class: sort them into "
                f"{os.fsdecode(name)}/CLASS/, or move it away{alone}{beside}"
            )
        elif count:
            log.warning("ignored: %d images in %s, which holds no folder of a class", count, os.fsdecode(name))
    sure = len(set(called.values())) > 1  # two names of splits, if one of them holds no classes
    _judge_others(walk, parts, {c for name in full for c in walk.filled(trunks[name])}, others, found, sure=sure)
    return [trunks[name] for name in parts.values()]


def _judge_others(
    walk: Walk, parts: dict[str, bytes], classes: set[bytes], others: Sequence[bytes], found: Found, *, sure: bool
) -> None:
    """Folders with images beside splits: what might be a split or a class too is a problem, the rest is told."""
    alike = [name for name in others if classes & set(walk.filled(name))]
    if alike:
        alone = f"; or give {place(walk, next(iter(parts.values())))} alone" if len(parts) == 1 else ""
        found.problems.append(
            f"{text_of(alike)} beside {text_of(parts.values())} holds folders of the same classes: a split by another "
            f"name? Rename it train, val or test, or move it away{alone}"
        )
    elif others and not sure:
        ((split, name),) = parts.items()
        found.problems.append(
            f"{os.fsdecode(name)} holds folders ({text_of(walk.filled(name))}), as the {split} split would, and "
            f"beside it {text_of(others)} hold{'s' * (len(others) == 1)} images, as classes would. If all are classes, "
            f"put the images directly into {os.fsdecode(name)}, {OR_TABLE}; if not, move {text_of(others)} away, or "
            f"give {place(walk, name)} alone"
        )
    elif others:
        log.warning(
            "ignored next to %s: %s",
            text_of(parts.values()),
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


def _refuse_flat(
    walk: Walk, flat: Sequence[bytes], others: Sequence[bytes], trunks: dict[bytes, bytes], found: Found
) -> None:
    """Split-like folders without classes in them: neither a split's classes nor a class can be read."""
    count = sum(map(walk.images, flat))
    one = len(flat) == 1
    called = (
        f"{text_of(flat)} {'is called like a split' if one else 'are called like splits'} and hold{'s' * one} "
        f"{f'{count} images but' if count else 'no images and'} no folder of a class"
    )
    if others:
        meant = [advice for name in others if (advice := deeper(walk, name))]
        deep = f"; {meant[0]}" if len(others) == 1 and meant else ""
        found.problems.append(
            f"{called}, beside {text_of(others)}: move {'it' if one else 'them'} away, rename what is a class, "
            f"{OR_TABLE}{deep}"
        )
        return
    places = [place for name in flat for place in (name, trunks[name])]
    found.problems.append(f"{called}: sort the images into SPLIT/CLASS/, {OR_TABLE}{tables(walk, [*places, b''])}")


# --- classes ------------------------------------------------------------------------------------------------------


def _read_classes(walk: Walk, parent: bytes, classes: Sequence[bytes], split: str | None, found: Found) -> None:
    """Reads the images of each class; a folder of a class may hold folders, each read once."""
    classes = [name for name in classes if not walk.is_output(os.path.join(parent, name))]
    found.folders[split] = [os.fsdecode(name) for name in classes]
    unclear = Unclear(walk, parent, classes)
    found.problems += unclear.problems
    found.told |= unclear.told
    for name in classes:
        label = os.fsdecode(name)
        for path, listing in walk.below(os.path.join(parent, name)):
            found.entries += [Entry(os.path.join(path, image), label, split) for image in listing.images]
            found.refused += [Refused(text_of([os.path.join(path, file)]), reason) for file, reason in listing.broken]


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
                f"one folder a class and put them there, {OR_TABLE}{tables(walk, [level])}"
            )
