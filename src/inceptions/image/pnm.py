"""PGM and PPM whose white is another number than 255: Pillow takes seconds a megapixel for them."""

from __future__ import annotations

import re
from typing import BinaryIO

import numpy as np
from PIL import Image

from inceptions.image.limits import refuse_larger
from inceptions.image.unreadable import UnreadableImage

_SPACE = rb"(?:\s|#[^\r\n]*[\r\n])+"
_HEADER = re.compile(rb"P([56])" + _SPACE + rb"(\d{1,9})" + _SPACE + rb"(\d{1,9})" + _SPACE + rb"(\d{1,5})\s")
_LONGEST = 1 << 16
"""Bytes of a header with all its comments."""


def open_pnm(stream: BinaryIO) -> tuple[Image.Image, int, str] | None:
    """(the image, its bits a sample, how it is stored); None: another kind of PNM, which Pillow reads well.

    Raises:
        UnreadableImage: it is cut off, or claims too many pixels.
    """
    found = _HEADER.match(stream.read(_LONGEST))
    stream.seek(found.end() if found else 0)
    white = int(found[4]) if found else 255
    if found is None or not 0 < white < 65536 or white == 255:
        stream.seek(0)
        return None
    width, height, bands = int(found[2]), int(found[3]), 3 if found[1] == b"6" else 1
    refuse_larger(width, height)
    kind = np.dtype(">u2" if white > 255 else "u1")
    content = stream.read(width * height * bands * kind.itemsize)
    if not content or len(content) < width * height * bands * kind.itemsize:
        raise UnreadableImage(f"image file is truncated: {width} x {height} pixels of {white:,} values a band")
    values = np.frombuffer(content, kind)
    bits = white.bit_length()
    if white == (1 << bits) - 1 and bits > 8:
        eight = (values >> (bits - 8)).clip(0, 255).astype(np.uint8)
    else:  # any number may be white
        eight = ((values.astype(np.uint32) * 255 + white // 2) // white).clip(0, 255).astype(np.uint8)
    shape = (height, width) if bands == 1 else (height, width, bands)
    image = Image.fromarray(eight.reshape(shape))
    image.format = "PPM"
    return image, bits, f"I;{bits}" if bands == 1 and bits > 8 else image.mode
