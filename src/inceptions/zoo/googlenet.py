"""GoogLeNet, Inception v1 (Szegedy et al., "Going deeper with convolutions", 2014, arXiv 1409.4842).

What it brought: instead of choosing one kernel size for a layer, take 1x1, 3x3, 5x5 and a pool side by side and
concatenate what they find. That would be too expensive without the second idea, the 1x1 convolution in front of
the large kernels, which first reduces the channels. Two auxiliary classifiers bring gradient to the early layers of
what was then a very deep network (22 layers), and a global average in place of large fully connected layers keeps it at
seven million weights, a ninth of AlexNet's.
"""

from __future__ import annotations

from inceptions.layers import LRN, AuxHead, Branches, branches, chain, convolution, max_pool
from inceptions.zoo.table import Changes, Table

conv = convolution()


def block(one: int, reduce3: int, three: int, reduce5: int, five: int, pool: int) -> Branches:
    """Figure 2b; the arguments are the columns of table 1."""
    return branches(
        {
            "1x1": conv(one),
            "3x3": chain(conv(reduce3), conv(three, 3)),
            "5x5": chain(conv(reduce5), conv(five, 5)),
            "pool": chain(max_pool(3), conv(pool)),
        }
    )


AUX = AuxHead(conv(128), grid=4, hidden=1024, drop_rate=0.7)

# Table 1, with the borders of Caffe's bvlc_googlenet. Behind each row: height x width x channels for 224 x 224 pixels.
GOOGLENET = Table(
    (
        ("conv1", conv(64, 7, 2)),  # 112x112x64
        ("pool1", max_pool(3, 2, "ceil")),  # 56x56x64
        ("norm1", LRN()),  # 56x56x64
        ("conv2_reduce", conv(64)),  # 56x56x64
        ("conv2", conv(192, 3)),  # 56x56x192
        ("norm2", LRN()),  # 56x56x192
        ("pool2", max_pool(3, 2, "ceil")),  # 28x28x192
        #                     1x1  3x3 reduce  3x3  5x5 reduce  5x5  pool projection
        ("inception_3a", block(64, 96, 128, 16, 32, 32)),  # 28x28x256
        ("inception_3b", block(128, 128, 192, 32, 96, 64)),  # 28x28x480
        ("pool3", max_pool(3, 2, "ceil")),  # 14x14x480
        ("inception_4a", block(192, 96, 208, 16, 48, 64)),  # 14x14x512
        ("inception_4b", block(160, 112, 224, 24, 64, 64)),  # 14x14x512
        ("inception_4c", block(128, 128, 256, 24, 64, 64)),  # 14x14x512
        ("inception_4d", block(112, 144, 288, 32, 64, 64)),  # 14x14x528
        ("inception_4e", block(256, 160, 320, 32, 128, 128)),  # 14x14x832
        ("pool4", max_pool(3, 2, "ceil")),  # 7x7x832
        ("inception_5a", block(256, 160, 320, 32, 128, 128)),  # 7x7x832
        ("inception_5b", block(384, 192, 384, 48, 128, 128)),  # 7x7x1024
    ),
    aux=(("inception_4a", AUX), ("inception_4d", AUX)),
    runs=(("inception_3a", "inception_3b"), ("inception_4a", "inception_4e"), ("inception_5a", "inception_5b")),
)
SMALL_STEM: Changes = {"conv1": conv(64, 3), "pool1": None}
SMALL_POOL: Changes = {"pool4": max_pool(2, 2, "ceil")}  # TF-slim's and torchvision's last max pool
