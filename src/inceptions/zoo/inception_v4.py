"""Inception v4 (Szegedy et al., "Inception-v4, Inception-ResNet and the impact of residual connections on learning",
2016, arXiv 1602.07261).

What it brought: the pure Inception network drawn anew, once the tools no longer forced it to be cut into pieces for
distributed training. Every block of one grid size is the same, the stem itself is built of branches, and there are more
blocks: 4, 7 and 3. It needs no residual connections to be trained, but more of everything to match them.
"""

from __future__ import annotations

from inceptions.layers import AuxHead, BatchNorm, avg_pool, branches, chain, convolution, max_pool
from inceptions.zoo.table import Changes, Table

conv = convolution(BatchNorm(), bias=False)

# Whether 1x7 or 7x1 comes first is as in the released code; the paper's figures disagree with it.
STEM4 = branches(  # figure 3
    {
        "3x3": chain(conv(64), conv(96, 3, 1, "valid")),
        "7x7": chain(conv(64), conv(64, (1, 7)), conv(64, (7, 1)), conv(96, 3, 1, "valid")),
    }
)
BLOCK_A = branches(  # figure 4
    {
        "1x1": conv(96),
        "3x3": chain(conv(64), conv(96, 3)),
        "3x3dbl": chain(conv(64), conv(96, 3), conv(96, 3)),
        "pool": chain(avg_pool(3), conv(96)),
    }
)
REDUCTION_A = branches(  # figure 7
    {
        "3x3": conv(384, 3, 2, "valid"),
        "3x3dbl": chain(conv(192), conv(224, 3), conv(256, 3, 2, "valid")),
        "pool": max_pool(3, 2, "valid"),
    }
)
BLOCK_B = branches(  # figure 5
    {
        "1x1": conv(384),
        "7x7": chain(conv(192), conv(224, (1, 7)), conv(256, (7, 1))),
        "7x7dbl": chain(conv(192), conv(192, (7, 1)), conv(224, (1, 7)), conv(224, (7, 1)), conv(256, (1, 7))),
        "pool": chain(avg_pool(3), conv(128)),
    }
)
REDUCTION_B = branches(  # figure 8
    {
        "3x3": chain(conv(192), conv(192, 3, 2, "valid")),
        "7x7x3": chain(conv(256), conv(256, (1, 7)), conv(320, (7, 1)), conv(320, 3, 2, "valid")),
        "pool": max_pool(3, 2, "valid"),
    }
)
BANK = branches({"1x3": conv(256, (1, 3)), "3x1": conv(256, (3, 1))})
BLOCK_C = branches(  # figure 6
    {
        "1x1": conv(256),
        "3x3": chain(conv(384), BANK),
        "3x3dbl": chain(conv(384), conv(448, (3, 1)), conv(512, (1, 3)), BANK),
        "pool": chain(avg_pool(3), conv(256)),
    }
)
AUX = AuxHead(chain(conv(128), conv(768, 5, 1, "valid")), grid=5)  # as in v3

# Figure 9. Behind each row: height x width x channels for 299 x 299 pixels.
INCEPTION_V4 = Table(
    (
        ("conv_1a", conv(32, 3, 2, "valid")),  # 149x149x32
        ("conv_2a", conv(32, 3, 1, "valid")),  # 147x147x32
        ("conv_2b", conv(64, 3)),  # 147x147x64
        ("mixed_3a", branches({"pool": max_pool(3, 2, "valid"), "3x3": conv(96, 3, 2, "valid")})),  # 73x73x160
        ("mixed_4a", STEM4),  # 71x71x192
        ("mixed_5a", branches({"3x3": conv(192, 3, 2, "valid"), "pool": max_pool(3, 2, "valid")})),  # 35x35x384
        *[(f"mixed_5{letter}", BLOCK_A) for letter in "bcde"],  # 35x35x384
        ("mixed_6a", REDUCTION_A),  # 17x17x1024
        *[(f"mixed_6{letter}", BLOCK_B) for letter in "bcdefgh"],  # 17x17x1024
        ("mixed_7a", REDUCTION_B),  # 8x8x1536
        *[(f"mixed_7{letter}", BLOCK_C) for letter in "bcd"],  # 8x8x1536
    ),
    aux=(("mixed_6h", AUX),),
    runs=(("mixed_5b", "mixed_5e"), ("mixed_6b", "mixed_6h"), ("mixed_7b", "mixed_7d")),
)
SMALL_STEM: Changes = {  # the grid is kept until the last halving of the stem
    "conv_1a": conv(32, 3),
    "conv_2a": conv(32, 3),
    "mixed_3a": branches({"pool": max_pool(3), "3x3": conv(96, 3)}),
    "mixed_4a": branches(
        {
            "3x3": chain(conv(64), conv(96, 3)),
            "7x7": chain(conv(64), conv(64, (1, 7)), conv(64, (7, 1)), conv(96, 3)),
        }
    ),
}
