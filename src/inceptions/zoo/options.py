"""The options of a network: each has a type, a default, and the rewrite of the table that a value means."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from inceptions.checks import between, kind, shown
from inceptions.zoo.table import Table

Size = Annotated[int, between(1, 1_000_000)]
_COUNTS = {"num_classes": Size, "in_channels": Annotated[int, between(1, 1024)]}


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
    hints = {**_COUNTS, **{key: option.hint for key, option in own.items()}}
    found = {}
    for key, value in options.items():
        if key not in hints:
            raise ValueError(f"{name} has no option {key!r}{nearest(key, hints)}; it has: "
                             f"{', '.join(hints)}")  # fmt: skip
        value = tuple(value) if isinstance(value, list) else value
        allowed = kind(hints[key])
        if not allowed.fits(value):
            raise ValueError(f"{name}: {key}={shown(value)} is not allowed; choose {allowed.words}")
        found[key] = value
    return found


def nearest(word: str, words: Iterable[str]) -> str:
    """ " (did you mean ...?)" where one of `words` is close to `word`."""
    near = difflib.get_close_matches(word, [*words], n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""
