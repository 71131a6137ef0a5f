"""What a network costs: parameters, multiply-adds and activations, by stage and by layer.

A multiply-add is one multiplication with its addition, in convolutions and linear layers only, for one image. Others
call it MAC, or "FLOPs", or half a FLOP: `torch.utils.flop_counter` counts two for each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import nn

from inceptions.anatomy.trace import Op, depth, trace
from inceptions.layers import Grid
from inceptions.zoo import Network, build


@dataclass(frozen=True, kw_only=True)
class LayerCost:
    """One layer: a module without parts of its own, each time it runs."""

    name: str
    """Its path in the network."""
    kind: str
    """The module's class: Conv2d, MaxPool2d, BatchNorm2d, ..."""
    in_channels: int
    """Channels (features) that a convolution or linear layer reads; 0 for others."""
    channels: int
    height: int
    width: int
    """Grid that leaves, in units."""
    kernel: Grid | None
    stride: Grid | None
    """Of convolutions and pools, (height, width)."""
    groups: int
    parameters: int
    multiply_adds: int

    @property
    def activations(self) -> int:
        """Values that leave it, if it is a convolution or linear layer."""
        return self.channels * self.height * self.width if self.in_channels else 0

    @property
    def formula(self) -> str:
        """The weights (without biases) as the textbook has it: c_in x k_h x k_w x c_out; "" where there are none."""
        if not self.in_channels:
            return ""
        high, wide = self.kernel or (1, 1)
        return f"{self.in_channels // self.groups} x {high} x {wide} x {self.channels}"


@dataclass(frozen=True, kw_only=True)
class StageCost:
    """One stage: a row of the paper's table."""

    name: str
    channels: int
    height: int
    width: int
    """Shape that leaves."""
    parameters: int
    """All of them, batch norm's included."""
    multiply_adds: int
    activations: int
    """Values that leave its convolutions and linear layers, for one image (as counted in arXiv 2003.13678)."""
    layers: tuple[LayerCost, ...]


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one image costs a network."""

    model: str
    input_size: Grid
    """(height, width) in pixels."""
    stages: tuple[StageCost, ...]
    head: StageCost | None
    """The classifier; None for a module that is not ours, whose head is a stage like the others."""
    aux: tuple[StageCost, ...]
    """Auxiliary heads by the stage they tap: their parameters count, their work is done in training only."""
    parameters: int
    multiply_adds: int
    """Of `network(image)`: stages and head."""
    activations: int
    depth: int
    """Convolutions and linear layers on the longest path to the logits."""

    @property
    def activation_bytes(self) -> int:
        """Memory of the activations in float32, for one image. Training keeps more: see `kept_for_training`."""
        return 4 * self.activations


def cost(network: nn.Module | str, size: int | Grid | None = None) -> Cost:
    """Count parameters, multiply-adds and activations of `network` for one image.

    Args:
        network: a name of the family, one of its networks, or any module that takes one (N, C, H, W) tensor. The stages
            of a foreign module are its children, and the items of children that are plain lists.
        size: side of the image, or (height, width), in pixels; None: see `image_size`.

    Raises:
        ValueError: an unknown name, an image too small, or a module that cannot be traced.
    """
    if isinstance(network, str):
        with torch.device("meta"):
            network = build(network)
    ops = trace_image(network, size)
    rows = _rows(network, ops)
    ours = isinstance(network, Network)
    return Cost(
        model=network.name if isinstance(network, Network) else type(network).__name__,
        input_size=image_size(network, size),
        stages=tuple(rows[:-1] if ours else rows),
        head=rows[-1] if ours else None,
        aux=_aux_rows(network, rows) if isinstance(network, Network) else (),
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        multiply_adds=sum(op.multiply_adds for op in ops),
        activations=sum(op.size for op in ops if op.weighs),
        depth=depth(ops),
    )


def image_size(network: nn.Module, size: int | Grid | None) -> Grid:
    """(height, width): `size` if given, else what the network's preprocessing makes or what it was published with.

    224 for a foreign module.
    """
    if size is None:
        size = 224
        if isinstance(network, Network):
            size = network.preprocess.size if network.preprocess else network.input_size
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 1:
        raise ValueError(f"an image of {height} x {width} px cannot be; give a side of at least 1 px")
    return height, width


def channels_read(network: nn.Module) -> int:
    """Channels of the images: of our networks what they say, of others what their first convolution reads, or 3."""
    if isinstance(network, Network):
        return network.in_channels
    return next((module.in_channels for module in network.modules() if isinstance(module, nn.Conv2d)), 3)


def trace_image(network: nn.Module, size: int | Grid | None) -> tuple[Op, ...]:
    """The operations on one image. Raises `ValueError` as `trace` and `image_size` do."""
    grid, channels = image_size(network, size), channels_read(network)
    try:
        return trace(network, (1, channels, *grid))
    except ValueError:
        if channels == 3:
            raise
        return trace(network, (1, 3, *grid))  # the first convolution reads an image that was folded, or not the image


def stage_modules(network: nn.Module) -> dict[str, tuple[str, nn.Module]]:
    """Stage name -> (path, module): the table's rows and the head of our networks, the children of others.

    A child that is nothing but a list of modules is not a stage, its children are.
    """
    if isinstance(network, Network):
        stages = {name: (f"body.{name}", module) for name, module in network.body.named_children()}
        return {**stages, "head": ("head", network.head)}
    return {path: (path, module) for path, module in _children(network, "")} or {"network": ("", network)}


def _children(module: nn.Module, path: str) -> Iterator[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        if type(child) in (nn.Sequential, nn.ModuleList):
            yield from _children(child, f"{path}{name}.")
        else:
            yield f"{path}{name}", child


class Work(list[Op]):
    """The operations of one stage, in order. Those of a parent between its children count to the child before."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    @property
    def end(self) -> Op:
        """The last operation of the stage's own module, whose output leaves it."""
        return next((op for op in reversed(self) if _within(op, self.path)), self[-1])


