"""The options of a network: each has a type, a default, and the rewrite of the table that a value means."""

from __future__ import annotations

import difflib
import json
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from inceptions.zoo.table import Table

LIMITS: dict[str, tuple[float, float]] = {
    "num_classes": (1, 1_000_000),
    "in_channels": (1, 1024),
    "width": (0.01, 16),
    "depth": (0.01, 16),
    "drop_rate": (0, 0.999),
    "norm_eps": (0, 1),
    "norm_momentum": (0, 1),
    "bottleneck": (1, 1_000_000),
    "hidden": (1, 1_000_000),
}
"""Smallest and largest value, of lists: of each of their values."""
_ANY = (-1e30, 1e30)  # neither infinite nor NaN
_LONGEST = 16  # values in a list


@dataclass(frozen=True)
class Option:
    """One option of a network: its type, its default, and the rewrite that a value means."""

    hint: Any
    default: Any
    rewrite: Callable[[Table, Any], Table]


def choice(rewrites: Mapping[Any, Callable[[Table], Table] | None]) -> Option:
    """An option of a few values, the default first, each with its rewrite (None: as published)."""

    def rewrite(table: Table, value: Any) -> Table:
        change = rewrites[value]
        return change(table) if change else table

    values = tuple(rewrites)
    return Option(bool if {*values} == {True, False} else Literal[values], values[0], rewrite)


def parse_options(words: Mapping[str, str]) -> dict[str, Any]:
    """Options written as text, on a command line: numbers, `true`, `false`, `null`, lists as in JSON; else words."""
    parsed = {}
    for key, word in words.items():
        try:
            parsed[key] = json.loads(word)
        except json.JSONDecodeError:
            parsed[key] = word
    return parsed


def checked(name: str, own: Mapping[str, Option], options: Mapping[str, Any]) -> dict[str, Any]:
    """`options`, each of which the network has, of its type and in its range (lists become tuples).

    Raises:
        ValueError: saying what came, what is allowed, and which name was probably meant.
    """
    hints = {"num_classes": int, "in_channels": int, **{key: option.hint for key, option in own.items()}}
    found = {}
    for key, value in options.items():
        if key not in hints:
            raise ValueError(f"{name} has no option {key!r}{nearest(key, hints)}; it has: "
                             f"{', '.join(hints)}")  # fmt: skip
        value = tuple(value) if isinstance(value, list) else value
        if not _fits(value, hints[key]):
            raise ValueError(f"{name}: {key}={value!r} is not allowed; {_allowed(hints[key])}")
        if problem := _out_of_range(key, value):
            raise ValueError(f"{name}: {key}={value!r:.200} is out of range; {problem}")
        found[key] = value
    return found


def _out_of_range(key: str, value: object) -> str:
    """What is allowed, where a number (or one in a list) is too small, too large or none; else nothing."""
    values = value if isinstance(value, tuple) else (value,)
    numbers = [item for item in values if isinstance(item, int | float)]
    low, high = LIMITS.get(key, _ANY)
    if len(values) > _LONGEST:
        return f"at most {_LONGEST} values are allowed"
    return "" if all(low <= number <= high for number in numbers) else f"allowed are {low:g} to {high:g}"


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


def nearest(word: str, words: Iterable[str]) -> str:
    """ " (did you mean ...?)" where one of `words` is close to `word`."""
    near = difflib.get_close_matches(word, [*words], n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""
