"""Tables as plain data (JSON) and back: a network of your own is stored with its weights, opened without your code."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from typing import Any, Literal

from inceptions import layers
from inceptions.checks import is_number
from inceptions.layers import Layer
from inceptions.zoo.table import Table

KINDS: dict[str, type] = {
    kind.__name__: kind
    for kind in (
        layers.Act, layers.AuxHead, layers.BatchNorm, layers.Branches, layers.Chain, layers.Conv, layers.Head,
        layers.Identity, layers.LRN, layers.Pool, layers.Projected, layers.Residual, layers.Separable, Table,
    )
}  # fmt: skip
"""What a table may be made of; a file names these and nothing else."""
_DEEPEST, _MOST, _LARGEST = 24, 20_000, 65_536
"""Layers in layers, records and lists in all, and the largest number (of channels, pixels): far beyond any network."""


def to_plain(record: Any) -> Any:
    """A table, or any record of one, as dictionaries, lists, text and numbers; defaults are left out."""
    if isinstance(record, tuple):
        return [to_plain(item) for item in record]
    if type(record).__name__ not in KINDS:
        return record
    named = {entry.name: (getattr(record, entry.name), entry.default) for entry in fields(record)}
    return {"is": type(record).__name__, **{k: to_plain(v) for k, (v, default) in named.items() if v != default}}


def from_plain(value: object) -> Table:
    """The table that `to_plain` wrote.

    Raises:
        ValueError: it is none: an unknown kind or field, a value of another type or out of range, nested too deeply.
    """
    left = [_MOST]
    table = _record(value, Table, "table", _DEEPEST, left)
    assert isinstance(table, Table)
    names = [name for name, _ in table.stages]
    known = {*names}
    strange = [name for name in (*(tap for tap, _ in table.aux), *(end for run in table.runs for end in run))
               if name not in known]  # fmt: skip
    if not names or len(known) < len(names) or strange:
        raise ValueError("table: its rows need names of their own, and what aux and runs name must be rows")
    return table


def _record(value: object, expected: Any, where: str, deep: int, left: list[int]) -> Any:
    left[0] -= 1
    if deep < 0 or left[0] < 0:
        raise ValueError(f"{where}: at most {_DEEPEST} layers in each other and {_MOST:,} in all")
    if not isinstance(value, Mapping) or not isinstance(name := value.get("is"), str) or name not in KINDS:
        raise ValueError(f"{where}: a layer is an object that says what it is, one of {', '.join(KINDS)}")
    kind = KINDS[name]
    if not (hasattr(kind, "grid") if expected is Layer else kind is expected):
        raise ValueError(f"{where}: a {name} has no place here")
    hints = _hints(kind)
    given = {key: item for key, item in value.items() if key != "is"}
    if unknown := [key for key in given if key not in hints]:
        raise ValueError(f"{where}: a {name} has no {unknown[0]!r:.80}; it has {', '.join(hints)}")
    read = {key: _value(item, hints[key], f"{where}.{key}", deep - 1, left) for key, item in given.items()}
    try:
        return kind(**read)
    except TypeError as error:
        raise ValueError(f"{where}: {error}") from error


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _value(value: object, hint: Any, where: str, deep: int, left: list[int]) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _value(value, next(one for one in arguments if one is not type(None)), where, deep, left)
    if hint is Layer or hint in KINDS.values():
        return _record(value, hint, where, deep, left)
    if origin is tuple:
        if not isinstance(value, list | tuple) or (arguments[-1] is not ... and len(value) != len(arguments)):
            raise ValueError(f"{where} must be a list" + (f" of {len(arguments)}" if arguments[-1] is not ... else ""))
        kinds = arguments[:1] * len(value) if arguments[-1] is ... else arguments
        left[0] -= len(value)
        if left[0] < 0:
            raise ValueError(f"{where}: at most {_MOST:,} values in all")
        return tuple(_value(item, kind, where, deep, left) for item, kind in zip(value, kinds, strict=True))
    if origin is Literal:
        fits: bool = value in arguments
    elif hint is bool or hint is str:
        fits = isinstance(value, hint) and len(str(value)) < 200
    else:
        fits = is_number(value) and 0 <= value <= _LARGEST and (hint is float or isinstance(value, int))
    if not fits:
        raise ValueError(f"{where} is {value!r:.80}, which is not allowed")
    return value
