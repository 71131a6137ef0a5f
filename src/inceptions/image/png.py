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

from inceptions.image.limits import refuse_larger
from inceptions.image.orientation import orientation

_SIGNATURE = 8
_TOLD = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")
"""Chunks that may tell the orientation."""
_LARGEST = 1 << 20
"""Bytes of such a chunk that are read, or unpacked, at most."""


def open_png(stream: BinaryIO) -> tuple[Image.Image, int, int]:
    """(the opened image, its orientation, its bits a sample)."""
    kept, exif, xmp = pixels_only(stream)
    image = PngImageFile(io.BytesIO(kept))
    depth, color = kept[24], kept[25]
    transparent = image.info.get("transparency")
    if color == 0 and depth in (2, 4) and isinstance(transparent, int):  # as stored; Pillow widens only the pixels
        image.info["transparency"] = transparent * 255 // (2**depth - 1)
    if color == 2 and depth == 16 and isinstance(transparent, tuple):  # Pillow keeps the high byte of the pixels
        image.info["transparency"] = tuple(value >> 8 for value in transparent)
    return image, orientation(exif, xmp), depth


def pixels_only(stream: BinaryIO) -> tuple[bytes, bytes | None, bytes | None]:
    """(the file without ancillary chunks but tRNS, its EXIF, its XMP); of what is cut off, all there is.

    Raises:
        UnreadableImage: it claims too many pixels.
    """
    size = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    kept, exif, xmp = [stream.read(_SIGNATURE)], None, None
    while len(head := stream.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind[0] & 32 and kind != b"tRNS":
            body = stream.read(length) if kind in _TOLD and length <= _LARGEST else b""
            stream.seek(length + 4 - len(body), io.SEEK_CUR)
            match kind:
                case b"eXIf":
                    exif = body
                case b"tEXt" | b"zTXt" if body.startswith(b"Raw profile type exif\0"):
                    exif = exif or _raw_profile(kind, body)
                case b"iTXt" if body.startswith(b"XML:com.adobe.xmp\0"):
                    xmp = _international(body)
            continue
        chunk = stream.read(min(length + 4, size))
        kept += [head, chunk]
        if kind == b"IHDR" and length >= 8:
            refuse_larger(*struct.unpack_from(">II", chunk))  # before more is read
        if kind == b"IEND":
            break
    return b"".join(kept), exif, xmp


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
