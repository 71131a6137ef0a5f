"""Operators that the runtimes have as one and PyTorch's exporter takes apart, or that a runtime has only in part.

Local response normalisation becomes ten operators when it is exported, among them a power and an average pool over
channels: half of GoogLeNet's time on OpenVINO, three quarters in int8. Kept whole, it is a hundredth.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional


@torch.library.custom_op("inceptions::local_response_norm", mutates_args=())
def local_response_norm(images: Tensor, size: int, alpha: float, beta: float, k: float) -> Tensor:
    """`torch.nn.functional.local_response_norm`, which an exporter does not look into."""
    return functional.local_response_norm(images, size, alpha, beta, k)


@local_response_norm.register_fake
def _(images: Tensor, size: int, alpha: float, beta: float, k: float) -> Tensor:
    return torch.empty_like(images)


class _Whole(nn.Module):
    def __init__(self, norm: nn.LocalResponseNorm) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, images: Tensor) -> Tensor:
        norm = self.norm
        normalised: Tensor = local_response_norm(images, norm.size, norm.alpha, norm.beta, norm.k)
        return normalised


@contextmanager
def whole_operators(module: nn.Module) -> Iterator[None]:
    """Within the block, what is exported from `module` has each local response normalisation as one operator."""
    found = [
        (parent, name, norm)
        for parent in module.modules()
        for name, norm in parent.named_children()
        if isinstance(norm, nn.LocalResponseNorm)
    ]
    for parent, name, norm in found:
        setattr(parent, name, _Whole(norm))
    try:
        yield
    finally:
        for parent, name, norm in found:
            setattr(parent, name, norm)


def onnx_translations() -> dict[Any, Any]:
    """`custom_translation_table` of `torch.onnx.export`."""
    from onnxscript import opset18

    def translated(images: Any, size: int, alpha: float, beta: float, k: float) -> Any:
        return opset18.LRN(images, alpha=alpha, beta=beta, bias=k, size=size)

    return {torch.ops.inceptions.local_response_norm.default: translated}


def openvino_extensions() -> list[Any]:
    """`extension` of `openvino.convert_model`."""
    from openvino import opset14
    from openvino.frontend.pytorch import ConversionExtension

    def translated(node: Any) -> list[Any]:
        size, alpha, beta, k = (node.get_values_from_const_input(place) for place in range(1, 5))
        channels = opset14.constant(np.array([1], np.int64))
        return list(opset14.lrn(node.get_input(0), channels, alpha, beta, k, size).outputs())

    return [ConversionExtension("inceptions.local_response_norm.default", translated)]


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
