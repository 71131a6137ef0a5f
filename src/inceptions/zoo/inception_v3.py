"""Inception v3 (Szegedy et al., "Rethinking the Inception architecture for computer vision", 2015, arXiv 1512.00567).

What it brought: principles instead of trial. Do not squeeze the representation early; widen while the grid shrinks;
reduce channels before aggregating over space; balance depth and width. From them follow: large kernels factorized into
small ones (5x5 into two 3x3, 7x7 into 1x7 and 7x1), a bank of 1x3 next to 3x1 where the grid is coarsest, and a grid
halved by strided convolutions *next to* a pool, so that nothing is lost in front of it. Around the network: label
smoothing, RMSProp, and batch norm in the one auxiliary classifier that stays.
"""

from __future__ import annotations

from inceptions.layers import AuxHead, BatchNorm, Branches, avg_pool, branches, chain, convolution, max_pool
from inceptions.zoo.table import Changes, Table

conv = convolution(BatchNorm(), bias=False)


def block35(projection: int) -> Branches:
    """Figure 5."""
    return branches(
        {
            "1x1": conv(64),
            "5x5": chain(conv(48), conv(64, 5)),
            "3x3dbl": chain(conv(64), conv(96, 3), conv(96, 3)),
            "pool": chain(avg_pool(3), conv(projection)),
        }
    )


def block17(inner: int) -> Branches:
    """Figure 6, n = 7."""
    return branches(
        {
            "1x1": conv(192),
            "7x7": chain(conv(inner), conv(inner, (1, 7)), conv(192, (7, 1))),
            "7x7dbl": chain(
                conv(inner), conv(inner, (7, 1)), conv(inner, (1, 7)), conv(inner, (7, 1)), conv(192, (1, 7))
            ),
            "pool": chain(avg_pool(3), conv(192)),
        }
    )


BANK = branches({"1x3": conv(384, (1, 3)), "3x1": conv(384, (3, 1))})
BLOCK8 = branches(  # figure 7
    {
        "1x1": conv(320),
        "3x3": chain(conv(384), BANK),
        "3x3dbl": chain(conv(448), conv(384, 3), BANK),
        "pool": chain(avg_pool(3), conv(192)),
    }
)
REDUCTION17 = branches(  # figure 10
    {
        "3x3": conv(384, 3, 2, "valid"),
        "3x3dbl": chain(conv(64), conv(96, 3), conv(96, 3, 2, "valid")),
        "pool": max_pool(3, 2, "valid"),
    }
)
REDUCTION8 = branches(
    {
        "3x3": chain(conv(192), conv(320, 3, 2, "valid")),
        "7x7x3": chain(conv(192), conv(192, (1, 7)), conv(192, (7, 1)), conv(192, 3, 2, "valid")),
        "pool": max_pool(3, 2, "valid"),
    }
)
AUX = AuxHead(chain(conv(128), conv(768, 5, 1, "valid")), grid=5)  # section 4

# As Google released it (the paper's table 1 was never published so). Behind each row: height x width x channels for
# 299 x 299 pixels.
INCEPTION_V3 = Table(
    (
        ("conv_1a", conv(32, 3, 2, "valid")),  # 149x149x32
        ("conv_2a", conv(32, 3, 1, "valid")),  # 147x147x32
        ("conv_2b", conv(64, 3)),  # 147x147x64
        ("pool_3a", max_pool(3, 2, "valid")),  # 73x73x64
        ("conv_3b", conv(80)),  # 73x73x80
        ("conv_4a", conv(192, 3, 1, "valid")),  # 71x71x192
        ("pool_5a", max_pool(3, 2, "valid")),  # 35x35x192
        ("mixed_5b", block35(32)),  # 35x35x256
        ("mixed_5c", block35(64)),  # 35x35x288
        ("mixed_5d", block35(64)),  # 35x35x288
        ("mixed_6a", REDUCTION17),  # 17x17x768
        ("mixed_6b", block17(128)),  # 17x17x768
        ("mixed_6c", block17(160)),  # 17x17x768
        ("mixed_6d", block17(160)),  # 17x17x768
        ("mixed_6e", block17(192)),  # 17x17x768
        ("mixed_7a", REDUCTION8),  # 8x8x1280
        ("mixed_7b", BLOCK8),  # 8x8x2048
        ("mixed_7c", BLOCK8),  # 8x8x2048
    ),
    aux=(("mixed_6e", AUX),),
    runs=(("mixed_5b", "mixed_5d"), ("mixed_6b", "mixed_6e"), ("mixed_7b", "mixed_7c")),
)
SMALL_STEM: Changes = {
    "conv_1a": conv(32, 3),
    "conv_2a": conv(32, 3),
    "pool_3a": None,
    "conv_4a": conv(192, 3),
    "pool_5a": max_pool(3, 2),
}
