"""results.csv and the TensorBoard events of a run."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from inceptions.files import to_json, write_atomically

TIME_COLUMNS = ("seconds", "waiting", "images_per_second")
"""The columns of results.csv that depend on the machine and the hour; all others are functions of settings and data."""


def write_results(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes results.csv whole: a row an epoch, numbers in the shortest form that reads back to the same bits."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue())


class Logs:
    """Writes a run's rows as they come; use as a context.

    Args:
        folder: of the run.
        purge_from: the step a resumed run continues from: TensorBoard drops what a killed run wrote beyond it.
    """

    def __init__(self, folder: Path, *, purge_from: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # slow to import

        self._folder = folder
        self._events = SummaryWriter(str(folder / "tensorboard"), purge_step=purge_from or None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._events.close()

    def scalar(self, name: str, value: float, step: int) -> None:
        """One point of a curve in TensorBoard."""
        self._events.add_scalar(name, value, step)

    def epoch(self, rows: Sequence[Mapping[str, Any]], refused: Mapping[str, str]) -> None:
        """Rewrites results.csv, sends the last row to TensorBoard, and lists the images that could not be read."""
        write_results(self._folder / "results.csv", rows)
        if refused:
            write_atomically(self._folder / "unreadable.json", to_json(refused, indent=1) + "\n")
        last = rows[-1]
        for name in last.keys() - {"epoch", "step"}:
            self.scalar(f"epoch/{name}", last[name], last["step"])
        self._events.flush()
