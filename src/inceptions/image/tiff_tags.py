"""The tags of a TIFF's first image, and the image written anew with nothing but its pixels."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO

from inceptions.image.unreadable import UnreadableImage

(WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, STRIP_OFFSETS, ORIENTATION, SAMPLES, ROWS_PER_STRIP,
 STRIP_BYTES, PLANAR, PREDICTOR, COLOR_MAP, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_BYTES, EXTRA_SAMPLES,
 SAMPLE_FORMAT, XMP) = (
    256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 317, 320, 322, 323, 324, 325, 338, 339, 700,
)  # fmt: skip
SUBSAMPLING = 530
_FAX_OPTIONS, _FAX_OPTIONS_4, _JPEG_TABLES, _COEFFICIENTS, _REFERENCE = 292, 293, 347, 529, 532
_NEEDED = frozenset({
    WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, STRIP_OFFSETS, ORIENTATION, SAMPLES, ROWS_PER_STRIP,
    STRIP_BYTES, PLANAR, PREDICTOR, COLOR_MAP, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_BYTES, EXTRA_SAMPLES,
    SAMPLE_FORMAT, SUBSAMPLING, _FAX_OPTIONS, _FAX_OPTIONS_4,
})  # fmt: skip
_SEVERAL = frozenset({
    BITS, STRIP_OFFSETS, STRIP_BYTES, COLOR_MAP, TILE_OFFSETS, TILE_BYTES, EXTRA_SAMPLES, SAMPLE_FORMAT, SUBSAMPLING,
})  # fmt: skip
"""Tags of more than one value."""
_INTEGERS = {1: "B", 3: "H", 4: "I", 7: "B", 13: "I", 16: "Q"}
_WIDTHS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}

COMPRESSIONS = {
    1: "uncompressed", 2: "CCITT", 3: "CCITT", 4: "CCITT", 5: "LZW", 6: "JPEG (old style)", 7: "JPEG", 8: "deflate",
    32773: "PackBits", 32946: "deflate", 34712: "JPEG 2000", 34887: "LERC", 34925: "LZMA", 50000: "Zstandard",
    50001: "WebP",
}  # fmt: skip
MOVABLE = frozenset({1, 2, 3, 4, 5, 7, 8, 32773, 32946, 34925, 50000})
"""Compressions whose strips and tiles stand for themselves, and can be put into another file."""
PHOTOMETRICS = {
    0: "WhiteIsZero", 1: "BlackIsZero", 2: "RGB", 3: "palette", 4: "mask", 5: "CMYK", 6: "YCbCr", 8: "CIELab",
    9: "ICCLab", 10: "ITULab", 32803: "color filter array", 32844: "LogL", 32845: "LogLuv", 34892: "linear raw",
}  # fmt: skip
KINDS = {
    0: "mixed numbers",
    2: "signed integers",
    3: "floating-point numbers",
    5: "complex numbers",
    6: "complex numbers",
}
"""Sample format -> numbers whose black and white are unknown."""
_MOST = 1 << 22
"""Values of a tag: tiles of 16 pixels square, in an image as large as is allowed."""
_SLACK = 1 << 20
"""Bytes that strips may claim beyond the file's: the last one is often overstated."""


