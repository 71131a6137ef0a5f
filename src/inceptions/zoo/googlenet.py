"""GoogLeNet, Inception v1 (Szegedy et al., "Going deeper with convolutions", 2014, arXiv 1409.4842).

What it brought: instead of choosing one kernel size for a layer, take 1x1, 3x3, 5x5 and a pool side by side and
concatenate what they find. That would be too dear were it not for the second idea, the 1x1 convolution in front of
the large kernels, which first reduces the channels. Two auxiliary classifiers bring gradient to the early layers of
what was then a very deep network (22 layers), and a global average in place of large fully connected layers keeps it at
seven million weights, a ninth of AlexNet's.
"""

from __future__ import annotations

from typing import Literal

from inceptions.layers import (
    LRN,
    AuxHead,
    Branches,
    Layer,
    Padding,
    branches,
    chain,
    max_pool,
)
from inceptions.zoo.network import Table, lettered
from inceptions.zoo.shared_options import Common

#     1x1  3x3 reduce  3x3  5x5 reduce  5x5  pool projection    (table 1 of the paper)
INCEPTION_3 = (
    (64, 96, 128, 16, 32, 32),
    (128, 128, 192, 32, 96, 64),
)
INCEPTION_4 = (
    (192, 96, 208, 16, 48, 64),
    (160, 112, 224, 24, 64, 64),
    (128, 128, 256, 24, 64, 64),
    (112, 144, 288, 32, 64, 64),
    (256, 160, 320, 32, 128, 128),
)
INCEPTION_5 = (
    (256, 160, 320, 32, 128, 128),
    (384, 192, 384, 48, 128, 128),
)


def googlenet(
    common: Common,
    *,
    aux: bool = False,
    norm: Literal["lrn", "batch"] = "lrn",
    five: Literal["5x5", "3x3"] = "5x5",
    reduce: bool = True,
    fourth_pool: Literal["3x3", "2x2"] = "3x3",
    padding: Literal["caffe", "tf_same"] = "caffe",
    aux_pool: Literal["paper", "adaptive"] = "paper",
) -> Table:
    """Inception v1, by default as in the paper and in Caffe's `bvlc_googlenet` (table 1; figures 2 and 3).

    Args:
        norm: "lrn" (the paper) or "batch", what TF-slim and torchvision put in its place.
        five: "3x3" for the kernel that TF-slim and torchvision really have in the 5x5 branch.
        reduce: False for the naive module of figure 2a: no 1x1 in front of 3x3 and 5x5, the pool branch passed through.
        fourth_pool: the last max pool; TF-slim and torchvision have 2x2.
        padding: "caffe" pads convolutions symmetrically and rounds pools up; "tf_same" is TensorFlow's SAME.
        aux_pool: "adaptive" pools to 4x4 in torchvision's way at every size.
    """
    batch = common.norm if norm == "batch" else None
    conv = common.conv(batch)
    strided: Padding = "tf_same" if padding == "tf_same" else "same"
    pooled: Padding = "tf_same" if padding == "tf_same" else "ceil"
    large = 5 if five == "5x5" else 3

    def inception(one: int, reduce3: int, three: int, reduce5: int, five: int, pool: int) -> Branches:
        if not reduce:
            return branches({"1x1": conv(one), "3x3": conv(three, 3), "5x5": conv(five, large), "pool": max_pool(3)})
        return branches(
            {
                "1x1": conv(one),
                "3x3": chain(conv(reduce3), conv(three, 3)),
                "5x5": chain(conv(reduce5), conv(five, large)),
                "pool": chain(max_pool(3), conv(pool)),
            }
        )

    threes = [inception(*row) for row in common.repeat(INCEPTION_3)]
    fours = lettered("inception_4", [inception(*row) for row in common.repeat(INCEPTION_4)])
    fives = [inception(*row) for row in common.repeat(INCEPTION_5)]

    lrn: list[Layer] = [LRN()] if norm == "lrn" else []
    small = common.small
    stages: list[tuple[str, Layer]] = [
        ("conv1", conv(64, 3) if small else conv(64, 7, 2, strided)),
        *([] if small else [("pool1", max_pool(3, 2, pooled))]),
        *[("norm1", layer) for layer in lrn],
        ("conv2_reduce", conv(64)),
        ("conv2", conv(192, 3)),
        *[("norm2", layer) for layer in lrn],
        ("pool2", max_pool(3, 2, pooled)),
        *lettered("inception_3", threes),
        ("pool3", max_pool(3, 2, pooled)),
        *fours,
        ("pool4", max_pool(3 if fourth_pool == "3x3" else 2, 2, pooled)),
        *lettered("inception_5", fives),
    ]
    head = AuxHead(conv(128), grid=4, hidden=1024, drop_rate=0.7, adaptive=aux_pool == "adaptive")
    # After the first block and the last but one of this grid: 4a and 4d.
    taps = dict.fromkeys((fours[0][0], fours[max(0, len(fours) - 2)][0]))
    return Table(tuple(stages), common.head(), tuple((tap, head) for tap in taps) if aux else ())
