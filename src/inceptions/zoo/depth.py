"""The option `depth`: runs of blocks repeated or thinned, and their rows named anew."""

from __future__ import annotations

import re
from dataclasses import replace

from inceptions.layers import AuxHead, Layer
from inceptions.zoo.table import Table


def deepened(table: Table, depth: float) -> Table:
    """Each run of blocks repeated or thinned to `depth` times as many (at least one, the last stays); rows named anew.

    An auxiliary head on a run's first block stays there; another keeps its distance from the run's end.
    """
    heads = dict(table.aux)
    rows: list[tuple[str, Layer, AuxHead | None]] = [(name, row, heads.get(name)) for name, row in table.stages]
    for first, last in table.runs:
        names = [name for name, _, _ in rows]
        start, stop = names.index(first), names.index(last) + 1
        run = rows[start:stop]
        count = max(1, round(len(run) * depth))
        kept: list[tuple[str, Layer, AuxHead | None]] = [
            (first, run[-(-(index + 1) * len(run) // count) - 1][1], None) for index in range(count)
        ]
        for position, (_, _, head) in enumerate(run):
            place = max(0, count - (len(run) - position)) if position else 0
            kept[place] = (*kept[place][:2], head or kept[place][2])
        rows[start:stop] = kept
    counted = _counted([name for name, _, _ in rows], {split_name(first)[0] for first, _ in table.runs})
    stages = tuple((name, row) for name, (_, row, _) in zip(counted, rows, strict=True))
    aux = tuple((name, head) for name, (_, _, head) in zip(counted, rows, strict=True) if head)
    return replace(table, stages=stages, aux=aux)


def split_name(name: str) -> tuple[str, str]:
    """("mixed_5", "b") of "mixed_5b", ("block35_", "1") of "block35_1"."""
    number = re.search(r"\d+$", name)
    return (name[: number.start()], number[0]) if number else (name[:-1], name[-1])


def _counted(names: list[str], prefixes: set[str]) -> list[str]:
    """The names, those of each prefix counted on from its first: 4a, 4b, ... or 1, 2, ..."""
    begun: dict[str, int] = {}
    found = []
    for name in names:
        prefix, mark = split_name(name)
        if prefix in prefixes:
            digits = mark.isdigit()
            number = begun.setdefault(prefix, int(mark) if digits else ord(mark) - ord("a"))
            begun[prefix] += 1
            name = f"{prefix}{number if digits else _letters(number)}"
        found.append(name)
    return found


def _letters(index: int) -> str:
    return chr(ord("a") + index) if index < 26 else _letters(index // 26 - 1) + chr(ord("a") + index % 26)
