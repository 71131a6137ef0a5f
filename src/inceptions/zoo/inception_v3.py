"""Inception v3 (Szegedy et al., "Rethinking the Inception architecture for computer vision", 2015, arXiv 1512.00567).

What it brought: principles instead of trial. Do not squeeze the representation early; widen while the grid shrinks;
reduce channels before aggregating over space; balance depth and width. From them follow: large kernels factorised into
small ones (5x5 into two 3x3, 7x7 into 1x7 and 7x1), a bank of 1x3 beside 3x1 where the grid is coarsest, and a grid
halved by strided convolutions *beside* a pool, so that nothing is lost in front of it. Around the network: label
smoothing, RMSProp, and batch norm in the one auxiliary classifier that stays.
"""

from __future__ import annotations

from typing import Literal

from inceptions.layers import (
    AuxHead,
    Branches,
    Conv,
    ConvWord,
    Identity,
    Layer,
    avg_pool,
    branches,
    chain,
    max_pool,
)
from inceptions.zoo.network import Table, lettered
from inceptions.zoo.shared_options import Common

POOL_5 = (32, 64, 64)
"""Pool projections of the blocks on the 35x35 grid."""
WIDTH_6 = (128, 160, 160, 192)
"""Inner width of the blocks on the 17x17 grid."""


def inception_v3(
    common: Common,
    *,
    aux: bool = False,
    factorize: bool = True,
    parallel_reduction: bool = True,
    include_border: bool = False,
    last_pool: Literal["avg", "max"] = "avg",
) -> Table:
    """Inception v3 as Google released it (figures 5, 6, 7 and 10 of the paper; its table 1 was never published so).

    Args:
        factorize: False puts one 7x7 for each 1x7 with 7x1, one 3x3 of their joint width for 1x3 beside 3x1, and, where
            the grid is kept, one 5x5 for two 3x3.
        parallel_reduction: False halves the grid by pooling first and runs the same convolutions on what is left: the
            representational bottleneck the paper warns of (figure 9, left).
        include_border: average pools count the zeros of the border (torchvision, timm) or not (TensorFlow, Keras).
        last_pool: "max" in the last block of the 2015-12-05 graph that FID is computed with.
    """
    conv = common.conv(common.norm, bias=False)

    def pool(channels: int, kind: str = "avg") -> Layer:
        return chain(max_pool(3) if kind == "max" else avg_pool(3, include_border), conv(channels))

    def double3(channels: int) -> list[Conv]:
        return [conv(channels, 3), conv(channels, 3)] if factorize else [conv(channels, 5)]

    def seven(inner: int, outer: int, first: str = "1x7") -> list[Conv]:
        if not factorize:
            return [conv(outer, 7)]
        kernels = [(1, 7), (7, 1)] if first == "1x7" else [(7, 1), (1, 7)]
        return [conv(inner, kernels[0]), conv(outer, kernels[1])]

    def bank(channels: int) -> Layer:
        if not factorize:
            return conv(2 * channels, 3)
        return branches({"1x3": conv(channels, (1, 3)), "3x1": conv(channels, (3, 1))})

    def block35(pooled: int) -> Branches:
        return branches(
            {
                "1x1": conv(64),
                "5x5": chain(conv(48), conv(64, 5)),
                "3x3dbl": chain(conv(64), *double3(96)),
                "pool": pool(pooled),
            }
        )

    def block17(inner: int) -> Branches:
        return branches(
            {
                "1x1": conv(192),
                "7x7": chain(conv(inner), *seven(inner, 192)),
                "7x7dbl": chain(conv(inner), *seven(inner, inner, "7x1"), *seven(inner, 192, "7x1")),
                "pool": pool(192),
            }
        )

    def block8(kind: str = "avg") -> Branches:
        return branches(
            {
                "1x1": conv(320),
                "3x3": chain(conv(384), bank(384)),
                "3x3dbl": chain(conv(448), conv(384, 3), bank(384)),
                "pool": pool(192, kind),
            }
        )

    def reduction(parts: dict[str, Layer]) -> Layer:
        if parallel_reduction:
            return branches({**parts, "pool": max_pool(3, 2, "valid")})
        return chain(max_pool(3, 2, "valid"), branches({**parts, "pool": Identity()}))

    def halving(channels: int) -> Conv:
        """The 3x3 that halves the grid; at stride 1 where a pool in front has done so."""
        return conv(channels, 3, 2, "valid") if parallel_reduction else conv(channels, 3)

    reduction17 = reduction({"3x3": halving(384), "3x3dbl": chain(conv(64), conv(96, 3), halving(96))})
    reduction8 = reduction(
        {"3x3": chain(conv(192), halving(320)), "7x7x3": chain(conv(192), *seven(192, 192), halving(192))}
    )
    blocks6 = [block17(inner) for inner in common.repeat(WIDTH_6)]
    blocks7 = [block8() for _ in common.repeat(range(2))]
    blocks7[-1] = block8(last_pool)

    stages: list[tuple[str, Layer]] = [
        *inception_stem(conv, small=common.small),
        *lettered("mixed_5", [block35(pooled) for pooled in common.repeat(POOL_5)], first="b"),
        *lettered("mixed_6", [reduction17, *blocks6]),
        *lettered("mixed_7", [reduction8, *blocks7]),
    ]
    tap = next(name for name, layer in reversed(stages) if layer is blocks6[-1])
    return Table(tuple(stages), common.head(), ((tap, inception_aux(conv)),) if aux else ())


def inception_stem(conv: ConvWord, *, small: bool) -> list[tuple[str, Layer]]:
    """The stem of v3 and of both Inception-ResNets as released: 299 px to a 35x35 grid of 192 channels."""
    if small:
        return [
            ("conv_1a", conv(32, 3)),
            ("conv_2a", conv(32, 3)),
            ("conv_2b", conv(64, 3)),
            ("conv_3b", conv(80)),
            ("conv_4a", conv(192, 3)),
            ("pool_5a", max_pool(3, 2)),
        ]
    return [
        ("conv_1a", conv(32, 3, 2, "valid")),
        ("conv_2a", conv(32, 3, 1, "valid")),
        ("conv_2b", conv(64, 3)),
        ("pool_3a", max_pool(3, 2, "valid")),
        ("conv_3b", conv(80)),
        ("conv_4a", conv(192, 3, 1, "valid")),
        ("pool_5a", max_pool(3, 2, "valid")),
    ]


def inception_aux(conv: ConvWord) -> AuxHead:
    """The auxiliary classifier of v3 and later: 5x5/3 average, 1x1 128, 5x5 768, both batch-normalised (section 4)."""
    return AuxHead(chain(conv(128), conv(768, 5, 1, "valid")), grid=5)
