"""`Match`: a checkpoint and the layout it follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from inceptions.weights.checkpoint import Checkpoint, Dialect
from inceptions.weights.layouts.layout import Layout

KERNELS: Mapping[Dialect, tuple[str, int]] = {
    "torch": (".weight", 0), "caffe": (".weight", 0), "keras": ("/kernel", -1), "slim": ("/weights", -1),
}  # fmt: skip
"""What follows a linear layer's name in the name of its matrix, and the axis of its outputs."""


@dataclass(frozen=True, kw_only=True)
class Match:
    """A checkpoint and the layout it follows."""

    checkpoint: Checkpoint
    layout: Layout
    names: Mapping[str, str]
    """The file's own name of each module of the layout that is there."""
    beside: tuple[str, ...]
    """Modules of the file that the layout does not know (a user's head)."""

    def rows(self, module: str) -> int | None:
        """Outputs of the linear layer that the layout calls `module`; None where the file has no such layer."""
        kernel, axis = KERNELS[self.checkpoint.dialect]
        tensor = self.checkpoint.tensors.get(self.names.get(module, module) + kernel)
        return None if tensor is None or tensor.ndim < 2 else tensor.shape[axis]
