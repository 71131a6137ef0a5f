"""The types of a record's fields decide what they may hold."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest

from inceptions.checks import Rule, above, at_least, between, is_number, kind, validated
from inceptions.errors import some


@dataclass(frozen=True)
class Plan:
    size: tuple[Annotated[int, between(1, 8)], Annotated[int, between(1, 8)]] = (1, 1)
    rate: Annotated[float, above(0)] = 0.1
    first: int = 0
    last: int = 9

    def __post_init__(self) -> None:
        validated(self, self._conflicts())

    def _conflicts(self) -> Iterator[str]:
        if self.first > self.last:
            yield f"first {self.first} is after last {self.last}"


@pytest.mark.parametrize(
    ("hint", "good", "bad"),
    [
        (int, [0, -3, 10**400], [True, 1.0, "1", None, math.nan]),
        (float, [0, 0.5, -1e300], [True, math.nan, math.inf, -math.inf, 10**400, "1"]),
        (bool, [True, False], [0, 1, "true"]),
        (Annotated[int, between(1, 3)], [1, 3], [0, 4, 2.0]),
        (Annotated[float, between(0, 1, "[)")], [0, 0.999], [1, -0.001]),
        (Annotated[float, between(0, 1, "(]")], [1, 1e-9], [0]),
        (Annotated[float, above(0)], [1e-300], [0, math.inf]),
        (Annotated[int, at_least(2)] | Literal["auto"], [2, "auto"], [1, "Auto", True]),
        (float | None, [None, 1], [math.nan, ""]),
        (Literal[1, "a", None], [1, "a", None], [True, 1.0, "b", [1]]),
        (Literal[True, False], [True], [1, 0]),
        (tuple[int, float], [(1, 2.5)], [(1,), (1, 2, 3), [1, 2.5], (1.5, 1)]),
        (Annotated[tuple[float, ...], Rule(lambda values: len(values) < 3)], [(), (1, 2)], [(1, 2, 3), ("a",)]),
        (dict[str, Any], [{}, {"a": 1}], [[], None]),
        (Any, [None, math.nan], []),
    ],
    ids=lambda value: None,  # numbered: these types print with addresses, which differ between test processes
)
def test_a_value_fits_its_type_or_not(hint: Any, good: list[object], bad: list[object]) -> None:
    fits = kind(hint).fits
    assert [value for value in good if not fits(value)] == []
    assert [value for value in bad if fits(value)] == []


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (Annotated[int, between(1, 8)] | None, "a whole number in [1, 8] or none"),
        (Annotated[float, above(0)], "a number > 0"),
        (Literal["a", "b", 3], "'a', 'b' or 3"),
        (tuple[int, ...], "a list, each a whole number"),
        (tuple[int, float], "(a whole number, a number)"),
        (Annotated[float, between(0, 1), "a share"], "a share"),
    ],
    ids=lambda value: None,  # numbered: these types print with addresses, which differ between test processes
)
def test_a_type_says_what_is_allowed(hint: Any, words: str) -> None:
    assert kind(hint).words == words


def test_every_problem_of_a_record_is_named_at_once_with_those_between_fields() -> None:
    with pytest.raises(ValueError, match="size is") as caught:
        Plan(size=(0, 3), rate=math.nan, first=5, last=1)
    assert str(caught.value).split("; ") == [
        "size is (0, 3)",
        "(a whole number in [1, 8], a whole number in [1, 8]) expected",
        "rate is nan",
        "a number > 0 expected",
        "first 5 is after last 1",
    ]


def test_a_rule_between_fields_does_not_stumble_over_a_value_of_another_type() -> None:
    with pytest.raises(ValueError, match=r"^last is 'end'; a whole number expected$"):
        Plan(last="end")  # type: ignore[arg-type]


def test_a_mistake_in_a_rule_is_not_hidden() -> None:
    with pytest.raises(TypeError):
        validated(Plan(), (len(name) for name in [1]))  # type: ignore[arg-type, misc]


def test_a_list_becomes_the_tuple_that_is_meant() -> None:
    assert Plan(size=[2, 3]).size == (2, 3)  # type: ignore[arg-type]


def test_a_value_of_any_length_is_repeated_cut() -> None:
    with pytest.raises(ValueError, match="first is") as caught:
        Plan(first="x" * 100_000)  # type: ignore[arg-type]
    assert len(str(caught.value)) < 300


def test_infinite_numbers_are_numbers_and_bools_are_not() -> None:
    assert [value for value in (1, 1.5, math.inf, True, "1", None) if is_number(value)] == [1, 1.5, math.inf]


def test_some_of_many_are_named_and_the_others_counted() -> None:
    assert some("abc") == "a, b, c"
    assert some("abc", 3) == "a, b, c"
    assert some("abcd", 2) == "a, b and 2 more"
    assert some("abcd", 2, "; ") == "a; b and 2 more"
    assert some("abcd", 1, lines=True) == "a\n... and 3 more"
    assert some(()) == ""
