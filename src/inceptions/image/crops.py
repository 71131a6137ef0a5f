"""Several crops of one image: the evaluation protocols of the papers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from inceptions.checks import Rule
from inceptions.image.decoding import Source
from inceptions.image.limits import MAX_PIXELS
from inceptions.image.preprocess import Preprocess
from inceptions.image.unreadable import UnreadableImage

PROTOCOLS = (1, 10, 12, 144)


@dataclass(frozen=True, kw_only=True)
class Crops(Preprocess):
    """A `Preprocess` whose `image` gives several crops of an image instead of one.

    10: the four corners and the center of the square, and their mirror images.
    12: the same, and the whole square shrunk to the network's size, with its mirror image.
    144: that from three squares (left, center, right; or top, center, bottom) of the image at each of four scales
         (GoogLeNet, 1409.4842, section 7; the shorter side 256, 288, 320 and 352 for 224 px, 320 to 416 for 299 px).

    For 10 and 12 the square is the center of the image as the network's own preprocessing scales it (with "stretch"
    the whole image), or at the first of the four scales where that leaves no room to move.

    Raises:
        ValueError: the number is not a protocol, or the network's images are not square.
    """

    crops: Annotated[int, Rule(PROTOCOLS[1:].__contains__), f"one of {', '.join(map(str, PROTOCOLS))}"] = 10

    def _conflicts(self) -> Iterator[str]:
        yield from super()._conflicts()
        if self.size[0] != self.size[1]:
            yield f"crops are defined for square images, the network's are {self.size[0]} x {self.size[1]}"

    @property
    def shape(self) -> tuple[int, ...]:
        """Of what `image` makes: (crops, channels, height, width)."""
        return (self.crops, *super().shape)

    def image(self, source: Source) -> NDArray[Any]:
        """Decodes and crops: (crops, channels, height, width), uint8 (float32 where `fractional`), not normalized.

        Raises:
            UnreadableImage: the reason in words.
        """
        # as an array: decoded pixels are upright, whatever the file's EXIF says
        pixels = np.asarray(self.decode(source))
        views = [view for square in self._squares(pixels) for view in self._views(*square)]
        return np.stack([mirrored for view in views for mirrored in (view, view[:, :, ::-1])])

    def _squares(self, pixels: NDArray[np.uint8]) -> Iterator[tuple[NDArray[np.uint8], NDArray[Any]]]:
        """(the square in the original's pixels, the same square scaled)."""
        size = self.size[0]
        own = math.floor(size / self.crop_pct)
        if self.crops != 144:
            scale = own if own > size else scales(size)[0]
            if self.resize == "stretch":
                yield pixels, self._plain(pixels, scale, scale)
            else:
                yield self._three(pixels, scale)[1]
            return
        for scale in scales(size):
            yield from self._three(pixels, scale)

    def _three(self, pixels: NDArray[np.uint8], scale: int) -> list[tuple[NDArray[np.uint8], NDArray[Any]]]:
        """The squares at the beginning, in the middle and at the end of the longer side."""
        height, width = pixels.shape[:2]
        short, long = min(height, width), max(height, width)
        scaled_long = max(scale, int(scale * long / short))
        if scale * scaled_long > MAX_PIXELS or scaled_long > 8192:
            raise UnreadableImage(f"{width} x {height} pixels: too elongated for crops of its length")
        tall, wide = (scaled_long, scale) if height > width else (scale, scaled_long)
        scaled = self._plain(pixels, tall, wide)
        squares = []
        for share in (0.0, 0.5, 1.0):
            at, first = round((scaled_long - scale) * share), round((long - short) * share)
            squares.append(
                (pixels[first : first + short], scaled[:, at : at + scale])
                if height > width
                else (pixels[:, first : first + short], scaled[:, :, at : at + scale])
            )
        return squares

    def _views(self, original: NDArray[np.uint8], square: NDArray[Any]) -> Iterator[NDArray[Any]]:
        size, room = self.size[0], square.shape[1] - self.size[0]
        middle = round(room / 2)
        for top, left in ((0, 0), (0, room), (room, 0), (room, room), (middle, middle)):
            yield square[:, top : top + size, left : left + size]
        if self.crops != 10:
            yield self._plain(original, size, size)

    def _plain(self, pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[Any]:
        """The whole of `pixels` resized, channels in the network's order."""
        values = {field.name: getattr(self, field.name) for field in fields(Preprocess)}
        whole = replace(Preprocess(**values), size=(height, width), resize="stretch", crop_pct=1.0)
        return whole.image(pixels)


def with_crops(preprocess: Preprocess, crops: int) -> Preprocess:
    """`preprocess` for a protocol of 1, 10, 12 or 144 crops.

    Raises:
        ValueError: the number is not a protocol, or the network's images are not square.
    """
    if crops == 1:
        return preprocess
    return Crops(**{field.name: getattr(preprocess, field.name) for field in fields(Preprocess)}, crops=crops)


def scales(size: int) -> tuple[int, int, int, int]:
    """The four lengths of the shorter side: the next multiples of 32 (of an eighth of a small image's side).

    224 gives 256, 288, 320, 352 as in the GoogLeNet paper; 299 gives 320, 352, 384, 416.
    """
    step = 32 if size >= 192 else max(2, size // 8)
    first = size // step + 1
    return (first * step, (first + 1) * step, (first + 2) * step, (first + 3) * step)
