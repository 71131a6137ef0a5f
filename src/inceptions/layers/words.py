"""The words a table is written in, and the weights a network starts with."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from inceptions.layers.borders import Grid, Layer, Padding
from inceptions.layers.composition import Branches, Chain
from inceptions.layers.convolution import BatchNorm, Conv
from inceptions.layers.pooling import Pool


def both(size: int | Grid) -> Grid:
    """(height, width) of a size that may be one number for both."""
    return (size, size) if isinstance(size, int) else size


def chain(*layers: Layer) -> Chain:
    """Layers one after the other."""
    return Chain(layers)


def branches(parts: Mapping[str, Layer]) -> Branches:
    """Named branches, concatenated in order."""
    return Branches(tuple(parts.items()))


def max_pool(kernel: int, stride: int = 1, padding: Padding = "same") -> Pool:
    """Max pooling."""
    return Pool("max", kernel, stride, padding)


def avg_pool(kernel: int, include_border: bool = False) -> Pool:
    """Average pooling at stride 1, the pool branch of an Inception block."""
    return Pool("avg", kernel, include_border=include_border)


def scale_width(channels: int, width: float) -> int:
    """`channels` times `width`, to the nearest multiple of 8 and never below 8; unchanged at width 1."""
    return channels if width == 1.0 else max(8, round(channels * width / 8) * 8)


class ConvWord(Protocol):
    """`conv(64)`, `conv(96, 3)`, `conv(192, (1, 7))`, `conv(384, 3, stride=2, padding="valid")`."""

    def __call__(
        self, out_channels: int, kernel: int | Grid = 1, stride: int = 1, padding: Padding = "same"
    ) -> Conv: ...


def convolution(norm: BatchNorm | None = None, *, bias: bool = True) -> ConvWord:
    """The word `conv` of one network: the norm behind each convolution, and whether it has biases, said once."""

    def conv(out_channels: int, kernel: int | Grid = 1, stride: int = 1, padding: Padding = "same") -> Conv:
        return Conv(out_channels, both(kernel), stride, padding, norm, "relu", bias)

    return conv


def initialize(modules: Iterable[nn.Module]) -> None:
    """Draw initial weights: TF-slim's variance scaling, a normal of variance 2 / fan-in cut at two sigma (factor 1.3).

    Classifiers get a fan-in normal without the factor 2; biases are zero, norms start as the identity.
    """
    for module in modules:
        if isinstance(module, nn.Conv2d | nn.Linear):
            fan_in = module.weight[0].numel()
            gain = 2.0 if isinstance(module, nn.Conv2d) else 1.0
            _draw_normal_cut_at_two_sigma(module.weight, math.sqrt(1.3 * gain / fan_in))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.reset_parameters()


@torch.no_grad()
def _draw_normal_cut_at_two_sigma(weight: Tensor, sigma: float) -> None:
    """In one pass, by the inverse of the cumulative function: PyTorch's `trunc_normal_` draws anew what falls outside
    until nothing does, which takes seconds for a network."""
    share = math.erf(2 / math.sqrt(2))  # of a normal within two sigma
    weight.uniform_(-share, share).erfinv_().mul_(sigma * math.sqrt(2)).clamp_(-2 * sigma, 2 * sigma)
