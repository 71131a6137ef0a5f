"""Inception-ResNet v1 and v2 (Szegedy et al., 2016, arXiv 1602.07261).

What they brought: the Inception block as the body of a residual block. The branches end in a linear 1x1 convolution
back to the incoming width, and the sum with the shortcut replaces the next concatenation. That trains much faster at
equal cost.
Beyond a thousand channels such networks died early in training; multiplying the body by 0.1 to 0.3 before the sum
cures it. v1 costs about as much as Inception v3, v2 about as much as v4.
"""

from __future__ import annotations

from inceptions.layers import (
    Activation,
    Branches,
    ConvWord,
    Layer,
    Projected,
    Residual,
    avg_pool,
    branches,
    chain,
    max_pool,
)
from inceptions.zoo.inception_v3 import inception_aux, inception_stem
from inceptions.zoo.network import Table
from inceptions.zoo.shared_options import Common

SCALES = (0.17, 0.10, 0.20)
"""Residual scale of the blocks on the 35x35, 17x17 and 8x8 grid, as released (the paper says 0.1 to 0.3)."""


def inception_resnet_v2(
    common: Common,
    *,
    aux: bool = False,
    residual: bool = True,
    scales: tuple[float, ...] = SCALES,
    include_border: bool = False,
) -> Table:
    """Inception-ResNet v2 as Google released it: 10, 20 and 9 + 1 blocks (the paper prints 5, 10 and 5).

    Args:
        residual: False leaves out shortcuts and scaling: the branches and their linear convolution alone.
        scales: what the body is multiplied by on the three grids; the last block has 1 and no activation.
        include_border: the average pool counts the zeros of the border or not (not: as released).
    """
    conv = common.conv(common.norm, bias=False)
    scale35, scale17, scale8 = _three(scales)
    block35 = branches(
        {
            "1x1": conv(32),
            "3x3": chain(conv(32), conv(32, 3)),
            "3x3dbl": chain(conv(32), conv(48, 3), conv(64, 3)),
        }
    )
    block17 = branches({"1x1": conv(192), "7x7": chain(conv(128), conv(160, (1, 7)), conv(192, (7, 1)))})
    block8 = branches({"1x1": conv(192), "3x3": chain(conv(192), conv(224, (1, 3)), conv(256, (3, 1)))})
    mixed_5b = branches(
        {
            "1x1": conv(96),
            "5x5": chain(conv(48), conv(64, 5)),
            "3x3dbl": chain(conv(64), conv(96, 3), conv(96, 3)),
            "pool": chain(avg_pool(3, include_border), conv(64)),
        }
    )
    block17s = _blocks(common, "block17", block17, 20, residual, scale17)
    stages: list[tuple[str, Layer]] = [
        *inception_stem(conv, small=common.small),
        ("mixed_5b", mixed_5b),
        *_blocks(common, "block35", block35, 10, residual, scale35),
        ("mixed_6a", _reduction_a(conv, 256, 256, 384)),
        *block17s,
        ("mixed_7a", _reduction_b(conv, 384, 288, 288, 320)),
        *_blocks(common, "block8", block8, 9, residual, scale8),
        ("block8_last", _block(block8, residual, 1.0, None)),
        ("conv_7b", conv(1536)),
    ]
    return Table(tuple(stages), common.head(), ((block17s[-1][0], inception_aux(conv)),) if aux else ())


def inception_resnet_v1(
    common: Common,
    *,
    bottleneck: int | None = None,
    residual: bool = True,
    scales: tuple[float, ...] = SCALES,
) -> Table:
    """Inception-ResNet v1 as facenet released it: 5, 10 and 5 + 1 blocks, with a plain head.

    Args:
        bottleneck: width of a batch-normalised linear layer before the classifier; 512 in facenet, whose embedding is
            `forward_head(features, pre_logits=True)` divided by its length.
        residual, scales: as in v2.
    """
    conv = common.conv(common.norm, bias=False)
    scale35, scale17, scale8 = _three(scales)
    block35 = branches(
        {
            "1x1": conv(32),
            "3x3": chain(conv(32), conv(32, 3)),
            "3x3dbl": chain(conv(32), conv(32, 3), conv(32, 3)),
        }
    )
    block17 = branches({"1x1": conv(128), "7x7": chain(conv(128), conv(128, (1, 7)), conv(128, (7, 1)))})
    block8 = branches({"1x1": conv(192), "3x3": chain(conv(192), conv(192, (1, 3)), conv(192, (3, 1)))})
    # One more strided convolution in the place of v3's second pool.
    *light, _ = inception_stem(conv, small=common.small)
    stages: list[tuple[str, Layer]] = [
        *light,
        ("conv_4b", conv(256, 3, 2, "same" if common.small else "valid")),
        *_blocks(common, "block35", block35, 5, residual, scale35),
        ("mixed_6a", _reduction_a(conv, 192, 192, 256)),
        *_blocks(common, "block17", block17, 10, residual, scale17),
        ("mixed_7a", _reduction_b(conv, 384, 256, 256, 256)),
        *_blocks(common, "block8", block8, 5, residual, scale8),
        ("block8_last", _block(block8, residual, 1.0, None)),
    ]
    return Table(tuple(stages), common.head(bottleneck))


def _block(body: Branches, residual: bool, scale: float, activation: Activation | None) -> Layer:
    if residual:
        return Residual(Projected(body), scale=scale, activation=activation)
    return Projected(body, activation)


def _blocks(
    common: Common, name: str, body: Branches, count: int, residual: bool, scale: float
) -> list[tuple[str, Layer]]:
    block = _block(body, residual, scale, common.activation)
    return [(f"{name}_{index + 1}", block) for index, _ in enumerate(common.repeat(range(count)))]


def _three(scales: tuple[float, ...]) -> tuple[float, float, float]:
    if len(scales) != 3:
        raise ValueError(f"scales has {len(scales)} numbers; three are needed, for the 35x35, 17x17 and 8x8 blocks")
    return scales[0], scales[1], scales[2]


def _reduction_a(conv: ConvWord, reduce: int, three: int, last: int) -> Layer:
    return branches(
        {
            "3x3": conv(384, 3, 2, "valid"),
            "3x3dbl": chain(conv(reduce), conv(three, 3), conv(last, 3, 2, "valid")),
            "pool": max_pool(3, 2, "valid"),
        }
    )


def _reduction_b(conv: ConvWord, first: int, second: int, three: int, last: int) -> Layer:
    return branches(
        {
            "3x3": chain(conv(256), conv(first, 3, 2, "valid")),
            "3x3_2": chain(conv(256), conv(second, 3, 2, "valid")),
            "3x3dbl": chain(conv(256), conv(three, 3), conv(last, 3, 2, "valid")),
            "pool": max_pool(3, 2, "valid"),
        }
    )
