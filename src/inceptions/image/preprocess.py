"""`Preprocess`: geometry and normalization, the record stored in every model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inceptions.checks import Rule, above, between, validated
from inceptions.image.decoding import Source, opened
from inceptions.image.limits import MAX_PIXELS
from inceptions.image.unreadable import UnreadableImage

if TYPE_CHECKING:
    from torch import Tensor

RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "tf1_bilinear": Image.Resampling.BILINEAR,  # both for random crops in training; evaluation: `FRACTIONAL`
    "tf2_bilinear": Image.Resampling.BILINEAR,
}
_Side = Annotated[int, between(1, 8192)]
_Positive = Annotated[float, above(0)]
_CHANNELS = Rule(lambda values: len(values) in (1, 3))
_LARGE = 64_000_000
"""Pixels that Pillow cuts out without asking whether the image is a decompression bomb, with room to spare."""


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """How an image becomes a network's input; stored in every model we write.

    Raises:
        ValueError: a field is out of its range; the message lists every one.
    """

    size: Annotated[tuple[_Side, _Side], "(height, width) in pixels between 1 and 8192"]
    """(height, width) of the network's input, pixels."""
    resize: Literal["short", "stretch", "central"] = "short"
    """"short": the shorter side to floor(size / crop_pct), aspect kept, then the center. "stretch": the whole image
    to floor(size / crop_pct) whatever its aspect, then the center. "central": the central `crop_pct` of each side
    (TF-slim's evaluation), stretched to `size`."""
    crop_pct: Annotated[float, between(0.01, 1), "a share between 0.01 and 1"] = 0.875
    """The share of each side that survives the center crop, in (0, 1]."""
    interpolation: Annotated[str, Rule(RESAMPLING.__contains__), f"one of {', '.join(RESAMPLING)}"] = "bilinear"
    """"box", "bilinear", "bicubic", "lanczos": Pillow's, with antialiasing. "nearest": the pixel below the center of
    the new one, Pillow's, which is what Keras's `load_img` does by default.
    "tf1_bilinear": TensorFlow 1's `resize_bilinear(align_corners=False)`: no antialiasing, no half-pixel offset,
    fractional pixel values. "tf2_bilinear": TensorFlow 2's `tf.image.resize(antialias=False)` (Keras's `Resizing`,
    `image_dataset_from_directory`): half-pixel centers, no antialiasing, fractional pixel values."""
    mean: Annotated[tuple[float, ...], _CHANNELS, "1 (gray) or 3 numbers"] = (0.5, 0.5, 0.5)
    """A value for each channel, in units of `value_range`, in the network's channel order; one value: gray images."""
    std: Annotated[tuple[_Positive, ...], _CHANNELS, "1 (gray) or 3 positive numbers"] = (0.5, 0.5, 0.5)
    """As `mean`: value = (pixel * value_range / 255 - mean) / std."""
    value_range: Annotated[_Positive, "a positive number (1 or 255)"] = 1.0
    """What white (255) is before `mean` is subtracted: 1, or 255 for networks fed with raw pixels."""
    channel_order: Literal["rgb", "bgr"] = "rgb"
    """"rgb" or "bgr" (Caffe's)."""

    def __post_init__(self) -> None:
        validated(self, self._conflicts())

    def _conflicts(self) -> Iterator[str]:
        if len(self.mean) != len(self.std):
            yield f"mean has {len(self.mean)} channels, std {len(self.std)}; the same number expected"

    @property
    def channels(self) -> int:
        """3, or 1 for a network of gray images."""
        return len(self.mean)

    @property
    def fractional(self) -> bool:
        """Whether `image` makes float32 values that are not rounded, instead of uint8."""
        return self.interpolation in FRACTIONAL

    @property
    def shape(self) -> tuple[int, ...]:
        """Of what `image` makes: (channels, height, width)."""
        return (self.channels, *self.size)

    @property
    def mode(self) -> str:
        """Pillow's name of the pixels: "RGB" or "L"."""
        return "L" if self.channels == 1 else "RGB"

    def decode(self, source: Source) -> Image.Image:
        """Decodes an image to upright 8-bit RGB (or gray) pixels, transparent parts white, of its own size.

        A JPEG above the limit of pixels comes at a half, a quarter or an eighth of its size.

        Raises:
            UnreadableImage: the reason in words.
        """
        with opened(source) as image:
            return image.pixels(self.mode)

    def image(self, source: Source) -> NDArray[Any]:
        """Decodes, resizes and crops: (channels, height, width), uint8 (float32 where `fractional`), not normalized.

        Raises:
            UnreadableImage: the reason in words.
        """
        image = self.decode(source)
        if not self.fractional:
            return self.planes(self.view(image))
        image, wide, tall, part = self._geometry(image)
        return self.planes(FRACTIONAL[self.interpolation](np.asarray(image), tall, wide, part))

    def seen(self, width: int, height: int) -> tuple[float, float, float, float]:
        """(left, top, right, bottom) in pixels of an upright image of that size: the part that the network sees."""
        if self.resize == "central":
            return _central_box(width, height, self.crop_pct)
        wide, tall, (left, top, right, bottom) = self._scaled(width, height)
        x, y = width / wide, height / tall
        return max(0, left * x), max(0, top * y), min(width, right * x), min(height, bottom * y)

    def view(self, image: Image.Image) -> Image.Image:
        """The part of a decoded image that the network sees, at its size; for Pillow's interpolations.

        Raises:
            UnreadableImage: the image is too elongated to be resized.
        """
        image, wide, tall, (left, top, right, bottom) = self._geometry(image)
        if wide * image.height > MAX_PIXELS:
            raise _elongated(image)
        if image.size != (wide, tall):
            # Pillow resizes along the rows, then along the columns, whether asked at once or one by one. Cutting in
            # between leaves out columns that are not seen: an eighth of the time of a 4:3 image.
            filter = RESAMPLING[self.interpolation]
            image = _cut(image.resize((wide, image.height), filter), (left, 0, right, image.height))
            left, right = 0, right - left
            image = image.resize((right, tall), filter)
        return _cut(image, (left, top, right, bottom))

    def _geometry(self, image: Image.Image) -> tuple[Image.Image, int, int, tuple[int, int, int, int]]:
        """(what to resize, to which width and height, the part of it the network sees)."""
        height, width = self.size
        if self.resize == "central":
            whole = (0, 0, width, height)
            return _cut(image, _central_box(image.width, image.height, self.crop_pct)), width, height, whole
        wide, tall, part = self._scaled(image.width, image.height)
        if wide * tall > MAX_PIXELS:
            raise _elongated(image)
        return image, wide, tall, part

    def _scaled(self, width: int, height: int) -> tuple[int, int, tuple[int, int, int, int]]:
        """(the width and height that an image is resized to, the part of it the network sees), without "central"."""
        high, across = self.size
        tall, wide = math.floor(high / self.crop_pct), math.floor(across / self.crop_pct)
        if self.resize == "short":
            wide, tall = _covering((width, height), wide, tall)
        # torchvision's rounding, which the published accuracies were measured with
        top, left = round((tall - high) / 2), round((wide - across) / 2)
        return wide, tall, (left, top, left + across, top + high)

    def planes(self, pixels: Image.Image | NDArray[Any]) -> NDArray[Any]:
        """Separates decoded pixels into (channels, height, width) planes in the network's channel order."""
        if isinstance(pixels, Image.Image):  # splitting in Pillow is three times as fast as transposing in numpy
            planes = [np.asarray(plane) for plane in pixels.split()]
        else:
            planes = [pixels] if pixels.ndim == 2 else list(np.moveaxis(pixels, -1, 0))
        return np.stack(planes[::-1] if self.channel_order == "bgr" else planes)

    def normalize(self, images: Tensor) -> Tensor:
        """Makes the network's input from un-normalized images: the only place where that happens.

        Args:
            images: (..., channels, height, width) in [0, 255], any dtype, any device.

        Returns:
            float32 of the same shape on the same device, `(pixel * value_range / 255 - mean) / std`.

        Raises:
            ValueError: the images have another number of channels.
        """
        import torch

        if images.ndim < 3 or images.shape[-3] != self.channels:
            raise ValueError(f"images of shape {tuple(images.shape)} given, (..., {self.channels}, H, W) expected")

        def column(values: list[float]) -> Tensor:
            # filled on the device: copying a list there would make the host wait for it
            filled = [torch.full((1, 1, 1), value, device=images.device) for value in values]
            return torch.cat(filled)

        scale = column([self.value_range / 255 / std for std in self.std])
        offset = column([mean / std for mean, std in zip(self.mean, self.std, strict=True)])
        return images.to(torch.float32) * scale - offset

    def __call__(self, source: Source) -> Tensor:
        """Makes the network's input from an image: (channels, height, width) float32.

        Raises:
            UnreadableImage: the reason in words.
        """
        import torch

        return self.normalize(torch.from_numpy(self.image(source)))

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON types; `from_dict` reads them."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocess:
        """Reads what `to_dict` gave.

        Raises:
            ValueError: a key is unknown or missing, a value out of its range.
        """
        names = {field.name for field in fields(cls)}
        if set(values) != names:
            unknown, missing = sorted(set(values) - names), sorted(names - set(values))
            raise ValueError(
                f"preprocess: unknown keys {unknown}, missing keys {missing}; exactly {sorted(names)} allowed"
            )
        return cls(**values)

    def timm(self) -> dict[str, Any]:
        """The same facts under timm's keys of `pretrained_cfg`, as far as it has them."""
        return {
            "input_size": [self.channels, *self.size],
            "mean": [value / self.value_range for value in self.mean],
            "std": [value / self.value_range for value in self.std],
            "interpolation": self.interpolation.rpartition("_")[2],
            "crop_pct": self.crop_pct,
            "crop_mode": "center" if self.resize == "short" else "squash",
        }


