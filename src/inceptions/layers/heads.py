"""Classifiers: the one at the end, and the auxiliary ones on inner stages."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from inceptions.layers.borders import Layer, out_size


class HeadModule(nn.Module):
    """Global average pooling, optional hidden layers, dropout, optional bottleneck, classifier."""

    def __init__(
        self, in_channels: int, num_classes: int, drop_rate: float, bottleneck: int | None, hidden: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.hidden = nn.Sequential()
        for width in hidden:
            self.hidden.append(nn.Sequential(nn.Linear(in_channels, width), nn.ReLU()))
            in_channels = width
        self.dropout = nn.Dropout(drop_rate)
        self.bottleneck: nn.Module = nn.Identity()
        if bottleneck:
            # facenet: a linear map without bias, batch-normalized (eps 1e-3).
            self.bottleneck = nn.Sequential()
            self.bottleneck.add_module("linear", nn.Linear(in_channels, bottleneck, bias=False))
            self.bottleneck.add_module("norm", nn.BatchNorm1d(bottleneck, eps=1e-3))
        self.linear = nn.Linear(bottleneck or in_channels, num_classes)

    def forward(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits (N, classes) of features (N, C, H, W); with `pre_logits` the vector before the classifier (N, F)."""
        pooled: Tensor = self.bottleneck(self.dropout(self.hidden(features.mean((2, 3)))))
        if pre_logits:
            return pooled
        logits: Tensor = self.linear(pooled)
        return logits


@dataclass(frozen=True)
class Head:
    """The classifier at the end of every network."""

    drop_rate: float = 0.0
    bottleneck: int | None = None
    hidden: tuple[int, ...] = ()
    """Widths of fully connected ReLU layers between pooling and classifier (heads of transfer learning)."""

    def build(self, width: int, num_classes: int) -> HeadModule:
        """The head for `width` channels."""
        return HeadModule(width, num_classes, self.drop_rate, self.bottleneck, self.hidden)


class AuxModule(nn.Module):
    """Pool to a small grid, convolve, classify."""

    def __init__(
        self, grid: int, adaptive: bool, convs: nn.Module, in_features: int, hidden: int | None, drop_rate: float,
        num_classes: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.grid = grid
        self.adaptive = adaptive
        self.convs = convs
        self.hidden = nn.Linear(in_features, hidden) if hidden else nn.Identity()
        self.activation = nn.ReLU() if hidden else nn.Identity()
        self.dropout = nn.Dropout(drop_rate)
        self.linear = nn.Linear(hidden or in_features, num_classes)

    def forward(self, features: Tensor) -> Tensor:
        height, width = features.shape[2:]
        paper = out_size(height, 5, 3, "valid") == self.grid == out_size(width, 5, 3, "valid")
        if paper and not self.adaptive:
            features = F.avg_pool2d(features, 5, 3)
        elif height % self.grid == width % self.grid == 0:  # windows of one size: runtimes have slow code for others
            features = F.avg_pool2d(features, (height // self.grid, width // self.grid))
        else:
            features = F.adaptive_avg_pool2d(features, self.grid)
        hidden = self.activation(self.hidden(self.convs(features).flatten(1)))
        logits: Tensor = self.linear(self.dropout(hidden))
        return logits


@dataclass(frozen=True)
class AuxHead:
    """An auxiliary classifier on an inner stage: more gradient for the early layers, none of it used at test time."""

    convs: Layer
    grid: int
    """Side of the grid that the 5x5/3 average pool of the papers makes: 4 in v1, 5 in v3."""
    hidden: int | None = None
    """Width of a fully connected layer before the classifier (v1)."""
    drop_rate: float = 0.0
    adaptive: bool = False
    """Always pool adaptively, as torchvision's GoogLeNet; else only where 5x5/3 does not make the grid."""

    def build(self, width: int, num_classes: int) -> AuxModule:
        """The head for a tap of `width` channels."""
        convs, out_channels = self.convs.build(width)
        height, across = self.convs.grid(self.grid, self.grid)
        features = out_channels * height * across
        return AuxModule(self.grid, self.adaptive, convs, features, self.hidden, self.drop_rate, num_classes)
