"""Xception (Chollet, "Xception: deep learning with depthwise separable convolutions", 2016, arXiv 1610.02357) and its
deeper successors Xception-41, 65 and 71 (DeepLab v3+, arXiv 1802.02611).

What it brought: the Inception idea taken to its end. An Inception block splits its channels among a few branches, each
of which looks at space; in the extreme every channel has a branch of its own: a depthwise convolution over space, a
pointwise one over channels. Nothing else is left: the network is a plain chain of such layers with residual
shortcuts, and makes better use of as many parameters as Inception v3 has.
"""

from __future__ import annotations

from inceptions.layers import (
    Act,
    Activation,
    BatchNorm,
    Chain,
    Conv,
    Layer,
    Residual,
    Separable,
    chain,
    convolution,
    max_pool,
)
from inceptions.zoo.table import Changes, Table

NORM = BatchNorm()
conv = convolution(NORM, bias=False)
relu = Act("relu")


def sep(channels: int, activation: Activation | None = None) -> Separable:
    """A separable 3x3 convolution, normalized."""
    return Separable(channels, norm=NORM, activation=activation)


def pooled(*layers: Layer, channels: int, stride: int = 2) -> Residual:
    """Separable convolutions and a pool, next to a strided 1x1 shortcut (figure 5, entry and exit flow)."""
    shortcut = Conv(channels, (1, 1), stride, "tf_same", NORM, bias=False)
    return Residual(chain(*layers, max_pool(3, stride, "tf_same")), shortcut)


MIDDLE = Residual(chain(relu, sep(728), relu, sep(728), relu, sep(728)))

# Figure 5, numbered as in Keras. Behind each row: height x width x channels for 299 x 299 pixels.
XCEPTION = Table(
    (
        ("conv1", conv(32, 3, 2, "valid")),  # 149x149x32
        ("conv2", conv(64, 3, 1, "valid")),  # 147x147x64
        ("block2", pooled(sep(128, "relu"), sep(128), channels=128)),  # 74x74x128
        ("block3", pooled(relu, sep(256), relu, sep(256), channels=256)),  # 37x37x256
        ("block4", pooled(relu, sep(728), relu, sep(728), channels=728)),  # 19x19x728
        *[(f"block{index}", MIDDLE) for index in range(5, 13)],  # 19x19x728
        ("block13", pooled(relu, sep(728), relu, sep(1024), channels=1024)),  # 10x10x1024
        ("block14", chain(sep(1536, "relu"), sep(2048, "relu"))),  # 10x10x2048
    ),
    runs=(("block5", "block12"),),
)
SMALL_STEM: Changes = {
    "conv1": conv(32, 3),
    "conv2": conv(64, 3),
    "block2": pooled(sep(128, "relu"), sep(128), channels=128, stride=1),
}


def wide(channels: int, stride: int = 1, activation: Activation | None = None) -> Separable:
    """A separable 3x3 convolution with batch norm after each of its two halves."""
    return Separable(channels, 3, stride, "same", NORM, activation, middle_norm=NORM, middle_activation=activation)


def strided(first: int, second: int, third: int, stride: int = 2) -> Residual:
    """Three separable convolutions, the last one strided, next to a 1x1 shortcut (DeepLab v3+, figure 4)."""
    body = chain(relu, wide(first), relu, wide(second), relu, wide(third, stride))
    return Residual(body, Conv(third, (1, 1), stride, "same", NORM, bias=False))


WIDE_MIDDLE = Residual(chain(relu, wide(728), relu, wide(728), relu, wide(728)))
WIDE_EXIT: Chain = chain(wide(1536, activation="relu"), wide(1536, activation="relu"), wide(2048, activation="relu"))

XCEPTION_41 = Table(
    (
        ("conv1", conv(32, 3, 2)),  # 150x150x32
        ("conv2", conv(64, 3)),  # 150x150x64
        ("block1", strided(128, 128, 128)),  # 75x75x128
        ("block2", strided(256, 256, 256)),  # 38x38x256
        ("block3", strided(728, 728, 728)),  # 19x19x728
        *[(f"block{index}", WIDE_MIDDLE) for index in range(4, 12)],  # 19x19x728
        ("block12", strided(728, 1024, 1024)),  # 10x10x1024
        ("block13", WIDE_EXIT),  # 10x10x2048
    ),
    runs=(("block4", "block11"),),
)
XCEPTION_65 = Table(
    (
        ("conv1", conv(32, 3, 2)),  # 150x150x32
        ("conv2", conv(64, 3)),  # 150x150x64
        ("block1", strided(128, 128, 128)),  # 75x75x128
        ("block2", strided(256, 256, 256)),  # 38x38x256
        ("block3", strided(728, 728, 728)),  # 19x19x728
        *[(f"block{index}", WIDE_MIDDLE) for index in range(4, 20)],  # 19x19x728
        ("block20", strided(728, 1024, 1024)),  # 10x10x1024
        ("block21", WIDE_EXIT),  # 10x10x2048
    ),
    runs=(("block4", "block19"),),
)
XCEPTION_71 = Table(
    (
        ("conv1", conv(32, 3, 2)),  # 150x150x32
        ("conv2", conv(64, 3)),  # 150x150x64
        ("block1", strided(128, 128, 128)),  # 75x75x128
        ("block2", strided(256, 256, 256, stride=1)),  # 75x75x256
        ("block3", strided(256, 256, 256)),  # 38x38x256
        ("block4", strided(728, 728, 728, stride=1)),  # 38x38x728
        ("block5", strided(728, 728, 728)),  # 19x19x728
        *[(f"block{index}", WIDE_MIDDLE) for index in range(6, 22)],  # 19x19x728
        ("block22", strided(728, 1024, 1024)),  # 10x10x1024
        ("block23", WIDE_EXIT),  # 10x10x2048
    ),
    runs=(("block6", "block21"),),
)
WIDE_SMALL_STEM: Changes = {"conv1": conv(32, 3), "block1": strided(128, 128, 128, stride=1)}
