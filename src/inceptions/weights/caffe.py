"""Tensors out of Caffe's binary weights (`.caffemodel`), without Caffe.

A NetParameter holds each layer's name, type and blobs, in the layer message of 2013 (`layers`, types as numbers) or in
today's (`layer`, types as words). Its blobs are flat lists of floats with a shape beside them; the oldest ones always
have four dimensions, a bias being 1 x 1 x 1 x C.

Source: src/caffe/proto/caffe.proto of https://github.com/BVLC/caffe
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inceptions.progress import track
from inceptions.weights.wire import Field, as_bytes, as_int, as_text, fields, ints

_MAX_MODEL = 1 << 31  # bytes: protobuf's own limit for a message
_MAX_RANK, _MAX_DIMENSION = 8, 1 << 31


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer that has weights."""

    name: str
    kind: str
    """The layer's type in today's words ("Convolution"); the number as text where the old message has another."""
    blobs: tuple[NDArray[np.floating], ...]
    """Its tensors in Caffe's order: weight, bias; of "BatchNorm" mean, variance and the factor both were scaled by."""


def read_caffemodel(path: Path) -> dict[str, Layer]:
    """The layers that have weights, by name.

    Raises:
        ValueError: it is no NetParameter, has no weights (a network definition only), two layers of one name, is
            damaged, or larger than protobuf allows; names the file.
        OSError: the file cannot be read.
    """
    size = path.stat().st_size
    if size > _MAX_MODEL:
        raise ValueError(f"{path}: {size} bytes; a .caffemodel has at most {_MAX_MODEL}")
    layers: dict[str, Layer] = {}
    try:
        model = memoryview(path.read_bytes())
        messages = [(number, as_bytes(value, what="a layer")) for number, value in fields(model) if number in _MESSAGES]
        for number, message in track(messages, description=f"reading {path.name}", unit="layers"):
            layer = _layer(message, _MESSAGES[number])
            if layer.name in layers:
                raise ValueError(f"two layers are named {layer.name}")
            if layer.blobs:
                layers[layer.name] = layer
    except ValueError as error:
        raise ValueError(f"{path}: not a Caffe model, or damaged: {error}") from error
    if not layers:
        raise ValueError(f"{path}: no weights in it; give the .caffemodel, not the network's definition")
    return layers


@dataclass(frozen=True, kw_only=True)
class _Message:
    """The field numbers of a layer message."""

    name: int
    kind: int
    blobs: int


_MESSAGES = {2: _Message(name=4, kind=5, blobs=6), 100: _Message(name=1, kind=2, blobs=7)}
"""NetParameter's field number to the layer message behind it: of 2013, and today's."""

_OLD_KINDS = {4: "Convolution", 14: "InnerProduct", 39: "Deconvolution"}
"""The old message's numbers of the types that have weights."""


def _layer(data: memoryview, message: _Message) -> Layer:
    name, kind = "", ""
    blobs = []
    for number, value in fields(data):
        if number == message.name:
            name = as_text(value, what="a layer's name")
        elif number == message.kind:
            kind = (
                _OLD_KINDS.get(value, str(value)) if isinstance(value, int) else as_text(value, what="a layer's type")
            )
        elif number == message.blobs:
            blobs.append(as_bytes(value, what="a blob"))
    try:
        return Layer(name=name, kind=kind, blobs=tuple(_blob(blob) for blob in blobs))
    except ValueError as error:
        raise ValueError(f"layer {name!r}: {error}") from error


def _blob(data: memoryview) -> NDArray[np.floating]:
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
            shape = [size for item in dimensions for size in ints(item, what="a dimension")]
    shape = list(old.values()) if shape is None else shape
    if len(shape) > _MAX_RANK or not all(0 <= size < _MAX_DIMENSION for size in shape):
        raise ValueError(
            f"a blob of shape {shape[:_MAX_RANK]}; up to {_MAX_RANK} dimensions below {_MAX_DIMENSION} are allowed"
        )
    pieces = [np.frombuffer(piece, dtype="<f4") for piece in single] or [
        np.frombuffer(piece, dtype="<f8") for piece in double
    ]
    numbers: NDArray[np.floating] = np.concatenate(pieces) if len(pieces) > 1 else (pieces or [np.zeros(0, "<f4")])[0]
    if numbers.size != math.prod(shape):
        raise ValueError(f"a blob of shape {tuple(shape)} needs {math.prod(shape)} values, {numbers.size} are there")
    return numbers.reshape(shape)


def _packed(value: Field, size: int) -> memoryview:
    """The bytes of a list of floats; Caffe packs them."""
    content = as_bytes(value, what="a blob's list of values")
    if len(content) % size:
        raise ValueError(f"{len(content)} bytes are no whole number of {size}-byte values")
    return content
