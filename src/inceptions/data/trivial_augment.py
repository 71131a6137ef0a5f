"""TrivialAugment (Müller & Hutter, 2103.10158): one operation, drawn uniformly, of a strength drawn uniformly.

The operations and the strengths of its table 1 ("wide" augmentation space).
"""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image, ImageEnhance, ImageOps

from inceptions.data.keyed_random import Draws

_LEVELS = 30  # strengths are m / 30, m = 0 .. 30

Operation = Callable[[Image.Image, float], Image.Image]


def trivial_augment(image: Image.Image, draws: Draws) -> Image.Image:
    """Applies one operation to an "RGB" or "L" image."""
    name = list(OPERATIONS)[draws.below(len(OPERATIONS))]
    strength = draws.below(_LEVELS + 1) / _LEVELS
    sign = 1.0 if draws.chance(0.5) else -1.0
    operation, signed = OPERATIONS[name]
    return operation(image, strength * sign if signed else strength)


def _affine(image: Image.Image, *matrix: float) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix)


def _enhanced(kind: Callable[[Image.Image], ImageEnhance._Enhance]) -> Operation:
    return lambda image, strength: kind(image).enhance(1 + 0.99 * strength)


OPERATIONS: dict[str, tuple[Operation, bool]] = {
    "identity": (lambda image, _: image, False),
    "autocontrast": (lambda image, _: ImageOps.autocontrast(image), False),
    "equalize": (lambda image, _: ImageOps.equalize(image), False),
    "rotate": (lambda image, strength: image.rotate(135 * strength), True),
    "solarize": (lambda image, strength: ImageOps.solarize(image, round(255 * (1 - strength))), False),
    "posterize": (lambda image, strength: ImageOps.posterize(image, 8 - round(6 * strength)), False),
    "color": (_enhanced(ImageEnhance.Color), True),
    "contrast": (_enhanced(ImageEnhance.Contrast), True),
    "brightness": (_enhanced(ImageEnhance.Brightness), True),
    "sharpness": (_enhanced(ImageEnhance.Sharpness), True),
    "shear_x": (lambda image, strength: _affine(image, 1, 0.99 * strength, 0, 0, 1, 0), True),
    "shear_y": (lambda image, strength: _affine(image, 1, 0, 0, 0.99 * strength, 1, 0), True),
    "translate_x": (lambda image, strength: _affine(image, 1, 0, 32 * strength, 0, 1, 0), True),
    "translate_y": (lambda image, strength: _affine(image, 1, 0, 0, 0, 1, 32 * strength), True),
}
"""name -> (operation, whether its strength has a random sign)."""
