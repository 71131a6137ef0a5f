"""TensorFlow's tensor bundle ("V2"): `NAME.index`, a table of what lies where, and `NAME.data-*`, the bare bytes.

Sources: tensorflow/core/protobuf/{tensor_bundle,trackable_object_graph}.proto, core/util/saved_tensor_slice_util.cc
(keys of slices), core/lib/strings/ordered_code.cc (their numbers).
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from inceptions.progress import track
from inceptions.weights import sstable
from inceptions.weights.crc32c import crc32c, masked
from inceptions.weights.tensor_protos import (
    NUMBERS,
    STRING,
    Array,
    Extents,
    assemble,
    numbers_of,
    read_extents,
    read_shape,
)
from inceptions.weights.wire import as_bytes, as_int, as_text, fields, varint

_OBJECT_GRAPH = b"_CHECKPOINTABLE_OBJECT_GRAPH"
OBJECT = "/.ATTRIBUTES/VARIABLE_VALUE"
"""How the key of a variable ends that is called by its path through objects."""
_OPTIMIZERS = {"optimizer", "_optimizer", ".OPTIMIZER_SLOT"}
_PART = b"\0"  # how the key of a partitioned variable's part begins
_MAX_SHARDS = 99999  # what the file names' five digits can count


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """Where one tensor of a bundle lies."""

    dtype: int = 0
    shape: tuple[int, ...] = ()
    shard: int = 0
    offset: int = 0
    size: int = 0
    crc: int = 0
    slices: tuple[Extents, ...] = ()
    """Of a partitioned variable, which lies in parts under keys of their own: where each part belongs."""


def index_of(path: Path) -> Path | None:
    """The `.index` of the bundle that `path` belongs to, or None."""
    name = path.name
    if name.endswith(".index"):
        return path if path.is_file() else None
    prefix, separator, _ = name.rpartition(".data-")
    index = path.with_name(f"{prefix if separator else name}.index")
    return index if index.is_file() else None


def read_bundle(index: Path) -> dict[str, Array]:
    """All numeric tensors of a bundle by name; those that `tf.train.Checkpoint` wrote by their variables' full names,
    without those of its optimizers, which copy the names of the variables that they are about.

    Raises:
        ValueError: it is damaged, cut short, or its parts contradict each other.
        FileNotFoundError: one of its data files is missing.
    """
    listed, shards = _listing(index)
    stored: dict[bytes, Array] = {}
    object_graph = b""
    for number, place in enumerate(_data_files(index, listed, shards)):
        here = [(key, entry) for key, entry in listed.items() if entry.shard == number and not entry.slices]
        _check_places(here, place)
        with place.open("rb") as file:
            for key, entry in track(here, description=f"reading {place.name}", unit="tensors"):
                if entry.dtype in NUMBERS:
                    stored[key] = _tensor_at(file, key, entry)
                elif entry.dtype == STRING and key == _OBJECT_GRAPH:
                    object_graph = _string_at(file, entry)
    tensors = {}
    for key, entry in listed.items():
        if entry.slices:
            tensors[_name(key)] = _joined(key, entry, stored)
        elif key in stored and not key.startswith(_PART):
            tensors[_name(key)] = stored[key]
    full_names = _full_names(memoryview(object_graph))
    return {full_names.get(name, name): tensor for name, tensor in tensors.items() if not _of_optimizer(name)}


def _listing(index: Path) -> tuple[dict[bytes, _Entry], int]:
    """The index's entries by key in the order of their places, and the number of data files."""
    listed, shards = {}, 0
    for key, value in sstable.entries(index):
        if key == b"":
            shards = _shard_count(value)
        else:
            listed[key] = _entry(value)
    return dict(sorted(listed.items(), key=lambda item: (item[1].offset, item[1].offset + item[1].size))), shards


def _data_files(index: Path, listed: dict[bytes, _Entry], shards: int) -> list[Path]:
    """The data files in order; every one that an entry lies in exists."""
    prefix = index.name.removesuffix(".index")
    files = [index.with_name(f"{prefix}.data-{number:05d}-of-{shards:05d}") for number in range(shards)]
    if not files:
        raise ValueError("the index has no header that counts its data files")
    for entry in listed.values():
        if not 0 <= entry.shard < shards:
            raise ValueError(f"a tensor lies in data file {entry.shard}; the index counts {shards}, from 0")
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise FileNotFoundError(f"{index}: parts of the checkpoint are missing next to it: {', '.join(missing[:5])}")
    return files


def _shard_count(header: memoryview) -> int:
    """The number of data files, from the BundleHeaderProto."""
    shards = 1
    for number, value in fields(header):
        if number == 1:
            shards = as_int(value, what="the number of data files")
            if not 0 < shards <= _MAX_SHARDS:
                raise ValueError(f"the index counts {shards} data files; 1 to {_MAX_SHARDS} are allowed")
        elif number == 2 and value != 0:
            raise ValueError("the checkpoint was written on a big-endian machine; these are not read")
    return shards


