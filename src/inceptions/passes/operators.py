"""Operators that the runtimes have as one and PyTorch's exporter takes apart, or that a runtime has only in part.

Local response normalization becomes ten operators when it is exported, among them a power and an average pool over
channels: half of GoogLeNet's time on OpenVINO, three quarters in int8. Kept whole, it is a hundredth.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from inceptions.layers import borders


@torch.library.custom_op("inceptions::local_response_norm", mutates_args=())
def local_response_norm(images: Tensor, size: int, alpha: float, beta: float, k: float) -> Tensor:
    """`torch.nn.functional.local_response_norm`, which an exporter does not look into."""
    return functional.local_response_norm(images, size, alpha, beta, k)


@local_response_norm.register_fake
def _(images: Tensor, size: int, alpha: float, beta: float, k: float) -> Tensor:
    return torch.empty_like(images)


class _WholeNorm(nn.Module):
    """A local response normalization as one operator."""

    def __init__(self, norm: nn.LocalResponseNorm) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, images: Tensor) -> Tensor:
        norm = self.norm
        normalized: Tensor = local_response_norm(images, norm.size, norm.alpha, norm.beta, norm.k)
        return normalized


@torch.library.custom_op("inceptions::pad_same", mutates_args=())
def pad_same(images: Tensor, height: int, width: int, stride: int, value: float) -> Tensor:
    """TensorFlow's SAME border of a kernel of `height` x `width`: an exporter that looked into it would fix the border
    that the size at hand needs."""
    return borders.pad_same(images, (height, width), stride, value)


@pad_same.register_fake
def _(images: Tensor, height: int, width: int, stride: int, value: float) -> Tensor:
    ends = (sum(borders.tf_same(images.shape[axis + 2], k, stride)) for axis, k in enumerate((height, width)))
    sides = (size + border for size, border in zip(images.shape[2:], ends, strict=True))
    return images.new_empty((*images.shape[:2], *sides))


class _PaddedConv(nn.Module):
    """A convolution whose border is one operator."""

    def __init__(self, conv: borders.SameConv2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, images: Tensor) -> Tensor:
        conv = self.conv
        padded = pad_same(images, conv.kernel_size[0], conv.kernel_size[1], conv.stride[0], 0.0)
        return functional.conv2d(padded, conv.weight, conv.bias, conv.stride, groups=conv.groups)


class _PaddedPool(nn.Module):
    """A max pool whose border is one operator."""

    def __init__(self, pool: borders.SameMaxPool2d) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, images: Tensor) -> Tensor:
        kernel, stride = self.pool.kernel_size, self.pool.stride
        assert isinstance(kernel, int)
        assert isinstance(stride, int)
        return functional.max_pool2d(pad_same(images, kernel, kernel, stride, -math.inf), kernel, stride)


@contextmanager
def whole_operators(module: nn.Module, *, sizes: bool = False) -> Iterator[None]:
    """Within the block, what is exported from `module` has each local response normalization as one operator.

    Args:
        sizes: and each border that depends on the size as one that works it out when it runs.
    """
    kinds: dict[type[nn.Module], Callable[[Any], nn.Module]] = {nn.LocalResponseNorm: _WholeNorm}
    if sizes:
        kinds |= {borders.SameConv2d: _PaddedConv, borders.SameMaxPool2d: _PaddedPool}
    found = [
        (parent, name, child, whole)
        for parent in module.modules()
        for name, child in parent.named_children()
        for kind, whole in kinds.items()
        if isinstance(child, kind)
    ]
    for parent, name, child, whole in found:
        setattr(parent, name, whole(child))
    try:
        yield
    finally:
        for parent, name, child, _ in found:
            setattr(parent, name, child)


def onnx_translations() -> dict[Any, Any]:
    """`custom_translation_table` of `torch.onnx.export`."""
    import onnxscript

    opset18: Any = onnxscript.opset18  # its own types take constants for something else

    def translated(images: Any, size: int, alpha: float, beta: float, k: float) -> Any:
        return opset18.LRN(images, alpha=alpha, beta=beta, bias=k, size=size)

    def padded(images: Any, height: int, width: int, stride: int, value: float) -> Any:
        size = opset18.Shape(images, start=2, end=4)
        steps = opset18.Constant(value_ints=[stride, stride])
        kernel = opset18.Constant(value_ints=[height, width])
        windows = opset18.Div(opset18.Add(size, opset18.Constant(value_ints=[stride - 1, stride - 1])), steps)
        covered = opset18.Add(opset18.Mul(opset18.Sub(windows, opset18.Constant(value_ints=[1, 1])), steps), kernel)
        border = opset18.Max(opset18.Sub(covered, size), opset18.Constant(value_ints=[0, 0]))
        before = opset18.Div(border, opset18.Constant(value_ints=[2, 2]))
        ends = opset18.Concat(before, opset18.Sub(border, before), axis=0)
        return opset18.Pad(images, ends, opset18.Constant(value_float=value), opset18.Constant(value_ints=[2, 3]))

    return {
        torch.ops.inceptions.local_response_norm.default: translated,
        torch.ops.inceptions.pad_same.default: padded,
    }


def openvino_extensions() -> list[Any]:
    """`extension` of `openvino.convert_model`."""
    from openvino import opset14
    from openvino.frontend.pytorch import ConversionExtension

    def translated(node: Any) -> list[Any]:
        size, alpha, beta, k = (node.get_values_from_const_input(place) for place in range(1, 5))
        channels = opset14.constant(np.array([1], np.int64))
        return list(opset14.lrn(node.get_input(0), channels, alpha, beta, k, size).outputs())

    def padded(node: Any) -> list[Any]:
        images = node.get_input(0)
        height, width, stride, value = (node.get_values_from_const_input(place) for place in range(1, 5))

        def constant(*values: int) -> Any:
            return opset14.constant(np.array(values, np.int64))

        steps = constant(stride, stride)
        size = opset14.gather(opset14.shape_of(images, "i64"), constant(2, 3), constant(0))
        windows = opset14.divide(opset14.add(size, constant(stride - 1, stride - 1)), steps)
        covered = opset14.add(
            opset14.multiply(opset14.subtract(windows, constant(1, 1)), steps), constant(height, width)
        )
        border = opset14.maximum(opset14.subtract(covered, size), constant(0, 0))
        before = opset14.divide(border, constant(2, 2))
        ends = [opset14.concat([constant(0, 0), end], 0) for end in (before, opset14.subtract(border, before))]
        filled = opset14.constant(np.array(value, np.float32))
        return list(opset14.pad(images, *ends, "constant", filled).outputs())

    return [
        ConversionExtension("inceptions.local_response_norm.default", translated),
        ConversionExtension("inceptions.pad_same.default", padded),
    ]


def pad_rounded_pools(graph: Any) -> None:
    """Writes the rounded-up max pools of an `openvino.Model` (in place) as pools with a border at the end.

    The answers are the same; but OpenVINO does not carry 8-bit numbers through a pool that rounds up, and computes
    the convolutions behind it in float32.

    Args:
        graph: of known height and width.
    """
    from openvino import opset14

    for pool in graph.get_ordered_ops():
        if pool.get_type_name() != "MaxPool" or pool.get_attributes()["rounding_type"] != "ceil_torch":
            continue
        facts = pool.get_attributes()
        before, after = (
            [shape[axis].get_length() for axis in (2, 3)]
            for shape in (pool.input_value(0).get_partial_shape(), pool.output(0).get_partial_shape())
        )
        ends = [
            max(0, (out - 1) * stride + kernel - size - begin)
            for out, stride, kernel, size, begin in zip(
                after, facts["strides"], facts["kernel"], before, facts["pads_begin"], strict=True
            )
        ]
        padded = opset14.max_pool(
            pool.input_value(0),
            facts["strides"],
            facts["dilations"],
            facts["pads_begin"],
            ends,
            facts["kernel"],
            axis=2,
        )
        padded.set_friendly_name(pool.get_friendly_name())
        for output, replacement in zip(pool.outputs(), padded.outputs(), strict=True):
            output.replace(replacement)
