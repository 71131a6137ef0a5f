"""Which side of an image is up: the one fact of EXIF and XMP that changes pixels, read without the rest.

Pillow's reader gives up, or warns, where any other entry is damaged.
"""

from __future__ import annotations

import re
import struct

ORIENTATION = 0x0112
_XMP = re.compile(rb"tiff:Orientation(?:=[\"']|>)\s*([1-8])")


def orientation(exif: bytes | None, xmp: bytes | str | None = None) -> int:
    """The orientation, 1 to 8; 1 (upright) where none is stated.

    Args:
        exif: an EXIF block, with or without its "Exif" in front.
        xmp: an XMP packet, which counts where EXIF does not state it.
    """
    told = _of_exif(exif) if exif else None
    if told is None and xmp:
        found = _XMP.search(xmp.encode("utf-8", "replace") if isinstance(xmp, str) else xmp)
        told = int(found[1]) if found else None
    return told or 1


def _of_exif(exif: bytes) -> int | None:
    while exif.startswith(b"Exif\0\0"):
        exif = exif[6:]
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None or len(exif) < 8:
        return None
    (first,) = struct.unpack_from(order + "I", exif, 4)
    if first + 2 > len(exif):
        return None
    (count,) = struct.unpack_from(order + "H", exif, first)
    for at in range(first + 2, min(first + 2 + 12 * count, len(exif) - 11), 12):
        tag, kind = struct.unpack_from(order + "HH", exif, at)
        if tag == ORIENTATION:
            form = {1: "B", 3: "H", 4: "I"}.get(kind)
            value: int = struct.unpack_from(order + form, exif, at + 8)[0] if form else 0
            return value if 1 <= value <= 8 else None
    return None
