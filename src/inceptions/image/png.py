"""PNG without the chunks that carry no pixels: text, profiles and times can be damaged, or huge, and mean nothing here.

Pillow checks and unpacks each of them, and refuses the whole image for any.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import BinaryIO

from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from inceptions.image.orientation import orientation

_SIGNATURE = 8
_LARGEST = 1 << 20
"""Bytes of an orientation's packet that are unpacked at most."""


def open_png(stream: BinaryIO) -> tuple[Image.Image, int, int]:
    """(the opened image, its orientation, its bits a sample)."""
    content = stream.read()
    kept, exif, xmp = pixels_only(content)
    image = PngImageFile(io.BytesIO(kept))
    depth, colour = content[24], content[25]
    transparent = image.info.get("transparency")
    if colour == 0 and depth in (2, 4) and isinstance(transparent, int):  # as stored; Pillow widens only the pixels
        image.info["transparency"] = transparent * 255 // (2**depth - 1)
    if colour == 2 and depth == 16 and isinstance(transparent, tuple):  # Pillow keeps the high byte of the pixels
        image.info["transparency"] = tuple(value >> 8 for value in transparent)
    return image, orientation(exif, xmp), depth


def pixels_only(content: bytes) -> tuple[bytes, bytes | None, bytes | None]:
    """(the file without ancillary chunks but tRNS, its EXIF, its XMP); what is cut off stays as it is."""
    kept, exif, xmp = [content[:_SIGNATURE]], None, None
    begin = at = _SIGNATURE  # `begin`: of what is kept and not yet in `kept`
    while at + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        end = at + 12 + length
        if end > len(content) or kind == b"IEND":
            break
        if kind[0] & 32 and kind != b"tRNS":
            kept.append(content[begin:at])
            begin = end
            body = content[at + 8 : end - 4]
            match kind:
                case b"eXIf":
                    exif = body
                case b"tEXt" | b"zTXt" if body.startswith(b"Raw profile type exif\0"):
                    exif = exif or _raw_profile(kind, body)
                case b"iTXt" if body.startswith(b"XML:com.adobe.xmp\0"):
                    xmp = _international(body)
        at = end
    if begin == _SIGNATURE:
        return content, None, None
    return b"".join([*kept, content[begin:]]), exif, xmp


def _raw_profile(kind: bytes, body: bytes) -> bytes | None:
    """EXIF as ImageMagick writes it: three lines, then hexadecimal digits."""
    text = body.split(b"\0", 1)[1]
    lines = (_unpacked(text[1:]) if kind == b"zTXt" else text).split(b"\n")[3:]
    try:
        return bytes.fromhex(b"".join(lines).decode("ascii"))
    except ValueError:
        return None


def _international(body: bytes) -> bytes | None:
    """The text of an iTXt chunk: keyword, packed or not, method, language, translated keyword, text."""
    rest = body.split(b"\0", 1)[1]
    parts = rest[2:].split(b"\0", 2)
    if len(parts) < 3:
        return None
    return _unpacked(parts[2]) if rest[:1] == b"\1" else parts[2]


def _unpacked(packed: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(packed, _LARGEST)
    except zlib.error:
        return b""
