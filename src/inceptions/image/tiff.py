"""TIFF: what its own tags say its samples are, for every number of bits, or a refusal that states the tags.

Pillow knows a list of kinds, and reads some of them wrong: 16 bits of which 0 is white, 12 bits as if they were 16, a
fourth band that no tag calls transparency. It is given what it reads right, with nothing but the pixels; of the rest
libtiff only unpacks the bytes, and what they mean is said here (TIFF 6.0).
"""

from __future__ import annotations

import io
import struct
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile
from PIL.TiffImagePlugin import COMPRESSION_INFO, OPEN_INFO, TiffImageFile

from inceptions.image import tiff_tags as tiff
from inceptions.image.limits import refuse_larger
from inceptions.image.orientation import orientation
from inceptions.image.tiff_tags import MOVABLE, Tags, pieces, read_tags, rewritten
from inceptions.image.unreadable import UnreadableImage

_COLORS = {0: 1, 1: 1, 2: 3, 5: 4}
"""Photometric interpretation -> bands of color, of those whose samples are read here."""
_OTHERS = {3: 2, 6: 3, 8: 3}
"""Photometric interpretation -> bands at most, of those that Pillow reads."""
_UNPACKED = MOVABLE - {2, 3, 4, 7}
"""Compressions that know nothing of pixels: of bytes only."""
_HINT = "convert it to 8 or 16 bits a band, gray or RGB"
_BLOCK = 1 << 22
"""Samples that are unpacked at once."""


class _Tiff(TiffImageFile):
    def load_prepare(self) -> None:
        """As Pillow's, whose limit is the interpreter's; ours has been asked already."""
        ImageFile.ImageFile.load_prepare(self)


