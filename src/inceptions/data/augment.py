"""Augmentation: what a training image goes through instead of the center crop.

The crop is GoogLeNet's (1409.4842, section 6: 8-100 % of the area, aspect 3/4-4/3), the photometric distortion that of
A. Howard (1312.5402), the rest names its source below. Every draw is a function of (seed, epoch, index).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inceptions.checks import Rule, at_least, between, validated
from inceptions.data.color_jitter import distorted
from inceptions.data.keyed_random import AUGMENT, Draws
from inceptions.data.trivial_augment import trivial_augment
from inceptions.image import RESAMPLING, Opened, Preprocess, Source, opened

_ATTEMPTS = 10  # a crop that fits in is nearly always found at once; the search must end for strips, too

_RISING = Rule(lambda limits: 0 < limits[0] <= limits[1])
Scale = Annotated[tuple[float, Annotated[float, between(0, 1)]], _RISING, "(lowest, highest) in (0, 1]"]
Ratio = Annotated[tuple[float, Annotated[float, between(0, 100)]], _RISING, "(lowest, highest) in (0, 100]"]
Strength = Annotated[float, between(0, 1)]
Turn = Annotated[float, between(0, 0.5)]


@dataclass(frozen=True, kw_only=True)
class Augment:
    """What happens to a training image, in this order.

    Raises:
        ValueError: a field is out of its range; the message lists every one.
    """

    crop: Literal["inception", "pad", "none"] = "inception"
    """"inception": a random part, stretched to the input. "pad": the evaluation's view, moved by up to `pad` pixels
    over a mirrored border (small images). "none": the evaluation's view."""
    scale: Scale = (0.08, 1.0)
    """The part's share of the image's area, uniform in this range ("inception")."""
    ratio: Ratio = (3 / 4, 4 / 3)
    """The part's width / height, log-uniform in this range ("inception")."""
    pad: Annotated[int, at_least(1), "at least 1 pixel"] = 4
    """Pixels ("pad")."""
    flip: bool = True
    """Mirror every second image; not for digits."""
    brightness: Strength = 0.0
    """Multiply by a factor in 1 -+ this."""
    contrast: Strength = 0.0
    """Scale the distance to the image's mean gray by a factor in 1 -+ this."""
    saturation: Strength = 0.0
    """Scale the distance to each pixel's own gray by a factor in 1 -+ this (color images)."""
    hue: Turn = 0.0
    """Turn the colors by an angle in -+ this share of the circle, at most 0.5 (color images)."""
    trivial: bool = False
    """TrivialAugment (2103.10158): one operation of 14, of random strength."""
    erase: Strength = 0.0
    """Random erasing (1708.04896): the probability that a rectangle becomes noise."""

    def __post_init__(self) -> None:
        validated(self)

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON types; `from_dict` reads them."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Augment:
        """Reads what `to_dict` gave; keys that are missing keep their default.

        Raises:
            ValueError: a key is unknown or a value out of its range.
        """
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise ValueError(f"augment: unknown keys {unknown}; allowed are {[field.name for field in fields(cls)]}")
        return cls(**values)


def augmented(
    source: Source, preprocess: Preprocess, augment: Augment, *, seed: int, epoch: int, index: int
) -> NDArray[np.uint8]:
    """A training image: (channels, height, width) uint8, not normalized; the same for the same arguments, anywhere.

    Args:
        source: the image.
        preprocess: the network's input.
        augment: what happens to it.
        seed: of the run.
        epoch: of the run.
        index: the image's in its split.

    Raises:
        UnreadableImage: the reason in words.
    """
    draws = Draws(seed, epoch, index, stream=AUGMENT)
    if preprocess.fractional:  # fractional pixels matter where published numbers are reproduced
        preprocess = replace(preprocess, interpolation="bilinear")
    if augment.crop == "inception":
        with opened(source) as found:
            image = _random_part(found, preprocess, augment, draws)
    else:
        image = preprocess.view(preprocess.decode(source))
        if augment.crop == "pad":
            image = _moved(image, augment.pad, draws)
    if augment.flip and draws.chance(0.5):
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if augment.trivial:
        image = trivial_augment(image, draws)
    image = distorted(image, augment.brightness, augment.contrast, augment.saturation, augment.hue, draws)
    planes: NDArray[np.uint8] = preprocess.planes(image)
    if augment.erase and draws.chance(augment.erase):
        _erase(planes, draws)
    return planes


