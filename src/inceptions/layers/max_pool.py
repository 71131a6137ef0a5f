"""Max pooling whose gradient stays fast when a training step is compiled."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class MaxPool2d(nn.MaxPool2d):
    """`nn.MaxPool2d`. A compiled training step calls PyTorch's own kernels for it on a CPU.

    PyTorch's compiler would write loops of its own; for the gradient they take three to six times as long, a tenth of
    the whole step of Inception v3.
    """

    def forward(self, input: Tensor) -> Tensor:
        learns = input.requires_grad and torch.is_grad_enabled()
        if torch.compiler.is_compiling() and learns and input.device.type == "cpu":
            kernel, stride, border = self.kernel_size, self.stride, self.padding
            assert isinstance(kernel, int)
            assert isinstance(stride, int)
            assert isinstance(border, int)
            maxima: Tensor = _whole(input, kernel, stride, border, self.ceil_mode)[0]
            return maxima
        pooled: Tensor = super().forward(input)
        return pooled


def _both(images: Tensor, kernel: int, stride: int, border: int, ceil_mode: bool) -> tuple[Tensor, Tensor]:
    """The maxima, and where in the grid each was."""
    window = [kernel] * 2, [stride] * 2, [border] * 2, [1, 1], ceil_mode
    found: tuple[Tensor, Tensor] = torch.ops.aten.max_pool2d_with_indices(images, *window)
    return found


def _gradient(
    gradient: Tensor, images: Tensor, where: Tensor, kernel: int, stride: int, border: int, ceil_mode: bool
) -> Tensor:
    window = [kernel] * 2, [stride] * 2, [border] * 2, [1, 1], ceil_mode
    passed_on: Tensor = torch.ops.aten.max_pool2d_with_indices_backward(gradient, images, *window, where)
    return passed_on


# Operators of our own are what the compiler does not look into.
_whole = torch.library.custom_op("inceptions::max_pool", _both, mutates_args=())
_whole_gradient = torch.library.custom_op("inceptions::max_pool_gradient", _gradient, mutates_args=())
_whole.register_fake(_both)
_whole_gradient.register_fake(lambda gradient, images, *_: torch.empty_like(images))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    images, *ctx.window = inputs
    ctx.save_for_backward(images, output[1])


def _backward(ctx: Any, gradient: Tensor, _: Tensor | None) -> tuple[Tensor, None, None, None, None]:
    return _whole_gradient(gradient, *ctx.saved_tensors, *ctx.window), None, None, None, None


_whole.register_autograd(_backward, setup_context=_keep)
