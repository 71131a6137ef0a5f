"""What reading a data set gives: its classes and its splits, and how undivided images are divided."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from inceptions.data.contents import file_digest

if TYPE_CHECKING:
    from torch import Tensor


class Refused(NamedTuple):
    """An image that was left out, and why."""

    file: str
    reason: str


class Entry(NamedTuple):
    """One image as a reader found it."""

    file: bytes
    """Relative to the root, or absolute."""
    label: str
    split: str | None = None
    """"train", "val", "test"; None: the images are not divided."""
    group: str | None = None
    """Images of one group (a patient, a scene) stay together."""
    row: int = -1
    """Its row in `Split.content`, where the images are no files."""
    sha256: str | None = None
    """Of its content in hex, where another image may have the same."""


@dataclass(frozen=True, eq=False)
class Split:
    """Images with their classes. An image is known by its index, which never depends on a listing's order."""

    root: Path
    """Where the files are relative to."""
    files: NDArray[np.bytes_]
    """Every image's name, as bytes in one array (names need not be text)."""
    targets: NDArray[np.int64]
    """Every image's class, an index into `classes`; -1: a class the model does not have."""
    classes: tuple[str, ...]
    """The model's classes, in its order."""
    hashes: NDArray[np.bytes_] | None = None
    """Every image's SHA-256 in hex, where it is known (recorded in `split.json`, or computed); else empty."""
    content: Callable[[int], bytes] | None = None
    """Gives the encoded image of a row, where the images are no files."""
    rows: NDArray[np.int64] | None = None
    """Every image's row in `content`."""
    named: set[str] = field(default_factory=set, repr=False)
    """Refused images the log has named already."""

    def __len__(self) -> int:
        return len(self.files)

    def name(self, index: int) -> str:
        """The image's name relative to the root; bytes that are no text become surrogate escapes."""
        return os.fsdecode(bytes(self.files[index]))

    def names(self, indices: Tensor, crops: int = 1) -> Callable[[int], str]:
        """The name of each image of a batch by its row, of which an image may have several."""
        return lambda row: self.name(int(indices[row // crops]))

    def path(self, index: int) -> Path:
        """The image's file.

        Raises:
            ValueError: the images lie in a table, not in files.
        """
        if self.content is not None:
            raise ValueError(f"{self.root} is a table: its images are no files; use source(i)")
        return self.root / self.name(index)

    def source(self, index: int) -> Path | bytes:
        """What `Preprocess` decodes: the path, or the content where the images are no files."""
        if self.content is None or self.rows is None:
            return self.path(index)
        return self.content(int(self.rows[index]))

    def hash(self, index: int) -> str:
        """SHA-256 of the encoded image in hex: as known, else computed.

        Raises:
            OSError: the file cannot be read.
        """
        if self.hashes is not None and self.hashes[index]:
            return bytes(self.hashes[index]).decode("ascii")
        if self.content is None or self.rows is None:
            return file_digest(os.path.join(os.fsencode(self.root), bytes(self.files[index])))
        return hashlib.sha256(self.content(int(self.rows[index]))).hexdigest()

    def subset(self, indices: NDArray[np.int64] | Sequence[int]) -> Split:
        """The images at these indices, in this order."""
        chosen = np.asarray(indices, dtype=np.int64)
        return replace(
            self,
            files=self.files[chosen],
            targets=self.targets[chosen],
            hashes=None if self.hashes is None else self.hashes[chosen],
            rows=None if self.rows is None else self.rows[chosen],
        )

    def known(self) -> Split:
        """The images whose class the model has."""
        return self if (self.targets >= 0).all() else self.subset(np.flatnonzero(self.targets >= 0))


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set that has been read: nothing decoded yet."""

    classes: tuple[str, ...]
    """In natural order (class2 before class10), or as the model has them."""
    splits: dict[str, Split]
    """"train", "val", "test", as far as they exist."""
    root: Path
    """The folder the files are relative to, or the table."""
    source: str
    """What `load` was given; a path is absolute."""
    layout: str
    """"splits" (folders train/val/test), "classes" (a folder each), "manifest", "table"."""
    divided: bool
    """Whether the user divided the images; else `splits` holds our seeded division of them."""
    label: str | None = None
    """The label's column, where the user named it."""
    refused: tuple[Refused, ...] = ()
    """Named images that are no readable files (dangling links, missing files of a manifest)."""
    unknown_classes: tuple[str, ...] = ()
    """Classes of the data which the model lacks; their images have target -1."""
    missing_classes: tuple[str, ...] = ()
    """Classes of the model of which the data has no image."""
    trained_on: int = 0
    """Images that were left out of an evaluation because the model learned from them."""
    changed: tuple[str, ...] = ()
    """Judged images whose content is no longer what the run recorded under this name."""
    unlabeled: dict[str, int] = field(default_factory=dict)
    """Part of a table that is for testing -> its images that have no class and were left out."""
    skipped: dict[str, Any] = field(default_factory=dict)
    """What in the folders was not taken: `files` (suffix -> how many), `hidden`, `folders` (name -> how many)."""

    def whole(self) -> Split:
        """All images as one split."""
        parts = list(self.splits.values())
        return replace(
            parts[0],
            files=np.concatenate([part.files for part in parts]),
            targets=np.concatenate([part.targets for part in parts]),
            hashes=None,
            rows=None if parts[0].rows is None else np.concatenate([p.rows for p in parts if p.rows is not None]),
        )


def natural(name: str) -> tuple[list[tuple[str, int, str]], str]:
    """The key that sorts names as people do: class2 before class10."""
    parts = re.split(r"([0-9]+)", name)
    pairs = zip(parts[::2], [*parts[1::2], ""], strict=True)
    # digits compare by length, then as text: no limit on how many there are
    return [(text, len(digits.lstrip("0")), digits.lstrip("0")) for text, digits in pairs], name


def divide(entries: Sequence[Entry], *, seed: int, fraction: float) -> list[bool]:
    """Chooses validation images: about `fraction` of each class, whole units only, the rest stays for training.

    A unit is all images of one group and all that have the same content (`Entry.sha256`; an image without one is
    like no other), so that nothing is on both sides. Its place depends on the seed and the names alone, not on the
    order they were listed in. Every class keeps at least one training image, and gets at least one for validation
    where its units allow it.

    Returns:
        For each entry, whether it is for validation.
    """
    total = Counter(entry.label for entry in entries)
    wanted = {label: min(max(round(n * fraction), 1), n - 1) for label, n in total.items()}
    units = _units(entries)
    salt = f"{seed}:".encode()
    shuffled = sorted(units, key=lambda key: hashlib.sha256(salt + key).digest())

    chosen = [False] * len(entries)
    taken: Counter[str] = Counter()

    def take(unit: bytes, limit: dict[str, int]) -> bool:
        counts = Counter(entries[number].label for number in units[unit])
        if any(taken[label] + count > limit[label] for label, count in counts.items()):
            return False
        taken.update(counts)
        for number in units[unit]:
            chosen[number] = True
        return True

    left = [unit for unit in shuffled if not take(unit, wanted)]
    # A class whose units are all larger than its share: its smallest unit, as long as something is left to train on.
    most = {label: n - 1 for label, n in total.items()}
    for label in sorted(total):
        if wanted[label] and not taken[label]:
            holders = [unit for unit in left if any(entries[number].label == label for number in units[unit])]
            next((unit for unit in sorted(holders, key=lambda unit: len(units[unit])) if take(unit, most)), None)
    return chosen


def _units(entries: Sequence[Entry]) -> dict[bytes, list[int]]:
    """A key -> the entries that must stay together; the key is the first name in the unit, file's or group's."""
    keys = [b"file:" + entry.file if entry.group is None else b"group:" + os.fsencode(entry.group) for entry in entries]
    above = {key: key for key in keys}

    def first(key: bytes) -> bytes:
        while above[key] != key:
            above[key] = above[above[key]]
            key = above[key]
        return key

    holder: dict[str, bytes] = {}
    for key, entry in zip(keys, entries, strict=True):
        if entry.sha256 is not None:
            low, high = sorted((first(holder.setdefault(entry.sha256, key)), first(key)))
            above[high] = low
    units: dict[bytes, list[int]] = defaultdict(list)
    for number, key in enumerate(keys):
        units[first(key)].append(number)
    return units
