"""Convolutions, with the norm and the activation that follow them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from torch import nn

from inceptions.layers.borders import Grid, Padding, conv2d, out_size

Activation: TypeAlias = Literal["relu", "sigmoid"]
ACTIVATIONS: dict[str, Callable[..., nn.Module]] = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid}


def activation_after(activation: Activation) -> nn.Module:
    """An activation that follows a convolution or a norm: nothing else reads its input, so ReLU may work in place."""
    return nn.ReLU(inplace=True) if activation == "relu" else ACTIVATIONS[activation]()


@dataclass(frozen=True)
class BatchNorm:
    """Batch normalization over (N, H, W) (1502.03167, algorithm 1)."""

    eps: float = 1e-3
    momentum: float = 0.1
    """The weight of the new batch in the running average: PyTorch's sense, one minus TensorFlow's decay."""
    scale: bool = True
    """False: gamma stays 1 and is never trained, as in TF-slim and Keras's Inception networks."""

    def build(self, width: int) -> nn.BatchNorm2d:
        """A `BatchNorm2d` of `width` channels."""
        module = nn.BatchNorm2d(width, eps=self.eps, momentum=self.momentum)
        if not self.scale:
            module.weight.requires_grad_(False)
        return module


class ConvNormAct(nn.Sequential):
    """conv -> norm -> activation, as far as each is there."""


@dataclass(frozen=True)
class Conv:
    """Convolution, then normalization and activation where asked for."""

    out_channels: int
    kernel: Grid = (1, 1)
    stride: int = 1
    padding: Padding = "same"
    norm: BatchNorm | None = None
    activation: Activation | None = None
    bias: bool = True

    @property
    def name(self) -> str:
        return f"conv{self.kernel[0]}x{self.kernel[1]}"

    def build(self, width: int) -> tuple[nn.Module, int]:
        parts = ConvNormAct()
        parts.add_module("conv", conv2d(width, self.out_channels, self.kernel, self.stride, self.padding, self.bias))
        if self.norm:
            parts.add_module("norm", self.norm.build(self.out_channels))
        if self.activation:
            parts.add_module("activation", activation_after(self.activation))
        return parts, self.out_channels

    def grid(self, height: int, width: int) -> Grid:
        return (
            out_size(height, self.kernel[0], self.stride, self.padding),
            out_size(width, self.kernel[1], self.stride, self.padding),
        )


class SeparableModule(nn.Sequential):
    """depthwise and pointwise convolution in either order, with what stands between and after."""


@dataclass(frozen=True)
class Separable:
    """A convolution split into one over space and one over channels (1610.02357, section 1.2)."""

    out_channels: int
    kernel: int = 3
    stride: int = 1
    padding: Padding = "same"
    norm: BatchNorm | None = None
    activation: Activation | None = None
    order: Literal["space_first", "channel_first"] = "space_first"
    middle_norm: BatchNorm | None = None
    """Normalization between the two (DeepLab's Xception-41/65/71)."""
    middle_activation: Activation | None = None
    """Activation between the two; the Xception paper's figure 10 found that none is better."""
    multiplier: int = 1
    """Depthwise filters an input channel (8 in the first layer of TF-slim's Inception v2)."""
    bias: bool = False
    """A bias on the last of the two convolutions."""

    @property
    def name(self) -> str:
        return f"separable{self.kernel}x{self.kernel}"

    def build(self, width: int) -> tuple[nn.Module, int]:
        space_first = self.order == "space_first"
        middle = width * self.multiplier if space_first else self.out_channels
        kernel = (self.kernel, self.kernel)
        parts = SeparableModule()
        if space_first:
            depthwise = conv2d(width, middle, kernel, self.stride, self.padding, bias=False, groups=width)
            parts.add_module("depthwise", depthwise)
        else:
            parts.add_module("pointwise", nn.Conv2d(width, middle, 1, bias=False))
        if self.middle_norm:
            parts.add_module("middle_norm", self.middle_norm.build(middle))
        if self.middle_activation:
            parts.add_module("middle_activation", activation_after(self.middle_activation))
        if space_first:
            parts.add_module("pointwise", nn.Conv2d(middle, self.out_channels, 1, bias=self.bias))
        else:
            depthwise = conv2d(middle, middle, kernel, self.stride, self.padding, bias=self.bias, groups=middle)
            parts.add_module("depthwise", depthwise)
        if self.norm:
            parts.add_module("norm", self.norm.build(self.out_channels))
        if self.activation:
            parts.add_module("activation", activation_after(self.activation))
        return parts, self.out_channels

    def grid(self, height: int, width: int) -> Grid:
        return (
            out_size(height, self.kernel, self.stride, self.padding),
            out_size(width, self.kernel, self.stride, self.padding),
        )


@dataclass(frozen=True)
class Act:
    """An activation on its own, in front of a convolution. Never in place: a shortcut may read the same tensor."""

    activation: Activation = "relu"

    @property
    def name(self) -> str:
        return self.activation

    def build(self, width: int) -> tuple[nn.Module, int]:
        return ACTIVATIONS[self.activation](), width

    def grid(self, height: int, width: int) -> Grid:
        return height, width
