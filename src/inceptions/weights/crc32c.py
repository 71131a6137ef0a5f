"""CRC-32C (Castagnoli), which TensorFlow keeps of every tensor and index block.

A checksum byte by byte takes Python ten seconds for 100 MB. A CRC is linear over GF(2), so the data is cut into equal
rows, all rows advance together in numpy, and neighbors are joined pair by pair: the left one's checksum is moved over
the right one's length, which is one 32 x 32 bit matrix, applied as four tables of 256.

Source: RFC 3720, appendix B.4 (polynomial and test vectors).
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

_POLYNOMIAL = 0x82F63B78  # bit-reversed 0x1EDC6F41
_ROW = 1024  # bytes a row advances through; also the least that is worth the vectors
_PIECE = 1 << 24  # bytes checked at once: what the rows' temporaries may take stays small

Words = NDArray[np.uint32]


def crc32c(data: bytes | bytearray | memoryview) -> int:
    """The CRC-32C of `data`."""
    view = memoryview(data).cast("B")
    crc = 0xFFFFFFFF
    whole = len(view) - len(view) % _ROW
    for start in range(0, whole, _PIECE):
        piece = view[start : min(start + _PIECE, whole)]
        crc = _move(crc, len(piece)) ^ _rows(piece)
    table = _tables()[0].tolist()
    for byte in view[whole:]:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def masked(crc: int) -> int:
    """The form in which TensorFlow and LevelDB store a CRC, so that a CRC of data holding CRCs stays a good one."""
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _rows(piece: memoryview) -> int:
    """The bare CRC (starting from 0, not inverted) of a multiple of the row's length."""
    words = np.frombuffer(piece, dtype="<u4").reshape(-1, _ROW // 4)
    crcs = np.zeros(len(words), dtype=np.uint32)
    tables = _tables()
    for column in range(words.shape[1]):
        crcs ^= words[:, column]
        crcs = _apply(tables, crcs)
    length = _ROW
    while len(crcs) > 1:
        if len(crcs) % 2:  # a row of zeros before the first changes nothing
            crcs = np.concatenate([np.zeros(1, dtype=np.uint32), crcs])
        crcs = _apply(_mover(length), crcs[0::2]) ^ crcs[1::2]
        length *= 2
    return int(crcs[0])


def _apply(tables: Words, values: Words) -> Words:
    """A linear map of 32-bit words, given as what each of the four bytes, lowest last, contributes."""
    result: Words = tables[3][values & 0xFF]
    for position in range(1, 4):
        result ^= tables[3 - position][values >> (8 * position) & 0xFF]
    return result


@functools.cache
def _tables() -> Words:
    """(4, 256): row n is what a byte becomes after itself and n further zero bytes went through the register."""
    first = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        first = np.where(first & 1, first >> 1 ^ np.uint32(_POLYNOMIAL), first >> 1).astype(np.uint32)
    rows = [first]
    for _ in range(3):
        rows.append(first[rows[-1] & 0xFF] ^ rows[-1] >> 8)
    return np.stack(rows)


@functools.cache
def _mover(length: int) -> Words:
    """The tables that move a CRC over `length` zero bytes; `length` is the row's length times a power of two."""
    identity = np.arange(256, dtype=np.uint32)
    tables = np.stack([identity << np.uint32(8 * (3 - position)) for position in range(4)])
    if length == _ROW:
        for _ in range(_ROW // 4):
            tables = _apply(_tables(), tables)
        return tables
    half = _mover(length // 2)
    return _apply(half, _apply(half, tables))


def _move(crc: int, length: int) -> int:
    """The CRC register after `length` zero bytes; `length` is a multiple of the row's."""
    value = np.array([crc], dtype=np.uint32)
    rows = length // _ROW
    for bit in range(rows.bit_length()):
        if rows >> bit & 1:
            value = _apply(_mover(_ROW << bit), value)
    return int(value[0])
