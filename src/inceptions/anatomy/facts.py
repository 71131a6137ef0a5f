"""All facts about a network, as plain values under names: what `inceptions inspect` shows and writes."""

from __future__ import annotations

from dataclasses import asdict
from functools import cached_property
from typing import Any

from torch import nn

from inceptions.anatomy.cost import Cost, LayerCost, StageCost, cost, shapes_of, stage_modules, trace_image
from inceptions.anatomy.memory import kept_for_training
from inceptions.anatomy.principles import principles
from inceptions.anatomy.receptive import Field, is_block, parts, receptive_fields
from inceptions.layers import Grid
from inceptions.zoo import Network

Facts = dict[str, Any]
"""What JSON can hold; None where it is not known."""


class Inspection:
    """The facts of one network at one size of image, each computed at its first use.

    Receptive fields are known of our networks and of tables of your own, not of a foreign module.

    Args:
        network: one of the family, around a table of your own, or any module that takes one (N, C, H, W) tensor.
        size: side of the image, or (height, width), in pixels; None: see `cost`.

    Raises:
        ValueError: the image is too small, or the module cannot be traced.
    """

    def __init__(self, network: nn.Module, size: int | Grid | None = None) -> None:
        self.network = network
        self.size = size
        self.cost: Cost = cost(network, size)
        self.fields: dict[str, Field] = receptive_fields(network, size) if isinstance(network, Network) else {}

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages, in order."""
        return tuple(row.name for row in self.cost.stages)

    def whole(self) -> Facts:
        """The network and its stages."""
        counted = self.cost
        heads = [counted.head] if counted.head else []
        rest = counted.parameters - sum(row.parameters for row in [*counted.stages, *heads, *counted.aux])
        return {
            "model": counted.model,
            "input_size": counted.input_size[0],
            "parameters": counted.parameters,
            "multiply_adds": counted.multiply_adds,
            "activations": counted.activations,
            "training_bytes": self._kept(""),
            "stages": [self._stage(row) for row in counted.stages],
            "head": self._counts(counted.head, "head") if counted.head else None,
            "aux": [self._counts(row, f"aux.{row.name}") for row in counted.aux],
            "idle_parameters": rest,
        }

    def stage(self, name: str) -> Facts:
        """One stage, the blocks and branches that it is made of, and its layers.

        Raises:
            ValueError: unknown stage.
        """
        if name not in self.stages:
            raise ValueError(f"{self.cost.model} has no stage {name!r}; it has: {', '.join(self.stages)}")
        row = self.cost.stages[self.stages.index(name)]
        found = list(self._parts(row))
        return {
            "model": self.cost.model,
            "input_size": self.cost.input_size[0],
            **self._stage(row),
            "receptive_fields": [list(size) for size in self.fields[name].sizes] if self.fields else None,
            "parts": found,
            "layers": [part for part in found if not part["block"]],
        }

    def principles(self, stage: str | None = None) -> Facts:
        """What the principles say, of all stages or of one."""
        found = [asdict(one) for one in principles(self.network, self.size) if stage in (None, one.stage)]
        return {"model": self.cost.model, "input_size": self.cost.input_size[0], "principles": found}

    @cached_property
    def _memory(self) -> dict[str, int] | None:
        try:
            return kept_for_training(self.network, self.size)
        except ValueError:
            if isinstance(self.network, Network):
                raise
            return None  # a foreign module that works in evaluation only

    @cached_property
    def _shapes(self) -> dict[str, tuple[int, int, int]]:
        return shapes_of(trace_image(self.network, self.size))

    def _kept(self, path: str) -> int | None:
        """Bytes that training keeps of what runs under `path`."""
        if self._memory is None:
            return None
        return sum(kept for running, kept in self._memory.items() if _under(running, path))

    def _counts(self, row: StageCost, path: str) -> Facts:
        names = ("name", "channels", "height", "width", "parameters", "multiply_adds", "activations")
        return {**{name: getattr(row, name) for name in names}, "training_bytes": self._kept(path)}

    def _stage(self, row: StageCost) -> Facts:
        path, _ = stage_modules(self.network)[row.name]
        return {**self._counts(row, path), **_sight(self.fields.get(row.name)), "share": self._share(row.multiply_adds)}

    def _share(self, part: int) -> float:
        return part / max(1, self.cost.multiply_adds)

    def _parts(self, row: StageCost) -> list[Facts]:
        if not isinstance(self.network, Network):
            return [self._part(part.name, part.name, part.kind, [part], block=False) for part in row.layers]
        found = []
        for name, layer in parts(dict(self.network.table.stages)[row.name], row.name):
            inside = [part for part in row.layers if _under(part.name, f"body.{name}")]
            block = is_block(layer)
            if inside and not (block and name == row.name):  # an identity does nothing; the stage is listed already
                found.append(self._part(name, f"body.{name}", layer.name, inside, block=block))
        return found

    def _part(self, name: str, path: str, kind: str, inside: list[LayerCost], *, block: bool) -> Facts:
        """A layer is a convolution with its norm and activation, or both halves of a separable one."""
        windows = [part for part in inside if part.kernel and not block]
        largest = max(windows, key=lambda part: part.kernel or (0, 0)) if windows else None
        channels, height, width = self._shapes[path]
        multiply_adds = sum(part.multiply_adds for part in inside)
        return {
            "name": name,
            "kind": kind,
            "block": block,
            "kernel": list(largest.kernel) if largest and largest.kernel else None,
            "kernel_stride": largest.stride[0] if largest and largest.stride else None,
            "weights": None if block else " + ".join(part.formula for part in inside if part.formula) or None,
            "channels": channels,
            "height": height,
            "width": width,
            "parameters": sum(part.parameters for part in inside),
            "multiply_adds": multiply_adds,
            "activations": sum(part.activations for part in inside),
            "training_bytes": self._kept(path),
            **_sight(self.fields.get(name)),
            "share": self._share(multiply_adds),
        }


def label(part: Facts, stage: Facts) -> str:
    """A part's name within its stage, indented below the blocks that it belongs to."""
    inner: str = part["name"].removeprefix(f"{stage['name']}.")
    if not any(other["block"] for other in stage["parts"]):
        return inner
    return "  " * inner.count(".") + inner.rpartition(".")[2]


def _under(path: str, above: str) -> bool:
    return not above or f"{path}.".startswith(f"{above}.")


def _sight(field: Field | None) -> Facts:
    """`paths` and `smallest`: the set that the receptive field is the hull of."""
    if field is None:
        return dict.fromkeys(("receptive_field", "stride", "padding", "paths", "smallest"))
    return {
        "receptive_field": list(field.size),
        "stride": field.stride[0],
        "padding": list(field.padding),
        "paths": len(field.paths),
        "smallest": list(field.sizes[0]),
    }
