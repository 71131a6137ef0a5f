"""Inception-ResNet v1 and v2 (Szegedy et al., 2016, arXiv 1602.07261).

What they brought: the Inception block as the body of a residual block. The branches end in a linear 1x1 convolution
back to the incoming width, and the sum with the shortcut replaces the next concatenation. That trains much faster at
equal cost. Beyond a thousand channels such networks died early in training; multiplying the body by 0.1 to 0.3 before
the sum prevents it. v1 costs about as much as Inception v3, v2 about as much as v4.
"""

from __future__ import annotations

from inceptions.layers import (
    Activation,
    AuxHead,
    BatchNorm,
    Branches,
    Projected,
    Residual,
    avg_pool,
    branches,
    chain,
    convolution,
    max_pool,
)
from inceptions.zoo.table import Changes, Rows, Table

conv = convolution(BatchNorm(), bias=False)


def residual(body: Branches, scale: float, activation: Activation | None = "relu") -> Residual:
    """Figure 20; the scales of the three grids are as released (the paper says 0.1 to 0.3)."""
    return Residual(Projected(body), scale=scale, activation=activation)


def reduction_a(reduce: int, three: int, last: int) -> Branches:
    """Figure 7; the widths are in table 1."""
    return branches(
        {
            "3x3": conv(384, 3, 2, "valid"),
            "3x3dbl": chain(conv(reduce), conv(three, 3), conv(last, 3, 2, "valid")),
            "pool": max_pool(3, 2, "valid"),
        }
    )


def reduction_b(first: int, second: int, three: int, last: int) -> Branches:
    """Figures 12 and 18."""
    return branches(
        {
            "3x3": chain(conv(256), conv(first, 3, 2, "valid")),
            "3x3_2": chain(conv(256), conv(second, 3, 2, "valid")),
            "3x3dbl": chain(conv(256), conv(three, 3), conv(last, 3, 2, "valid")),
            "pool": max_pool(3, 2, "valid"),
        }
    )


STEM: Rows = (  # as in Inception v3, up to its last pool
    ("conv_1a", conv(32, 3, 2, "valid")),  # 149x149x32
    ("conv_2a", conv(32, 3, 1, "valid")),  # 147x147x32
    ("conv_2b", conv(64, 3)),  # 147x147x64
    ("pool_3a", max_pool(3, 2, "valid")),  # 73x73x64
    ("conv_3b", conv(80)),  # 73x73x80
    ("conv_4a", conv(192, 3, 1, "valid")),  # 71x71x192
)
SMALL_STEM: Changes = {
    "conv_1a": conv(32, 3),
    "conv_2a": conv(32, 3),
    "pool_3a": None,
    "conv_4a": conv(192, 3),
}

BLOCK35_V1 = branches(  # figure 10
    {
        "1x1": conv(32),
        "3x3": chain(conv(32), conv(32, 3)),
        "3x3dbl": chain(conv(32), conv(32, 3), conv(32, 3)),
    }
)
BLOCK17_V1 = branches(  # figure 11
    {"1x1": conv(128), "7x7": chain(conv(128), conv(128, (1, 7)), conv(128, (7, 1)))}
)
BLOCK8_V1 = branches(  # figure 13
    {"1x1": conv(192), "3x3": chain(conv(192), conv(192, (1, 3)), conv(192, (3, 1)))}
)

# As facenet released it, with a plain head. Behind each row: height x width x channels for 299 x 299 pixels.
INCEPTION_RESNET_V1 = Table(
    (
        *STEM,
        ("conv_4b", conv(256, 3, 2, "valid")),  # 35x35x256
        *[(f"block35_{index}", residual(BLOCK35_V1, 0.17)) for index in range(1, 6)],  # 35x35x256
        ("mixed_6a", reduction_a(192, 192, 256)),  # 17x17x896
        *[(f"block17_{index}", residual(BLOCK17_V1, 0.10)) for index in range(1, 11)],  # 17x17x896
        ("mixed_7a", reduction_b(384, 256, 256, 256)),  # 8x8x1792
        *[(f"block8_{index}", residual(BLOCK8_V1, 0.20)) for index in range(1, 6)],  # 8x8x1792
        ("block8_last", residual(BLOCK8_V1, 1.0, None)),  # 8x8x1792
    ),
    runs=(("block35_1", "block35_5"), ("block17_1", "block17_10"), ("block8_1", "block8_5")),
)
SMALL_STEM_V1: Changes = {**SMALL_STEM, "conv_4b": conv(256, 3, 2)}

MIXED_5B = branches(
    {
        "1x1": conv(96),
        "5x5": chain(conv(48), conv(64, 5)),
        "3x3dbl": chain(conv(64), conv(96, 3), conv(96, 3)),
        "pool": chain(avg_pool(3), conv(64)),
    }
)
BLOCK35_V2 = branches(  # figure 16
    {
        "1x1": conv(32),
        "3x3": chain(conv(32), conv(32, 3)),
        "3x3dbl": chain(conv(32), conv(48, 3), conv(64, 3)),
    }
)
BLOCK17_V2 = branches(  # figure 17
    {"1x1": conv(192), "7x7": chain(conv(128), conv(160, (1, 7)), conv(192, (7, 1)))}
)
BLOCK8_V2 = branches(  # figure 19
    {"1x1": conv(192), "3x3": chain(conv(192), conv(224, (1, 3)), conv(256, (3, 1)))}
)
AUX = AuxHead(chain(conv(128), conv(768, 5, 1, "valid")), grid=5)  # as in v3

# As Google released it: 10, 20 and 9 + 1 blocks (the paper prints 5, 10 and 5).
INCEPTION_RESNET_V2 = Table(
    (
        *STEM,
        ("pool_5a", max_pool(3, 2, "valid")),  # 35x35x192
        ("mixed_5b", MIXED_5B),  # 35x35x320
        *[(f"block35_{index}", residual(BLOCK35_V2, 0.17)) for index in range(1, 11)],  # 35x35x320
        ("mixed_6a", reduction_a(256, 256, 384)),  # 17x17x1088
        *[(f"block17_{index}", residual(BLOCK17_V2, 0.10)) for index in range(1, 21)],  # 17x17x1088
        ("mixed_7a", reduction_b(384, 288, 288, 320)),  # 8x8x2080
        *[(f"block8_{index}", residual(BLOCK8_V2, 0.20)) for index in range(1, 10)],  # 8x8x2080
        ("block8_last", residual(BLOCK8_V2, 1.0, None)),  # 8x8x2080
        ("conv_7b", conv(1536)),  # 8x8x1536
    ),
    aux=(("block17_20", AUX),),
    runs=(("block35_1", "block35_10"), ("block17_1", "block17_20"), ("block8_1", "block8_9")),
)
SMALL_STEM_V2: Changes = {**SMALL_STEM, "pool_5a": max_pool(3, 2)}
