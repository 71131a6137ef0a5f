"""`inceptions data check`: what a data set contains, before training on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from inceptions.cli.terminal import print_json, table
from inceptions.errors import DataError, some

if TYPE_CHECKING:
    from inceptions.data.check import Report

INVALID = 3
"""Exit code."""
_SHOWN = 20


def check(data: str, /, *, label: str | None = None, json: bool = False) -> int:
    """Look at every image: counts, unreadable ones, duplicates, sizes, modes.

    Files that are not images are counted by suffix and reported; they are not an error.
    Exit code 3 if an image is unreadable, in two classes, or in two of the splits you made.

    Args:
        data: a folder, a manifest (.csv, .jsonl), a table (.parquet, .arrow) or a hub id.
        label: the label's column in a manifest or a table.
        json: print one JSON object instead of tables.
    """
    from inceptions.data.check import check as look

    try:
        report = look(data, label=label)
    except DataError as error:
        if json:
            print_json({"source": data, "valid": False, "error": str(error)})
        raise
    if json:
        print_json(report.to_dict())
    else:
        _show(report)
    return 0 if report.valid else INVALID


def _show(report: Report) -> None:
    splits = list(report.counts)
    classes = list(next(iter(report.counts.values())))
    rows: list[list[object]] = [[name, *(report.counts[split][name] for split in splits)] for name in classes]
    rows.append(["all", *(sum(report.counts[split].values()) for split in splits)])
    table(rows, ["class", *splits])
    if not report.divided:
        print("these images are not divided: this is the split that `train` makes by default")
    print()
    lowest_median_highest = ["lowest", "median", "highest"]
    table([["width", *report.widths], ["height", *report.heights]], ["pixels", *lowest_median_highest])
    print()
    table([*report.formats.items(), *report.modes.items(), *report.suffixes.items()], ["stored as", "images"])
    _list("unreadable", [f"{file}: {reason}" for file, reason in report.unreadable])
    _list("of more than 8 bits, and dark: nothing is above an eighth of white (are they of fewer bits?)", report.dark)
    for title, groups in (
        ("the same image in more than one split", report.straddling),
        ("the same image in more than one class", report.contradicting),
        ("the same image twice", report.duplicates),
    ):
        _list(title, [" = ".join(f"{copy.file} ({copy.split}, {copy.label})" for copy in group) for group in groups])
    print("\nvalid" if report.valid else "\nnot valid")


def _list(title: str, lines: Sequence[str]) -> None:
    from inceptions.cli.terminal import plain

    if lines:
        print(f"\n{title}: {len(lines)}")
        text = some((f"  {plain(line)}" for line in lines), _SHOWN, lines=True)
        print(text + " (--json lists all)" * (len(lines) > _SHOWN))
