"""Writes TensorFlow's files: protobuf fields, and tensor bundles with an object graph, as Keras's save_weights does."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inceptions.weights.crc32c import crc32c, masked
from inceptions.weights.sstable import MAGIC

END = "/.ATTRIBUTES/VARIABLE_VALUE"


def varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def whole(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def content(field: int, value: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(value)) + value


def checksum(data: bytes) -> bytes:
    return struct.pack("<I", masked(crc32c(data)))


def _block(entries: list[tuple[bytes, bytes]]) -> bytes:
    body = b"".join(varint(0) + varint(len(key)) + varint(len(value)) + key + value for key, value in entries)
    return body + struct.pack("<II", 0, 1)


def _table(path: Path, entries: list[tuple[bytes, bytes]]) -> None:
    out, handles = b"", []
    for block in (_block(sorted(entries)), _block([])):
        handles.append(varint(len(out)) + varint(len(block)))
        out += block + b"\0" + checksum(block + b"\0")
    index = _block([(b"\xff", handles[0])])
    handles.append(varint(len(out)) + varint(len(index)))
    out += index + b"\0" + checksum(index + b"\0")
    path.write_bytes(out + (handles[1] + handles[2]).ljust(40, b"\0") + MAGIC)


def bundle(prefix: Path, tensors: Mapping[str, NDArray[np.float32]], names: Mapping[str, str] | None = None) -> None:
    """Tensors by key; `names`: the full names that an object graph gives their variables, by key."""
    data, entries = b"", [(b"", whole(1, 1) + content(3, whole(1, 1)))]

    def add(key: str, dtype: int, shape: tuple[int, ...], raw: bytes) -> None:
        nonlocal data
        dimensions = b"".join(content(2, whole(1, side)) for side in shape)
        place = whole(4, len(data)) + whole(5, len(raw))
        crc = varint(6 << 3 | 5) + checksum(raw)
        entries.append((key.encode(), whole(1, dtype) + content(2, dimensions) + place + crc))
        data += raw

    for key, array in tensors.items():
        add(key, 1, array.shape, array.astype("<f4").tobytes())
    if names is not None:
        graph = b"".join(
            content(1, content(2, content(1, b"VARIABLE_VALUE") + content(2, full.encode()) + content(3, key.encode())))
            for key, full in names.items()
        )
        length = varint(len(graph))
        add("_CHECKPOINTABLE_OBJECT_GRAPH", 7, (), length + checksum(struct.pack("<I", len(graph))) + graph)
    prefix.parent.mkdir(parents=True, exist_ok=True)
    _table(prefix.with_name(f"{prefix.name}.index"), entries)
    prefix.with_name(f"{prefix.name}.data-00000-of-00001").write_bytes(data)


def saved_model(folder: Path, metadata: str | None = None) -> None:
    """What stands beside a SavedModel's variables; `metadata`: Keras's JSON of the model."""
    (folder / "saved_model.pb").write_bytes(whole(1, 1) + content(2, b""))
    if metadata is not None:
        root = whole(2, 0) + content(3, b"root") + content(4, b"_tf_keras_network") + content(5, metadata.encode())
        part = whole(2, 1) + content(3, b"root.layer-0") + content(5, b"{}")
        (folder / "keras_metadata.pb").write_bytes(content(1, part) + content(1, root))
