"""Records that check themselves: the type of a field says what it may hold, `validated` says all that does not fit."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from functools import cache, reduce
from itertools import cycle
from operator import call
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeGuard, Union, get_args, get_origin, get_type_hints

_HUGE = sys.float_info.max
_WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    dict: "an object",
    list: "a list",
    Path: "a path",
    NoneType: "none",
}


@dataclass(frozen=True)
class Rule:
    """What a value must fulfill besides its type: `Annotated[TYPE, RULE]`; `Annotated[TYPE, RULE, "all in words"]`."""

    holds: Callable[[Any], object]
    words: str = ""


def above(low: float) -> Rule:
    """Larger than `low`."""
    return Rule(lambda number: number > low, f"> {low}")


def at_least(low: float) -> Rule:
    """Not smaller than `low`."""
    return Rule(lambda number: number >= low, f">= {low}")


def between(low: float, high: float, ends: Literal["[]", "[)", "(]", "()"] = "[]") -> Rule:
    """In the interval; a round bracket leaves its end out."""
    out = [end for end, bracket in zip((low, high), ends, strict=True) if bracket in "()"]
    return Rule(lambda number: low <= number <= high and number not in out, f"in {ends[0]}{low}, {high}{ends[1]}")


@dataclass(frozen=True)
class Kind:
    """The values of a type, and what to call them."""

    fits: Callable[[Any], bool]
    words: str


def kind(hint: Any) -> Kind:
    """Reads a type: numbers are finite and never bools, a float may be an int, choices are compared with their type."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _ruled(kind(parts[0]), parts[1:])
    if origin is Literal:
        choices = [(type(choice), choice) for choice in parts]  # True == 1
        return Kind(lambda value: (type(value), value) in choices, _either(map(repr, parts)))
    if origin in (Union, UnionType):
        kinds = [kind(part) for part in parts]
        return Kind(lambda value: any(one.fits(value) for one in kinds), _either(one.words for one in kinds))
    if origin is tuple:
        return _tuple([kind(part) for part in parts if part is not ...], many=... in parts)
    if hint is float:  # compared, not converted: whole numbers may be larger than any float
        return Kind(lambda value: is_number(value) and -_HUGE <= value <= _HUGE, _WORDS[float])
    if hint is int:
        return Kind(lambda value: isinstance(value, int) and not isinstance(value, bool), _WORDS[int])
    plain = object if hint is Any else origin or hint
    return Kind(lambda value: isinstance(value, plain), _WORDS.get(plain, plain.__name__))


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is an int or a float, infinite or not; a bool is not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _either(words: Iterable[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last


def _ruled(base: Kind, notes: Iterable[object]) -> Kind:
    rules = [note for note in notes if isinstance(note, Rule)]  # other notes are for other readers
    words = [note for note in notes if isinstance(note, str)] or [base.words, *(rule.words for rule in rules)]
    return Kind(reduce(_both, [rule.holds for rule in rules], base.fits), " ".join(filter(None, words)))


def _both(one: Callable[[Any], object], other: Callable[[Any], object]) -> Callable[[Any], bool]:
    return lambda value: bool(one(value) and other(value))


def _tuple(items: list[Kind], many: bool) -> Kind:
    tests, count = [item.fits for item in items], len(items)
    words = f"a list, each {items[0].words}" if many else f"({', '.join(item.words for item in items)})"
    return Kind(
        lambda values: (
            isinstance(values, tuple) and (many or len(values) == count) and all(map(call, cycle(tests), values))
        ),
        words,
    )


@cache
def _kinds(record: type[Any]) -> tuple[tuple[str, Kind], ...]:
    hints = get_type_hints(record, include_extras=True)
    return tuple((field.name, kind(hints[field.name])) for field in fields(record))


def validated(record: Any, conflicts: Iterable[str] = (), says: str = "{name} is {value}; {allowed} expected") -> None:
    """Checks every field of a dataclass by its type; a list becomes the tuple that is meant.

    Args:
        record: the dataclass, frozen or not.
        conflicts: what its rules between fields find; asked after the types.
        says: how a field that does not fit is named.

    Raises:
        ValueError: naming every problem.
    """
    problems = []
    for name, allowed in _kinds(record.__class__):
        value = getattr(record, name)
        if allowed.fits(value):
            continue
        if isinstance(value, list) and allowed.fits(tuple(value)):
            object.__setattr__(record, name, tuple(value))
        else:
            problems.append(says.format(name=name, value=shown(value), allowed=allowed.words))
    try:
        problems.extend(conflicts)  # those before an exception stay
    except (TypeError, AttributeError):  # of a value of another type, which is named already
        if not problems:
            raise
    if problems:
        raise ValueError("; ".join(problems))


def shown(value: object) -> str:
    """The value as Python writes it, cut."""
    return f"{value!r:.200}"