def open_tiff(stream: BinaryIO) -> tuple[Image.Image, int, int, str]:
    """(the opened image, its orientation, its bits a sample, how it is stored).

    Raises:
        UnreadableImage: what the file describes cannot be read; the message states it.
    """
    try:
        tags = read_tags(stream)
    except struct.error as error:
        raise UnreadableImage(f"a TIFF whose tags are damaged or cut off: {error}") from error
    (width, height), (wide, high) = tags.size, tags.tile
    refuse_larger(width, height)
    refuse_larger(-(-width // wide) * wide, -(-height // high) * high)  # tiles hang over the border
    if told := _problem(tags):
        raise UnreadableImage(f"{tags}: {told}")
    turn = tags.one(tiff.ORIENTATION, 0)
    turn = turn if 1 <= turn <= 8 else orientation(None, tags.blobs.get(tiff.XMP))
    depth = max(tags.bits)
    parts = pieces(stream, tags) if tags.compression in MOVABLE else None
    if _ours(tags):
        if parts is None:
            raise UnreadableImage(f"{tags}: it does not say where its strips are and how long; {_HINT}")
        image = _image(_samples(tags, parts), tags)
        gray = tags.photometric < 2 and depth not in (1, 8)
        return image, turn, depth, f"I;{depth}" if gray else image.mode
    try:
        if parts is None:
            stream.seek(0)
            image = _Tiff(stream)
            image.load()
            return image, 1, depth, image.mode  # Pillow has turned it upright
        image = _Tiff(io.BytesIO(_for_pillow(tags, parts)))
    except SyntaxError as error:
        raise UnreadableImage(f"{tags}: {error}; {_HINT}") from error
    return image, turn, depth, image.mode


def _spare(tags: Tags) -> tuple[int, ...]:
    """What each band behind the colors is; 0 where the file does not say: only 1 and 2 make it transparency."""
    count = max(0, tags.samples - _COLORS.get(tags.photometric, tags.samples))
    return tuple(kind if kind in (1, 2) else 0 for kind in (*tags.extra, *(0,) * count)[:count])


def _problem(tags: Tags) -> str | None:
    """Why its pixels have no known color, in words."""
    bits, spare, colors = set(tags.bits), _spare(tags), _COLORS.get(tags.photometric)
    if tags.compression not in COMPRESSION_INFO:
        return "this compression cannot be read; write it uncompressed, or as LZW or deflate"
    if tags.format in tiff.KINDS:
        return f"black and white of {tiff.KINDS[tags.format]} are unknown; {_HINT}"
    if max(bits) > 16:
        return f"the white of {max(bits)}-bit values is unknown; {_HINT}"
    if len(bits) != 1 or len(tags.bits) != tags.samples or min(bits) < 1:
        return f"bands of different bits; {_HINT}"
    if colors is not None and tags.samples < colors:
        return f"{colors} bands expected"
    if len(spare) > 3 or (colors == 1 and len(spare) > len(tags.extra[:1])):
        return f"which of the bands are the colors is unknown; {_HINT}"
    if colors is None and (max(bits) > 8 or tags.samples > _OTHERS.get(tags.photometric, 0)):
        return f"this kind of color cannot be read; {_HINT}"
    if max(bits) > 8 and tags.compression not in _UNPACKED:
        return f"so many bits cannot be read in this compression; {_HINT}"
    return None


def _ours(tags: Tags) -> bool:
    """Whether its samples are read here, because Pillow does not know their kind, or reads it wrong."""
    if tags.photometric not in _COLORS or tags.compression not in _UNPACKED:
        return False
    mark = b"II" if tags.order == "<" else b"MM"
    key = (mark, tags.photometric, (1,), tags.one(tiff.FILL_ORDER, 1), tags.bits, _spare(tags))
    return max(tags.bits) > 8 or tags.planes > 1 or key not in OPEN_INFO


def _for_pillow(tags: Tags, parts: list[bytes]) -> bytes:
    spare, colors = _spare(tags), tags.values.get(tiff.COLOR_MAP)
    changes: dict[int, tuple[int, ...] | None] = {
        tiff.PHOTOMETRIC: (tags.photometric,),
        tiff.SAMPLE_FORMAT: None,
        tiff.BITS: tags.bits,
    }
    if tags.photometric in _COLORS:
        changes[tiff.EXTRA_SAMPLES] = spare
    if colors and max(colors) < 256:  # many writers fill the palette with 8 bits, which would all be black
        changes[tiff.COLOR_MAP] = tuple(value * 257 for value in colors)
    # what is subsampled libtiff makes whole, and Pillow asks it only for what is compressed
    halved = tags.photometric == 6 and tags.compression == 1 and sum(map(len, parts)) < 3 * tags.size[0] * tags.size[1]
    return rewritten(tags, parts, changes, pack=halved)


def _samples(tags: Tags, parts: list[bytes]) -> NDArray[np.uint8]:
    """(height, width, samples), each sample scaled to 8 bits."""
    (width, height), planes = tags.size, tags.planes
    inside = tags.samples // planes
    each = len(parts) // planes
    out = np.empty((height, width, tags.samples), np.uint8)
    for plane in range(planes):
        content = _bytes(tags, parts[plane * each : (plane + 1) * each], inside)
        step = max(1, _BLOCK // (width * inside))
        for row in range(0, height, step):
            values = _unpacked(tags, content[row : row + step], inside)
            rows = values.reshape(len(values), -1, inside)[:, :width]
            out[row : row + step, :, plane * inside : (plane + 1) * inside] = rows
    return out


def _bytes(tags: Tags, parts: list[bytes], inside: int) -> NDArray[np.uint8]:
    """(rows, tiles along a row, bytes of a row of a tile): the bytes of one plane, without their compression.

    Pillow reads them as an image of so many bytes.
    """
    (width, height), (tile, _) = tags.size, tags.tile
    along = -(-width // tile)
    row = (tile * inside * max(tags.bits) + 7) // 8
    changes: dict[int, tuple[int, ...] | None] = {
        tiff.WIDTH: (along * row,), tiff.TILE_WIDTH: (row,), tiff.BITS: (8,), tiff.SAMPLES: (1,),
        tiff.PHOTOMETRIC: (1,), tiff.PLANAR: (1,),
        **dict.fromkeys((tiff.PREDICTOR, tiff.EXTRA_SAMPLES, tiff.SAMPLE_FORMAT, tiff.COLOR_MAP)),
    }  # fmt: skip
    if tiff.TILE_OFFSETS not in tags.values:
        changes[tiff.TILE_WIDTH] = changes[tiff.TILE_HEIGHT] = None
    plain = replace(tags, blobs={}, types={})
    with _Tiff(io.BytesIO(rewritten(plain, parts, changes, pack=False))) as image:
        image.load()
        return np.asarray(image).reshape(height, along, row)


def _unpacked(tags: Tags, content: NDArray[np.uint8], inside: int) -> NDArray[np.uint8]:
    """(rows, samples of a row), from (rows, tiles along a row, bytes): every number of bits, scaled to 8."""
    bits, (tile, _) = max(tags.bits), tags.tile
    rows, along, _ = content.shape
    count = tile * inside
    values: NDArray[Any]
    if bits == 8:
        values = content
    elif bits == 16:
        values = np.ascontiguousarray(content).view(tags.order + "u2").astype(np.uint16)
    else:  # the first bit is the highest, whatever the order of bytes
        single = np.unpackbits(content, axis=-1, count=count * bits).reshape(rows, along, count, bits)
        values = single @ (1 << np.arange(bits - 1, -1, -1, dtype=np.uint16))
    if tags.one(tiff.PREDICTOR, 1) == 2:  # each sample is stored as the difference from the pixel before
        steps = values.reshape(rows, along, tile, inside)
        values = np.cumsum(steps, axis=2, dtype=values.dtype) & values.dtype.type((1 << bits) - 1)
    values = values.reshape(rows, along * count)
    if bits >= 8:
        return (values >> (bits - 8)).astype(np.uint8)
    return (values.astype(np.uint16) * 255 // ((1 << bits) - 1)).astype(np.uint8)


def _image(samples: NDArray[np.uint8], tags: Tags) -> Image.Image:
    """What samples mean, over white where they are transparent."""
    count = _COLORS[tags.photometric]
    colors = samples[..., :count].astype(np.uint16)
    ink = tags.photometric in (0, 5)  # 0 is white: laid over white, transparency only takes ink away
    spare = _spare(tags)
    kind = next((kind for kind in spare if kind), 0)
    if kind:
        alpha = samples[..., count + spare.index(kind)].astype(np.uint16)[..., None]
        if kind == 2:
            colors = (colors * alpha + 127) // 255
        if not ink:
            colors = np.minimum(colors + 255 - alpha, 255)
    flat = colors.astype(np.uint8)
    if tags.photometric == 0:
        flat = 255 - flat
    return Image.fromarray(flat[..., 0]) if count == 1 else Image.fromarray(flat, "CMYK" if count == 4 else "RGB")
