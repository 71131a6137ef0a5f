"""What published weights have in common: ImageNet's class names, and the images that the networks were made for."""

from __future__ import annotations

from functools import cache
from importlib import resources

from inceptions.image import Preprocess
from inceptions.zoo import Network

_SMALL = 64  # px: the images of a network with a small stem (32 to 96)


@cache
def imagenet_classes() -> tuple[str, ...]:
    """The 1000 classes of ImageNet's 2012 challenge, a different English name each, in the order of their synsets.

    The names are those of torchvision's weights.
    """
    return tuple((resources.files("inceptions.weights") / "imagenet.txt").read_text(encoding="utf-8").splitlines())


def class_names(labels: str | None, published: int, count: int) -> tuple[str, ...]:
    """Names for a head of `count` classes where the published one has `published`; numbered where nobody named them."""
    if labels == "imagenet" and published == 1000:
        if count == 1000:
            return imagenet_classes()
        if count == 1001:
            return ("background", *imagenet_classes())
    return tuple(f"class {index}" for index in range(count))


def default_preprocess(net: Network) -> Preprocess | None:
    """What a network without weights takes: pixels in [-1, 1], as all of the family's authors did.

    None where the channels are no image's (neither one nor three).
    """
    if net.in_channels not in (1, 3):
        return None
    half = (0.5,) * net.in_channels
    side = max(net.min_size, net.input_size if net.options["stem"] == "standard" else _SMALL)
    return Preprocess(size=(side, side), mean=half, std=half)
