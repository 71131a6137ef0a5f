"""Where a window meets the edge of the image: PyTorch's, TensorFlow's and Caffe's rules."""

from __future__ import annotations

import math
from typing import Literal, Protocol, TypeAlias

import torch.nn.functional as F
from torch import Tensor, nn

Grid: TypeAlias = tuple[int, int]
Padding: TypeAlias = Literal["same", "valid", "tf_same", "ceil"]
"""Where the border is from. "same": k // 2 zeros on every side. "valid": nothing. "tf_same": TensorFlow's SAME, whose
strided layers, for some input sizes, pad the bottom and right but not the top and left. "ceil" (pools only):
nothing, but a last window that starts inside is kept even where it sticks out (Caffe's rounding up)."""


class Layer(Protocol):
    """Anything a table may hold."""

    @property
    def name(self) -> str:
        """How the layer is called among its neighbors, and so in the keys of a checkpoint."""

    def build(self, width: int) -> tuple[nn.Module, int]:
        """Return the module for `width` incoming channels, and the channels that leave it."""

    def grid(self, height: int, width: int) -> Grid:
        """Return the spatial size that leaves; below 1 where the input is too small."""


def tf_same(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros (before, after) along one axis under TensorFlow's SAME; an odd one goes after."""
    total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def out_size(size: int, kernel: int, stride: int, padding: Padding) -> int:
    """Output size along one axis; below 1 where no window fits."""
    if size < 1:
        return 0
    if padding == "tf_same":
        return math.ceil(size / stride)
    if padding == "ceil":
        # PyTorch and Caffe alike drop a last window that would start past the end.
        windows = math.ceil((size - kernel) / stride) + 1
        return windows - 1 if (windows - 1) * stride >= size else windows
    border = 2 * (kernel // 2) if padding == "same" else 0
    return (size + border - kernel) // stride + 1


def pad_same(images: Tensor, kernel: Grid, stride: int, value: float) -> Tensor:
    """`images` (N, C, H, W) with the border that TensorFlow's SAME gives them, filled with `value`."""
    top, bottom = tf_same(images.shape[2], kernel[0], stride)
    left, right = tf_same(images.shape[3], kernel[1], stride)
    return F.pad(images, (left, right, top, bottom), value=value)


class SameConv2d(nn.Conv2d):
    """A strided convolution with TensorFlow's SAME border, worked out from the size that arrives."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(pad_same(input, (self.kernel_size[0], self.kernel_size[1]), self.stride[0], 0.0))


class SameMaxPool2d(nn.MaxPool2d):
    """A strided max pool with TensorFlow's SAME border; the border never wins."""

    def forward(self, input: Tensor) -> Tensor:
        kernel, stride = self.kernel_size, self.stride
        assert isinstance(kernel, int)
        assert isinstance(stride, int)
        pooled: Tensor = super().forward(pad_same(input, (kernel, kernel), stride, -math.inf))
        return pooled


def conv2d(
    in_channels: int, out_channels: int, kernel: Grid, stride: int, padding: Padding, bias: bool, groups: int = 1
) -> nn.Conv2d:
    """A convolution with one of the borders of `Padding`; its keys are the same whichever it is."""
    if padding == "tf_same" and (stride > 1 or kernel[0] % 2 == 0 or kernel[1] % 2 == 0):
        return SameConv2d(in_channels, out_channels, kernel, stride, groups=groups, bias=bias)
    border = (0, 0) if padding == "valid" else (kernel[0] // 2, kernel[1] // 2)
    return nn.Conv2d(in_channels, out_channels, kernel, stride, border, groups=groups, bias=bias)
