"""Errors with an exit code of their own; any other `ValueError` is wrong usage (2)."""

from __future__ import annotations

from collections.abc import Iterable


class DataError(ValueError):
    """The data is invalid: the message names every problem found. Exit code 3."""


class RunError(ValueError):
    """The request was valid, but running it failed: a loss that diverges, a compiler that fails, a file that is
    not the one it should be. Exit code 1."""


class GateError(ValueError):
    """A result is below what the user demanded (`--min-top1`, a parity bound). Exit code 4."""


def some(names: Iterable[str], most: int = 5, between: str = ", ", *, lines: bool = False) -> str:
    """The first `most` of many names or problems, and how many more there are; `lines`: each on a line of its own."""
    listed = list(names)
    text = ("\n" if lines else between).join(listed[:most])
    rest = ("\n... " if lines else " ") + f"and {len(listed) - most} more"
    return text + rest if len(listed) > most else text
