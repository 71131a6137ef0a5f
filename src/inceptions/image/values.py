"""What Pillow's values mean: 8 bits of color, without transparency."""

from __future__ import annotations

import numpy as np
from PIL import Image

from inceptions.image.unreadable import UnreadableImage


def eight_bit(image: Image.Image) -> Image.Image:
    """The highest 8 bits of gray values of more (Pillow's own conversion clips at 255); everything else unchanged.

    Raises:
        UnreadableImage: values of 32 bits, whose white is unknown.
    """
    if image.mode == "I" and image.format == "PPM":  # Pillow scales them so that white is 65,535
        return Image.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise UnreadableImage("32-bit gray values, whose white is unknown: convert the image to 8 or 16 bits")
    if not image.mode.startswith("I;16"):
        return image
    values = np.asarray(image)
    tags = getattr(image, "tag_v2", {})  # of a TIFF that the caller has opened
    told = tags.get(258, 16)
    bits = told if isinstance(told, int) else told[0]
    gray = (values >> max(0, bits - 8)).astype(np.uint8)
    if tags.get(262, 1) == 0:
        gray = 255 - gray
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        gray[values == transparent] = 255
    return Image.fromarray(gray)


def opaque(image: Image.Image) -> Image.Image:
    """Lays an image with transparency over white."""
    if image.mode == "LAB":
        return _from_lab(image)
    if not image.has_transparency_data:
        return image
    if image.mode in ("La", "RGBa"):  # the colors have been multiplied already
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    if image.format in ("BMP", "DIB", "ICO") and image.mode == "RGBA" and image.getchannel("A").getextrema() == (0, 0):
        return image.convert("RGB")  # an unused byte: no one stores an invisible image
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")


def _from_lab(image: Image.Image) -> Image.Image:
    """CIELab under D50, TIFF's and Photoshop's, as sRGB."""
    from PIL import ImageCms

    profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    # its table, made beforehand to be fast, is wrong by up to 31 of 255 where colors are strong
    shown = ImageCms.profileToProfile(image, *profiles, outputMode="RGB", flags=ImageCms.Flags.NOOPTIMIZE)
    assert shown is not None
    return shown
