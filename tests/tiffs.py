"""TIFFs written by hand: every number of bits, band, order of bytes and compression, as the standard says."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

Packer = Callable[[bytes, int], bytes]
"""(bytes, bytes of a row) -> compressed bytes."""


def tiff(
    values: np.ndarray,
    bits: int,
    photometric: int | None,
    *,
    order: str = "<",
    extra: tuple[int, ...] | None = None,
    compression: int = 1,
    predictor: int = 1,
    planar: bool = False,
    rows: int | None = None,
    tile: tuple[int, int] | None = None,
    format: int | None = None,
    big: bool = False,
    tags: dict[int, tuple[int, ...]] | None = None,
) -> bytes:
    """A file of `values` (H, W, bands), whole numbers below 2 ** bits."""
    values = values if values.ndim == 3 else values[..., None]
    height, width, bands = values.shape
    parts: list[bytes] = []
    for plane in np.moveaxis(values, -1, 0)[..., None] if planar else [values]:
        if tile:
            wide, high = tile
            padded = np.pad(plane, ((0, -height % high), (0, -width % wide), (0, 0)))
            blocks = [padded[y : y + high, x : x + wide] for y in range(0, height, high) for x in range(0, width, wide)]
        else:
            blocks = [plane[y : y + (rows or height)] for y in range(0, height, rows or height)]
        parts += [_stored(block, bits, order, predictor, compression) for block in blocks]
    entries = {256: (width,), 257: (height,), 258: (bits,) * bands, 259: (compression,), 277: (bands,)}
    if photometric is not None:
        entries[262] = (photometric,)
    offsets, lengths = (324, 325) if tile else (273, 279)
    entries |= {322: tile[:1], 323: tile[1:]} if tile else {278: (rows or height,)}
    entries |= {284: (2,)} if planar else {}
    entries |= {317: (predictor,)} if predictor != 1 else {}
    entries |= {338: extra} if extra is not None else {}
    entries |= {339: (format,) * bands} if format is not None else {}
    places = [16 + sum(map(len, parts[:i])) for i in range(len(parts))]
    entries |= {offsets: tuple(places), lengths: tuple(map(len, parts))} | (tags or {})
    return _file(entries, parts, order, big)


def _file(entries: dict[int, tuple[int, ...]], parts: list[bytes], order: str, big: bool) -> bytes:
    start = 16 + sum(map(len, parts))
    word, size, room = ("Q", 20, 8) if big else ("I", 12, 4)
    table = struct.pack(order + ("Q" if big else "H"), len(entries))
    behind, tail = start + len(table) + size * len(entries) + room, b""
    for tag in sorted(entries):
        numbers = entries[tag]
        data = struct.pack(f"{order}{len(numbers)}I", *numbers)
        kind = 4
        if tag not in (273, 279, 324, 325):
            data, kind = struct.pack(f"{order}{len(numbers)}H", *numbers), 3
        place = data.ljust(room, b"\0") if len(data) <= room else struct.pack(order + word, behind + len(tail))
        tail += b"" if len(data) <= room else data
        table += struct.pack(order + "HH" + word, tag, kind, len(numbers)) + place
    head = (b"II" if order == "<" else b"MM") + (
        struct.pack(order + "HHHQ", 43, 8, 0, start) if big else struct.pack(order + "HI", 42, start)
    )
    return head.ljust(16, b"\0") + b"".join(parts) + table + b"\0" * room + tail


def _stored(block: np.ndarray, bits: int, order: str, predictor: int, compression: int) -> bytes:
    if predictor == 2:
        block = np.diff(block.astype(np.int64), axis=1, prepend=0) % (1 << bits)
    if bits in (8, 16, 32):
        raw = block.astype(f"{order}u{bits // 8}").reshape(len(block), -1).view(np.uint8)
    else:
        single = block.reshape(len(block), -1, 1) >> np.arange(bits - 1, -1, -1) & 1
        raw = np.packbits(single.reshape(len(block), -1).astype(np.uint8), axis=1)
    if compression == 1:
        return raw.tobytes()
    if compression in (8, 32946):
        return zlib.compress(raw.tobytes())
    name = {5: "tiff_lzw", 32773: "packbits", 50000: "zstd"}[compression]
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(raw)).save(file, "TIFF", compression=name, strip_size=1 << 30)
    with Image.open(file) as written:
        assert isinstance(written, TiffImageFile)
        (at,), (length,) = written.tag_v2[273], written.tag_v2[279]
    return file.getvalue()[at : at + length]
