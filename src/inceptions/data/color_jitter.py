"""Photometric distortion in one pass: brightness, contrast, saturation and hue are affine maps of a color."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inceptions.data.keyed_random import Draws

Affine = tuple[NDArray[np.float64], NDArray[np.float64]]
"""A map of colors: x -> matrix @ x + shift."""

_GREY = np.array([0.299, 0.587, 0.114])  # ITU-R 601, as Pillow's conversion to "L"
_YIQ = np.array([_GREY, [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]])


def distorted(
    image: Image.Image, brightness: float, contrast: float, saturation: float, hue: float, draws: Draws
) -> Image.Image:
    """Distorts the colors, in random order (1312.5402), each by a random amount up to its strength.

    The maps are multiplied first and applied at once, so values are rounded and clipped once, not four times.

    Args:
        image: "RGB" or "L"; gray images have no saturation and no hue.
        brightness: factor of every value in 1 -+ this.
        contrast: factor of the distance to the image's mean gray in 1 -+ this.
        saturation: factor of the distance to each pixel's gray in 1 -+ this.
        hue: angle about the gray axis in -+ this share of the circle.
        draws: the image's random numbers.
    """
    strengths = {"brightness": brightness, "contrast": contrast, "saturation": saturation, "hue": hue}
    chosen = [(name, strength) for name, strength in strengths.items() if strength]
    if image.mode == "L":
        chosen = [(name, strength) for name, strength in chosen if name in ("brightness", "contrast")]
    if not chosen:
        return image
    mean = _mean(image)
    matrix, shift = np.eye(3), np.zeros(3)
    for number in draws.permutation(len(chosen)):
        name, strength = chosen[number]
        amount = draws.uniform(-strength, strength)
        turn, move = _MAPS[name](amount, float(_GREY @ (matrix @ mean + shift)))
        matrix, shift = turn @ matrix, turn @ shift + move
    if image.mode == "L":  # all three channels are equal, and so are the rows' sums
        values = np.arange(256) * matrix[0].sum() + shift[0]
        return image.point(np.clip(values + 0.5, 0, 255).astype(np.uint8).tolist())
    rows = np.column_stack([matrix, shift]).ravel().tolist()
    return image.convert("RGB", tuple(rows))


def _mean(image: Image.Image) -> NDArray[np.float64]:
    """The image's mean color; its histogram is the fastest way to it."""
    counts = np.array(image.histogram(), dtype=np.float64).reshape(-1, 256)
    means: NDArray[np.float64] = counts @ np.arange(256) / (image.width * image.height)
    return np.broadcast_to(means, 3)


def _brightness(amount: float, _gray: float) -> Affine:
    return np.eye(3) * (1 + amount), np.zeros(3)


def _contrast(amount: float, gray: float) -> Affine:
    return np.eye(3) * (1 + amount), np.full(3, -amount * gray)


def _saturation(amount: float, _gray: float) -> Affine:
    return np.eye(3) * (1 + amount) - amount * np.tile(_GREY, (3, 1)), np.zeros(3)


def _hue(amount: float, _gray: float) -> Affine:
    """Turns the two color coordinates of YIQ; the luminance stays."""
    cos, sin = math.cos(2 * math.pi * amount), math.sin(2 * math.pi * amount)
    turn = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    return np.linalg.inv(_YIQ) @ turn @ _YIQ, np.zeros(3)


_MAPS = {"brightness": _brightness, "contrast": _contrast, "saturation": _saturation, "hue": _hue}
