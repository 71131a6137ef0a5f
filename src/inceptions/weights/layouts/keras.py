"""The layouts of `keras.applications`. Layers without a name of their own are counted: "conv2d#3" is the third
convolution that was created, whatever number Keras gave it in the session that wrote the file."""

from __future__ import annotations

import re
from collections.abc import Iterable

from inceptions.weights.layouts.layout import Layout, published
from inceptions.zoo.publishers import PUBLISHED

_COUNTED = re.compile(r"(conv2d|batch_normalization)(?:_(\d+))?")


def creation_order(layers: Iterable[str]) -> dict[str, str]:
    """What "conv2d#1", "conv2d#2", ... stand for among `layers`: by the number in a name, that is by creation.

    (The order of a model's layers, and so of a file, is another: that of the graph.)
    """
    numbers: dict[str, list[tuple[int, str]]] = {}
    for layer in layers:
        if match := _COUNTED.fullmatch(layer):
            numbers.setdefault(match[1], []).append((int(match[2] or 0), layer))
    return {
        f"{kind}#{place}": name for kind, found in numbers.items() for place, (_, name) in enumerate(sorted(found), 1)
    }


def _counted(first: int, last: int) -> list[str]:
    return [name for number in range(first, last + 1) for name in (f"conv2d#{number}", f"batch_normalization#{number}")]


def _xception() -> Layout:
    body = ["block1_conv1", "block1_conv1_bn", "block1_conv2", "block1_conv2_bn"]
    shortcut = 0
    for block in range(2, 15):
        for number in range(1, 4 if 5 <= block <= 12 else 3):
            layer = f"block{block}_sepconv{number}"
            body += [layer, layer, f"{layer}_bn"]  # depthwise and pointwise are one layer in Keras
        if block in (2, 3, 4, 13):
            shortcut += 1
            body += _counted(shortcut, shortcut)
    return Layout(
        name="Keras",
        network="xception",
        dialect="keras",
        body=tuple(body),
        heads=("predictions",),
        preprocess=published(299, 0.8975, "bicubic"),
    )


def _inception_v3() -> Layout:
    return Layout(
        name="Keras",
        network="inception_v3",
        dialect="keras",
        body=tuple(_counted(1, 94)),
        heads=("predictions",),
        options=PUBLISHED["keras"]["inception_v3"],
        preprocess=published(299, 0.875, "bicubic"),
    )


def _inception_resnet_v2() -> Layout:
    body = _counted(1, 12)
    created = 12

    def blocks(kind: str, count: int, convolutions: int) -> None:
        nonlocal created
        for index in range(1, count + 1):
            body.extend([*_counted(created + 1, created + convolutions), f"{kind}_{index}_conv"])
            created += convolutions

    blocks("block35", 10, 6)
    body += _counted(created + 1, created + 4)
    created += 4
    blocks("block17", 20, 4)
    body += _counted(created + 1, created + 7)
    created += 7
    blocks("block8", 10, 4)
    return Layout(
        name="Keras",
        network="inception_resnet_v2",
        dialect="keras",
        body=(*body, "conv_7b", "conv_7b_bn"),
        heads=("predictions",),
        options=PUBLISHED["keras"]["inception_resnet_v2"],
        preprocess=published(299, 0.8975, "bicubic"),
    )


LAYOUTS = (_inception_v3(), _inception_resnet_v2(), _xception())
