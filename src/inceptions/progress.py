"""What every room says while it works: the log and the progress bars."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sized
from datetime import timedelta
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.progress import Progress, Task
    from rich.text import Text

T = TypeVar("T")

log = logging.getLogger("inceptions")


def track(
    iterable: Iterable[T],
    *,
    description: str,
    total: int | None = None,
    unit: str = "images",
    amount: Callable[[T], int] | None = None,
) -> Iterator[T]:
    """Yields the items of `iterable` unchanged, with a bar on stderr: done, rate and time left.

    Plain iteration where stderr is not a terminal or `CI` is set. Bars nest; `note` adds a line to the innermost.

    Args:
        iterable: what to go through.
        description: the bar's text.
        total: all units to come; None takes `len(iterable)` where it has one and each item counts as one unit.
        unit: what is counted.
        amount: how many units an item holds (a batch: its images); None counts each item as one.
    """
    if not _wants_bars():
        yield from iterable
        return
    if total is None and amount is None and isinstance(iterable, Sized):
        total = len(iterable)
    display = _stack[-1].display if _stack else _open_display()
    bar = _Bar(display, description, total, unit)
    _stack.append(bar)
    try:
        for item in iterable:
            yield item
            bar.advance(1 if amount is None else amount(item))
    finally:
        _stack.remove(bar)
        bar.close()
        if not _stack:
            display.stop()


def note(text: str) -> None:
    """Shows `text` ("loss 0.31") in a line of its own below the innermost bar; nothing happens where no bar runs."""
    if _stack:
        _stack[-1].note = text


class _Bar:
    """One line of the shared display.

    Pace and end are reckoned over the whole bar. Rich's own look back half a minute, and so have nothing to say about
    epochs and slow steps.
    """

    def __init__(self, display: Progress, description: str, total: int | None, unit: str) -> None:
        self.display, self.note = display, ""
        self._total = total
        self._done, self._begun = 0, monotonic()
        self._task = display.add_task(description, total=total, unit=unit, pace=0.0, ends=None)

    def advance(self, units: int) -> None:
        self._done += units
        now = monotonic()
        pace = (now - self._begun) / max(self._done, 1)  # seconds a unit
        ends = None if self._total is None else now + pace * (self._total - self._done)
        self.display.update(self._task, advance=units, pace=pace, ends=ends)

    def close(self) -> None:
        self.display.remove_task(self._task)


_stack: list[_Bar] = []  # the running bars, outermost first; they share one display because a terminal has one bottom


def _wants_bars() -> bool:
    # While bars run, stderr is what Rich put in its place, and before Rich 15 that said it was no terminal.
    return bool(_stack) or (sys.stderr.isatty() and not os.environ.get("CI"))


def _open_display() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn
    from rich.table import Column
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            pace = task.fields["pace"]
            return Text(f"{1 / pace:,.1f} {task.fields['unit']}/s" if 0 < pace < 10 else "")

    class Left(ProgressColumn):
        def render(self, task: Task) -> Text:
            if task.fields["ends"] is None:
                return Text("")
            seconds = max(0, round(task.fields["ends"] - monotonic()))
            return Text(f"{timedelta(seconds=seconds)} left", style="progress.remaining")

    class Display(Progress):
        def get_renderables(self) -> Iterator[RenderableType]:
            yield self.make_tasks_table(self.tasks)
            if _stack and _stack[-1].note:
                yield Text(_stack[-1].note, no_wrap=True, overflow="ellipsis")

    console = Console(stderr=True)  # honors NO_COLOR by itself
    display = Display(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=min(24, max(6, console.width - 70))),  # the numbers must fit next to it
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        Rate(table_column=Column(no_wrap=True)),
        Left(table_column=Column(no_wrap=True)),
        console=console,
        transient=True,
    )
    display.start()
    return display
