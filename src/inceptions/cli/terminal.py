"""What all commands say the same way: tables and JSON on stdout, the log on stderr."""

from __future__ import annotations

import json
import logging
import math
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from inceptions.progress import log


def table(rows: Iterable[Sequence[object]], columns: Sequence[str], *, title: str | None = None) -> None:
    """Prints `rows` under the headings `columns` on stdout; numbers stand right, integers with thousands separators.

    On a terminal the table fits its width; in a pipe or a file every row is one unbroken line.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = list(rows)
    on_terminal = sys.stdout.isatty()
    view = Table(box=SIMPLE_HEAD, show_edge=False, title=title, title_justify="left")
    for i, column in enumerate(columns):
        numeric = bool(cells) and all(row[i] is None or isinstance(row[i], (int, float)) for row in cells)
        view.add_column(column, justify="right" if numeric else "left", overflow="fold", no_wrap=not on_terminal)
    for row in cells:
        view.add_row(*(Text(_cell(value)) for value in row))
    # Drawn to a string first: printing is then plain `print`, whose broken pipe `main` knows how to take.
    console = Console(width=None if on_terminal else 10_000, no_color=not on_terminal, force_terminal=on_terminal)
    with console.capture() as drawn:
        console.print(view)
    print("\n".join(line.rstrip() for line in drawn.get().splitlines()))


def print_json(value: object) -> None:
    """Prints `value` as JSON on one line of stdout.

    Paths become strings, numpy scalars numbers, and numbers JSON cannot write (NaN, infinities) null.
    """
    encoding = (sys.stdout.encoding or "ascii").lower().replace("-", "")
    print(json.dumps(_jsonable(value), ensure_ascii=encoding != "utf8", allow_nan=False), flush=True)


def plain(text: str) -> str:
    """`text` with its control characters written out: a file name must not be able to command the terminal."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def configure_log(*, verbose: bool) -> None:
    """Sends the package's log to stderr: from INFO on, with `verbose` from DEBUG on; once, however often called."""
    log.setLevel(logging.DEBUG if verbose else logging.INFO)
    if not any(isinstance(handler, _StandardError) for handler in log.handlers):
        log.addHandler(_StandardError())


class _StandardError(logging.Handler):
    """Writes to the `sys.stderr` of the moment: a running progress bar replaces it to print above itself."""

    def emit(self, record: logging.LogRecord) -> None:
        prefix = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        text = prefix + self.format(record)
        print("\n".join(plain(line) for line in text.splitlines()), file=sys.stderr)


def _cell(value: object) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:.4g}"
        case os.PathLike():
            return plain(os.fspath(value))
        case _:
            return plain(str(value))


def _jsonable(value: object) -> object:
    match value:
        case float():
            return float(value) if math.isfinite(value) else None
        case None | bool() | int() | str():
            return value
        case Path():
            return str(value)
        case Mapping():
            return {str(key): _jsonable(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_jsonable(item) for item in value]
        case _ if hasattr(value, "item"):  # a numpy or torch scalar
            return _jsonable(value.item())
    raise TypeError(f"cannot write a {type(value).__name__} as JSON")
