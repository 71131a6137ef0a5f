"""Mixup and cutmix, on the device, random by (seed, step)."""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor


def mix(
    images: Tensor, targets: Tensor, *, mixup: float, cutmix: float, random: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Mixes each image with its mirror in the batch order (the order is random already) by mixup or cutmix.

    Args:
        images: (N, C, H, W) float.
        targets: (N, classes) soft targets.
        mixup: alpha of lambda's Beta(alpha, alpha); 0: never mixup. Source: 1710.09412.
        cutmix: the same for the area that stays. Source: 1905.04899.
        random: decides which of the two (a fair coin), lambda and the box; fresh for each step.

    Returns:
        The mixed images and targets; both are weighted by the share of each image that is really there.
    """
    if not mixup and not cutmix:
        return images, targets
    boxed = bool(cutmix) and (not mixup or random.random() < 0.5)
    keep = float(random.beta(cutmix, cutmix) if boxed else random.beta(mixup, mixup))
    others = images.flip(0)
    if boxed:
        top, bottom, left, right = cut_box(images.shape[-2], images.shape[-1], keep, random)
        images = images.clone()
        images[..., top:bottom, left:right] = others[..., top:bottom, left:right]
        keep = 1 - (bottom - top) * (right - left) / (images.shape[-2] * images.shape[-1])
    else:
        images = others.lerp(images, keep)
    return images, targets.flip(0).lerp(targets, keep)


def cut_box(height: int, width: int, keep: float, random: np.random.Generator) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) of a box of the image's aspect that covers 1 - keep of it, cut off at the border.

    Its center is uniform over the image, so the box that remains can be smaller than requested.
    """
    share = math.sqrt(1 - keep)
    half_height, half_width = int(height * share) // 2, int(width * share) // 2
    row, column = int(random.integers(height)), int(random.integers(width))
    top, bottom = max(0, row - half_height), min(height, row + half_height)
    left, right = max(0, column - half_width), min(width, column + half_width)
    return top, bottom, left, right
