"""What images hold: their SHA-256, by which copies are known wherever they lie and whatever they are called.

Two images are the same if their files are, byte for byte; one that was saved again is another one.

A hash costs a read of the whole file, so it is computed only where something depends on it. Before we divide a data
set, images are compared by size first, which costs a look at the folder: only files of one size can be equal, and only
these are hashed. What was hashed stays with the split; `write_split`, which needs every hash, does not read it again.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from inceptions.image import UnreadableImage, opened
from inceptions.progress import log, track

if TYPE_CHECKING:
    from inceptions.data.dataset import Dataset, Entry, Split

_BLOCK = 1 << 20  # bytes read at once
_TURN = 64  # images a thread hashes before it reports: a report costs as much as a small file
_NAMED = 3  # images a message names
EMPTY = hashlib.sha256().hexdigest()
"""Of files without a byte, which are no images and no copies of each other."""


def file_digest(file: str | bytes | os.PathLike[str]) -> str:
    """SHA-256 of a file in hex.

    Raises:
        OSError: it cannot be read.
    """
    found = hashlib.sha256()
    with open(file, "rb", buffering=0) as stream:
        while block := stream.read(_BLOCK):
            found.update(block)
    return found.hexdigest()


def digests(read: Callable[[int], str], indices: Iterable[int], description: str) -> Iterator[str | OSError]:
    """`read(index)` for each index in order, by threads: reading and hashing release the interpreter's lock."""

    def turn(chosen: Sequence[int]) -> list[str | OSError]:
        return [_attempt(read, index) for index in chosen]

    chosen = list(indices)
    turns = [chosen[first : first + _TURN] for first in range(0, len(chosen), _TURN)]
    with ThreadPoolExecutor() as threads:
        for found in track(threads.map(turn, turns), description=description, total=len(chosen), amount=len):
            yield from found


def _attempt(read: Callable[[int], str], index: int) -> str | OSError:
    try:
        return read(index)
    except OSError as error:
        return error


def hashed(split: Split, *, description: str = "hashing", fresh: bool = False) -> tuple[Split, dict[int, OSError]]:
    """`split` with every image's hash, and those that cannot be read as files (their hash is empty).

    Args:
        split: any.
        description: of the bar.
        fresh: hash what lies there now, whatever was recorded.
    """
    now = replace(split, hashes=None) if fresh else split
    failed: dict[int, OSError] = {}
    hashes = np.zeros(len(split), dtype="S64")
    for index, found in enumerate(digests(now.hash, range(len(split)), description)):
        if isinstance(found, OSError):
            failed[index] = found
        else:
            hashes[index] = found.encode("ascii")
    return replace(split, hashes=hashes), failed


def with_hashes(entries: Sequence[Entry], root: Path, content: Callable[[int], bytes] | None) -> list[Entry]:
    """The same entries; those that may have the same content as another have their hash.

    Args:
        entries: of one data set.
        root: where their files are relative to.
        content: gives the image of a row, where the images are no files; these are all hashed.
    """
    top = os.fsencode(root)
    if content is None:
        sizes = [_size(os.path.join(top, entry.file)) for entry in entries]
        often = Counter(sizes)
        unsure = [index for index, size in enumerate(sizes) if size is not None and often[size] > 1]
    else:
        unsure = list(range(len(entries)))

    def read(index: int) -> str:
        entry = entries[index]
        if content is not None:
            return hashlib.sha256(content(entry.row)).hexdigest()
        return file_digest(os.path.join(top, entry.file))

    known = list(entries)
    for index, found in zip(unsure, digests(read, unsure, "looking for copies"), strict=True):
        if isinstance(found, str) and found != EMPTY:
            known[index] = entries[index]._replace(sha256=found)
    return known


def _size(file: bytes) -> int | None:
    try:
        return os.stat(file).st_size
    except OSError:  # whoever reads it will say so
        return None


@dataclass(frozen=True)
class Copies:
    """Images of a data set that have the same content as others where that matters."""

    learned: dict[str, tuple[tuple[str, str], ...]]
    """"val", "test" -> (the image, one for training with the same content), as far as there are any."""
    contradicting: tuple[tuple[str, ...], ...]
    """Groups of images of the same content in more than one class."""

    def tell(self) -> None:
        """One line for each kind, with how many there are."""
        for part, pairs in self.learned.items():
            log.warning(
                "%d of the %s images are training images too, byte for byte (%s): they are left out of it",
                *(len(pairs), {"val": "validation"}.get(part, part), named(" = ".join(pair) for pair in pairs)),
            )
        if self.contradicting:
            log.warning(
                "%d images lie in more than one class, byte for byte (%s): no answer is right for both",
                *(len(self.contradicting), named(" = ".join(group) for group in self.contradicting)),
            )


def learned_from(split: Split, learned: frozenset[str]) -> NDArray[np.bool_]:
    """Which images of `split` are among those with the hashes `learned`; a file that is no image teaches nothing.

    Args:
        split: with its hashes.
        learned: SHA-256 in hex.
    """
    assert split.hashes is not None
    found = [digest.decode("ascii") in learned for digest in split.hashes.tolist()]
    return np.array([known and _is_image(split, index) for index, known in enumerate(found)], dtype=bool)


def _is_image(split: Split, index: int) -> bool:
    """Whether it opens: the same error page may have been saved under many names."""
    try:
        with opened(split.source(index)):
            return True
    except UnreadableImage:
        return False


def copies(dataset: Dataset) -> Copies:
    """The copies in a data set, by the hashes that its splits hold; images without one count as different."""
    places: dict[bytes, list[tuple[str, int]]] = defaultdict(list)
    for part, split in dataset.splits.items():
        for index, found in enumerate(() if split.hashes is None else split.hashes):
            if found and found != EMPTY.encode("ascii"):
                places[bytes(found)].append((part, index))
    learned: dict[str, list[tuple[str, str]]] = defaultdict(list)
    contradicting: list[tuple[str, ...]] = []
    for group in places.values():
        if len(group) == 1 or not _is_image(dataset.splits[group[0][0]], group[0][1]):
            continue
        first = next((dataset.splits[part].name(index) for part, index in group if part == "train"), None)
        for part, index in group:
            if first is not None and part != "train":
                learned[part].append((dataset.splits[part].name(index), first))
        if len({int(dataset.splits[part].targets[index]) for part, index in group}) > 1:
            contradicting.append(tuple(dataset.splits[part].name(index) for part, index in group))
    parts = {part: tuple(learned[part]) for part in dataset.splits if part in learned}
    return Copies(learned=parts, contradicting=tuple(contradicting))


def named(names: Iterable[str]) -> str:
    """The first of many names."""
    every = list(names)
    return ", ".join(every[:_NAMED]) + (", ..." if len(every) > _NAMED else "")
