"""How many pixels an image may have, and where the limit is set."""

from __future__ import annotations

import math
import os

from inceptions.image.unreadable import UnreadableImage

MAX_PIXELS = 128_000_000
"""The default limit: a few kilobytes can claim gigabytes of pixels."""

VARIABLE = "INCEPTIONS_MAX_MEGAPIXELS"
"""The environment variable that says otherwise, in millions; the commands' `--max-megapixels` sets it for themselves
and for their worker processes."""


def max_pixels() -> int:
    """The largest number of pixels that is decoded: of a JPEG after it was reduced while decoding.

    Raises:
        ValueError: the environment variable is not a positive number.
    """
    text = os.environ.get(VARIABLE)
    return MAX_PIXELS if not text else megapixels(text, VARIABLE)


def megapixels(text: str, name: str) -> int:
    """Pixels, from a positive number of millions; `name` says where it stands.

    Raises:
        ValueError: it is not a positive number.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} is {text!r}; a positive number of megapixels expected, such as 500")
    return max(1, round(value * 1e6))


def refuse_larger(width: int, height: int) -> None:
    """Raises `UnreadableImage` where so many pixels would be decoded that the limit is passed."""
    if width * height > (limit := max_pixels()):
        raise UnreadableImage(
            f"{width} x {height} pixels, more than {limit:,} (a decompression bomb?): "
            f"scale it down beforehand, or raise the limit with --max-megapixels or {VARIABLE}"
        )