@dataclass(frozen=True, kw_only=True)
class Tags:
    """What a TIFF says of the pixels of its first image."""

    order: str
    """"<" little-endian, ">" big-endian."""
    values: Mapping[int, tuple[int, ...]]
    blobs: Mapping[int, bytes]
    """Tables of JPEG, coefficients of YCbCr, XMP: as they are stored, with their type."""
    types: Mapping[int, int]

    def one(self, tag: int, default: int) -> int:
        """The only, or first, value of a tag."""
        return (self.values.get(tag) or (default,))[0]

    @property
    def size(self) -> tuple[int, int]:
        """(width, height), not turned upright."""
        return self.one(WIDTH, 0), self.one(HEIGHT, 0)

    @property
    def compression(self) -> int:
        """1: none."""
        return self.one(COMPRESSION, 1)

    @property
    def samples(self) -> int:
        """Samples a pixel."""
        return self.one(SAMPLES, 3 if self.compression == 7 and self.one(PHOTOMETRIC, 0) in (2, 6) else 1)

    @property
    def bits(self) -> tuple[int, ...]:
        """Of each sample."""
        told = self.values.get(BITS) or (1,)
        return told * self.samples if len(told) == 1 else told[: self.samples]

    @property
    def photometric(self) -> int:
        """What the samples mean; where the file does not say, as libtiff guesses."""
        guessed = 2 if self.samples >= 3 else 0 if self.compression in (2, 3, 4) else 1
        return self.one(PHOTOMETRIC, guessed)

    @property
    def extra(self) -> tuple[int, ...]:
        """Of each sample behind the colors: 0 unspecified, 1 alpha that the colors are multiplied with, 2 alpha."""
        return self.values.get(EXTRA_SAMPLES, ())

    @property
    def planes(self) -> int:
        """1: the samples of a pixel lie together; more: each band lies for itself."""
        return self.samples if self.one(PLANAR, 1) == 2 else 1

    @property
    def tile(self) -> tuple[int, int]:
        """(width, rows) of a tile, or of a strip, in pixels."""
        width, height = self.size
        if TILE_OFFSETS in self.values:
            return max(1, self.one(TILE_WIDTH, width)), max(1, self.one(TILE_HEIGHT, height))
        return width, max(1, min(self.one(ROWS_PER_STRIP, height), height))

    @property
    def format(self) -> int:
        """1 unsigned integers, 2 signed, 3 floating point; 0: not all samples are alike."""
        told = set(self.values.get(SAMPLE_FORMAT) or (1,))
        return told.pop() if len(told) == 1 else 0

    def __str__(self) -> str:
        """The facts of the file: bands, bits, photometric interpretation, compression."""
        bands, bits = self.samples, sorted(set(self.bits))
        depth = " and ".join(map(str, bits))
        kind = f"{depth}-bit {KINDS[self.format]}" if self.format in KINDS else f"{depth} bit{'s' * (bits != [1])}"
        meaning = PHOTOMETRICS.get(self.photometric, "unknown")
        packed = COMPRESSIONS.get(self.compression, f"compression {self.compression}")
        return (
            f"a TIFF of {bands} band{'s' * (bands != 1)} of {kind}, "
            f"photometric {self.photometric} ({meaning}), {packed}"
        )


def read_tags(stream: BinaryIO) -> Tags:
    """The tags of the first image that say what its pixels are; all others may be damaged.

    Raises:
        UnreadableImage, struct.error: it is damaged.
    """
    size = stream.seek(0, 2)

    def read(at: int, length: int) -> bytes:
        stream.seek(min(at, size))
        return stream.read(length)

    head = read(0, 16)
    order = "<" if head[:2] == b"II" else ">"
    big = 43 in head[2:4]
    word, entry = ("Q", 20) if big else ("I", 12)
    (first,) = struct.unpack_from(order + word, head, 8 if big else 4)
    (count,) = struct.unpack(order + ("Q" if big else "H"), read(first, 8 if big else 2))
    table = read(first + (8 if big else 2), min(count, 1 << 16) * entry)
    values: dict[int, tuple[int, ...]] = {}
    blobs: dict[int, bytes] = {}
    types: dict[int, int] = {}
    for at in range(0, len(table) - entry + 1, entry):
        tag, kind, number = struct.unpack_from(order + "HH" + word, table, at)
        length = _WIDTHS.get(kind, 0) * number
        if (
            not 0 < length <= size
            or number > _MOST
            or not (tag in _NEEDED or tag in (_JPEG_TABLES, _COEFFICIENTS, _REFERENCE, XMP))
        ):
            continue
        inline = table[at + entry - (8 if big else 4) : at + entry]
        data = inline[:length] if length <= len(inline) else read(struct.unpack(order + word, inline)[0], length)
        if len(data) != length:
            continue
        if tag in _NEEDED and kind in _INTEGERS:
            numbers = struct.unpack(f"{order}{number}{_INTEGERS[kind]}", data)
            values[tag] = numbers if tag in _SEVERAL else numbers[:1]
        elif tag not in _NEEDED:
            blobs[tag], types[tag] = data, kind
    tags = Tags(order=order, values=values, blobs=blobs, types=types)
    if min(tags.size) < 1:
        raise UnreadableImage("a TIFF without width and height")
    return tags


