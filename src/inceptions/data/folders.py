"""Reading `train / CLASS / picture` and `CLASS / picture` folders."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from inceptions.data.splits import SPLITS, Entry, Refused
from inceptions.image import EXTENSIONS
from inceptions.progress import log

_NOT_DATA = frozenset({b"__MACOSX", b"@eaDir", b"lost+found"})  # what archives, storage boxes and disks leave behind


@dataclass
class Found:
    """What a reader found: pictures, and everything that is wrong, to be told at once."""

    entries: list[Entry] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    folders: dict[str | None, list[str]] = field(default_factory=dict)
    """split -> its class folders, empty ones included."""
    layout: str = "classes"


def read_folders(root: Path) -> Found:
    """Lists the pictures of a folder, class by class; nothing is opened.

    Hidden and non-picture files are ignored. Pictures may lie in subfolders of a class. Links are followed, each
    folder once in a class, so that circles end. File names may be any bytes.
    """
    found = Found()
    top = os.fsencode(root)
    folders, pictures = _list(top, b"", found)
    parts = _parts(top, folders, found)
    if parts:
        found.layout = "splits"
        for split, folder in parts.items():
            classes, loose = _list(top, folder, found)
            _read_classes(top, folder, classes, split, found)
            pictures += loose
        others = sorted(set(folders) - set(parts.values()))
        if others:
            log.warning("ignored beside %s: %s", _text(*parts.values()), _text(*others))
    else:
        _read_classes(top, b"", folders, None, found)
    if pictures and not found.entries:
        found.problems.append(
            f"{len(pictures)} pictures lie directly in {root}, which says nothing of their class: "
            "make one folder a class and put them there"
        )
    elif pictures:
        log.warning("ignored: %d pictures that lie in no class's folder, as %s", len(pictures), _text(pictures[0]))
    return found


def _parts(top: bytes, folders: list[bytes], found: Found) -> dict[str, bytes]:
    """split -> folder, where the folders are splits; a class may be called "train" too, then it holds no folders."""
    named = [folder for folder in folders if os.fsdecode(folder).lower() in SPLITS]
    full = [folder for folder in named if _list(top, folder, Found())[0]]
    names = {SPLITS[os.fsdecode(folder).lower()] for folder in full}
    if not full or not ("train" in names or len(named) == len(folders)):
        return {}
    parts: dict[str, bytes] = {}
    for folder in named:
        split = SPLITS[os.fsdecode(folder).lower()]
        if split in parts:
            found.problems.append(f"{_text(parts[split], folder)} both mean the {split} split: rename or merge one")
        elif folder not in full:
            found.problems.append(f"{_text(folder)} holds no folder of a class")
        parts.setdefault(split, folder)
    return parts


def _read_classes(top: bytes, parent: bytes, classes: list[bytes], split: str | None, found: Found) -> None:
    found.folders[split] = [os.fsdecode(name) for name in classes]
    for name in classes:
        label = os.fsdecode(name)
        waiting, seen = [os.path.join(parent, name)], set()
        while waiting:
            folder = waiting.pop()
            try:
                state = os.stat(os.path.join(top, folder))
            except OSError as error:
                found.problems.append(f"{_text(folder)}: {(error.strerror or str(error)).lower()}")
                continue
            if (state.st_dev, state.st_ino) in seen:
                continue
            seen.add((state.st_dev, state.st_ino))
            deeper, pictures = _list(top, folder, found)
            waiting += [os.path.join(folder, sub) for sub in reversed(deeper)]
            found.entries += [Entry(os.path.join(folder, picture), label, split) for picture in pictures]


def _list(top: bytes, folder: bytes, found: Found) -> tuple[list[bytes], list[bytes]]:
    """(subfolders, pictures) of a folder, sorted; hidden and other files left out, unusable ones noted in `found`."""
    folders, pictures = [], []
    try:
        with os.scandir(os.path.join(top, folder)) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.name.startswith(b".") or entry.name in _NOT_DATA:
                    continue
                reason = _unusable(entry)
                if reason is None and entry.is_dir():
                    folders.append(entry.name)
                elif os.path.splitext(os.fsdecode(entry.name))[1].lower() not in EXTENSIONS:
                    continue
                elif reason is None:
                    pictures.append(entry.name)
                else:
                    found.refused.append(Refused(_text(os.path.join(folder, entry.name)), reason))
    except OSError as error:
        found.problems.append(f"{_text(os.path.join(top, folder))}: {(error.strerror or str(error)).lower()}")
    return folders, pictures


def _unusable(entry: os.DirEntry[bytes]) -> str | None:
    try:
        if entry.is_dir() or entry.is_file():
            return None
        return "dangling link" if entry.is_symlink() else "not a file"
    except OSError as error:  # a link to itself, or to where we may not look
        return (error.strerror or str(error)).lower()


def _text(*names: bytes) -> str:
    return ", ".join(os.fsdecode(name) for name in names)
