"""Output shared by all commands: tables and JSON on stdout, the log on stderr."""

from __future__ import annotations

import json
import logging
import math
import os
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from inceptions.checks import is_number
from inceptions.progress import log

if TYPE_CHECKING:
    from rich.table import Table


def certainty(probability: float) -> str:
    """A probability in percent; rounding alone makes none certain: 0.99999 is ">99.9 %"."""
    rounded = f"{100 * probability:.1f} %"
    if probability < 1 and rounded == "100.0 %":
        return ">99.9 %"
    return "<0.1 %" if probability > 0 and rounded == "0.0 %" else rounded


def table(
    rows: Iterable[Sequence[object]],
    columns: Sequence[str],
    *,
    title: str | None = None,
    dispensable: Sequence[str] = (),
) -> None:
    """Prints `rows` under the headings `columns` on stdout; numbers stand right, integers with thousands separators.

    In a pipe or a file every row is one unbroken line. On a terminal only prose is wrapped: a table that is too wide
    leaves columns out, and says which, then becomes a block a row.

    Args:
        rows: a cell a column.
        columns: the headings.
        title: stands above.
        dispensable: columns that may be left out, the first of them first.
    """
    from rich.console import Console

    on_terminal = sys.stdout.isatty()
    # Drawn to a string first: printing is then plain `print`, whose broken pipe `main` knows how to take.
    console = Console(width=None if on_terminal else 10_000, no_color=not on_terminal, force_terminal=on_terminal)
    cells, shown, left = list(rows), list(range(len(columns))), list(dispensable)
    unbounded = console.options.update(width=10_000)
    while True:
        view = _view([[row[i] for i in shown] for row in cells], [columns[i] for i in shown], title, on_terminal)
        too_wide = console.measure(view, options=unbounded).minimum > console.width
        if not too_wide or not left:
            break
        shown.remove(columns.index(left.pop(0)))
    if too_wide and on_terminal:
        _blocks(cells, columns, console.width)
        return
    with console.capture() as drawn:
        console.print(view)
    print("\n".join(line.rstrip() for line in drawn.get().splitlines()))
    if missing := [column for i, column in enumerate(columns) if i not in shown]:
        print(textwrap.fill(f"not shown on {console.width} columns: {', '.join(missing)}", console.width))


PROSE = 30
"""A cell that is longer, and of several words, may be wrapped on a terminal, to about this width."""


def _view(cells: Sequence[Sequence[object]], columns: Sequence[str], title: str | None, on_terminal: bool) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    view = Table(
        box=SIMPLE_HEAD, show_edge=False, title=title, title_justify="left", pad_edge=False, collapse_padding=True
    )
    for i, column in enumerate(columns):
        texts = [_cell(row[i]) for row in cells]
        prose = on_terminal and any(len(text) > PROSE and " " in text.strip() for text in texts)
        numeric = bool(cells) and all(row[i] is None or is_number(row[i]) for row in cells)
        heading = column.replace(" ", "\n") if on_terminal and not prose else column
        view.add_column(
            heading,
            justify="right" if numeric else "left",
            vertical="top",
            overflow="fold",
            no_wrap=not prose,
            min_width=PROSE if prose else max(map(cell_len, [*heading.split("\n"), *texts])),
        )
    for row in cells:
        view.add_row(*(Text(_cell(value)) for value in row))
    return view


def _blocks(cells: Sequence[Sequence[object]], columns: Sequence[str], width: int) -> None:
    """A line for each cell, a block for each row."""
    indent = " " * (max(map(len, columns)) + 2)
    for i, row in enumerate(cells):
        if i:
            print()
        for column, text in zip(columns, map(_cell, row), strict=True):
            print(textwrap.fill(text or "-", max(width, len(indent) + 10), initial_indent=column.ljust(len(indent)),
                                subsequent_indent=indent))  # fmt: skip


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
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # else it logs where it keeps its list of fonts
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