def _random_part(found: Opened, preprocess: Preprocess, augment: Augment, draws: Draws) -> Image.Image:
    height, width = preprocess.size
    left, top, wide, tall = _choose_part(found.size, augment, draws)
    # a JPEG decodes at a half, a quarter or an eighth as long as the part keeps at least the pixels that are needed
    image = found.pixels(preprocess.mode, at_least=max(width / wide, height / tall))
    x, y = image.width / found.size[0], image.height / found.size[1]
    box = (left * x, top * y, min((left + wide) * x, image.width), min((top + tall) * y, image.height))
    if preprocess.interpolation in ("bilinear", "bicubic"):
        return _resized(image, box, width, height, preprocess.interpolation)
    return image.resize((width, height), RESAMPLING[preprocess.interpolation], box=box, reducing_gap=2.0)


def _resized(
    image: Image.Image, box: tuple[float, float, float, float], width: int, height: int, interpolation: str
) -> Image.Image:
    """The box, rounded to whole pixels, resized: torch does antialiased uint8 in half of Pillow's time."""
    import torch

    left, top = math.floor(box[0]), math.floor(box[1])
    right, bottom = max(left + 1, round(box[2])), max(top + 1, round(box[3]))
    part = np.array(np.asarray(image)[top:bottom, left:right], order="C")
    pixels = torch.from_numpy(part.reshape(1, *part.shape[:2], -1)).permute(0, 3, 1, 2)
    resized = torch.nn.functional.interpolate(pixels, (height, width), mode=interpolation, antialias=True)
    shown = resized[0].permute(1, 2, 0).contiguous().numpy()
    return Image.fromarray(shown[:, :, 0] if image.mode == "L" else shown)


def _choose_part(size: tuple[int, int], augment: Augment, draws: Draws) -> tuple[int, int, int, int]:
    """(left, top, width, height) of a random part; an image too narrow for any gets its largest centerd one."""
    width, height = size
    low, high = math.log(augment.ratio[0]), math.log(augment.ratio[1])
    for _ in range(_ATTEMPTS):
        area = width * height * draws.uniform(*augment.scale)
        ratio = math.exp(draws.uniform(low, high))
        wide, tall = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < wide <= width and 0 < tall <= height:
            return draws.below(width - wide + 1), draws.below(height - tall + 1), wide, tall
    ratio = min(max(width / height, augment.ratio[0]), augment.ratio[1])
    wide, tall = max(1, min(width, round(height * ratio))), max(1, min(height, round(width / ratio)))
    return (width - wide) // 2, (height - tall) // 2, wide, tall


def _moved(image: Image.Image, pad: int, draws: Draws) -> Image.Image:
    pixels = np.asarray(image)
    border = [(pad, pad), (pad, pad)] + [(0, 0)] * (pixels.ndim - 2)
    larger = np.pad(pixels, border, mode="reflect")
    left, top = draws.below(2 * pad + 1), draws.below(2 * pad + 1)
    return Image.fromarray(np.ascontiguousarray(larger[top : top + image.height, left : left + image.width]))


def _erase(planes: NDArray[np.uint8], draws: Draws) -> None:
    """Fills a rectangle of 2-40 % of the area, aspect 0.3-3.3, with noise: the paper's settings."""
    channels, height, width = planes.shape
    for _ in range(_ATTEMPTS):
        area = height * width * draws.uniform(0.02, 0.4)
        ratio = math.exp(draws.uniform(math.log(0.3), math.log(1 / 0.3)))
        tall, wide = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < wide <= width and 0 < tall <= height:
            top, left = draws.below(height - tall + 1), draws.below(width - wide + 1)
            planes[:, top : top + tall, left : left + wide] = draws.noise(channels, tall, wide)
            return
