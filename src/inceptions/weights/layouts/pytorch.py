"""The layouts of PyTorch's publishers: torchvision, timm, Cadene, facenet-pytorch, pytorch-fid, the first listing."""

from __future__ import annotations

from collections.abc import Iterable

from inceptions.weights.layouts.layout import Layout, published
from inceptions.zoo.publishers import PUBLISHED

# --- blocks: what a publisher calls the convolutions of one, in the order of ours -----------------------------------

GOOGLENET_BLOCK = ("branch1", "branch2.0", "branch2.1", "branch3.0", "branch3.1", "branch4.1")

V3_A = ("branch1x1", "branch5x5_1", "branch5x5_2", "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3", "branch_pool")
V3_B = ("branch3x3", "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3")
V3_C = (
    "branch1x1", "branch7x7_1", "branch7x7_2", "branch7x7_3",
    "branch7x7dbl_1", "branch7x7dbl_2", "branch7x7dbl_3", "branch7x7dbl_4", "branch7x7dbl_5", "branch_pool",
)  # fmt: skip
V3_D = ("branch3x3_1", "branch3x3_2", "branch7x7x3_1", "branch7x7x3_2", "branch7x7x3_3", "branch7x7x3_4")
V3_E = (
    "branch1x1", "branch3x3_1", "branch3x3_2a", "branch3x3_2b",
    "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3a", "branch3x3dbl_3b", "branch_pool",
)  # fmt: skip

V4_A = ("branch0", "branch1.0", "branch1.1", "branch2.0", "branch2.1", "branch2.2", "branch3.1")
V4_B = (
    "branch0", "branch1.0", "branch1.1", "branch1.2",
    "branch2.0", "branch2.1", "branch2.2", "branch2.3", "branch2.4", "branch3.1",
)  # fmt: skip
V4_C = (
    "branch0", "branch1_0", "branch1_1a", "branch1_1b",
    "branch2_0", "branch2_1", "branch2_2", "branch2_3a", "branch2_3b", "branch3.1",
)  # fmt: skip
REDUCTION_A = ("branch0", "branch1.0", "branch1.1", "branch1.2")
V4_REDUCTION_B = ("branch0.0", "branch0.1", "branch1.0", "branch1.1", "branch1.2", "branch1.3")

BLOCK35 = ("branch0", "branch1.0", "branch1.1", "branch2.0", "branch2.1", "branch2.2")
BLOCK17_8 = ("branch0", "branch1.0", "branch1.1", "branch1.2")
RESNET_REDUCTION_B = ("branch0.0", "branch0.1", "branch1.0", "branch1.1", "branch2.0", "branch2.1", "branch2.2")

BN_BLOCK = ("1x1", "3x3_reduce", "3x3", "double_3x3_reduce", "double_3x3_1", "double_3x3_2", "pool_proj")
BN_REDUCTION = BN_BLOCK[1:-1]


def _under(block: str, names: Iterable[str]) -> list[str]:
    return [f"{block}.{name}" for name in names]


def _conv_bn(units: Iterable[str]) -> tuple[str, ...]:
    """Each unit's convolution and its batch norm."""
    return tuple(module for unit in units for module in (f"{unit}.conv", f"{unit}.bn"))


# --- GoogLeNet, BN-Inception, v3, v4 --------------------------------------------------------------------------------


def _googlenet() -> Layout:
    blocks = ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")
    units = ["conv1", "conv2", "conv3", *(u for b in blocks for u in _under(f"inception{b}", GOOGLENET_BLOCK))]
    aux = {"inception_4a": "aux1", "inception_4d": "aux2"}
    return Layout(
        name="torchvision",
        network="googlenet",
        dialect="torch",
        body=_conv_bn(units),
        heads=("fc",),
        aux={tap: (*_conv_bn([f"{head}.conv"]), f"{head}.fc1", f"{head}.fc2") for tap, head in aux.items()},
        options=PUBLISHED["torchvision"]["googlenet"],
        # ImageNet's statistics, then transform_input back to [-1, 1]: together (x - 0.5) / 0.5
        preprocess=published(224, 0.875, "bilinear"),
    )