def _entry(data: memoryview) -> _Entry:
    """A BundleEntryProto."""
    values: dict[str, int] = {}
    names = {1: "dtype", 3: "shard", 4: "offset", 5: "size", 6: "crc"}
    shape: tuple[int, ...] = ()
    slices = []
    for number, value in fields(data):
        if number == 2:
            shape = read_shape(as_bytes(value, what="a shape"))
        elif number == 7:
            slices.append(read_extents(as_bytes(value, what="a slice")))
        elif number in names:
            values[names[number]] = as_int(value, what=f"a tensor's {names[number]}")
    return _Entry(shape=shape, slices=tuple(slices), **values)


def _check_places(here: list[tuple[bytes, _Entry]], file: Path) -> None:
    """Every tensor lies inside the file, has the size of its shape, and shares no byte with another."""
    size, last_end, last_key = file.stat().st_size, 0, b""
    for key, entry in here:
        end = entry.offset + entry.size
        if not 0 <= entry.offset <= end <= size:
            raise ValueError(
                f"tensor {_name(key)} should lie at bytes {entry.offset} to {end} of {file.name}, which has {size}"
            )
        if entry.offset < last_end:
            raise ValueError(f"tensors {_name(last_key)} and {_name(key)} overlap in {file.name}")
        if entry.dtype in NUMBERS:
            needed = math.prod(entry.shape) * NUMBERS[entry.dtype].itemsize
            if needed != entry.size:
                raise ValueError(
                    f"tensor {_name(key)} of shape {entry.shape} needs {needed} bytes, the index says {entry.size}"
                )
        last_end, last_key = end, key


def _tensor_at(file: BufferedReader, key: bytes, entry: _Entry) -> Array:
    file.seek(entry.offset)
    data = bytearray(entry.size)  # its size was compared with the file's
    if file.readinto(data) != entry.size or masked(crc32c(data)) != entry.crc:
        raise ValueError(f"tensor {_name(key)} does not have its checksum: the file is damaged")
    return numbers_of(memoryview(data), entry.dtype).reshape(entry.shape)


def _string_at(file: BufferedReader, entry: _Entry) -> bytes:
    """The one string of a scalar string tensor: its length, the lengths' checksum, its bytes."""
    file.seek(entry.offset)
    data = memoryview(file.read(entry.size))
    length, at = varint(data, 0)
    if at + 4 + length != len(data):
        raise ValueError(f"the object graph takes {len(data)} bytes and states {length}")
    return bytes(data[at + 4 :])


def _joined(key: bytes, entry: _Entry, stored: dict[bytes, Array]) -> Array:
    """A partitioned variable, put together from its parts, which must cover it exactly once."""
    parts = []
    for extents in entry.slices:
        part = stored.get(_slice_key(key, extents))
        if part is None:
            raise ValueError(f"a part of the partitioned tensor {_name(key)} is missing")
        parts.append((extents, part))
    return assemble(_name(key), entry.shape, parts)


def _slice_key(key: bytes, extents: Extents) -> bytes:
    """The index's key of one part of a partitioned variable, in TensorFlow's order-preserving code."""
    name = key.replace(b"\xff", b"\xff\0").replace(b"\0", b"\0\xff") + b"\0\1"
    return _PART + name + bytes([1, len(extents)]) + b"".join(_ordered(n) for extent in extents for n in extent)


def _ordered(value: int) -> bytes:
    """A signed number in a code whose bytes sort as the numbers do: a one bit for each byte, then the value."""
    length = 1
    while not -(1 << (7 * length - 1)) <= value < 1 << (7 * length - 1):
        length += 1
    header = ((1 << length) - 1) << (7 * length)  # `length` one bits at the top of `length` bytes
    return (value % (1 << 8 * length) ^ header).to_bytes(length, "big")


def _full_names(graph: memoryview) -> dict[str, str]:
    """Checkpoint key to the variable's own name, from the TrackableObjectGraph, where that name is there and unique."""
    names: dict[str, str] = {}
    for number, node in fields(graph):
        if number != 1:
            continue
        for part, attribute in fields(as_bytes(node, what="an object")):
            if part != 2:
                continue
            texts = {n: value for n, value in fields(as_bytes(attribute, what="an attribute")) if n in (2, 3)}
            if len(texts) == 2 and texts[2]:
                names[as_text(texts[3], what="a key")] = as_text(texts[2], what="a name")
    seen = Counter(names.values())
    return {key: name for key, name in names.items() if seen[name] == 1}


def _of_optimizer(key: str) -> bool:
    """Whether an object's path leads through an optimizer."""
    return key.endswith(OBJECT) and not _OPTIMIZERS.isdisjoint(key.split("/"))


def _name(key: bytes) -> str:
    """A key for people."""
    return key.decode(errors="backslashreplace")
