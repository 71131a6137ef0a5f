"""Looks at every image of a data set before training on it."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np

from inceptions.data.dataset import Refused, Split
from inceptions.data.read import load
from inceptions.data.text import refuse_names
from inceptions.image import UnreadableImage, opened
from inceptions.progress import track


class Copy(NamedTuple):
    """One of several images with the same content."""

    file: str
    split: str
    label: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a data set contains."""

    source: str
    layout: str
    """"splits", "classes", "manifest" or "table"."""
    divided: bool
    """Whether the user divided the images; else the splits are those `train` would make with its default seed."""
    counts: dict[str, dict[str, int]]
    """split -> class -> readable images."""
    unreadable: tuple[Refused, ...]
    duplicates: tuple[tuple[Copy, ...], ...]
    """Images of the same content (bytes), each group once."""
    straddling: tuple[tuple[Copy, ...], ...]
    """Those of them that are in more than one split: what is evaluated has been memorized."""
    contradicting: tuple[tuple[Copy, ...], ...]
    """Those of them that are in more than one class."""
    formats: dict[str, int]
    modes: dict[str, int]
    """How pixels are stored ("RGB", "L", "CMYK", "P", ...) -> images."""
    widths: tuple[int, int, int]
    """Lowest, median and highest, pixels."""
    heights: tuple[int, int, int]
    """Lowest, median and highest, pixels."""
    dark: tuple[str, ...] = ()
    """Images of more than 8 bits that use the lowest eighth of them only: made by a camera of fewer bits, they are
    nearly black to a network."""
    suffixes: dict[str, int] = field(default_factory=dict)
    """How files are named (".jpg", in lower case) -> readable images."""
    unlabeled: dict[str, int] = field(default_factory=dict)
    """Part of a table that is for testing -> its images that have no class, which is no fault."""
    skipped: dict[str, Any] = field(default_factory=dict)
    """What in the folders was not taken: `files` (suffix -> how many), `hidden`, `folders` (name -> how many)."""

    @property
    def valid(self) -> bool:
        """Nothing is unreadable, no image is in two splits (where the user divided them) or in two classes."""
        return not (self.unreadable or self.contradicting or (self.divided and self.straddling))

    def to_dict(self) -> dict[str, Any]:
        """All facts as JSON types."""

        def groups(copies: Iterable[Sequence[Copy]]) -> list[list[dict[str, str]]]:
            return [[copy._asdict() for copy in group] for group in copies]

        return asdict(self) | {
            "valid": self.valid,
            "n": sum(sum(classes.values()) for classes in self.counts.values()),
            "unreadable": [image._asdict() for image in self.unreadable],
            "duplicates": groups(self.duplicates),
            "straddling": groups(self.straddling),
            "contradicting": groups(self.contradicting),
            "widths": list(self.widths),
            "heights": list(self.heights),
            "dark": list(self.dark),
        }


class _Seen(NamedTuple):
    digest: bytes
    format: str
    mode: str
    size: tuple[int, int]
    dark: bool


def check(source: str | Path, *, label: str | None = None) -> Report:
    """Decodes every image of a data set and compares their contents.

    Args:
        source: what `load` reads.
        label: the label's column in a manifest or a table.

    Raises:
        DataError: the data cannot even be listed, or no model can have its classes; the message lists what is wrong.
    """
    dataset = load(source, label=label)
    refuse_names(source, dataset.classes)
    unreadable = list(dataset.refused)
    counts: dict[str, dict[str, int]] = {}
    copies: dict[bytes, list[Copy]] = defaultdict(list)
    suffixes: Counter[str] = Counter()
    seen: list[_Seen] = []
    dark: list[str] = []
    with ThreadPoolExecutor() as threads:  # decoding and hashing release the interpreter's lock
        for part, split in dataset.splits.items():
            counts[part] = dict.fromkeys(split.classes, 0)
            looks = threads.map(lambda index, split=split: _look(split, index), range(len(split)))
            for index, look in enumerate(track(looks, description=f"checking {part}", total=len(split))):
                if isinstance(look, str):
                    unreadable.append(Refused(split.name(index), look))
                    continue
                name = split.classes[split.targets[index]]
                counts[part][name] += 1
                copies[look.digest].append(Copy(split.name(index), part, name))
                seen.append(look)
                dark += [split.name(index)] if look.dark else []
                if suffix := PurePath(split.name(index)).suffix.lower():
                    suffixes[suffix] += 1
    duplicates = tuple(tuple(group) for group in copies.values() if len(group) > 1)
    return Report(
        source=str(source),
        layout=dataset.layout,
        divided=dataset.divided,
        counts=counts,
        unreadable=tuple(unreadable),
        duplicates=duplicates,
        straddling=tuple(group for group in duplicates if len({copy.split for copy in group}) > 1),
        contradicting=tuple(group for group in duplicates if len({copy.label for copy in group}) > 1),
        formats=dict(Counter(look.format for look in seen).most_common()),
        modes=dict(Counter(look.mode for look in seen).most_common()),
        widths=_spread([look.size[0] for look in seen]),
        heights=_spread([look.size[1] for look in seen]),
        dark=tuple(dark),
        suffixes=dict(suffixes.most_common()),
        unlabeled=dataset.unlabeled,
        skipped=dataset.skipped,
    )


def _look(split: Split, index: int) -> _Seen | str:
    """The facts of one image, or why it cannot be read."""
    try:
        source = split.source(index)
        with opened(source) as image:
            shown = image.pixels("RGB")
            digest = hashlib.sha256(source).digest() if isinstance(source, bytes) else bytes.fromhex(split.hash(index))
            dark = image.depth > 8 and bool(np.asarray(shown).max() < 32)
            return _Seen(digest, image.format or "", image.mode, image.size, dark)
    except UnreadableImage as error:
        return error.reason


def _spread(values: list[int]) -> tuple[int, int, int]:
    return (min(values), int(np.median(values)), max(values)) if values else (0, 0, 0)
