"""The layouts of Caffe's model zoo. All of them take blue, green, red in raw pixels, less a mean of each channel."""

from __future__ import annotations

from typing import Any

from inceptions.weights.layouts.layout import Layout, published
from inceptions.zoo.publishers import PUBLISHED

GOOGLENET_BLOCK = ("1x1", "3x3_reduce", "3x3", "5x5_reduce", "5x5", "pool_proj")
MEAN = (104.0, 117.0, 123.0)  # blue, green, red

_BGR: dict[str, Any] = {"value_range": 255.0, "channel_order": "bgr"}


def _googlenet() -> Layout:
    body = ["conv1/7x7_s2", "conv2/3x3_reduce", "conv2/3x3"]
    for block in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b"):
        body += [f"inception_{block}/{name}" for name in GOOGLENET_BLOCK]
    aux = {"inception_4a": "loss1", "inception_4d": "loss2"}
    return Layout(
        name="Caffe",
        network="googlenet",
        dialect="caffe",
        body=tuple(body),
        heads=("loss3/classifier",),
        aux={tap: (f"{loss}/conv", f"{loss}/fc", f"{loss}/classifier") for tap, loss in aux.items()},
        # the whole image as 256 x 256, then its center
        preprocess=published(224, 0.875, "bilinear", MEAN, (1.0, 1.0, 1.0), resize="stretch", **_BGR),
    )


def _bn_inception(
    name: str, double: tuple[str, str, str], norm: str, head: str, resize: str, publisher: str
) -> Layout:  # fmt: skip
    """BN-Inception; what the two public models call its double 3x3 branch, and a layer's batch norm, differs."""
    block = ("1x1", "3x3_reduce", "3x3", *double, "pool_proj")
    units = ["conv1/7x7_s2", "conv2/3x3_reduce", "conv2/3x3"]
    for stage in ("3a", "3b", "3c", "4a", "4b", "4c", "4d", "4e", "5a", "5b"):
        units += [f"inception_{stage}/{part}" for part in (block[1:-1] if stage in ("3c", "4e") else block)]
    return Layout(
        name=name,
        network="bn_inception",
        dialect="caffe",
        body=tuple(module for unit in units for module in (unit, f"{unit}{norm}")),
        heads=(head,),
        options=PUBLISHED[publisher]["bn_inception"],
        preprocess=published(224, 0.875, "bilinear", MEAN, (1.0, 1.0, 1.0), resize=resize, **_BGR),
    )


LAYOUTS = (
    _googlenet(),
    # https://github.com/lim0606/caffe-googlenet-bn (deploy.prototxt)
    _bn_inception(
        "caffe-googlenet-bn", ("double3x3_reduce", "double3x3a", "double3x3b"), "/bn", "loss3/classifier", "stretch",
        "caffe_googlenet_bn",
    ),
    # https://github.com/yjxiong/temporal-segment-networks (models/*/tsn_bn_inception_rgb_deploy.prototxt)
    _bn_inception("TSN", ("double_3x3_reduce", "double_3x3_1", "double_3x3_2"), "_bn", "fc", "short", "tsn"),
)  # fmt: skip
