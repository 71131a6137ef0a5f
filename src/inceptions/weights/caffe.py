"""Tensors out of Caffe's binary weights (`.caffemodel`), without Caffe.

A NetParameter holds each layer's name, type and blobs, in the layer message of 2013 (`layers`, types as numbers) or in
today's (`layer`, types as words). Its blobs are flat lists of floats with a shape beside them; the oldest ones always
have four dimensions, a bias being 1 x 1 x 1 x C.

Source: src/caffe/proto/caffe.proto of https://github.com/BVLC/caffe
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inceptions.errors import DataError
from inceptions.progress import track
from inceptions.weights.checkpoint import Checkpoint
from inceptions.weights.tensor_protos import as_tensor
from inceptions.weights.wire import Field, as_bytes, as_int, as_text, fields, ints

_MAX_MODEL = 1 << 31  # bytes: protobuf's own limit for a message
_MAX_RANK, _MAX_DIMENSION = 8, 1 << 31


Array = NDArray[np.generic]


def is_caffe(path: Path) -> bool:
    """Whether the file is called a Caffe model: protobuf has no mark that tells one message from another."""
    return path.suffix == ".caffemodel"


def read_caffe(path: Path) -> Checkpoint:
    """Reads a `.caffemodel`: `LAYER.weight` and `LAYER.bias`, and of batch norms `running_mean` and `running_var` too.

    A batch norm of Caffe's is two layers, "BatchNorm" and the "Scale" behind it; they come under the first one's name.
    What one layer says is taken from the file's own wiring, not from names.

    Raises:
        DataError: it is no NetParameter, has no weights (a network's definition only), two layers of one name, a layer
            that none of the family has, is damaged, or larger than protobuf allows; names the file.
        OSError: the file cannot be read.
    """
    size = path.stat().st_size
    if size > _MAX_MODEL:
        raise DataError(f"{path}: {size} bytes; a .caffemodel has at most {_MAX_MODEL}")
    tensors: dict[str, Array] = {}
    normalized: dict[str, str] = {}  # a blob to the batch norm that wrote it last
    try:
        model = memoryview(path.read_bytes())
        messages = [(number, as_bytes(value, what="a layer")) for number, value in fields(model) if number in _MESSAGES]
        for number, message in track(messages, description=f"reading {path.name}", unit="layers"):
            _add(_layer(message, _MESSAGES[number]), tensors, normalized)
    except ValueError as error:
        raise DataError(f"{path}: not a Caffe model, or damaged: {error}") from error
    if not tensors:
        raise DataError(f"{path}: no weights in it; give the .caffemodel, not the network's definition")
    return Checkpoint(source=str(path), dialect="caffe", tensors={k: as_tensor(v) for k, v in tensors.items()})


@dataclass(frozen=True, kw_only=True)
class _Layer:
    """One layer of the file."""

    name: str
    kind: str
    """Its type in today's words ("Convolution"); the number as text where the old message has one without weights."""
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    blobs: tuple[Array, ...]
    """Weight, bias; of "BatchNorm" mean, variance, and the count that both were summed over."""


def _add(layer: _Layer, tensors: dict[str, Array], normalized: dict[str, str]) -> None:
    """Puts a layer's blobs under our names."""
    if not layer.blobs:
        return
    owner, roles = layer.name, tuple[str, ...]()
    blobs = layer.blobs
    match layer.kind, len(blobs):
        case "Convolution" | "InnerProduct", 1 | 2:
            roles = ("weight", "bias")[: len(blobs)]
            if layer.kind == "InnerProduct":  # the oldest files have 1 x 1 x out x in
                blobs = (blobs[0].reshape(blobs[0].shape[-2:]), *blobs[1:])
        case "BatchNorm", 3 if blobs[2].size == 1:
            total = np.asarray(blobs[2], np.float32).reshape(())
            scale = 1 / total if total else np.zeros_like(total)  # as Caffe does it
            roles, blobs = ("running_mean", "running_var"), tuple(np.multiply(blob, scale) for blob in blobs[:2])
            normalized.update(dict.fromkeys(layer.tops, layer.name))
        case "Scale", 1 | 2 if set(layer.bottoms) & normalized.keys():
            owner = next(normalized[bottom] for bottom in layer.bottoms if bottom in normalized)
            roles = ("weight", "bias")[: len(blobs)]
        case "BN", 4:
            roles = ("weight", "bias", "running_mean", "running_var")
        case kind, count:
            raise ValueError(f"layer {layer.name!r} ({kind or 'of no type'}, {count} tensors) is none of the family's")
    for role, blob in zip(roles, blobs, strict=True):
        matrix = role == "weight" and layer.kind in ("Convolution", "InnerProduct")
        tensor = blob if matrix else blob.reshape(-1)  # old files give vectors four dimensions too
        if tensors.setdefault(f"{owner}.{role}", tensor) is not tensor:
            raise ValueError(f"two layers hold {owner}.{role}")


@dataclass(frozen=True, kw_only=True)
class _Message:
    """The field numbers of a layer message."""

    name: int
    kind: int
    bottom: int
    top: int
    blobs: int


_MESSAGES = {
    2: _Message(name=4, kind=5, bottom=2, top=3, blobs=6),
    100: _Message(name=1, kind=2, bottom=3, top=4, blobs=7),
}
"""NetParameter's field number to the layer message behind it: of 2013, and today's."""

_OLD_KINDS = {4: "Convolution", 14: "InnerProduct"}
"""The old message's numbers of the types that have weights."""


def _layer(data: memoryview, message: _Message) -> _Layer:
    name, kind = "", ""
    bottoms, tops, blobs = [], [], []
    for number, value in fields(data):
        if number == message.name:
            name = as_text(value, what="a layer's name")
        elif number == message.kind:
            kind = (
                _OLD_KINDS.get(value, str(value)) if isinstance(value, int) else as_text(value, what="a layer's type")
            )
        elif number == message.bottom:
            bottoms.append(as_text(value, what="a layer's input"))
        elif number == message.top:
            tops.append(as_text(value, what="a layer's output"))
        elif number == message.blobs:
            blobs.append(as_bytes(value, what="a blob"))
    try:
        arrays = tuple(_blob(blob) for blob in blobs)
    except ValueError as error:
        raise ValueError(f"layer {name!r}: {error}") from error
    return _Layer(name=name, kind=kind, bottoms=tuple(bottoms), tops=tuple(tops), blobs=arrays)


def _blob(data: memoryview) -> Array:
    """A BlobProto."""
    old = {1: 1, 2: 1, 3: 1, 4: 1}  # number, channels, height, width
    shape: list[int] | None = None
    single: list[memoryview] = []
    double: list[memoryview] = []
    for number, value in fields(data):
        if number in old:
            old[number] = as_int(value, what="a dimension")
        elif number == 5:
            single.append(_packed(value, 4))
        elif number == 8:
            double.append(_packed(value, 8))
        elif number == 7:
            dimensions = [item for part, item in fields(as_bytes(value, what="a shape")) if part == 1]
            sizes = (size for item in dimensions for size in ints(item, what="a dimension"))
            shape = list(islice(sizes, _MAX_RANK + 1))
    shape = list(old.values()) if shape is None else shape
    if len(shape) > _MAX_RANK or not all(0 <= size < _MAX_DIMENSION for size in shape):
        raise ValueError(
            f"a blob of shape {shape[:_MAX_RANK]}; up to {_MAX_RANK} dimensions below {_MAX_DIMENSION} are allowed"
        )
    lists, kind = (single, "<f4") if single else (double, "<f8")
    numbers = np.concatenate([np.frombuffer(content, dtype=kind) for content in lists or [memoryview(b"")]])
    if numbers.size != math.prod(shape):
        raise ValueError(f"a blob of shape {tuple(shape)} needs {math.prod(shape)} values, {numbers.size} are there")
    return numbers.reshape(shape)


def _packed(value: Field, size: int) -> memoryview:
    """The bytes of a list of floats; Caffe packs them."""
    content = as_bytes(value, what="a blob's list of values")
    if len(content) % size:
        raise ValueError(f"{len(content)} bytes are no whole number of {size}-byte values")
    return content