def resize_tf1(
    pixels: NDArray[np.uint8], height: int, width: int, part: tuple[int, int, int, int] | None = None
) -> NDArray[np.float32]:
    """TensorFlow 1's `resize_bilinear(align_corners=False)`: output pixel i reads input position i * in / out.

    Neither antialiased nor shifted by half a pixel: when shrinking, pixels between the two neighbors are not seen.

    Args:
        pixels: (H, W) or (H, W, channels).
        height: of the resized image.
        width: of the resized image.
        part: (left, top, right, bottom) of the resized image to compute; None: all of it.

    Returns:
        (height, width[, channels]) of `part`, values in [0, 255] not rounded.
    """
    return _bilinear(pixels, height, width, part, np.float32(0))


def resize_tf2(
    pixels: NDArray[np.uint8], height: int, width: int, part: tuple[int, int, int, int] | None = None
) -> NDArray[np.float32]:
    """TensorFlow 2's `tf.image.resize(antialias=False)`, as `resize_tf1` but that output pixel i reads input position
    (i + 1/2) * in / out - 1/2, and beyond the border the border (half_pixel_centers=True)."""
    return _bilinear(pixels, height, width, part, np.float32(0.5))


def _bilinear(
    pixels: NDArray[np.uint8], height: int, width: int, part: tuple[int, int, int, int] | None, center: np.float32
) -> NDArray[np.float32]:
    left, top, right, bottom = part or (0, 0, width, height)

    def neighbors(begin: int, end: int, size: int, out: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float32]]:
        scale = np.float32(size) / np.float32(out)
        position = (np.arange(begin, end, dtype=np.float32) + center) * scale - center
        floor = np.floor(position)
        low = floor.astype(np.int64)
        return np.clip(low, 0, size - 1), np.clip(low + 1, 0, size - 1), position - floor

    y0, y1, dy = neighbors(top, bottom, pixels.shape[0], height)
    x0, x1, dx = neighbors(left, right, pixels.shape[1], width)
    dx = dx.reshape(1, -1, *([1] * (pixels.ndim - 2)))
    dy = dy.reshape(-1, 1, *([1] * (pixels.ndim - 2)))

    def row(y: NDArray[Any]) -> NDArray[np.float32]:  # gathers only what is needed, however elongated the image
        a, b = pixels[np.ix_(y, x0)].astype(np.float32), pixels[np.ix_(y, x1)].astype(np.float32)
        interpolated: NDArray[np.float32] = a + (b - a) * dx
        return interpolated

    above, below = row(y0), row(y1)
    result: NDArray[np.float32] = above + (below - above) * dy
    return result


FRACTIONAL = {"tf1_bilinear": resize_tf1, "tf2_bilinear": resize_tf2}
"""TensorFlow's interpolations, whose pixels are not whole numbers -> what resizes so."""


def _central_box(width: int, height: int, share: float) -> tuple[int, int, int, int]:
    """What TF-slim's `central_crop` keeps: its rounding, computed in float64 as it does."""
    top, left = int((height - height * share) / 2), int((width - width * share) / 2)
    return left, top, width - left, height - top


def _cut(image: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    left, top, right, bottom = box
    if (right - left) * (bottom - top) <= _LARGE:
        return image.crop(box)
    return Image.fromarray(np.asarray(image)[top:bottom, left:right])


def _elongated(image: Image.Image) -> UnreadableImage:
    return UnreadableImage(f"{image.width} x {image.height} pixels: too elongated to be resized")


def _covering(size: tuple[int, int], wide: int, tall: int) -> tuple[int, int]:
    """The (width, height) of the image scaled, aspect kept, until it just covers `wide` x `tall`."""
    width, height = size
    if width * tall <= height * wide:
        return wide, max(tall, int(wide * height / width))
    return max(wide, int(tall * width / height)), tall
