"""Maps as images."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional as F

from inceptions.image import Preprocess

FRAME = (20, 20, 20)
"""Of the part that the network saw."""
WARM, COLD = (228, 62, 24), (34, 98, 228)
"""Colors of the evidence for a class, and of the evidence against it."""
STRONGEST = 0.75
"""How much of the image the strongest place of a map covers."""
LONGEST = 2048
"""Pixels of the longer side of a whole image that is drawn on, at most."""
FADED = 0.5
"""How white the parts of a whole image become that the network did not see."""


def shown(image: NDArray[np.uint8] | NDArray[np.float32], preprocess: Preprocess) -> Image.Image:
    """What the network saw: `image` (C, H, W) of `Preprocess.image` in RGB, without normalization."""
    pixels = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    if preprocess.channel_order == "bgr":
        pixels = pixels[::-1]
    return Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).convert("RGB")


def overlaid(
    image: Image.Image, weights: Tensor, *, strongest: float | None = None, side: int | None = None
) -> Image.Image:
    """A map (H, W) over its image in gray: warm where it is positive, cold where negative, clear where it is zero.

    Args:
        image: what the network saw. Its own colors would pass for the map's.
        weights: the map.
        strongest: the value of the full color, to compare maps; None: the map's own.
        side: pixels of the shorter side that the drawing has at least; None: as many as the map.
    """
    scale = 1 if side is None else max(1, math.ceil(side / min(weights.shape)))
    high, wide = (scale * size for size in weights.shape)
    finer = F.interpolate(weights.detach().cpu().double()[None, None], (high, wide), mode="bilinear")
    values: NDArray[np.float64] = finer[0, 0].numpy()
    values = np.clip(values / (strongest or np.abs(values).max() or 1.0), -1, 1)[..., None]
    colors = np.where(values > 0, WARM, COLD)
    cover = STRONGEST * np.abs(values)
    gray = image.convert("L").resize((wide, high), Image.Resampling.BICUBIC)
    below = np.asarray(gray, dtype=np.float64)[..., None]
    return Image.fromarray(np.rint(below * (1 - cover) + colors * cover).astype(np.uint8))


def overlaid_whole(whole: Image.Image, seen: tuple[float, float, float, float], weights: Tensor) -> Image.Image:
    """A map (H, W) over the whole image, at the place that the network saw: framed, and what lies outside is faded.

    Args:
        whole: the upright original; a large one is drawn smaller, with `LONGEST` pixels along its longer side.
        seen: (left, top, right, bottom) of the part that the map belongs to, as shares of the sides.
        weights: the map.
    """
    share = min(1.0, LONGEST / max(whole.size))
    size = max(1, round(whole.width * share)), max(1, round(whole.height * share))
    gray = whole.convert("L")
    gray = gray if gray.size == size else gray.resize(size, Image.Resampling.BOX)
    box = tuple(round(part * side) for part, side in zip(seen, size * 2, strict=True))
    left, top = min(box[0], size[0] - 1), min(box[1], size[1] - 1)
    right, bottom = max(left + 1, box[2]), max(top + 1, box[3])
    page = Image.blend(gray, Image.new("L", size, 255), FADED).convert("RGB")
    high, wide = bottom - top, right - left
    finer = F.interpolate(weights.detach().cpu().double()[None, None], (high, wide), mode="bilinear")[0, 0]
    page.paste(overlaid(gray.crop((left, top, right, bottom)), finer), (left, top))
    line = max(1, round(max(size) / 400))
    ImageDraw.Draw(page).rectangle((left, top, right - 1, bottom - 1), outline=FRAME, width=line)
    return page


def sheet(maps: Tensor, *, columns: int | None = None, scale: int = 1, gap: int = 2) -> Image.Image:
    """Many maps (N, H, W), or filters (N, 3, H, W) in color, side by side; each stretched from its least to its most.

    Args:
        maps: at least one.
        columns: in a row; None: about as many as there are rows.
        scale: pixels for each value, along either side.
        gap: pixels between two.
    """
    planes = maps.detach().cpu().double().numpy()
    if planes.ndim == 4:
        planes = planes.transpose(0, 2, 3, 1)
        planes = planes if planes.shape[3] == 3 else planes.mean(3)
    count, high, wide = planes.shape[:3]
    across = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / across)
    page = np.full((rows * (high * scale + gap) - gap, across * (wide * scale + gap) - gap, 3), 255, dtype=np.uint8)
    for index, plane in enumerate(planes):
        low, span = plane.min(), np.ptp(plane) or 1.0
        gray = np.rint((plane - low) / span * 255).astype(np.uint8)
        colored = gray if gray.ndim == 3 else np.repeat(gray[..., None], 3, 2)
        top, left = (index // across) * (high * scale + gap), (index % across) * (wide * scale + gap)
        large = colored.repeat(scale, 0).repeat(scale, 1)
        page[top : top + high * scale, left : left + wide * scale] = large
    return Image.fromarray(page)
