"""Pooling, and local response normalisation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inceptions.layers.borders import Grid, Padding, SameMaxPool2d, out_size
from inceptions.layers.max_pool import MaxPool2d


@dataclass(frozen=True)
class Pool:
    """Max or average pooling."""

    kind: Literal["max", "avg"]
    kernel: int = 3
    stride: int = 1
    padding: Padding = "same"
    include_border: bool = False
    """Average pools: whether zeros of the border count in the mean (Caffe, torchvision) or not (TensorFlow)."""

    def __post_init__(self) -> None:
        if self.kind == "avg" and self.padding in ("tf_same", "ceil") and self.stride > 1:
            raise ValueError("a strided average pool has no border here: use padding 'valid' or 'same'")

    @property
    def name(self) -> str:
        return f"{self.kind}_pool"

    def build(self, width: int) -> tuple[nn.Module, int]:
        border = 0 if self.padding in ("valid", "ceil") else self.kernel // 2
        if self.kind == "avg":
            return AvgPool2d(self.kernel, self.stride, border, count_include_pad=self.include_border), width
        if self.padding == "tf_same" and self.stride > 1:
            return SameMaxPool2d(self.kernel, self.stride), width
        return MaxPool2d(self.kernel, self.stride, border, ceil_mode=self.padding == "ceil"), width

    def grid(self, height: int, width: int) -> Grid:
        return (
            out_size(height, self.kernel, self.stride, self.padding),
            out_size(width, self.kernel, self.stride, self.padding),
        )


class AvgPool2d(nn.AvgPool2d):
    """`nn.AvgPool2d`, with a gradient of its own for bf16 on a CPU where the grid is kept.

    PyTorch adds that gradient up in bf16. Ours is rounded once, and takes a quarter of the time or less.
    """

    def forward(self, input: Tensor) -> Tensor:
        kernel, border = self.kernel_size, self.padding
        assert isinstance(kernel, int)
        assert isinstance(border, int)
        keeps_grid = self.stride == 1 and kernel == 2 * border + 1
        learns = input.requires_grad and torch.is_grad_enabled() and not torch.compiler.is_compiling()
        if keeps_grid and learns and input.dtype == torch.bfloat16 and input.device.type == "cpu":
            return _averages(input, kernel, self.count_include_pad)
        return super().forward(input)


class _Averages(torch.autograd.Function):
    """Averages over a window around each pixel. Pixels share a window mutually, so the gradient is such averages too:
    of the output's gradient, weighted by how much more than a full window's share a window's pixels have.
    """

    @staticmethod
    def forward(ctx: Any, images: Tensor, kernel: int, include_border: bool) -> Tensor:
        ctx.kernel, ctx.include_border = kernel, include_border
        return F.avg_pool2d(images, kernel, 1, kernel // 2, count_include_pad=include_border)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,), kernel = gradients, ctx.kernel
        if not ctx.include_border:
            inside = F.avg_pool2d(
                gradient.new_ones(1, 1, *gradient.shape[2:], dtype=torch.float32), kernel, 1, kernel // 2
            )
            gradient = gradient * inside.reciprocal().to(gradient.dtype)
        return F.avg_pool2d(gradient, kernel, 1, kernel // 2), None, None


_averages: Callable[[Tensor, int, bool], Tensor] = _Averages.apply


class LocalResponseNorm(nn.LocalResponseNorm):
    """`nn.LocalResponseNorm`; half precision is computed in float32, for which alone PyTorch has kernels on a CPU."""

    def forward(self, input: Tensor) -> Tensor:
        half = input.dtype in (torch.bfloat16, torch.float16)
        return super().forward(input.float()).to(input.dtype) if half else super().forward(input)


@dataclass(frozen=True)
class LRN:
    """Local response normalisation across five channels, as Caffe's GoogLeNet has it (alpha 1e-4, beta 0.75, k 1)."""

    size: int = 5
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 1.0

    @property
    def name(self) -> str:
        return "lrn"

    def build(self, width: int) -> tuple[nn.Module, int]:
        return LocalResponseNorm(self.size, self.alpha, self.beta, self.k), width

    def grid(self, height: int, width: int) -> Grid:
        return height, width
