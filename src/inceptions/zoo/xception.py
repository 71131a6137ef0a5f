"""Xception (Chollet, "Xception: deep learning with depthwise separable convolutions", 2016, arXiv 1610.02357) and its
deeper successors Xception-41, 65 and 71 (DeepLab v3+, arXiv 1802.02611).

What it brought: the Inception idea taken to its end. An Inception block splits its channels among a few branches, each
of which looks at space; in the extreme every channel has a branch of its own: a depthwise convolution over space, a
pointwise one over channels. Nothing else is left: the network is a plain chain of such layers with residual
shortcuts, and makes better use of as many parameters as Inception v3 has.
"""

from __future__ import annotations

from typing import Literal

from inceptions.layers import (
    Act,
    Activation,
    Conv,
    Layer,
    Padding,
    Residual,
    Separable,
    chain,
    max_pool,
)
from inceptions.zoo.network import Table
from inceptions.zoo.shared_options import Common

Order = Literal["space_first", "channel_first"]


def xception(
    common: Common,
    *,
    residual: bool = True,
    separable: bool = True,
    middle_activation: bool = False,
    order: Order = "space_first",
    padding: Literal["tf_same", "symmetric"] = "tf_same",
    stem_padding: Literal["valid", "same"] = "valid",
    block4_stride: Literal[1, 2] = 2,
    shortcut_bias: bool = False,
    rectify: bool = False,
) -> Table:
    """Xception as in figure 5 of the paper and in Keras; stages are numbered as in Keras.

    Args:
        residual: False leaves out every shortcut (figure 9 of the paper).
        separable: False puts regular convolutions for the separable ones.
        middle_activation: an activation between depthwise and pointwise convolution (figure 10: worse).
        order: "channel_first" for pointwise before depthwise, the order of an Inception block (section 1.3).
        padding: border of the strided pools; "symmetric" in the PyTorch ports (Cadene, timm).
        stem_padding, block4_stride, shortcut_bias: differ in `xception_stride16`.
        rectify: shortcuts receive the rectified input in blocks 3, 4 and the middle flow, as an in-place ReLU does it.
    """
    norm, activation = common.norm, common.activation
    small = common.small
    pooled: Padding = "tf_same" if padding == "tf_same" else "same"

    def conv(channels: int, kernel: int = 1, stride: int = 1, border: Padding = "same") -> Conv:
        return Conv(common.scaled(channels), (kernel, kernel), stride, border, norm, activation, bias=False)

    def sep(channels: int, after: Activation | None = None) -> Layer:
        channels = common.scaled(channels)
        if not separable:
            return Conv(channels, (3, 3), norm=norm, activation=after, bias=False)
        between = activation if middle_activation else None
        return Separable(channels, norm=norm, activation=after, order=order, middle_activation=between)

    def block(layers: list[Layer], channels: int, stride: int, rectify: bool) -> Layer:
        """Separable convolutions, then a pool, beside a strided 1x1 shortcut."""
        body = chain(*layers, max_pool(3, stride, pooled))
        if not residual:
            return body
        shortcut = Conv(common.scaled(channels), (1, 1), stride, pooled, norm, bias=shortcut_bias)
        return Residual(body, shortcut, rectify=rectify)

    def entry(channels: int, stride: int) -> Layer:
        act = Act(activation)
        return block([act, sep(channels), act, sep(channels)], channels, stride, rectify)

    def middle() -> Layer:
        body = chain(*[layer for _ in range(3) for layer in (Act(activation), sep(728))])
        return Residual(body, rectify=rectify) if residual else body

    border: Padding = "same" if small else stem_padding
    blocks = [middle() for _ in common.repeat(range(8))]
    stages: list[tuple[str, Layer]] = [
        ("conv1", conv(32, 3, 1 if small else 2, border)),
        ("conv2", conv(64, 3, 1, border)),
        ("block2", block([sep(128, activation), sep(128)], 128, 1 if small else 2, rectify=False)),
        ("block3", entry(256, 2)),
        ("block4", entry(728, block4_stride)),
        *[(f"block{index}", layer) for index, layer in enumerate(blocks, start=5)],
        (
            f"block{5 + len(blocks)}",
            block([Act(activation), sep(728), Act(activation), sep(1024)], 1024, 2, rectify=False),
        ),
        (f"block{6 + len(blocks)}", chain(sep(1536, activation), sep(2048, activation))),
    ]
    return Table(tuple(stages), common.head())


#                  (width, stride) of the entry flow's blocks, number of middle blocks
ALIGNED = {
    "xception41": (((128, 2), (256, 2), (728, 2)), 8),
    "xception65": (((128, 2), (256, 2), (728, 2)), 16),
    "xception71": (((128, 2), (256, 1), (256, 2), (728, 1), (728, 2)), 16),
}


def xception_aligned(
    name: str,
    common: Common,
    *,
    residual: bool = True,
    separable: bool = True,
    middle_activation: bool = False,
    order: Order = "space_first",
) -> Table:
    """Xception-41, 65 or 71: strided separable convolutions for the pools, batch norm after each depthwise one, three
    separable convolutions a block (DeepLab v3+, section 3.2 and figure 4).

    Args:
        residual, separable, middle_activation, order: as in `xception`; the last block has its middle
            activations always.
    """
    norm, activation = common.norm, common.activation
    entries, middles = ALIGNED[name]
    small = common.small

    def conv(channels: int, stride: int) -> Conv:
        return Conv(common.scaled(channels), (3, 3), stride, "same", norm, activation, bias=False)

    def sep(channels: int, stride: int = 1, after: Activation | None = None) -> Layer:
        channels = common.scaled(channels)
        if not separable:
            return Conv(channels, (3, 3), stride, "same", norm, after, bias=False)
        between = activation if middle_activation else after
        return Separable(channels, 3, stride, "same", norm, after, order, middle_norm=norm, middle_activation=between)

    def block(widths: tuple[int, int, int], stride: int) -> Layer:
        layers = [layer for channels in widths[:2] for layer in (Act(activation), sep(channels))]
        body = chain(*layers, Act(activation), sep(widths[2], stride))
        if not residual:
            return body
        return Residual(body, Conv(common.scaled(widths[2]), (1, 1), stride, "same", norm, bias=False))

    def middle() -> Layer:
        body = chain(*[layer for _ in range(3) for layer in (Act(activation), sep(728))])
        return Residual(body) if residual else body

    flow = [block((channels,) * 3, stride) for channels, stride in entries]
    if small:
        flow[0] = block((entries[0][0],) * 3, 1)
    flow += [middle() for _ in common.repeat(range(middles))]
    flow.append(block((728, 1024, 1024), 2))
    last = chain(*[sep(channels, after=activation) for channels in (1536, 1536, 2048)])
    stages: list[tuple[str, Layer]] = [
        ("conv1", conv(32, 1 if small else 2)),
        ("conv2", conv(64, 1)),
        *[(f"block{index}", layer) for index, layer in enumerate([*flow, last], start=1)],
    ]
    return Table(tuple(stages), common.head())
