"""The pass for training: what a step computes, in a cheaper order.

The fast network is a second set of containers around the same layers: it has the same parameters, buffers and leaf
modules, so whatever is learned is learned by the network it was made of.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inceptions.layers import ConvNormAct, SameMaxPool2d, pad_same
from inceptions.zoo import Network


def fast_for_training(net: Network) -> Network:
    """The same network for training steps.

    - A max pool takes its maxima before the ReLU of the stage in front of it: the same bits, and the ReLU has a quarter
      of the pixels to read and write (1.4 % of a step of Inception v3 on a CPU). Stages whose outputs somebody listens
      to with a hook, or an auxiliary head taps, stay whole.
    - An average around each pixel and the 1x1 convolution behind it change places under autocast: equal within the
      rounding of half precision (3 % of a step).
    - The gradient of such an average in bf16 on a CPU is rounded once, not added up in bf16.
    - Compiled, max pools call PyTorch's own kernels: the same bits (a tenth of a compiled step).

    Returns:
        A network that shares everything with `net` but its containers; hooks on a container of `net` that was made
        anew do not see it.
    """
    fast = copy.copy(net)
    fast._modules = dict(net._modules)
    fast.body = _rewired(net.body)
    fast.aux = _rewired(net.aux)
    stages = fast.body = _copied(fast.body)
    names = [name for name, _ in stages.named_children()]
    for name, following in itertools.pairwise(names):
        stage, pool = stages.get_submodule(name), stages.get_submodule(following)
        if _relu_can_wait(stage) and isinstance(pool, nn.MaxPool2d) and name not in net.aux:
            *parts, relu = stage.named_children()
            stages._modules[name] = nn.Sequential(OrderedDict(parts))
            stages._modules[following] = nn.Sequential(pool, relu[1])
    return fast


def _relu_can_wait(module: nn.Module) -> TypeGuard[ConvNormAct]:
    """Whether the module ends in a ReLU, and no hook listens to it as a whole."""
    listened = module._forward_hooks or module._forward_pre_hooks
    return isinstance(module, ConvNormAct) and isinstance(module[-1], nn.ReLU) and not listened


def _copied(module: Any) -> Any:
    """Another container of the same children, parameters and buffers."""
    twin = copy.copy(module)
    twin._modules = dict(module._modules)
    return twin


def _rewired(module: nn.Module) -> Any:
    """The module with its pools exchanged for the fast ones; itself where there is none in it."""
    match module:
        case SameMaxPool2d():
            return _SameMaxPool(module)
        case nn.MaxPool2d():
            return _MaxPool(module)
        case nn.AvgPool2d() if module.stride == 1 and module.kernel_size == 2 * _side(module.padding) + 1:
            return _AvgPool(module)
    children = {name: _rewired(child) for name, child in module.named_children()}
    if all(child is module.get_submodule(name) for name, child in children.items()):
        return module
    twin = _copied(module)
    twin._modules.update(children)
    match [*children.values()]:
        case [_AvgPool() as pool, ConvNormAct() as layer] if _pointwise(layer):
            return _Averaged(pool, layer)
    return twin


def _side(window: int | tuple[int, ...]) -> int:
    """Of a window of ours, which are square and have one number for both sides."""
    assert isinstance(window, int)
    return window


def _pointwise(layer: ConvNormAct) -> bool:
    conv = layer[0]
    return isinstance(conv, nn.Conv2d) and conv.kernel_size == conv.stride == (1, 1) and conv.bias is None


class _Averaged(nn.Module):
    """An average around each pixel, then a 1x1 convolution without bias, with its norm and activation.

    One is linear over space and one over channels, so they may change places. Under autocast they do: the average then
    has a quarter of the channels or fewer to read and write.
    """

    def __init__(self, pool: nn.Module, layer: ConvNormAct) -> None:
        super().__init__()
        self.pool, self.layer = pool, layer

    def forward(self, images: Tensor) -> Tensor:
        # (of shapes alone, on the device "meta", PyTorch cannot say)
        if not images.is_meta and torch.is_autocast_enabled(images.device.type):
            conv, *others = self.layer
            images = self.pool(conv(images))
            for module in others:
                images = module(images)
            return images
        averaged: Tensor = self.layer(self.pool(images))
        return averaged


class _AvgPool(nn.Module):
    """An average pool that keeps the grid, with a gradient of its own for bf16 on a CPU: PyTorch adds that up in bf16;
    ours is rounded once, and takes a quarter of the time or less."""

    def __init__(self, pool: nn.AvgPool2d) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, images: Tensor) -> Tensor:
        learns = images.requires_grad and torch.is_grad_enabled() and not torch.compiler.is_compiling()
        if learns and images.dtype == torch.bfloat16 and images.device.type == "cpu":
            return _averages(images, _side(self.pool.kernel_size), self.pool.count_include_pad)
        averaged: Tensor = self.pool(images)
        return averaged


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


class _MaxPool(nn.MaxPool2d):
    """A max pool. A compiled training step calls PyTorch's own kernels for it on a CPU: its compiler would write loops
    of its own, and for the gradient they take three to six times as long."""

    def __init__(self, pool: nn.MaxPool2d) -> None:
        super().__init__(pool.kernel_size, pool.stride, pool.padding, ceil_mode=pool.ceil_mode)

    def forward(self, input: Tensor) -> Tensor:
        learns = input.requires_grad and torch.is_grad_enabled()
        if torch.compiler.is_compiling() and learns and input.device.type == "cpu":
            window = _side(self.kernel_size), _side(self.stride), _side(self.padding)
            maxima: Tensor = _whole(input, *window, self.ceil_mode)[0]
            return maxima
        pooled: Tensor = super().forward(input)
        return pooled


class _SameMaxPool(_MaxPool):
    """The same with TensorFlow's SAME padding."""

    def forward(self, input: Tensor) -> Tensor:
        kernel = _side(self.kernel_size)
        return super().forward(pad_same(input, (kernel, kernel), _side(self.stride), -math.inf))


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
