"""The sorted string table of LevelDB, as TensorFlow writes it: a tensor bundle's index, or all of an old checkpoint.

Blocks of (key, value) entries, keys sharing prefixes with the entry before; each block followed by its kind of
compression and its CRC-32C; an index block that lists them; a footer that points at the index.

Source: https://github.com/google/leveldb/blob/main/doc/table_format.md and
https://github.com/google/snappy/blob/main/format_description.txt
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from inceptions.weights.crc32c import crc32c, masked
from inceptions.weights.wire import varint

MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")
"""The last eight bytes of every table."""

_FOOTER = 48
_TRAILER = 5  # one byte of compression, four of checksum
# Far above any real checkpoint's, and low enough that prefix sharing cannot blow a small file up into gigabytes.
_MAX_KEY = 1024
_MAX_ENTRIES = 1 << 17
_SNAPPY_RATIO = 22  # a 3-byte copy makes 64 bytes: no valid stream grows more


def is_table(path: Path) -> bool:
    """Whether the file ends in a table's magic number."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        if size < _FOOTER:
            return False
        file.seek(size - len(MAGIC))
        return file.read() == MAGIC


def entries(path: Path) -> Iterator[tuple[bytes, memoryview]]:
    """The entries in the order of their keys, one block in memory at a time.

    Raises:
        ValueError: no such table, cut short, a checksum that differs, or keys that are not strictly increasing.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        if size < _FOOTER:
            raise ValueError(f"{size} bytes are too few for a table; it may have been cut short")
        file.seek(size - _FOOTER)
        footer = memoryview(file.read(_FOOTER))
        if footer[-len(MAGIC) :] != MAGIC:
            raise ValueError("the table's closing magic number is missing; the file may have been cut short")
        _, _, at = _handle(footer, 0)  # TensorFlow writes no meta blocks
        offset, length, _ = _handle(footer, at)
        last, count = None, 0
        for _, handle in _block_entries(_block(file, offset, length, size - _FOOTER)):
            offset, length, _ = _handle(handle, 0)
            for key, value in _block_entries(_block(file, offset, length, size - _FOOTER)):
                count += 1
                if last is not None and key <= last:
                    raise ValueError(f"the key {key[:80]!r} comes after {last[:80]!r}; keys must increase")
                if count > _MAX_ENTRIES:
                    raise ValueError(f"the table has more than {_MAX_ENTRIES} entries")
                yield key, value
                last = key


def _handle(data: memoryview, at: int) -> tuple[int, int, int]:
    """A block's (offset, length) at byte `at`, and the place after it."""
    offset, at = varint(data, at)
    length, at = varint(data, at)
    return offset, length, at


def _block(file: BinaryIO, offset: int, length: int, end: int) -> memoryview:
    """A block's contents, checked and decompressed; blocks end before byte `end` of the file."""
    if offset + length + _TRAILER > end:
        raise ValueError(f"the block at byte {offset} with {length} bytes runs past the end, byte {end}")
    file.seek(offset)
    data = memoryview(file.read(length + _TRAILER))
    if masked(crc32c(data[: length + 1])) != int.from_bytes(data[length + 1 :], "little"):
        raise ValueError(f"the block at byte {offset} does not have its checksum: the file is damaged")
    match data[length]:
        case 0:
            return data[:length]
        case 1:
            return memoryview(snappy(data[:length]))
        case kind:
            raise ValueError(
                f"the block at byte {offset} is compressed by method {kind}; 0 (none) and 1 (snappy) are read"
            )


def _block_entries(block: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """A block's keys, prefixes put back, and values."""
    restarts = int.from_bytes(block[-4:], "little")
    end = len(block) - 4 * (restarts + 1)
    if len(block) < 4 or end < 0:
        raise ValueError(f"a block of {len(block)} bytes cannot have {restarts} restart points")
    key, at = b"", 0
    body = block[:end]
    while at < end:
        shared, at = varint(body, at)
        fresh, at = varint(body, at)
        length, at = varint(body, at)
        if shared > len(key) or fresh + length > end - at:
            raise ValueError("an entry of the table runs past its block")
        if shared + fresh > _MAX_KEY:
            raise ValueError(f"a key of the table has {shared + fresh} bytes; at most {_MAX_KEY} are read")
        key = key[:shared] + bytes(body[at : at + fresh])
        at += fresh
        yield key, body[at : at + length]
        at += length


def snappy(data: memoryview) -> bytes:
    """The decompressed bytes of a raw snappy stream.

    Raises:
        ValueError: it is cut short, copies from before its beginning, or does not have the length it states.
    """
    size, at = varint(data, 0)
    if size > _SNAPPY_RATIO * len(data):
        raise ValueError(f"{len(data)} bytes of snappy cannot hold the {size} they state")
    out = bytearray()
    while at < len(data):
        tag = data[at]
        at += 1
        if tag & 3 == 0:  # a literal: its length less one in the tag, or in the 1 to 4 bytes after it
            length = tag >> 2
            if length >= 60:
                wide = length - 59
                length = int.from_bytes(data[at : at + wide], "little")
                at += wide
            length += 1
            if length > len(data) - at:
                raise ValueError("a literal of the snappy stream runs past its end")
            out += data[at : at + length]
            at += length
        else:
            if tag & 3 == 1:
                length, wide, high = (tag >> 2 & 7) + 4, 1, tag >> 5
            else:
                length, wide, high = (tag >> 2) + 1, (2 if tag & 3 == 2 else 4), 0
            offset = high << 8 | int.from_bytes(data[at : at + wide], "little")
            at += wide
            if at > len(data) or not 0 < offset <= len(out):
                raise ValueError("a copy of the snappy stream reaches outside it")
            # The copied bytes may overlap those being written: then they repeat.
            start = len(out) - offset
            piece = out[start : start + length]
            out += (piece * (-(-length // len(piece))))[:length]
        if len(out) > size:
            break
    if len(out) != size:
        raise ValueError(f"a snappy stream that states {size} bytes holds {len(out)}")
    return bytes(out)