def _bn_inception() -> Layout:
    units = ["conv1_7x7_s2", "conv2_3x3_reduce", "conv2_3x3"]
    for block in ("3a", "3b", "3c", "4a", "4b", "4c", "4d", "4e", "5a", "5b"):
        units += [f"inception_{block}_{name}" for name in (BN_REDUCTION if block in ("3c", "4e") else BN_BLOCK)]
    return Layout(
        name="Cadene",
        network="bn_inception",
        dialect="torch",
        body=tuple(module for unit in units for module in (unit, f"{unit}_bn")),
        heads=("last_linear", "fc"),
        options=PUBLISHED["cadene"]["bn_inception"],
        # blue, green, red; Cadene's settings say 128 for the red mean where Caffe's tools say 123
        preprocess=published(
            224, 0.875, "bilinear", (104.0, 117.0, 128.0), (1.0, 1.0, 1.0), value_range=255.0, channel_order="bgr"
        ),
    )


def _inception_v3() -> tuple[Layout, Layout]:
    kinds = {"5b": V3_A, "5c": V3_A, "5d": V3_A, "6a": V3_B, "6b": V3_C, "6c": V3_C, "6d": V3_C, "6e": V3_C}
    kinds |= {"7a": V3_D, "7b": V3_E, "7c": V3_E}
    units = [f"Conv2d_{name}" for name in ("1a_3x3", "2a_3x3", "2b_3x3", "3b_1x1", "4a_3x3")]
    units += [unit for block, names in kinds.items() for unit in _under(f"Mixed_{block}", names)]
    torchvision = Layout(
        name="torchvision",
        network="inception_v3",
        dialect="torch",
        body=_conv_bn(units),
        heads=("fc",),
        aux={"mixed_6e": (*_conv_bn(["AuxLogits.conv0", "AuxLogits.conv1"]), "AuxLogits.fc")},
        options=PUBLISHED["torchvision"]["inception_v3"],
        preprocess=published(299, 299 / 342, "bilinear"),
    )
    fid = Layout(
        name="pytorch-fid",
        network="inception_v3",
        dialect="torch",
        body=torchvision.body,
        heads=("fc",),
        options=PUBLISHED["pytorch_fid"]["inception_v3"],
        # pytorch-fid stretches the whole image; its [0, 1] becomes 2x - 1
        preprocess=published(299, 1.0, "bilinear", resize="stretch"),
        labels=None,
        classes=1008,
    )
    return torchvision, fid


def _inception_v4() -> Layout:
    units = ["features.0", "features.1", "features.2", "features.3.conv"]
    units += _under("features.4", ("branch0.0", "branch0.1", "branch1.0", "branch1.1", "branch1.2", "branch1.3"))
    units += ["features.5.conv"]
    kinds = [*[V4_A] * 4, REDUCTION_A, *[V4_B] * 7, V4_REDUCTION_B, *[V4_C] * 3]
    units += [unit for index, names in enumerate(kinds, start=6) for unit in _under(f"features.{index}", names)]
    return Layout(
        name="timm or Cadene",
        network="inception_v4",
        dialect="torch",
        body=_conv_bn(units),
        heads=("last_linear",),
        preprocess=published(299, 0.875, "bicubic"),
    )


# --- Inception-ResNet -----------------------------------------------------------------------------------------------


def _residual(block: str, names: Iterable[str]) -> tuple[str, ...]:
    """A residual block: its branches, and the linear 1x1 convolution with a bias that has no norm."""
    return (*_conv_bn(_under(block, names)), f"{block}.conv2d")


def _inception_resnet_v2() -> Layout:
    body = [*_conv_bn(f"conv2d_{name}" for name in ("1a", "2a", "2b", "3b", "4a")), *_conv_bn(_under("mixed_5b", V4_A))]
    for index in range(10):
        body += _residual(f"repeat.{index}", BLOCK35)
    body += _conv_bn(_under("mixed_6a", REDUCTION_A))
    for index in range(20):
        body += _residual(f"repeat_1.{index}", BLOCK17_8)
    body += _conv_bn(_under("mixed_7a", RESNET_REDUCTION_B))
    for block in (*(f"repeat_2.{index}" for index in range(9)), "block8"):
        body += _residual(block, BLOCK17_8)
    return Layout(
        name="timm or Cadene",
        network="inception_resnet_v2",
        dialect="torch",
        body=(*body, *_conv_bn(["conv2d_7b"])),
        heads=("classif", "last_linear"),
        preprocess=published(299, 0.8975, "bicubic"),
    )