def _within(op: Op, path: str) -> bool:
    return not path or f"{op.module}.".startswith(f"{path}.")


def work_of_stages(network: nn.Module, ops: tuple[Op, ...]) -> dict[str, Work]:
    """Stage name -> its operations; a stage that does nothing when evaluating is left out."""
    paths = {name: path for name, (path, _) in stage_modules(network).items()}
    work: dict[str, Work] = {}
    running = next(iter(paths))
    for op in ops:
        running = next((name for name, path in paths.items() if _within(op, path)), running)
        work.setdefault(running, Work(paths[running])).append(op)
    return work


def shapes_of(ops: Sequence[Op]) -> dict[str, tuple[int, int, int]]:
    """(channels, height, width) that leaves each module, by its path: those of its last operation."""
    shapes = {}
    for op in ops:
        path = op.module
        shapes[path] = _shape(op)
        while path:
            path = path.rpartition(".")[0]
            shapes[path] = _shape(op)
    return shapes


def _rows(network: nn.Module, ops: tuple[Op, ...]) -> list[StageCost]:
    counted: set[int] = set()
    modules = stage_modules(network)
    return [
        _row(name, modules[name][1], network, work=work, end=work.end, counted=counted)
        for name, work in work_of_stages(network, ops).items()
    ]


def _row(name: str, module: nn.Module, root: nn.Module, *, work: Sequence[Op], end: Op, counted: set[int]) -> StageCost:
    """Paths in `work` start at `root`; `counted` holds the parameters of earlier rows (shared ones count once)."""
    fresh = {id(parameter): parameter.numel() for parameter in module.parameters() if id(parameter) not in counted}
    counted.update(fresh)
    channels, height, width = _shape(end)
    return StageCost(
        name=name,
        channels=channels,
        height=height,
        width=width,
        parameters=sum(fresh.values()),
        multiply_adds=sum(op.multiply_adds for op in work),
        activations=sum(op.size for op in work if op.weighs),
        layers=tuple(_layers(work, root)),
    )


def _layers(work: Sequence[Op], root: nn.Module) -> Iterator[LayerCost]:
    for name, ops in groupby(work, key=lambda op: op.module):
        module = root.get_submodule(name)
        *_, last = done = list(ops)
        main = next((op for op in done if op.weighs), last)
        if main.weighs or not any(module.children()):
            channels, height, width = _shape(last)
            yield LayerCost(
                name=name,
                kind=type(module).__name__,
                in_channels=main.in_channels,
                channels=channels,
                height=height,
                width=width,
                kernel=main.kernel,
                stride=main.stride,
                groups=main.groups,
                parameters=sum(parameter.numel() for parameter in module.parameters(recurse=False)),
                multiply_adds=sum(op.multiply_adds for op in done),
            )


def _shape(op: Op) -> tuple[int, int, int]:
    """(channels, height, width) of one image's output; a vector is 1 x 1, tokens are one below the other."""
    height, width = op.grid or (op.size // max(1, op.channels), 1)
    return op.channels, height, width


def _aux_rows(network: Network, stages: list[StageCost]) -> tuple[StageCost, ...]:
    rows = []
    for stage in stages:
        if stage.name in network.aux:
            module = network.aux[stage.name]
            ops = trace(module, (1, stage.channels, stage.height, stage.width))
            rows.append(_row(stage.name, module, module, work=ops, end=ops[-1], counted=set()))
    return tuple(rows)
