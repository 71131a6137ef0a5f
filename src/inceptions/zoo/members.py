"""The members of the family: each a published table, with the rewrite that every value of every option means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, Literal

from inceptions.checks import Rule, between
from inceptions.layers import Activation
from inceptions.zoo import bn_inception, googlenet, inception_resnet, inception_v3, inception_v4, variants, xception
from inceptions.zoo.depth import deepened
from inceptions.zoo.options import Option, Size, choice
from inceptions.zoo.plain import from_plain
from inceptions.zoo.table import Changes, Table

_Factor = Annotated[float, between(0.01, 16)]
_Share = Annotated[float, between(0, 1)]
_Scale = Annotated[float, between(-1e30, 1e30)]
_FEW = Rule(lambda values: len(values) <= 16, "(at most 16)")

TABLE = {"table": Option(dict | None, None, lambda table, plain: from_plain(plain) if plain else table)}
# In front: what changes the list of stages. At the end: what changes every layer.
SHAPE = {"depth": Option(_Factor, 1.0, deepened)}
LAYERS = {
    "width": Option(_Factor, 1.0, variants.scaled),
    "drop_rate": Option(
        Annotated[float, between(0, 0.999)], 0.0, lambda table, rate: variants.with_head(table, drop_rate=rate)
    ),
    "hidden": Option(
        Annotated[tuple[Size, ...], _FEW], (), lambda table, widths: variants.with_head(table, hidden=widths)
    ),
    "activation": Option(Activation, "relu", variants.with_activation),
    "norm_eps": Option(_Share, 1e-3, lambda table, eps: variants.with_norm(table, eps=eps)),
    "norm_momentum": Option(_Share, 0.1, lambda table, weight: variants.with_norm(table, momentum=weight)),
    "norm_scale": Option(bool, True, lambda table, scale: variants.with_norm(table, scale=scale)),
}
COMMON = ("width", "depth", "drop_rate", "stem", "hidden", "activation", "norm_eps", "norm_momentum", "norm_scale")
"""Options of every network, in the order in which they are shown."""


def _options(stem: Changes, own: Mapping[str, Option], first: Mapping[str, Option] | None = None) -> dict[str, Option]:
    """All options of a network, in the order in which they are applied."""
    small = {"stem": choice({"standard": None, "small": partial(variants.with_rows, rows=stem)})}
    return {**TABLE, **(first or {}), **SHAPE, **small, **own, **LAYERS}


AUX = Option(bool, False, variants.with_aux)
BORDER = Option(bool, False, variants.padding_counted)
RESIDUAL = choice({True: None, False: variants.without_residuals})
TF_PADDING = choice({"caffe": None, "tf_same": variants.tensorflow_padding})
SCALES = Option(Annotated[tuple[_Scale, ...], _FEW], (0.17, 0.10, 0.20), variants.residual_scales)
SEPARABLE = {
    "separable": choice({True: None, False: variants.regular_convolutions}),
    "middle_activation": choice({False: None, True: variants.activated_middles}),
    "order": choice({"space_first": None, "channel_first": variants.channels_first}),
}


@dataclass(frozen=True, kw_only=True)
class Member:
    """One network of the family."""

    table: Table
    """As published, with its auxiliary heads."""
    rewrites: Mapping[str, Option]
    """Its options, in the order in which they are applied."""
    generation: str
    title: str
    paper: str
    """arXiv number."""
    year: int
    input_size: int
    """Side of the published input, in pixels."""
    aux_weight: float = 0.4
    num_classes: int = 1000
    preset: Mapping[str, Any] = field(default_factory=dict)
    """Options whose default is this network's own."""

    @property
    def options(self) -> dict[str, Any]:
        """Every option with its default."""
        own = {name: option.default for name, option in self.rewrites.items()}
        shown = {"num_classes": self.num_classes, "in_channels": 3, **{name: own[name] for name in COMMON}}
        return {**shown, **own, **self.preset}

    def variant(self, options: Mapping[str, Any]) -> Table:
        """The table with every option's rewrite applied."""
        table = self.table
        for name, option in self.rewrites.items():
            table = option.rewrite(table, options[name])
        return table


