"""BN-Inception, Inception v2 (Ioffe and Szegedy, "Batch normalization", 2015, arXiv 1502.03167).

What it brought: normalise every layer's inputs over the mini-batch, so that a layer need not follow the drift of those
before it. Learning rates five to thirty times higher become safe, dropout and local response normalisation can go, and
the accuracy of v1 is reached in a fourteenth of the steps. The network around it changes little: two 3x3 convolutions
see what a 5x5 sees, for less, and the grid is halved by strided branches beside a pool that passes its input through.
"""

from __future__ import annotations

from typing import Literal

from inceptions.layers import (
    Branches,
    Layer,
    Padding,
    Separable,
    avg_pool,
    branches,
    chain,
    max_pool,
)
from inceptions.zoo.network import Table, lettered
from inceptions.zoo.shared_options import Common

#     1x1  3x3 reduce  3x3  double 3x3 reduce  double 3x3  pool projection    (figure 5 of the paper)
INCEPTION_3 = (
    (64, 64, 64, 64, 96, 32),
    (64, 64, 96, 64, 96, 64),
)
INCEPTION_4 = (
    (224, 64, 96, 96, 128, 128),
    (192, 96, 128, 96, 128, 128),
    (160, 128, 160, 128, 160, 128),
    (96, 128, 192, 160, 192, 128),
)
INCEPTION_5 = (
    (352, 192, 320, 160, 224, 128),
    (352, 192, 320, 192, 224, 128),
)


def bn_inception(
    common: Common,
    *,
    norm: Literal["batch"] | None = "batch",
    first_conv: Literal["dense", "separable"] = "dense",
    late_pool_width: Literal[128, 96] = 128,
    padding: Literal["caffe", "tf_same"] = "caffe",
    include_border: bool = True,
    last_pool: Literal["max", "avg"] = "max",
    conv_bias: bool = True,
) -> Table:
    """Inception v2, by default as the Caffe model has it (figure 5 of the paper).

    Args:
        norm: None trains the same network without batch normalisation.
        first_conv: "separable" for the paper's and TF-slim's first layer (7x7 over space, 8 filters a channel, biased
            and not normalised), "dense" for the 7x7 convolution of the Caffe model.
        late_pool_width: pool projections of 4c and 4d. The paper prints 128 and a sum of 576, which excludes each
            other: the Caffe model keeps 128 (608 channels), TF-slim 96 (576).
        padding: "caffe" pads convolutions symmetrically and rounds pools up; "tf_same" is TensorFlow's SAME.
        include_border: average pools count the zeros of the border (Caffe) or not (TensorFlow).
        last_pool: kind of pool in the last block.
        conv_bias: biases under batch norm, as in the published weights. Batch norm subtracts them again (section 3.2
            of the paper), so False gives the same family of functions.
    """
    batch = common.norm if norm else None
    conv = common.conv(batch, bias=conv_bias or norm is None)
    same: Padding = "tf_same" if padding == "tf_same" else "same"
    pooled: Padding = "tf_same" if padding == "tf_same" else "ceil"

    def inception(
        one: int, reduce3: int, three: int, reduce33: int, double3: int, pool: int, kind: str = "avg"
    ) -> Branches:
        return branches(
            {
                "1x1": conv(one),
                "3x3": chain(conv(reduce3), conv(three, 3)),
                "3x3dbl": chain(conv(reduce33), conv(double3, 3), conv(double3, 3)),
                "pool": chain(max_pool(3) if kind == "max" else avg_pool(3, include_border), conv(pool)),
            }
        )

    def reduction(reduce3: int, three: int, reduce33: int, double3: int) -> Branches:
        # On even grids (224 px) this pool equals Caffe's, rounded up; on odd ones only this fits the convolutions.
        return branches(
            {
                "3x3": chain(conv(reduce3), conv(three, 3, 2, same)),
                "3x3dbl": chain(conv(reduce33), conv(double3, 3), conv(double3, 3, 2, same)),
                "pool": max_pool(3, 2, "tf_same"),
            }
        )

    fours = [*INCEPTION_4[:2], *((*row[:5], late_pool_width) for row in INCEPTION_4[2:])]
    blocks3 = [inception(*row) for row in common.repeat(INCEPTION_3)]
    blocks4 = [inception(*row) for row in common.repeat(fours)]
    *fives, last = common.repeat(INCEPTION_5)
    blocks5 = [*(inception(*row) for row in fives), inception(*last, kind=last_pool)]

    small = common.small
    first: Layer = conv(64, 7, 2, same)
    if first_conv == "separable":
        first = Separable(common.scaled(64), 7, 2, same, activation=common.activation, multiplier=8, bias=True)
    stages: list[tuple[str, Layer]] = [
        ("conv1", conv(64, 3) if small else first),
        *([] if small else [("pool1", max_pool(3, 2, pooled))]),
        ("conv2_reduce", conv(64)),
        ("conv2", conv(192, 3)),
        ("pool2", max_pool(3, 2, pooled)),
        *lettered("inception_3", [*blocks3, reduction(128, 160, 64, 96)]),
        *lettered("inception_4", [*blocks4, reduction(128, 192, 192, 256)]),
        *lettered("inception_5", blocks5),
    ]
    return Table(tuple(stages), common.head())
