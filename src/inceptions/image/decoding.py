"""Decoding: whatever a file contains becomes upright 8-bit pixels, or `UnreadablePicture` with the reason."""

from __future__ import annotations

import io
import math
import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from inceptions.image.formats import FORMATS, NEEDS_AVIF, NEEDS_HEIF, READ, kind_of
from inceptions.progress import DataError

Source = str | os.PathLike[str] | bytes | BinaryIO | Image.Image | NDArray[Any]
"""What can be decoded: a path, a file's content, an open binary file, a PIL picture, an array (H, W[, channels])."""

MAX_PIXELS = 128_000_000
"""Larger pictures are refused before they are decoded: a few kilobytes can claim gigabytes of pixels."""

_UPRIGHT = {  # EXIF orientation -> what makes the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112


class UnreadablePicture(DataError):  # noqa: N818 - it is a fact about a picture, and reads like one
    """A picture that cannot be decoded: `reason` says why, `file` which (None: it came as bytes or pixels)."""

    def __init__(self, reason: str, file: str | None = None) -> None:
        super().__init__(reason, file)
        self.reason = reason
        self.file = file

    def __str__(self) -> str:
        return self.reason if self.file is None else f"{self.file}: {self.reason}"


class Picture:
    """An opened picture: its upright size is known, its pixels are decoded on demand."""

    def __init__(self, image: Image.Image, file: str | None, *, owned: bool) -> None:
        self.file = file
        self.mode = image.mode
        """As stored: "RGB", "L", "CMYK", "P", "I;16", ..."""
        self.format = image.format
        """"JPEG", "PNG", ...; None: it came as pixels."""
        self._image = image
        self._owned = owned
        if image.width * image.height > MAX_PIXELS:
            raise UnreadablePicture(_too_large(image.width, image.height), file)
        if image.format not in ("JPEG", "MPO"):
            image.load()  # TIFF turns itself upright while loading, PNG may hold its EXIF behind the pixels
        orientation = _orientation(image)
        self._turn = _UPRIGHT.get(orientation)
        sideways = 5 <= orientation <= 8
        self.size = (image.height, image.width) if sideways else image.size
        """Upright (width, height) in pixels."""

    def pixels(self, mode: str, *, at_least: float = 1.0) -> Image.Image:
        """Decodes to upright 8-bit pixels of `mode` ("RGB" or "L"), transparent parts white.

        Args:
            mode: "RGB" or "L".
            at_least: the share of the full resolution that is needed; a JPEG is then decoded at 1/2, 1/4 or 1/8 where
                that suffices, which costs a fraction.
        """
        image = self._image
        with _refusing(self.file):
            if at_least < 1 and self._owned:
                image.draft(None, (math.ceil(image.width * at_least), math.ceil(image.height * at_least)))
            image.load()
            flat = _opaque(_eight_bit(image))
            flat = flat if flat.mode == mode else flat.convert(mode)
            return flat if self._turn is None else flat.transpose(self._turn)


@contextmanager
def opened(source: Source) -> Iterator[Picture]:
    """Opens a picture and closes it at the end; a PIL picture given is neither changed nor closed.

    Raises:
        UnreadablePicture: no such file, no picture, damaged, too large.
    """
    file = os.fsdecode(source) if isinstance(source, (str, os.PathLike)) else None
    with ExitStack() as stack:
        with _refusing(file):
            image = _open(source, stack)
            picture = Picture(image, file, owned=image is not source)
        yield picture


def _open(source: Source, stack: ExitStack) -> Image.Image:
    if isinstance(source, Image.Image):
        return source
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        if path.exists() and not path.is_file():  # opening a pipe would wait for ever
            raise UnreadablePicture("not a file")
        return _identified(stack.enter_context(path.open("rb", buffering=1 << 18)))
    content = source if isinstance(source, bytes) else source.read()
    if not content:
        raise UnreadablePicture("empty")
    return _identified(io.BytesIO(content))


def _identified(file: BinaryIO) -> Image.Image:
    """The opened image; readers that not everybody has are looked for only where the content needs them."""
    try:
        return Image.open(file, formats=FORMATS)
    except UnidentifiedImageError:
        file.seek(0)
        kind = kind_of(file.read(32))
        file.seek(0)
        if kind == "AVIF" and "AVIF" not in FORMATS:
            raise UnreadablePicture(NEEDS_AVIF) from None
        if kind != "HEIC":
            raise
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        raise UnreadablePicture(NEEDS_HEIF) from error
    register_heif_opener()
    return Image.open(file, formats=("HEIF",))


def _from_array(array: NDArray[Any]) -> Image.Image:
    shape_known = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
    if array.dtype not in (np.uint8, np.uint16) or not shape_known or array.size == 0:
        raise UnreadablePicture(
            f"an array {array.dtype}{list(array.shape)} given; uint8 or uint16 (H, W), (H, W, 1 | 3 | 4) can be read"
        )
    eight = array if array.dtype == np.uint8 else (array >> 8).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(eight[:, :, 0] if eight.ndim == 3 and eight.shape[2] == 1 else eight))


def _eight_bit(image: Image.Image) -> Image.Image:
    """The high byte of 16-bit grey (Pillow's own conversion clips at 255); everything else unchanged."""
    if image.mode in ("I", "F"):
        raise UnreadablePicture("32-bit grey values, whose white is unknown: convert the picture to 8 or 16 bits")
    if not image.mode.startswith("I;16"):
        return image
    values = np.asarray(image)
    grey = (values >> 8).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[values == transparent] = 255
    return Image.fromarray(grey)


def _opaque(image: Image.Image) -> Image.Image:
    """Lays a picture with transparency over white."""
    if not image.has_transparency_data:
        return image
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # Pillow's EXIF reader fails in many ways; the pixels behind damaged metadata are still good
        return 1
    return value if isinstance(value, int) else 1


@contextmanager
def _refusing(file: str | None) -> Iterator[None]:
    """Turns whatever Pillow raises into `UnreadablePicture`, and keeps its warnings from anybody's screen.

    The filter stays: taking it back would race with other threads that decode (`warnings.catch_warnings` does).
    """
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        yield
    except UnreadablePicture as error:
        raise UnreadablePicture(error.reason, file) from None
    except Image.DecompressionBombError as error:
        raise UnreadablePicture(f"more than {MAX_PIXELS:,} pixels (a decompression bomb?)", file) from error
    except UnidentifiedImageError as error:
        raise UnreadablePicture(f"no {', '.join(READ[:-1])} or {READ[-1]} image", file) from error
    except OSError as error:
        raise UnreadablePicture((error.strerror or str(error)).lower(), file) from error
    except (
        Exception
    ) as error:  # a damaged file makes Pillow raise nearly anything: struct.error, KeyError, SyntaxError...
        raise UnreadablePicture(f"damaged: {error or type(error).__name__}", file) from error


def _too_large(width: int, height: int) -> str:
    return f"{width} x {height} pixels, more than {MAX_PIXELS:,} (a decompression bomb?): scale it down beforehand"
