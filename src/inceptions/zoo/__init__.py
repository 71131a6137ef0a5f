"""The family: names -> published tables and their options, and `build`, which makes a network of one."""

from __future__ import annotations

from typing import Any

from inceptions.zoo.members import MEMBERS, Member
from inceptions.zoo.network import Network
from inceptions.zoo.options import checked, nearest, parse_options
from inceptions.zoo.plain import to_plain
from inceptions.zoo.table import Table

__all__ = ["ALIASES", "MEMBERS", "Member", "Network", "Table", "build", "list_models", "parse_options", "resolve"]

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
        options: `num_classes`, `in_channels`, and those of the network (all of them: `MEMBERS[name].options`); `table`
            is another `Table` in the place of the published one, to which the other options are applied.

    Raises:
        ValueError: for an unknown name or option, a wrong type or an impossible value; the text says what is allowed.
    """
    name = resolve(name)
    member = MEMBERS[name]
    if isinstance(options.get("table"), Table):
        options["table"] = to_plain(options["table"])
    merged = {**member.options, **checked(name, member.rewrites, options)}
    return Network(
        member.variant(merged),
        num_classes=merged["num_classes"],
        in_channels=merged["in_channels"],
        name=name,
        options=merged,
        input_size=member.input_size,
        aux_weight=member.aux_weight,
    )
