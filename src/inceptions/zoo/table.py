"""`Table`: what a network is, before anything is built of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from inceptions.layers import AuxHead, Chain, Grid, Head, Layer

Rows = tuple[tuple[str, Layer], ...]
Changes = Mapping[str, Layer | None]
"""Other layers for named rows; None takes the row away."""


@dataclass(frozen=True)
class Table:
    """An ordered, named list of stages with the heads that read them."""

    stages: Rows
    head: Head = Head()  # noqa: RUF009 - frozen
    aux: tuple[tuple[str, AuxHead], ...] = ()
    """(name of the stage that is tapped, the head)."""
    runs: tuple[tuple[str, str], ...] = ()
    """First and last row of each run of blocks on one grid: what `depth` repeats or thins."""

    def grid(self, height: int, width: int) -> Grid:
        """Spatial size of the last stage; below 1 where the image is too small."""
        return Chain(tuple(layer for _, layer in self.stages)).grid(height, width)

    def grids(self, size: int) -> dict[str, Grid]:
        """Spatial size each row ends on, for a square image of `size` pixels."""
        height, width = size, size
        found = {}
        for name, layer in self.stages:
            found[name] = height, width = layer.grid(height, width)
        return found

    def min_size(self) -> int:
        """Side of the smallest square image every stage can read, in pixels."""
        return next(size for size in range(1, 10_000) if min(self.grid(size, size)) >= 1)
