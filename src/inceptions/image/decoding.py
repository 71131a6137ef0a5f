"""Decoding: whatever a file contains becomes upright 8-bit pixels, or `UnreadableImage` with the reason.

Nothing here changes the process: no filter of warnings, no setting of Pillow's. What would make Pillow warn is not
given to it.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from inceptions.files import foreign_kind
from inceptions.image.formats import FORMATS, NEEDS_AVIF, NEEDS_HEIF, READ, kind_of
from inceptions.image.jpeg import open_jpeg, reduction
from inceptions.image.limits import max_pixels, refuse_larger
from inceptions.image.orientation import ORIENTATION, orientation
from inceptions.image.png import open_png
from inceptions.image.pnm import open_pnm
from inceptions.image.tiff import open_tiff
from inceptions.image.unreadable import UnreadableImage
from inceptions.image.values import eight_bit, opaque

Source = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Image.Image | NDArray[Any]
"""What can be decoded: a path, a file's content, an open binary file, a PIL image, an array (H, W[, channels])."""

_NAMES = {"WEBP": "WebP", "JPEG2000": "JPEG 2000"}
"""Pillow's names of formats -> the usual ones."""

_UPRIGHT = {  # EXIF orientation -> what makes the image upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Opened:
    """An opened image: its upright size is known, its pixels are decoded on demand."""

    def __init__(
        self,
        image: Image.Image,
        file: str | None,
        *,
        owned: bool,
        turn: int,
        depth: int = 8,
        mode: str | None = None,
        format: str | None = None,
    ) -> None:
        self.file = file
        self.mode = mode or image.mode
        """As stored: "RGB", "L", "CMYK", "P", "I;16", ..."""
        self.format = format or image.format
        """"JPEG", "PNG", ...; None: it came as pixels."""
        self.depth = depth
        """Bits a sample, as stored; 8: that many or fewer."""
        self._image = image
        self._owned = owned
        self._divisor = 1
        if owned and image.format == "JPEG" and image.width * image.height > max_pixels():
            self._divisor = reduction(image, max_pixels()) or 1
        refuse_larger(-(-image.width // self._divisor), -(-image.height // self._divisor))
        if image.format not in ("JPEG", "MPO"):
            image.load()  # Pillow's TIFF turns itself upright while loading
        turn = turn if owned else _orientation(image)
        self._turn = _UPRIGHT.get(turn)
        self.size = (image.height, image.width) if 5 <= turn <= 8 else image.size
        """Upright (width, height) in pixels."""

    def pixels(self, mode: str, *, at_least: float = 1.0) -> Image.Image:
        """Decodes to upright 8-bit pixels of `mode` ("RGB" or "L"), transparent parts white.

        A JPEG above the limit of pixels is decoded at 1/2, 1/4 or 1/8, the first that fits.

        Args:
            mode: "RGB" or "L".
            at_least: the share of the full resolution that is needed; a JPEG is then decoded at 1/2, 1/4 or 1/8 where
                that suffices, which costs a fraction.
        """
        image = self._image
        with _refusing(self.file):
            if self._owned and (at_least < 1 or self._divisor > 1):
                # Pillow divides by the largest of 1, 2, 4, 8 that leaves at least so much
                wide, high = (min(math.ceil(at_least * n), n // self._divisor) for n in (image.width, image.height))
                image.draft(None, (wide, high))
            image.load()
            flat = opaque(eight_bit(image))
            flat = flat if flat.mode == mode else flat.convert(mode)
            if self._turn is None:
                return flat
            upright = flat.transpose(self._turn)
            upright.info = {}  # so that a later reader does not turn it again
            return upright


@contextmanager
def opened(source: Source) -> Iterator[Opened]:
    """Opens an image and closes it at the end; a PIL image given is neither changed nor closed.

    Raises:
        UnreadableImage: missing, not an image, damaged, too large.
        TypeError: `source` cannot be an image.
    """
    file = os.fsdecode(source) if isinstance(source, (str, os.PathLike)) else None
    stream = _stream(source)
    max_pixels()  # a wrong setting is not the image's fault
    with ExitStack() as stack:
        with _refusing(file):
            image = _open(source if stream is None else stream, file, stack)
        yield image


def _stream(source: Any) -> BinaryIO | None:
    """The bytes of an image that came as bytes or as an open file, from its beginning; None: it came otherwise.

    Raises:
        TypeError: it cannot be an image.
    """
    if isinstance(source, (str, os.PathLike, Image.Image, np.ndarray)):
        return None
    if isinstance(source, (bytes, bytearray, memoryview)) or (_is_buffer(source) and not hasattr(source, "read")):
        return io.BytesIO(source)
    if callable(read := getattr(source, "read", None)):
        with suppress(AttributeError, OSError):  # a pipe cannot go back
            source.seek(0)  # it may have been read before, to hash it or to show it
        content = read()
        if isinstance(content, (bytes, bytearray, memoryview)):
            return io.BytesIO(content)
        raise TypeError(f"an image file must be open in binary mode; reading gave {type(content).__name__}")
    raise TypeError(
        f"{_name(type(source))} is no image: a path, the bytes of a file (bytes, "
        "bytearray, memoryview), an open binary file, a PIL image, or a uint8 array (H, W) or (H, W, 1 | 3 | 4) is"
    )


def _name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _is_buffer(source: Any) -> bool:
    if isinstance(source, np.generic):  # a number
        return False
    try:
        memoryview(source).release()
    except TypeError:
        return False
    return True


def _open(source: Any, file: str | None, stack: ExitStack) -> Opened:
    if isinstance(source, Image.Image):
        return Opened(source, file, owned=False, turn=1)
    if isinstance(source, np.ndarray):
        return Opened(_from_array(source), file, owned=True, turn=1)
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        if path.exists() and not path.is_file():  # opening a pipe would wait for ever
            raise UnreadableImage("not a file")
        source = stack.enter_context(path.open("rb", buffering=1 << 18))
    head = source.read(512)
    if not head:
        raise UnreadableImage("empty")
    source.seek(0)
    format = _recognized(head)
    try:
        image, turn, depth, mode = _opened(source, format)
    except SyntaxError as error:  # Pillow's word for a file that is not what it should be
        name = _NAMES.get(format, format)
        raise UnreadableImage(f"a {name} file that is damaged, or of a kind that cannot be read: {error}") from error
    return Opened(image, file, owned=True, turn=turn, depth=max(8, depth), mode=mode, format=format)


def _opened(stream: BinaryIO, format: str) -> tuple[Image.Image, int, int, str]:
    """(the image, its orientation, its bits a sample, how it is stored)."""
    if format == "TIFF":
        return open_tiff(stream)
    if format == "PPM" and (read := open_pnm(stream)):
        image, depth, mode = read
        return image, 1, depth, mode
    depth = 8
    if format == "JPEG":
        image, turn = open_jpeg(stream)
    elif format == "PNG":
        image, turn, depth = open_png(stream)
    else:
        image = Image.OPEN[format][0](stream, "")
        turn = orientation(image.info.get("exif"), image.info.get("xmp"))
        depth = 16 if image.mode.startswith("I") else 8
    return image, turn, depth, image.mode


def _recognized(head: bytes) -> str:
    """The format of a file that begins so: with 512 bytes, or all there are."""
    Image.preinit()
    if not all(format in Image.OPEN for format in FORMATS):
        Image.init()
    for format in FORMATS:
        accept = Image.OPEN[format][1] if format in Image.OPEN else None
        if accept is not None and accept(head[:32]) is True:
            return format
    return _needing_more(head)


def _needing_more(head: bytes) -> str:
    """The format that needs an optional reader, registered."""
    kind = kind_of(head[:32])
    if kind == "AVIF" and "AVIF" not in FORMATS:
        raise UnreadableImage(NEEDS_AVIF)
    if kind != "HEIC":
        other = foreign_kind(head)
        came = f"{other}; " if other else ""
        raise UnreadableImage(f"{came}no {', '.join(READ[:-1])} or {READ[-1]} image")
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        raise UnreadableImage(NEEDS_HEIF) from error
    register_heif_opener()
    return "HEIF"


def _from_array(array: NDArray[Any]) -> Image.Image:
    shape_known = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
    if array.dtype.kind != "u" or array.dtype.itemsize > 2 or not shape_known or array.size == 0:
        raise UnreadableImage(
            f"an array {array.dtype}{list(array.shape)} given; uint8 or uint16 (H, W), (H, W, 1 | 3 | 4) can be read"
        )
    eight = array if array.dtype == np.uint8 else (array >> 8).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(eight[:, :, 0] if eight.ndim == 3 and eight.shape[2] == 1 else eight))


def _orientation(image: Image.Image) -> int:
    """Of an image that the caller has opened, and may have given another orientation."""
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # Pillow's EXIF reader fails in many ways; the pixels behind damaged metadata are still good
        return 1
    return value if isinstance(value, int) else 1


@contextmanager
def _refusing(file: str | None) -> Iterator[None]:
    """Turns whatever Pillow raises into `UnreadableImage`."""
    try:
        yield
    except UnreadableImage as error:
        raise UnreadableImage(error.reason, file) from error.__cause__
    except Image.DecompressionBombError as error:
        raise UnreadableImage(f"more pixels than Pillow decodes (PIL.Image.MAX_IMAGE_PIXELS): {error}", file) from error
    except UnidentifiedImageError as error:
        raise UnreadableImage(f"damaged: {error}", file) from error
    except OSError as error:
        raise UnreadableImage((error.strerror or str(error)).lower(), file) from error
    except (
        Exception
    ) as error:  # a damaged file makes Pillow raise nearly anything: struct.error, KeyError, SyntaxError...
        raise UnreadableImage(f"damaged: {error or type(error).__name__}", file) from error
