"""The ablations of the family's papers: what was claimed, and which settings put it to the test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way to train; it differs from the others of its study in nothing else."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of `TrainConfig`; `options` are added to those that are there."""
    lr_factor: float = 1.0
    """Multiplies the learning rate."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """A question with two or more arms, the first of which is what the others are compared with."""

    title: str
    claim: str
    """What the paper says, in our words."""
    source: str
    """arXiv number and place."""
    model: str
    """Network that it is asked of, unless another is given."""
    arms: tuple[Arm, ...]


def _option(name: str, **options: Any) -> Arm:
    return Arm(name=name, settings={"options": options} if options else {})


_V1, _V2, _V3, _V4, _V5 = "1409.4842", "1502.03167", "1512.00567", "1602.07261", "1610.02357"
_NO_NORM = {"options": {"norm": None}}
_SIGMOID = {"options": {"activation": "sigmoid"}}

STUDIES: dict[str, Study] = {
    "reduction": Study(
        title="1x1 reduction in front of the large kernels",
        claim="Reducing the channels before 3x3 and 5x5 convolutions makes the block affordable without loss.",
        source=f"{_V1}, section 4 and figure 2",
        model="googlenet",
        arms=(_option("with reduction"), _option("naive", reduce=False)),
    ),
    "auxiliary": Study(
        title="Auxiliary classifiers",
        claim="Classifiers on inner stages bring gradient to the early layers (v1: about half a point); v3 found that "
        "they regularize, and do not speed up the start.",
        source=f"{_V1}, section 5; {_V3}, section 4",
        model="googlenet",
        arms=(Arm(name="without"), Arm(name="with auxiliary heads", settings={"aux": True})),
    ),
    "batch_norm": Study(
        title="Batch normalization and the learning rate",
        claim="Normalized networks train faster, and bear learning rates five and thirty times as high.",
        source=f"{_V2}, section 4.2 and figure 2",
        model="bn_inception",
        arms=(
            Arm(name="batch norm, 1x"),
            Arm(name="batch norm, 5x", lr_factor=5),
            Arm(name="batch norm, 30x", lr_factor=30),
            Arm(name="no norm, 1x", settings=_NO_NORM),
            Arm(name="no norm, 5x", settings=_NO_NORM, lr_factor=5),
        ),
    ),
    "sigmoid": Study(
        title="Sigmoids, with and without batch normalization",
        claim="With batch norm a network of sigmoids reaches 69.8 %; without, it stays at chance.",
        source=f"{_V2}, section 4.2.2",
        model="bn_inception",
        arms=(
            Arm(name="sigmoid, batch norm", settings=_SIGMOID),
            Arm(name="sigmoid, no norm", settings={"options": {"activation": "sigmoid", "norm": None}}),
            Arm(name="ReLU, batch norm"),
        ),
    ),
    "initial_weights": Study(
        title="Initial weights ten times too small or too large",
        claim="The scale of a weight does not change what batch norm lets through, so training bears a bad start.",
        source=f"{_V2}, section 3.3",
        model="bn_inception",
        arms=(
            Arm(name="batch norm, x 1"),
            Arm(name="batch norm, x 0.1", settings={"init_scale": 0.1}),
            Arm(name="batch norm, x 10", settings={"init_scale": 10.0}),
            Arm(name="no norm, x 1", settings=_NO_NORM),
            Arm(name="no norm, x 0.1", settings={**_NO_NORM, "init_scale": 0.1}),
            Arm(name="no norm, x 10", settings={**_NO_NORM, "init_scale": 10.0}),
        ),
    ),
    "pooling": Study(
        title="Halving the grid: pool before, or beside the convolutions",
        claim="Pooling first squeezes the representation; strided convolutions beside a pool do not, at equal cost.",
        source=f"{_V3}, section 5 and figures 9 and 10",
        model="inception_v3",
        arms=(_option("beside"), _option("before", parallel_reduction=False)),
    ),
    "order": Study(
        title="Separable convolutions: space first, or channels first",
        claim="The order of the two halves does not matter in a deep stack.",
        source=f"{_V5}, section 1.3",
        model="xception",
        arms=(_option("space first"), _option("channels first", order="channel_first")),
    ),
    "factorisation": Study(
        title="Large kernels factorized",
        claim="1x7 with 7x1 for 7x7, and two 3x3 for 5x5, save much of the work and lose nothing.",
        source=f"{_V3}, section 3",
        model="inception_v3",
        arms=(_option("factorized"), _option("whole kernels", factorize=False)),
    ),
    "smoothing": Study(
        title="Label smoothing",
        claim="Mixing a tenth of the uniform distribution into the labels gains about 0.2 points.",
        source=f"{_V3}, section 7",
        model="inception_v3",
        arms=(Arm(name="hard labels"), Arm(name="smoothing 0.1", settings={"smoothing": 0.1})),
    ),
    "residual": Study(
        title="Residual connections",
        claim="They speed up training greatly, and end slightly better.",
        source=f"{_V4}, section 5",
        model="inception_resnet_v2",
        arms=(_option("residual"), _option("plain", residual=False)),
    ),
    "separable": Study(
        title="Separable for regular convolutions",
        claim="Separable convolutions make better use of as many parameters; regular ones, as here, have many more.",
        source=f"{_V5}, section 4",
        model="xception",
        arms=(_option("separable"), _option("regular", separable=False)),
    ),
    "middle_activation": Study(
        title="An activation between the halves of a separable convolution",
        claim="None between depthwise and pointwise convolution is faster and better than ReLU.",
        source=f"{_V5}, section 4.7 and figure 10",
        model="xception",
        arms=(_option("none"), _option("ReLU", middle_activation=True)),
    ),
}