_V4 = partial(
    Member, generation="v4", title="Inception-v4 and Inception-ResNet", paper="1602.07261", year=2016, input_size=299,
    preset={"drop_rate": 0.2},
)  # fmt: skip
_XCEPTION = partial(
    Member, table=xception.XCEPTION, generation="v5", paper="1610.02357", year=2016, input_size=299,
    rewrites=_options(xception.SMALL_STEM, {
        "padding": choice({"tf_same": None, "symmetric": variants.symmetric_padding}),
        "stem_padding": choice({"valid": None, "same": variants.padded_stem}),
        "block4_stride": choice({2: None, 1: variants.unstrided_block4}),
        "shortcut_bias": choice({False: None, True: variants.biased_shortcuts}),
        "rectify": choice({False: None, True: variants.rectified_shortcuts}),
        "residual": RESIDUAL,
        **SEPARABLE,
    }),
)  # fmt: skip
_DEEPLAB = partial(
    Member, generation="v5", title="DeepLab v3+ (modified aligned Xception)", paper="1802.02611", year=2018,
    input_size=299, preset={"drop_rate": 0.5},
    rewrites=_options(xception.WIDE_SMALL_STEM, {"residual": RESIDUAL, **SEPARABLE}),
)  # fmt: skip

MEMBERS: dict[str, Member] = {
    "googlenet": Member(
        table=googlenet.GOOGLENET, generation="v1", title="Going deeper with convolutions", paper="1409.4842",
        year=2014, input_size=224, aux_weight=0.3, preset={"drop_rate": 0.4},
        rewrites=_options(googlenet.SMALL_STEM, {
            "aux": AUX,
            "norm": choice({"lrn": None, "batch": variants.batch_normalized}),
            "five": choice({"5x5": None, "3x3": variants.small_fives}),
            "reduce": choice({True: None, False: variants.naive_modules}),
            "fourth_pool": choice({"3x3": None, "2x2": partial(variants.with_rows, rows=googlenet.SMALL_POOL)}),
            "padding": TF_PADDING,
            "aux_pool": choice({"paper": None, "adaptive": variants.adaptive_aux}),
        }),
    ),
    "bn_inception": Member(
        table=bn_inception.BN_INCEPTION, generation="v2", title="Batch normalization", paper="1502.03167", year=2015,
        input_size=224,
        rewrites=_options(
            bn_inception.SMALL_STEM,
            {
                "norm": choice({"batch": None, None: variants.without_norm}),
                "padding": TF_PADDING,
                "last_pool": Option(Literal["max", "avg"], "max", variants.last_pool),
                "include_border": Option(bool, True, variants.padding_counted),
                "conv_bias": choice({True: None, False: variants.without_biases}),
            },
            first={
                "first_conv": choice({"dense": None, "separable": variants.separable_first}),
                "late_pool_width": choice({128: None, 96: variants.narrow_late_pools}),
            },
        ),
    ),
    "inception_v3": Member(
        table=inception_v3.INCEPTION_V3, generation="v3", title="Rethinking the Inception architecture",
        paper="1512.00567", year=2015, input_size=299, preset={"drop_rate": 0.2},
        rewrites=_options(inception_v3.SMALL_STEM, {
            "aux": AUX,
            "factorize": choice({True: None, False: variants.whole_kernels}),
            "parallel_reduction": choice({True: None, False: variants.pool_first}),
            "last_pool": Option(Literal["avg", "max"], "avg", variants.last_pool),
            "include_border": BORDER,
        }),
    ),
    "inception_v4": _V4(
        table=inception_v4.INCEPTION_V4,
        rewrites=_options(inception_v4.SMALL_STEM, {
            "aux": AUX,
            "asymmetric_order": choice({"released": None, "paper": variants.paper_order}),
            "include_border": BORDER,
        }),
    ),
    "inception_resnet_v1": _V4(
        table=inception_resnet.INCEPTION_RESNET_V1,
        rewrites=_options(inception_resnet.SMALL_STEM_V1, {
            "bottleneck": Option(Size | None, None, lambda table, width: variants.with_head(table, bottleneck=width)),
            "scales": SCALES,
            "residual": RESIDUAL,
        }),
    ),
    "inception_resnet_v2": _V4(
        table=inception_resnet.INCEPTION_RESNET_V2,
        rewrites=_options(inception_resnet.SMALL_STEM_V2, {
            "aux": AUX, "scales": SCALES, "residual": RESIDUAL, "include_border": BORDER,
        }),
    ),
    "xception": _XCEPTION(title="Xception", preset={"drop_rate": 0.5}),
    "xception41": _DEEPLAB(table=xception.XCEPTION_41),
    "xception65": _DEEPLAB(table=xception.XCEPTION_65),
    "xception71": _DEEPLAB(table=xception.XCEPTION_71),
    "xception_stride16": _XCEPTION(
        title="Xception, the original notes' listing",
        num_classes=100,
        preset={
            "padding": "symmetric", "stem_padding": "same", "block4_stride": 1, "shortcut_bias": True, "rectify": True,
            "norm_eps": 1e-5,
        },
    ),
}  # fmt: skip