def pieces(stream: BinaryIO, tags: Tags) -> list[bytes] | None:
    """The strips or tiles as they are stored; None: they cannot be told apart.

    Raises:
        UnreadableImage: the file ends before they do, or they overlap.
    """
    tiled = TILE_OFFSETS in tags.values
    offsets = tags.values.get(TILE_OFFSETS if tiled else STRIP_OFFSETS, ())
    lengths = tags.values.get(TILE_BYTES if tiled else STRIP_BYTES, ())
    size = stream.seek(0, 2)
    if tags.compression == 1 and tags.photometric != 6:
        lengths = _uncompressed(tags, len(offsets))
    elif len(offsets) == 1 and not all(lengths or (0,)):
        lengths = (size - min(offsets[0], size),)
    if not offsets or len(lengths) != len(offsets) or not all(lengths):
        return None
    if sum(lengths) > size + _SLACK:  # strips that overlap would make a small file a large one
        raise UnreadableImage(f"image file is truncated: {tags}, in {size:,} bytes")
    parts = []
    for offset, length in zip(offsets, lengths, strict=True):
        stream.seek(min(offset, size))
        parts.append(stream.read(length))
    return parts


def _uncompressed(tags: Tags, count: int) -> tuple[int, ...]:
    """Bytes of each strip or tile, from what the image measures: many a writer counts them wrong."""
    tile, rows = tags.tile
    inside = 1 if tags.planes > 1 else tags.samples
    row = (tile * inside * max(tags.bits) + 7) // 8
    if TILE_OFFSETS in tags.values:
        return (row * rows,) * count
    strips = -(-tags.size[1] // rows)
    return tuple(row * min(rows, tags.size[1] - index % strips * rows) for index in range(count))


def rewritten(tags: Tags, parts: list[bytes], changes: Mapping[int, tuple[int, ...] | None], *, pack: bool) -> bytes:
    """A TIFF of one image: `parts` are its strips or tiles, its tags those of `tags` with `changes` (None: left out).

    Args:
        tags: of the original.
        parts: strips or tiles, as stored.
        changes: tag -> values.
        pack: deflate the uncompressed strips: Pillow has libtiff read what is compressed.
    """
    values = {**tags.values, **changes}
    if pack:
        parts, values[COMPRESSION] = [zlib.compress(part, 1) for part in parts], (8,)
    at, offsets = 16, []
    for part in parts:
        offsets.append(at)
        at += len(part) + len(part) % 2
    tiled = TILE_OFFSETS in tags.values
    values[TILE_OFFSETS if tiled else STRIP_OFFSETS] = tuple(offsets)
    values[TILE_BYTES if tiled else STRIP_BYTES] = tuple(len(part) for part in parts)
    big = at >= 1 << 31
    order, word, entry = tags.order, "Q" if big else "I", 20 if big else 12
    fields: dict[int, tuple[int, int, bytes]] = {
        tag: (tags.types[tag], len(data) // _WIDTHS[tags.types[tag]], data)
        for tag, data in tags.blobs.items()
        if tag != XMP
    }
    for tag, numbers in values.items():
        if numbers and tag != ORIENTATION:
            kind = 3 if max(numbers) < 1 << 16 else 16 if big else 4
            fields[tag] = kind, len(numbers), struct.pack(f"{order}{len(numbers)}{_INTEGERS[kind]}", *numbers)
    room = 8 if big else 4
    table = struct.pack(order + ("Q" if big else "H"), len(fields))
    behind = at + len(table) + entry * len(fields) + room
    tail = b""
    for tag in sorted(fields):
        kind, number, data = fields[tag]
        if len(data) <= room:
            place = data.ljust(room, b"\0")
        else:
            place = struct.pack(order + word, behind + len(tail))
            tail += data + b"\0" * (len(data) % 2)
        table += struct.pack(order + "HH" + word, tag, kind, number) + place
    mark = b"II" if order == "<" else b"MM"
    head = struct.pack(order + "HHHQ", 43, 8, 0, at) if big else struct.pack(order + "HI", 42, at)
    body = b"".join(part + b"\0" * (len(part) % 2) for part in parts)
    return (mark + head).ljust(16, b"\0") + body + table + b"\0" * room + tail
