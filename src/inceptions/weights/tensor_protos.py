"""The messages that TensorFlow's checkpoints and graphs share: tensors, shapes, and slices of a tensor.

Source: tensorflow/core/framework/{tensor,tensor_shape,tensor_slice,types}.proto
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inceptions.weights.wire import Field, as_bytes, as_int, fields, ints

Array = NDArray[np.generic]
Extents = tuple[tuple[int, int], ...]
"""Which part of a tensor a slice is: (start, length) for each dimension."""

ALL = -1
"""A slice's length that stands for the whole dimension."""

STRING = 7
_BFLOAT16, _HALF = 14, 19
NUMBERS: dict[int, np.dtype[np.generic]] = {
    1: np.dtype("<f4"),
    2: np.dtype("<f8"),
    3: np.dtype("<i4"),
    4: np.dtype("u1"),
    9: np.dtype("<i8"),
    10: np.dtype("?"),
    _BFLOAT16: np.dtype("<u2"),  # the upper half of a float32
    _HALF: np.dtype("<f2"),
}
"""DataType to how its numbers lie in a file; the further types hold no weights and are left out."""

_LISTS: dict[int, np.dtype[np.generic] | None] = {
    5: np.dtype("<f4"),
    6: np.dtype("<f8"),
    7: None,
    10: None,
    11: None,
    13: None,
}
"""The repeated fields of a TensorProto that hold numbers: fixed-width ones with their type, the others are varints."""

_MAX_RANK, _MAX_DIMENSION = 8, 1 << 31
_MAX_ELEMENTS = 1 << 31
_MAX_FILL = 256  # how many times the values listed a tensor may hold by repeating the last
_MAX_FILLED = 1 << 20  # elements of such a tensor


def read_tensor(data: memoryview, described: tuple[int, tuple[int, ...]] | None = None) -> Array | None:
    """A TensorProto's numbers, or None where it holds none of ours (strings, resources).

    Args:
        data: the message.
        described: the (DataType, shape) where the file keeps them elsewhere; then each value must be there, while
            otherwise the last one listed stands for all further ones.
    """
    dtype, shape = described or (0, ())
    content, lists = memoryview(b""), list[Array]()
    for number, value in fields(data):
        if number == 1 and described is None:
            dtype = as_int(value, what="a tensor's type")
        elif number == 2 and described is None:
            shape = read_shape(as_bytes(value, what="a shape"))
        elif number == 4:
            content = as_bytes(value, what="a tensor's content")
        elif number in _LISTS:
            lists.append(_listed(number, value))
    if dtype not in NUMBERS:
        return None
    if len(content):
        return _reshaped(numbers_of(content, dtype), shape)
    numbers = np.concatenate(lists) if lists else np.zeros(0 if described else 1)  # proto3 leaves a single zero out
    if dtype in (_BFLOAT16, _HALF):  # listed by their bits
        numbers = numbers_of(memoryview(numbers.astype("<u2").tobytes()), dtype)
    numbers = numbers.astype(_in_memory(dtype), copy=False)
    return _reshaped(numbers if described else _filled(numbers, math.prod(shape)), shape)


def numbers_of(content: memoryview, dtype: int) -> Array:
    """Bare bytes of a DataType as a flat array; no copy, except that bfloat16 becomes float32."""
    numbers = _view(content, NUMBERS[dtype])
    return (numbers.astype(np.uint32) << 16).view(np.float32) if dtype == _BFLOAT16 else numbers


def as_tensor(array: Array) -> Tensor:
    """The array for PyTorch: without a copy where it may be written and lies well; one repeated number stays one."""
    if array.size > 1 and not any(array.strides):
        return torch.from_numpy(np.array(array.flat[0])).expand(array.shape)
    return torch.from_numpy(np.require(array, requirements=["C", "W", "A"]))


