"""Pooling, and local response normalization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from inceptions.layers.borders import Grid, Padding, SameMaxPool2d, out_size


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
            return nn.AvgPool2d(self.kernel, self.stride, border, count_include_pad=self.include_border), width
        if self.padding == "tf_same" and self.stride > 1:
            return SameMaxPool2d(self.kernel, self.stride), width
        return nn.MaxPool2d(self.kernel, self.stride, border, ceil_mode=self.padding == "ceil"), width

    def grid(self, height: int, width: int) -> Grid:
        return (
            out_size(height, self.kernel, self.stride, self.padding),
            out_size(width, self.kernel, self.stride, self.padding),
        )


class LocalResponseNorm(nn.LocalResponseNorm):
    """`nn.LocalResponseNorm`; half precision is computed in float32, for which alone PyTorch has kernels on a CPU."""

    def forward(self, input: Tensor) -> Tensor:
        half = input.dtype in (torch.bfloat16, torch.float16)
        return super().forward(input.float()).to(input.dtype) if half else super().forward(input)


@dataclass(frozen=True)
class LRN:
    """Local response normalization across five channels, as Caffe's GoogLeNet has it (alpha 1e-4, beta 0.75, k 1)."""

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
