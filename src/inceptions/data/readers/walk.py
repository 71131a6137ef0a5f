"""The one walk through folders: every command sees the same images, and says the same of what it leaves."""

from __future__ import annotations

import logging
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from inceptions.errors import some
from inceptions.image.formats import EXTENSIONS, REMARKS, kind_of
from inceptions.progress import log

_SYSTEM = frozenset(  # what archives, storage boxes, disks and desktops leave behind (in lower case)
    {"__macosx", "@eadir", "lost+found", "$recycle.bin", "recycler", "system volume information", "#recycle"}
    | {"@recycle", "__pycache__", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"}
)
_NOTES = frozenset(  # beside images they surprise nobody
    {".txt", ".md", ".rst", ".json", ".jsonl", ".csv", ".tsv", ".xml", ".yaml", ".yml", ".html", ".htm", ".pdf"}
    | {".py", ".ipynb", ".log", ".ini", ".toml", ".cfg", ".url"}
)
_BOXES = (".txt", ".xml", ".json")  # what labeling tools write beside an image, under its name
_BOXES_FOLDERS = frozenset({b"labels", b"annotations", b"xmls"})
_NO_SUFFIX = "no suffix"
_SNIFFED = 5  # files of a suffix nobody knows that are looked into
_KINDS_SAID = 12


class Listing(NamedTuple):
    """What lies directly in a folder, in order; hidden and system files and folders are left out."""

    folders: list[bytes]
    images: list[bytes]
    others: list[bytes]
    """Files that are not taken for images."""
    broken: list[tuple[bytes, str]]
    """What is called like an image or a folder and is neither, and why (dangling links, pipes)."""


@dataclass
class Skipped:
    """What a walk did not take."""

    files: Counter[str] = field(default_factory=Counter)
    """Suffix in lower case, or "no suffix" -> files."""
    hidden: int = 0
    """Hidden and system files."""
    folders: Counter[str] = field(default_factory=Counter)
    """Name of a hidden or system folder -> how often."""
    again: set[bytes] = field(default_factory=set)
    """Links to folders that were walked by another name, or lie above."""
    boxes: Counter[str] = field(default_factory=Counter)
    """Suffix -> files called like an image beside them, or in a folder `labels`."""
    unknown: dict[str, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    """Suffix that says nothing -> the first files of it."""

    def to_dict(self) -> dict[str, object]:
        """JSON-able: `files` by suffix, `hidden`, `folders` by name."""
        return {"files": dict(self.files.most_common()), "hidden": self.hidden, "folders": dict(self.folders)}

    def line(self) -> tuple[int, str]:
        """(a level of the log, what was not taken in one line; "": everything was taken)."""
        remarks = {suffix: self._remark(suffix) for suffix in self.files}
        surprising = any(remarks.values()) or any(suffix not in _NOTES for suffix in self.files)
        said = [
            f"{count} {'without a suffix' if suffix == _NO_SUFFIX else suffix}{_bracketed(remarks[suffix])}"
            # what needs a remark first: it may be what the user meant
            for suffix, count in sorted(self.files.items(), key=lambda pair: (not remarks[pair[0]], -pair[1], pair[0]))
        ]
        if len(said) > _KINDS_SAID:
            rest = len(said) - _KINDS_SAID
            said = [*said[:_KINDS_SAID], f"files of {rest} more suffixes"]
        if self.hidden:
            said.append(f"{self.hidden} hidden or system file{'s' * (self.hidden > 1)}")
        if self.folders:
            said.append(f"the folders {some(sorted(self.folders))}")
        if self.again:
            one = os.fsdecode(min(self.again))
            said.append(f"{len(self.again)} link{'s' * (len(self.again) > 1)} to a folder met already, as {one}")
        return logging.WARNING if surprising else logging.INFO, ", ".join(said)

    def _remark(self, suffix: str) -> str:
        if suffix in REMARKS:
            return REMARKS[suffix]
        if self.boxes[suffix]:
            return "labels of boxes, as of YOLO? they are not read"
        for file in self.unknown.get(suffix, ()):
            if kind := kind_of(_head(file)):
                return f"images by their content, as {os.fsdecode(file)}, {kind}: give them that suffix"
        return ""


class Walk:
    """Folders below `top`, each read once.

    Links are followed. Hidden folders and files, and those that systems leave (`@eaDir`, `__MACOSX`, `Thumbs.db`), are
    left out. File names may be any bytes.
    """

    def __init__(self, top: bytes, *, order: Callable[[bytes], Any] | None = None) -> None:
        self.top = top
        self.order = order
        """The key by which folders are walked; None: their bytes."""
        self.skipped = Skipped()
        self.problems: list[str] = []
        """Folders that cannot be listed, and why."""
        self._listed: dict[bytes, Listing] = {}

    def at(self, folder: bytes) -> Listing:
        """What lies in a folder, given relative to the top."""
        if folder not in self._listed:
            self._listed[folder] = self._list(folder)
        return self._listed[folder]

    def below(self, folder: bytes) -> Iterator[tuple[bytes, Listing]]:
        """The folder and all below it, parents first, each once: circles of links end.

        A link to a folder above leads nowhere either, or the images of all classes would be in one.
        """
        parts = folder.split(b"/") if folder else []
        above = [b"/".join(parts[:depth]) for depth in range(len(parts))]
        seen = {self._identity(path) for path in above}
        waiting = [folder]
        while waiting:
            path = waiting.pop()
            identity = self._identity(path)
            if identity in seen:
                self.skipped.again.add(path)
                continue
            if identity is None:
                continue
            seen.add(identity)
            listing = self.at(path)
            yield path, listing
            waiting += [os.path.join(path, name) for name in reversed(listing.folders)]

    def images(self, folder: bytes) -> int:
        """How many images lie in a folder and all below it."""
        return sum(len(listing.images) for _, listing in self.below(folder))

    def holds(self, folder: bytes) -> bool:
        """Whether any image lies in a folder or below it."""
        return any(listing.images for _, listing in self.below(folder))

    def filled(self, folder: bytes) -> list[bytes]:
        """The names of its folders that hold images."""
        return [name for name in self.at(folder).folders if self.holds(os.path.join(folder, name))]

    def _identity(self, folder: bytes) -> tuple[int, int] | None:
        try:
            state = os.stat(os.path.join(self.top, folder))
        except OSError as error:
            self._problem(folder, error)
            return None
        return state.st_dev, state.st_ino

    def _list(self, folder: bytes) -> Listing:
        listing = Listing([], [], [], [])
        try:
            with os.scandir(os.path.join(self.top, folder)) as entries:
                for entry in entries:
                    self._sort(entry, listing)
        except OSError as error:
            self._problem(folder, error)
        listing.folders.sort(key=self.order)
        listing.images.sort()
        listing.others.sort()
        listing.broken.sort()
        if listing.others:
            self._count(folder, listing)
        return listing

    def _sort(self, entry: os.DirEntry[bytes], listing: Listing) -> None:
        name = os.fsdecode(entry.name)
        low = name.lower()
        junk = name[0] == "." or low in _SYSTEM
        image = os.path.splitext(low)[1] in EXTENSIONS
        reason = None
        try:
            if entry.is_dir():
                if junk:
                    self.skipped.folders[name] += 1
                else:
                    listing.folders.append(entry.name)
                return
            if not entry.is_file():
                reason = "dangling link" if entry.is_symlink() else "not a file"
        except OSError as error:  # a link to itself, or to where we may not look
            reason = (error.strerror or str(error)).lower()
        if junk:
            self.skipped.hidden += 1
        elif reason is None:
            (listing.images if image else listing.others).append(entry.name)
        elif image:
            listing.broken.append((entry.name, reason))
        else:
            log.warning("left out: %s: %s", os.fsdecode(entry.path), reason)

    def _count(self, folder: bytes, listing: Listing) -> None:
        stems = {os.path.splitext(name)[0] for name in listing.images}
        for other in listing.others:
            stem, end = os.path.splitext(other)
            suffix = os.fsdecode(end).lower()
            if not re.fullmatch(r"\.(?!\d+$)[a-z0-9_~+-]{1,12}", suffix):
                suffix = _NO_SUFFIX
            self.skipped.files[suffix] += 1
            if suffix in _BOXES and (stem in stems or os.path.basename(folder).lower() in _BOXES_FOLDERS):
                self.skipped.boxes[suffix] += 1
            elif suffix not in _NOTES and suffix not in REMARKS and len(self.skipped.unknown[suffix]) < _SNIFFED:
                self.skipped.unknown[suffix].append(os.path.join(self.top, folder, other))

    def _problem(self, folder: bytes, error: OSError) -> None:
        text = f"{os.fsdecode(os.path.join(self.top, folder))}: {(error.strerror or str(error)).lower()}"
        if text not in self.problems:
            self.problems.append(text)


def say_skipped(where: str, skipped: Skipped) -> None:
    """Tells in one line what was not taken."""
    level, line = skipped.line()
    if line:
        log.log(level, "%s: not taken: %s", where, line)


def files_called(listings: Iterable[tuple[bytes, Listing]], suffixes: frozenset[str]) -> list[bytes]:
    """Files of these suffixes, as the paths of (folder, what lies in it), save those that belong to one image."""
    found = []
    for folder, listing in listings:
        stems = {os.path.splitext(name)[0] for name in listing.images}
        for name in listing.others:
            stem, end = os.path.splitext(name)
            if os.fsdecode(end).lower() in suffixes and stem not in stems:
                found.append(os.path.join(folder, name))
    return found


def _bracketed(remark: str) -> str:
    return f" ({remark})" if remark else ""


def _head(file: bytes) -> bytes:
    try:
        with open(file, "rb") as content:
            return content.read(32)
    except OSError as error:
        log.debug("%s: %s", os.fsdecode(file), error)
        return b""