def read_shape(data: memoryview) -> tuple[int, ...]:
    """A TensorShapeProto."""
    sizes = []
    for number, value in fields(data):
        if number == 2:
            dimension = dict(fields(as_bytes(value, what="a dimension")))
            sizes.append(as_int(dimension.get(1, 0), what="a dimension"))
        elif number == 3 and value:
            raise ValueError("a tensor without a known shape")
        if len(sizes) > _MAX_RANK or (sizes and not 0 <= sizes[-1] < _MAX_DIMENSION):
            raise ValueError(
                f"a tensor of shape {sizes}; up to {_MAX_RANK} dimensions of 0 to {_MAX_DIMENSION - 1} are allowed"
            )
    if math.prod(sizes) > _MAX_ELEMENTS:
        raise ValueError(f"a tensor of shape {sizes}; up to {_MAX_ELEMENTS} elements are allowed")
    return tuple(sizes)


def read_extents(data: memoryview) -> Extents:
    """A TensorSliceProto."""
    extents = []
    for number, value in fields(data):
        if number == 1:
            extent = dict(fields(as_bytes(value, what="an extent")))
            start = as_int(extent.get(1, 0), what="a slice's start")
            length = as_int(extent.get(2, ALL), what="a slice's length")
            if not (0 <= start < _MAX_DIMENSION and -1 <= length < _MAX_DIMENSION):
                raise ValueError(f"a slice starts at {start} with length {length}")
            extents.append((start, length))
    return tuple(extents)


def assemble(name: str, shape: tuple[int, ...], parts: list[tuple[Extents, Array]]) -> Array:
    """A tensor from its slices.

    Raises:
        ValueError: they do not cover it exactly once.
    """
    if sum(part.size for _, part in parts) != math.prod(shape) or not parts:  # before allocating by what the file says
        raise ValueError(f"the parts of tensor {name} do not make up its shape {shape}")
    if len(parts) == 1 and parts[0][1].shape == shape:
        return parts[0][1]
    whole = np.empty(shape, dtype=parts[0][1].dtype)
    filled = np.zeros(shape, dtype=bool)
    for extents, part in parts:
        place = tuple(slice(start, None if length < 0 else start + length) for start, length in extents)
        if len(place) != len(shape) or whole[place].shape != part.shape or filled[place].any():
            raise ValueError(f"a part of tensor {name} does not fit its place, or overlaps another")
        whole[place], filled[place] = part, True
    return whole


def _listed(number: int, value: Field) -> Array:
    """The numbers of one of a TensorProto's repeated fields."""
    kind = _LISTS[number]
    if kind is None:
        return np.fromiter(ints(value, what="a tensor's values"), dtype=np.int64)
    if isinstance(value, int):  # written one by one instead of packed
        value = memoryview(value.to_bytes(kind.itemsize, "little"))
    return _view(value, kind)


def _filled(numbers: Array, elements: int) -> Array:
    """As many numbers as the tensor has elements: the last one listed stands for all further ones."""
    missing = elements - numbers.size
    if elements == 0 or missing <= 0:
        return numbers[:0] if elements == 0 else numbers
    if numbers.size == 1:
        return np.broadcast_to(numbers, elements)  # takes no memory, whatever the file claims
    if elements > min(_MAX_FILL * numbers.size, numbers.size + _MAX_FILLED):
        raise ValueError(f"a tensor of {elements} elements lists {numbers.size}; too few to believe")
    return np.concatenate([numbers, np.broadcast_to(numbers[-1:], missing)])


def _reshaped(numbers: Array, shape: tuple[int, ...]) -> Array:
    if numbers.size != math.prod(shape):
        raise ValueError(f"a tensor of shape {shape} needs {math.prod(shape)} values, {numbers.size} are there")
    return numbers.reshape(shape)


def _in_memory(dtype: int) -> np.dtype[np.generic]:
    return np.dtype("<f4") if dtype == _BFLOAT16 else NUMBERS[dtype]


def _view(content: memoryview, dtype: np.dtype[np.generic]) -> Array:
    if len(content) % dtype.itemsize:
        raise ValueError(f"{len(content)} bytes are no whole number of {dtype.itemsize}-byte values")
    return np.frombuffer(content, dtype=dtype)