def _inception_resnet_v1() -> Layout:
    body = list(_conv_bn(f"conv2d_{name}" for name in ("1a", "2a", "2b", "3b", "4a", "4b")))
    for index in range(5):
        body += _residual(f"repeat_1.{index}", BLOCK35)
    body += _conv_bn(_under("mixed_6a", REDUCTION_A))
    for index in range(10):
        body += _residual(f"repeat_2.{index}", BLOCK17_8)
    body += _conv_bn(_under("mixed_7a", RESNET_REDUCTION_B))
    for block in (*(f"repeat_3.{index}" for index in range(5)), "block8"):
        body += _residual(block, BLOCK17_8)
    return Layout(
        name="facenet-pytorch",
        network="inception_resnet_v1",
        dialect="torch",
        body=tuple(body),
        heads=("logits",),
        bottleneck=("last_linear", "last_bn"),
        options=PUBLISHED["facenet_pytorch"]["inception_resnet_v1"],
        # (pixel - 127.5) / 128 of a face that was found and cut out beforehand
        preprocess=published(160, 1.0, "bilinear", (127.5,) * 3, (128.0,) * 3, value_range=255.0, resize="stretch"),
        labels=None,
        classes=8631,
    )


# --- Xception -------------------------------------------------------------------------------------------------------


def _separable(module: str) -> list[str]:
    return [f"{module}.conv1", f"{module}.pointwise"]


def _xception_body() -> tuple[str, ...]:
    body = ["conv1", "bn1", "conv2", "bn2"]
    for index in range(1, 13):
        first = 0 if index == 1 else 1  # the first block has no activation in front, so all of it moves up by one
        middle = 4 <= index <= 11
        for place in range(first, first + (9 if middle else 6), 3):
            body += [*_separable(f"block{index}.rep.{place}"), f"block{index}.rep.{place + 1}"]
        body += [] if middle else [f"block{index}.skip", f"block{index}.skipbn"]
    return (*body, *_separable("conv3"), "bn3", *_separable("conv4"), "bn4")


def _xception() -> Layout:
    return Layout(
        name="timm or Cadene",
        network="xception",
        dialect="torch",
        body=_xception_body(),
        heads=("fc", "last_linear"),
        options=PUBLISHED["cadene"]["xception"],
        preprocess=published(299, 0.8975, "bicubic"),
    )


def _aligned(network: str, blocks: int, shortcuts: frozenset[int]) -> Layout:
    body = list(_conv_bn(["stem.0", "stem.1"]))
    for index in range(blocks):
        for conv in (f"blocks.{index}.stack.conv{number}" for number in (1, 2, 3)):
            body += [f"{conv}.conv_dw", f"{conv}.bn_dw", f"{conv}.conv_pw", f"{conv}.bn_pw"]
        body += _conv_bn([f"blocks.{index}.shortcut"]) if index in shortcuts else ()
    return Layout(
        name="timm",
        network=network,
        dialect="torch",
        body=tuple(body),
        heads=("head.fc",),
        preprocess=published(299, 0.903, "bicubic"),
    )


def _stride16() -> Layout:
    """The original listing. `middel_flow` and `middel_block` are misspelled there and so in every file."""

    def separable(module: str) -> list[str]:
        return [f"{module}.depthwise", f"{module}.pointwise"]

    def residual(module: str, first: int) -> list[str]:
        places = (first, first + 3)
        return [name for at in places for name in (*separable(f"{module}.{at}"), f"{module}.{at + 1}")]

    body = [f"entry_flow.conv{number}.{part}" for number in (1, 2) for part in (0, 1)]
    for block, first in (("conv3", 0), ("conv4", 1), ("conv5", 1)):
        body += residual(f"entry_flow.{block}_residual", first)
        body += [f"entry_flow.{block}_shortcut.{part}" for part in (0, 1)]
    for index in range(8):
        for conv in (f"middel_flow.middel_block.{index}.conv{number}" for number in (1, 2, 3)):
            body += [*separable(f"{conv}.1"), f"{conv}.2"]
    body += [*residual("exit_flow.residual", 1), "exit_flow.shortcut.0", "exit_flow.shortcut.1"]
    body += residual("exit_flow.conv", 0)
    cifar_mean, cifar_std = (0.5070752, 0.4865489, 0.4409178), (0.2673343, 0.2564385, 0.2761505)
    return Layout(
        name="the original listing",
        network="xception_stride16",
        dialect="torch",
        body=tuple(body),
        heads=("fc",),
        preprocess=published(32, 1.0, "bilinear", cifar_mean, cifar_std),
        labels=None,
        classes=100,
    )


LAYOUTS = (
    _googlenet(),
    _bn_inception(),
    *_inception_v3(),
    _inception_v4(),
    _inception_resnet_v1(),
    _inception_resnet_v2(),
    _xception(),
    _aligned("xception41", 13, frozenset({0, 1, 2, 11})),
    _aligned("xception65", 21, frozenset({0, 1, 2, 19})),
    _aligned("xception71", 23, frozenset({0, 1, 2, 3, 4, 21})),
    _stride16(),
)
