"""Layers made of layers: chains, branches, residual sums."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inceptions.layers.borders import Grid, Layer
from inceptions.layers.convolution import ACTIVATIONS, Activation, Conv


@dataclass(frozen=True)
class Chain:
    """Layers one after the other. Each is named by what it is: conv1x1, conv3x3, conv3x3_2, max_pool, ..."""

    layers: tuple[Layer, ...]

    @property
    def name(self) -> str:
        return "chain"

    @property
    def parts(self) -> tuple[tuple[str, Layer], ...]:
        """The layers with their names; a second one of a kind gets `_2`."""
        seen: dict[str, int] = {}
        named = []
        for layer in self.layers:
            seen[layer.name] = number = seen.get(layer.name, 0) + 1
            named.append((layer.name if number == 1 else f"{layer.name}_{number}", layer))
        return tuple(named)

    def build(self, width: int) -> tuple[nn.Module, int]:
        modules = nn.Sequential()
        for name, layer in self.parts:
            module, width = layer.build(width)
            modules.add_module(name, module)
        return modules, width

    def grid(self, height: int, width: int) -> Grid:
        for layer in self.layers:
            height, width = layer.grid(height, width)
        return height, width


class BranchesModule(nn.ModuleDict):
    """Parallel branches over one input, joined along the channels."""

    def forward(self, images: Tensor) -> Tensor:
        joined: Tensor = torch.cat([branch(images) for branch in self.values()], dim=1)
        return joined


@dataclass(frozen=True)
class Branches:
    """Parallel, named branches; their outputs are concatenated in the order given."""

    parts: tuple[tuple[str, Layer], ...]

    @property
    def name(self) -> str:
        return "branches"

    def build(self, width: int) -> tuple[nn.Module, int]:
        built = {name: layer.build(width) for name, layer in self.parts}
        return (
            BranchesModule({name: module for name, (module, _) in built.items()}),
            sum(channels for _, channels in built.values()),
        )

    def grid(self, height: int, width: int) -> Grid:
        grids = {layer.grid(height, width) for _, layer in self.parts}
        if len(grids) > 1:
            raise ValueError(f"the branches {[name for name, _ in self.parts]} end on different grids: {sorted(grids)}")
        return grids.pop()


@dataclass(frozen=True)
class Identity:
    """Passes its input on (a branch that hands its input to the next block)."""

    @property
    def name(self) -> str:
        return "identity"

    def build(self, width: int) -> tuple[nn.Module, int]:
        return nn.Identity(), width

    def grid(self, height: int, width: int) -> Grid:
        return height, width


@dataclass(frozen=True)
class Projected:
    """A body, then a biased 1x1 convolution back to the channels that came in, without norm (1602.07261, figure 10)."""

    body: Layer
    activation: Activation | None = None

    @property
    def name(self) -> str:
        return "projected"

    def build(self, width: int) -> tuple[nn.Module, int]:
        parts = nn.Sequential()
        body, channels = self.body.build(width)
        parts.add_module("body", body)
        parts.add_module("linear", Conv(width, activation=self.activation).build(channels)[0])
        return parts, width

    def grid(self, height: int, width: int) -> Grid:
        return self.body.grid(height, width)


class ResidualModule(nn.Module):
    """activation(shortcut(x) + scale * body(x))."""

    def __init__(
        self, body: nn.Module, shortcut: nn.Module, scale: float, activation: nn.Module | None, rectify: bool
    ) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut
        self.scale = scale
        self.activation = activation
        self.rectify = rectify

    def forward(self, images: Tensor) -> Tensor:
        if self.rectify:
            images = F.relu(images)
        residual = self.body(images)
        if self.scale != 1.0:
            residual = residual * self.scale
        total: Tensor = self.shortcut(images) + residual
        if self.activation:
            total = self.activation(total)
        return total

    def extra_repr(self) -> str:
        return f"scale={self.scale}, rectify={self.rectify}"


@dataclass(frozen=True)
class Residual:
    """A body and a shortcut, added (1602.07261, figures 10 to 13; 1610.02357, figure 5)."""

    body: Layer
    shortcut: Layer = Identity()
    scale: float = 1.0
    """Multiplies the body before the sum; 0.1 to 0.3 keeps wide networks stable (1602.07261, section 3.3)."""
    activation: Activation | None = None
    rectify: bool = False
    """The shortcut, too, receives the rectified input: what an in-place ReLU at the head of the body does."""

    @property
    def name(self) -> str:
        return "residual"

    def build(self, width: int) -> tuple[nn.Module, int]:
        body, out_channels = self.body.build(width)
        shortcut, beside = self.shortcut.build(width)
        if out_channels != beside:
            raise ValueError(f"a residual sum needs equal widths: body {out_channels}, shortcut {beside}")
        activation = ACTIVATIONS[self.activation]() if self.activation else None
        return ResidualModule(body, shortcut, self.scale, activation, self.rectify), out_channels

    def grid(self, height: int, width: int) -> Grid:
        return Branches((("body", self.body), ("shortcut", self.shortcut))).grid(height, width)
