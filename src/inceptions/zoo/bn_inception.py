"""BN-Inception, Inception v2 (Ioffe and Szegedy, "Batch normalization", 2015, arXiv 1502.03167).

What it brought: normalize every layer's inputs over the mini-batch, so that a layer need not follow the drift of those
before it. Learning rates five to thirty times higher become safe, dropout and local response normalization can go, and
the accuracy of v1 is reached in a fourteenth of the steps. The network around it changes little: two 3x3 convolutions
see what a 5x5 sees, for less, and the grid is halved by strided branches next to a pool that passes its input through.
"""

from __future__ import annotations

from inceptions.layers import BatchNorm, Branches, Pool, avg_pool, branches, chain, convolution, max_pool
from inceptions.zoo.table import Changes, Table

# The published weights have biases under batch norm, which subtracts them again (section 3.2 of the paper).
conv = convolution(BatchNorm(), bias=True)
AVERAGE = avg_pool(3, include_border=True)


def block(
    one: int, reduce3: int, three: int, reduce33: int, double3: int, projection: int, pool: Pool = AVERAGE
) -> Branches:
    """The arguments are the columns of figure 5."""
    return branches(
        {
            "1x1": conv(one),
            "3x3": chain(conv(reduce3), conv(three, 3)),
            "3x3dbl": chain(conv(reduce33), conv(double3, 3), conv(double3, 3)),
            "pool": chain(pool, conv(projection)),
        }
    )


def reduction(reduce3: int, three: int, reduce33: int, double3: int) -> Branches:
    """A block that halves the grid. For 224 pixels its pool equals Caffe's, which rounds up; on odd grids only this one
    fits the convolutions."""
    return branches(
        {
            "3x3": chain(conv(reduce3), conv(three, 3, 2)),
            "3x3dbl": chain(conv(reduce33), conv(double3, 3), conv(double3, 3, 2)),
            "pool": max_pool(3, 2, "tf_same"),
        }
    )


# Figure 5, as the Caffe model has it. Behind each row: height x width x channels for 224 x 224 pixels. The pool
# projections of 4c and 4d: the paper prints 128 and a sum of 576, which exclude each other; Caffe keeps the 128.
BN_INCEPTION = Table(
    (
        ("conv1", conv(64, 7, 2)),  # 112x112x64
        ("pool1", max_pool(3, 2, "ceil")),  # 56x56x64
        ("conv2_reduce", conv(64)),  # 56x56x64
        ("conv2", conv(192, 3)),  # 56x56x192
        ("pool2", max_pool(3, 2, "ceil")),  # 28x28x192
        #                     1x1  3x3 reduce  3x3  double 3x3 reduce  double 3x3  pool projection
        ("inception_3a", block(64, 64, 64, 64, 96, 32)),  # 28x28x256
        ("inception_3b", block(64, 64, 96, 64, 96, 64)),  # 28x28x320
        ("inception_3c", reduction(128, 160, 64, 96)),  # 14x14x576
        ("inception_4a", block(224, 64, 96, 96, 128, 128)),  # 14x14x576
        ("inception_4b", block(192, 96, 128, 96, 128, 128)),  # 14x14x576
        ("inception_4c", block(160, 128, 160, 128, 160, 128)),  # 14x14x608
        ("inception_4d", block(96, 128, 192, 160, 192, 128)),  # 14x14x608
        ("inception_4e", reduction(128, 192, 192, 256)),  # 7x7x1056
        ("inception_5a", block(352, 192, 320, 160, 224, 128)),  # 7x7x1024
        ("inception_5b", block(352, 192, 320, 192, 224, 128, pool=max_pool(3))),  # 7x7x1024
    ),
    runs=(("inception_3a", "inception_3b"), ("inception_4a", "inception_4d"), ("inception_5a", "inception_5b")),
)
SMALL_STEM: Changes = {"conv1": conv(64, 3), "pool1": None}
