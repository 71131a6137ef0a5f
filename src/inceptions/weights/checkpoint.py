"""What a weight file holds, whatever wrote it: tensors by the file's own names, and what it says about its model."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from torch import Tensor

from inceptions.errors import DataError, some
from inceptions.weights.keras_graph import KerasModel

ADVICE = "save model.state_dict() where the file comes from (torch.save(model.state_dict(), FILE)) and use that"
"""What helps with every file of PyTorch's that cannot be read."""

Dialect: TypeAlias = Literal["torch", "keras", "slim", "caffe"]
"""Whose conventions the tensors follow: how they are called and how their axes are ordered."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The content of a weight file, unconverted."""

    source: str
    """How messages call the file."""
    dialect: Dialect
    """Whose names and axes the tensors have."""
    tensors: Mapping[str, Tensor]
    """The tensors under the file's own names, in the file's own shapes, on the CPU."""
    model: KerasModel | None = None
    """The layers around the tensors, where the file describes them (whole Keras models)."""
    averages: Mapping[str, Tensor] = field(default_factory=dict)
    """Moving averages that the file keeps of some of `tensors`, by the same names (TensorFlow's)."""
    labels: tuple[tuple[str, ...], ...] = ()
    """Lists of class names in the file's settings, in the order of outputs; which is meant their number tells."""
    statistics: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    """Mean and standard deviation of each color, where the file keeps them beside the network."""
    unreadable: Mapping[str, str] = field(default_factory=dict)
    """Tensors that are no plain numbers (quantized, sparse, masks): what each is. An error only where one is needed."""
    pickled: tuple[str, ...] = ()
    """Classes of whole modules in it, whose tensors nobody gets at without running the file's code."""


def without_code(classes: Iterable[str]) -> str:
    """What is said of a file in which a network is an object of these classes."""
    return f"it holds Python objects ({some_of(classes)}), not only tensors; {ADVICE}"


def zip_names(path: Path) -> frozenset[str]:
    """Names of the entries of a zip archive; none where `path` does not begin as one.

    Raises:
        DataError: it begins as one, but its table of contents is damaged.
    """
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            return frozenset()
    try:
        with zipfile.ZipFile(path) as archive:
            return frozenset(archive.namelist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error, EOFError) as error:
        cut = "its end is missing: was it copied whole?" if "not a zip file" in str(error) else error
        raise DataError(f"{path}: a damaged zip archive ({cut})") from error


def refuse_large(shapes: Iterable[tuple[str, int]], available: int, source: str) -> None:
    """Compare what a file claims to hold with what it can hold, before anything is allocated.

    Args:
        shapes: (name, bytes) of each tensor.
        available: bytes of the file.
        source: how to call the file.

    Raises:
        DataError: one tensor, or all together, would need more bytes than the file has.
    """
    total = 0
    for name, size in shapes:
        total += size
        if size > available:
            raise DataError(f"{source}: {name} claims {size:,} bytes, but the file has only {available:,}")
    if total > available:
        raise DataError(f"{source}: its tensors claim {total:,} bytes, but the file has only {available:,}")


def some_of(names: Iterable[str], most: int = 5) -> str:
    """The first of a file's names, which may be of any length, and how many more there are."""
    return some((name[:100] for name in names), most)
