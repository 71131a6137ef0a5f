"""The family: names -> tables, and `build`, which makes a network of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from typing import Any

from inceptions.zoo.bn_inception import bn_inception
from inceptions.zoo.googlenet import googlenet
from inceptions.zoo.inception_resnet import inception_resnet_v1, inception_resnet_v2
from inceptions.zoo.inception_v3 import inception_v3
from inceptions.zoo.inception_v4 import inception_v4
from inceptions.zoo.network import Network, Table
from inceptions.zoo.options import checked, defaults, nearest, parse_options
from inceptions.zoo.shared_options import Common
from inceptions.zoo.xception import xception, xception_aligned

__all__ = ["ALIASES", "MEMBERS", "Member", "Network", "Table", "build", "list_models", "parse_options", "resolve"]


@dataclass(frozen=True, kw_only=True)
class Member:
    """One network of the family."""

    table: Callable[..., Table]
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
        heads = {"num_classes": self.num_classes, "in_channels": 3}
        return {**heads, **asdict(Common()), **defaults(self.table), **self.preset}


_V4 = partial(
    Member, generation="v4", title="Inception-v4 and Inception-ResNet", paper="1602.07261", year=2016, input_size=299
)
_XCEPTION = partial(Member, table=xception, generation="v5", paper="1610.02357", year=2016, input_size=299)
_DEEPLAB = partial(
    Member, generation="v5", title="DeepLab v3+ (modified aligned Xception)", paper="1802.02611", year=2018,
    input_size=299, preset={"drop_rate": 0.5},
)  # fmt: skip

MEMBERS: dict[str, Member] = {
    "googlenet": Member(
        table=googlenet, generation="v1", title="Going deeper with convolutions", paper="1409.4842", year=2014,
        input_size=224, aux_weight=0.3, preset={"drop_rate": 0.4},
    ),
    "bn_inception": Member(
        table=bn_inception, generation="v2", title="Batch normalization", paper="1502.03167", year=2015, input_size=224,
    ),
    "inception_v3": Member(
        table=inception_v3, generation="v3", title="Rethinking the Inception architecture", paper="1512.00567",
        year=2015, input_size=299, preset={"drop_rate": 0.2},
    ),
    "inception_v4": _V4(table=inception_v4, preset={"drop_rate": 0.2}),
    "inception_resnet_v1": _V4(table=inception_resnet_v1, preset={"drop_rate": 0.2}),
    "inception_resnet_v2": _V4(table=inception_resnet_v2, preset={"drop_rate": 0.2}),
    "xception": _XCEPTION(title="Xception", preset={"drop_rate": 0.5}),
    "xception41": _DEEPLAB(table=partial(xception_aligned, "xception41")),
    "xception65": _DEEPLAB(table=partial(xception_aligned, "xception65")),
    "xception71": _DEEPLAB(table=partial(xception_aligned, "xception71")),
    "xception_stride16": _XCEPTION(
        title="Xception, the original notes' listing",
        num_classes=100,
        preset={
            "padding": "symmetric", "stem_padding": "same", "block4_stride": 1, "shortcut_bias": True, "rectify": True,
            "norm_eps": 1e-5,
        },
    ),
}  # fmt: skip

ALIASES = {"inception_v1": "googlenet", "inception_v2": "bn_inception"}


def list_models() -> tuple[str, ...]:
    """Names of the family, oldest first."""
    return tuple(MEMBERS)


def resolve(name: str) -> str:
    """The name itself, or what it is an alias of. Raises `ValueError` naming the nearest for an unknown one."""
    name = ALIASES.get(name, name)
    if name not in MEMBERS:
        raise ValueError(f"no network is called {name!r}{nearest(name, [*MEMBERS, *ALIASES])}; there are: "
                         f"{', '.join(MEMBERS)}")  # fmt: skip
    return name


def build(name: str, **options: Any) -> Network:
    """Build a member of the family with fresh weights.

    Args:
        name: one of `list_models()`, or an alias.
        options: `num_classes`, `in_channels`, those of `Common`, and those of the network's function
            (all of them: `MEMBERS[name].options`).

    Raises:
        ValueError: for an unknown name or option, a wrong type or an impossible value; the text says what is allowed.
    """
    name = resolve(name)
    member = MEMBERS[name]
    merged = {**member.options, **checked(name, member.table, options)}
    shared = {entry.name: merged[entry.name] for entry in fields(Common)}
    own = {key: merged[key] for key in defaults(member.table)}
    return Network(
        member.table(Common(**shared), **own),
        num_classes=merged["num_classes"],
        in_channels=merged["in_channels"],
        name=name,
        options=merged,
        input_size=member.input_size,
        aux_weight=member.aux_weight,
    )
