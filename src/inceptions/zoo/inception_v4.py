"""Inception v4 (Szegedy et al., "Inception-v4, Inception-ResNet and the impact of residual connections on learning",
2016, arXiv 1602.07261).

What it brought: the pure Inception network drawn anew, once the tools no longer forced it to be cut into pieces for
distributed training. Every block of one grid size is the same, the stem itself is built of branches, and there are more
blocks: 4, 7 and 3. It needs no residual connections to be trained, but more of everything to match them.
"""

from __future__ import annotations

from typing import Literal

from inceptions.layers import (
    Grid,
    Layer,
    Padding,
    avg_pool,
    branches,
    chain,
    max_pool,
)
from inceptions.zoo.inception_v3 import inception_aux
from inceptions.zoo.network import Table, lettered
from inceptions.zoo.shared_options import Common


def inception_v4(
    common: Common,
    *,
    aux: bool = False,
    asymmetric_order: Literal["released", "paper"] = "released",
    include_border: bool = False,
) -> Table:
    """Inception v4 (figures 3 to 9 of the paper).

    Args:
        asymmetric_order: whether 1x7 or 7x1 comes first in the stem and in the long branches (and 3x1, 1x3 in the last
            blocks). The released code and weights disagree with the paper's figures; neither counts nor shapes tell.
        include_border: average pools count the zeros of the border or not (not: as released).
    """
    conv = common.conv(common.norm, bias=False)
    released = asymmetric_order == "released"

    def asymmetric(size: int, first: int, second: int, high_first: bool) -> list[Layer]:
        kernels: list[Grid] = [(size, 1), (1, size)]
        one, two = kernels if high_first else reversed(kernels)
        return [conv(first, one), conv(second, two)]

    def pool(channels: int) -> Layer:
        return chain(avg_pool(3, include_border), conv(channels))

    def bank() -> Layer:
        return branches({"1x3": conv(256, (1, 3)), "3x1": conv(256, (3, 1))})

    block_a = branches(
        {
            "1x1": conv(96),
            "3x3": chain(conv(64), conv(96, 3)),
            "3x3dbl": chain(conv(64), conv(96, 3), conv(96, 3)),
            "pool": pool(96),
        }
    )
    reduction_a = branches(
        {
            "3x3": conv(384, 3, 2, "valid"),
            "3x3dbl": chain(conv(192), conv(224, 3), conv(256, 3, 2, "valid")),
            "pool": max_pool(3, 2, "valid"),
        }
    )
    block_b = branches(
        {
            "1x1": conv(384),
            "7x7": chain(conv(192), *asymmetric(7, 224, 256, high_first=False)),
            "7x7dbl": chain(
                conv(192), *asymmetric(7, 192, 224, high_first=released), *asymmetric(7, 224, 256, high_first=released)
            ),
            "pool": pool(128),
        }
    )
    reduction_b = branches(
        {
            "3x3": chain(conv(192), conv(192, 3, 2, "valid")),
            "7x7x3": chain(conv(256), *asymmetric(7, 256, 320, high_first=False), conv(320, 3, 2, "valid")),
            "pool": max_pool(3, 2, "valid"),
        }
    )
    block_c = branches(
        {
            "1x1": conv(256),
            "3x3": chain(conv(384), bank()),
            "3x3dbl": chain(conv(384), *asymmetric(3, 448, 512, high_first=released), bank()),
            "pool": pool(256),
        }
    )

    blocks_b = [block_b for _ in common.repeat(range(7))]
    sixes = lettered("mixed_6", [reduction_a, *blocks_b])
    small = common.small
    # For small pictures the stem keeps the grid until its last halving.
    stride = 1 if small else 2
    border: Padding = "same" if small else "valid"
    stages: list[tuple[str, Layer]] = [
        ("conv_1a", conv(32, 3, stride, border)),
        ("conv_2a", conv(32, 3, 1, border)),
        ("conv_2b", conv(64, 3)),
        ("mixed_3a", branches({"pool": max_pool(3, stride, border), "3x3": conv(96, 3, stride, border)})),
        (
            "mixed_4a",
            branches(
                {
                    "3x3": chain(conv(64), conv(96, 3, 1, border)),
                    "7x7": chain(conv(64), *asymmetric(7, 64, 64, high_first=not released), conv(96, 3, 1, border)),
                }
            ),
        ),
        ("mixed_5a", branches({"3x3": conv(192, 3, 2, "valid"), "pool": max_pool(3, 2, "valid")})),
        *lettered("mixed_5", [block_a for _ in common.repeat(range(4))], first="b"),
        *sixes,
        *lettered("mixed_7", [reduction_b, *(block_c for _ in common.repeat(range(3)))]),
    ]
    return Table(tuple(stages), common.head(), ((sixes[-1][0], inception_aux(conv)),) if aux else ())
