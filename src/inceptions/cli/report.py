"""`inceptions report`: the page of a run, written again."""

from __future__ import annotations

from pathlib import Path

from inceptions.cli.terminal import print_json


def report(run: Path, /, *, output: Path | None = None, data: Path | None = None, json: bool = False) -> None:
    """Write a finished run's report.html: one self-contained file.

    Curves, metrics with intervals, confusion, reliability, classes, the most confident errors and the least certain
    images with Grad-CAM, cost and latency, command and environment.

    Args:
        run: the folder of a finished run.
        output: the file to write; none: report.html in the run's folder.
        data: the folder that the run's images lie in now, if they have been moved.
        json: print one JSON object with the file's name.
    """
    from inceptions.report import write_report

    path = write_report(run, output, data=data)
    if json:
        print_json({"output": path})
    else:
        print(path)
