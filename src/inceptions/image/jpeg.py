"""JPEG: metadata that is damaged does not matter, and a large one is decoded at a half, a quarter or an eighth."""

from __future__ import annotations

import io
import struct
from typing import BinaryIO

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from inceptions.image.orientation import orientation

REDUCTIONS = (1, 2, 4, 8)
"""What the sides can be divided by while decoding."""
_LARGEST = 1 << 30
"""Bytes of a file that is read without its metadata."""


class _Jpeg(JpegImageFile):
    def _read_dpi_from_exif(self) -> None:
        """Pillow reads the whole EXIF for a resolution that is not needed, and warns of what is damaged in it."""


def open_jpeg(stream: BinaryIO) -> tuple[Image.Image, int]:
    """(the opened image, its orientation). Of several images in one file (MPO) it is the first."""
    try:
        image = _Jpeg(stream)
        return image, orientation(image.info.get("exif"), image.info.get("xmp"))
    except Exception:  # Pillow's readers of metadata fail in many ways
        stream.seek(0)
        content = stream.read(_LARGEST)
        kept, exif = _pixels_only(content)
        if kept == content:
            raise
        return _Jpeg(io.BytesIO(kept)), orientation(exif)


def reduction(image: Image.Image, limit: int) -> int | None:
    """The least of `REDUCTIONS` that brings an opened image down to `limit` pixels; None: none does.

    A JPEG of several scans (a progressive one) is held in memory whole before it is reduced, so reducing saves nothing.
    """
    for divisor in REDUCTIONS:
        if -(-image.width // divisor) * -(-image.height // divisor) <= limit:
            return divisor if divisor == 1 or _one_scan(image) else None
    return None


def _one_scan(image: Image.Image) -> bool:
    """Whether the first scan, whose header has just been read, holds all components."""
    if not isinstance(image, JpegImageFile) or "progressive" in image.info or image.fp is None or len(image.tile) != 1:
        return False
    components, here = image.layers, image.fp.tell()
    image.fp.seek(here - (8 + 2 * components))
    header = image.fp.read(5)
    image.fp.seek(here)
    return header == struct.pack(">HHB", 0xFFDA, 6 + 2 * components, components)


def _pixels_only(content: bytes) -> tuple[bytes, bytes | None]:
    """(the file without comments and applications' segments that say nothing of colors, its EXIF)."""
    kept, exif, at = [content[:2]], None, 2
    while at + 4 <= len(content) and content[at] == 0xFF:
        marker, length = content[at + 1], int.from_bytes(content[at + 2 : at + 4])
        end = at + 2 + length
        if marker == 0xDA or not 0xC0 <= marker <= 0xFE or end > len(content):
            break
        body = content[at + 4 : end]
        if marker == 0xE1 and body.startswith(b"Exif\0\0"):
            exif = exif or body
        colors = (marker == 0xE0 and body[:5] == b"JFIF\0" and length >= 16) or (
            marker == 0xEE and body[:5] == b"Adobe" and length >= 14
        )
        if colors or not (marker == 0xFE or 0xE0 <= marker <= 0xEF):
            kept.append(content[at:end])
        at = end
    return b"".join([*kept, content[at:]]), exif
