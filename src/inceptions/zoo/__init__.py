"""The family: names -> tables, and `build`, which makes a network of one."""

from __future__ import annotations

import difflib
import inspect
import json
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

from inceptions.zoo.bn_inception import bn_inception
from inceptions.zoo.googlenet import googlenet
from inceptions.zoo.inception_resnet import inception_resnet_v1, inception_resnet_v2
from inceptions.zoo.inception_v3 import inception_v3
from inceptions.zoo.inception_v4 import inception_v4
from inceptions.zoo.network import Network, Table
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
    """Options whose default differs from the table's."""

    @property
    def options(self) -> dict[str, Any]:
        """Every option with its default."""
        parameters = inspect.signature(self.table).parameters.values()
        own = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
        return {"num_classes": self.num_classes, "in_channels": 3, **own, "hidden": (), **self.preset}


_BN = "Batch normalization"
_RETHINKING = "Rethinking the Inception architecture"
_RESIDUAL = "Inception-v4 and Inception-ResNet"
_XCEPTION = "Xception"
_DEEPLAB = "DeepLab v3+ (modified aligned Xception)"

MEMBERS: dict[str, Member] = {
    "googlenet": Member(
        table=googlenet, generation="v1", title="Going deeper with convolutions", paper="1409.4842", year=2014,
        input_size=224, aux_weight=0.3,
    ),
    "bn_inception": Member(
        table=bn_inception, generation="v2", title=_BN, paper="1502.03167", year=2015, input_size=224,
    ),
    "inception_v3": Member(
        table=inception_v3, generation="v3", title=_RETHINKING, paper="1512.00567", year=2015, input_size=299,
    ),
    "inception_v4": Member(
        table=inception_v4, generation="v4", title=_RESIDUAL, paper="1602.07261", year=2016, input_size=299,
    ),
    "inception_resnet_v1": Member(
        table=inception_resnet_v1, generation="v4", title=_RESIDUAL, paper="1602.07261", year=2016, input_size=299,
    ),
    "inception_resnet_v2": Member(
        table=inception_resnet_v2, generation="v4", title=_RESIDUAL, paper="1602.07261", year=2016, input_size=299,
    ),
    "xception": Member(
        table=xception, generation="v5", title=_XCEPTION, paper="1610.02357", year=2016, input_size=299,
    ),
    "xception41": Member(
        table=partial(xception_aligned, "xception41"), generation="v5", title=_DEEPLAB, paper="1802.02611", year=2018,
        input_size=299,
    ),
    "xception65": Member(
        table=partial(xception_aligned, "xception65"), generation="v5", title=_DEEPLAB, paper="1802.02611", year=2018,
        input_size=299,
    ),
    "xception71": Member(
        table=partial(xception_aligned, "xception71"), generation="v5", title=_DEEPLAB, paper="1802.02611", year=2018,
        input_size=299,
    ),
    "xception_stride16": Member(
        table=xception, generation="v5", title="Xception, the original notes' listing", paper="1610.02357", year=2016,
        input_size=299, num_classes=100,
        preset={
            "drop_rate": 0.0, "padding": "symmetric", "stem_padding": "same", "block4_stride": 1, "shortcut_bias": True,
            "rectify": True, "norm_eps": 1e-5,
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
        raise ValueError(f"no network is called {name!r}{_nearest(name, [*MEMBERS, *ALIASES])}; there are: "
                         f"{', '.join(MEMBERS)}")  # fmt: skip
    return name


def build(name: str, **options: Any) -> Network:
    """Build a member of the family with fresh weights.

    Args:
        name: one of `list_models()`, or an alias.
        options: `num_classes`, `in_channels`, `hidden` (widths of ReLU layers between pooling and classifier), and
            those of the network's function (see `MEMBERS[name].options`).

    Raises:
        ValueError: for an unknown name or option, a wrong type or an impossible value; the text says what is allowed.
    """
    name = resolve(name)
    member = MEMBERS[name]
    merged = {**member.options, **_checked(name, member, options)}
    table = member.table(**{key: value for key, value in merged.items() if key not in _COMMON})
    table = replace(table, head=replace(table.head, hidden=merged["hidden"]))
    return Network(
        table,
        num_classes=merged["num_classes"],
        in_channels=merged["in_channels"],
        name=name,
        options=merged,
        input_size=member.input_size,
        aux_weight=member.aux_weight,
    )


def parse_options(words: Mapping[str, str]) -> dict[str, Any]:
    """Options written as text, on a command line: numbers, `true`, `false`, `null`, lists as in JSON; else words."""
    parsed = {}
    for key, word in words.items():
        try:
            parsed[key] = json.loads(word)
        except json.JSONDecodeError:
            parsed[key] = word
    return parsed


# --- options: names, types and ranges, all read from the signatures -----------------------------------------------

_COMMON: dict[str, Any] = {"num_classes": int, "in_channels": int, "hidden": tuple[int, ...]}
"""Options that every network has beside those of its function."""

LIMITS: dict[str, tuple[float, float]] = {
    "num_classes": (1, 1_000_000),
    "in_channels": (1, 1024),
    "width": (0.01, 16),
    "depth": (0.01, 16),
    "drop_rate": (0, 0.999),
    "norm_eps": (0, 1),
    "norm_momentum": (0, 1),
    "bottleneck": (1, 1_000_000),
}


def _checked(name: str, member: Member, options: Mapping[str, Any]) -> dict[str, Any]:
    function = member.table.func if isinstance(member.table, partial) else member.table
    hints = {**typing.get_type_hints(function), **_COMMON}
    checked = {}
    for key, value in options.items():
        if key not in member.options:
            raise ValueError(f"{name} has no option {key!r}{_nearest(key, list(member.options))}; it has: "
                             f"{', '.join(member.options)}")  # fmt: skip
        value = tuple(value) if isinstance(value, list) else value
        if not _fits(value, hints[key]):
            raise ValueError(f"{name}: {key}={value!r} is not allowed; {_allowed(hints[key])}")
        low, high = LIMITS.get(key, (float("-inf"), float("inf")))
        if isinstance(value, int | float) and not low <= value <= high:
            raise ValueError(f"{name}: {key}={value!r} is out of range; allowed are {low:g} to {high:g}")
        checked[key] = value
    return checked


def _fits(value: object, hint: Any) -> bool:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return any(value == choice and type(value) is type(choice) for choice in arguments)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, argument) for argument in arguments)
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(item, arguments[0]) for item in value)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, hint) and (hint is bool or not isinstance(value, bool))


def _allowed(hint: Any) -> str:
    if typing.get_origin(hint) is Literal:
        return "choose " + " or ".join(repr(choice) for choice in typing.get_args(hint))
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " or ".join(_allowed(argument) for argument in typing.get_args(hint))
    return f"it must be {getattr(hint, '__name__', hint)}"


def _nearest(word: str, words: list[str]) -> str:
    near = difflib.get_close_matches(word, words, n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""
