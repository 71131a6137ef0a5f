"""Separable convolutions made ready for 8 bits: every channel between their halves spans about the same range."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

IMAGES = 32  # that the ranges are measured on


def equalize(module: nn.Module, calibration: Sequence[Tensor]) -> int:
    """Rescale the channels between a depthwise convolution and the pointwise one behind it (in place).

    One scale serves all channels of an activation in 8 bits, so a channel of a small range keeps few of the 256 levels.
    Nothing but these two convolutions sees the channels, so dividing one's filter c by s and multiplying the other's
    weights for c by s changes no answer (up to rounding). s is the square root of the channel's range over its largest
    weight, which shares the spread between activations and weights (Nagel et al., 1906.04721, section 4.1, with
    measured ranges).

    Args:
        module: in evaluation mode, batch norm folded.
        calibration: batches of what it takes, at least one.

    Returns:
        How many pairs there were.
    """
    pairs = _pairs(module)
    peaks: dict[nn.Conv2d, Tensor] = {}

    def note(depthwise: nn.Module, _: object, outputs: Tensor) -> None:
        assert isinstance(depthwise, nn.Conv2d)
        peak = outputs.abs().amax(dim=(0, 2, 3))
        peaks[depthwise] = torch.maximum(peaks[depthwise], peak) if depthwise in peaks else peak

    hooks = [depthwise.register_forward_hook(note) for depthwise, _ in pairs]
    try:
        with torch.no_grad():
            seen = 0
            for batch in calibration if pairs else ():
                module(batch[: IMAGES - seen])
                seen += len(batch)
                if seen >= IMAGES:
                    break
    finally:
        for hook in hooks:
            hook.remove()
    for depthwise, pointwise in pairs:
        scale = _scale(peaks[depthwise], pointwise.weight.detach().abs().amax(dim=(0, 2, 3)))
        with torch.no_grad():
            depthwise.weight /= scale[:, None, None, None]
            if depthwise.bias is not None:
                depthwise.bias /= scale
            pointwise.weight *= scale[None, :, None, None]
    return len(pairs)


def _scale(peak: Tensor, weight: Tensor) -> Tensor:
    """(C,) of geometric mean 1. A channel that is silent, or that is not used, must not get a huge factor."""
    scale = (_bounded(peak) / _bounded(weight)).sqrt()
    return scale / scale.log().mean().exp()


def _bounded(sizes: Tensor) -> Tensor:
    return sizes.clamp_min(1e-4 * float(sizes.max()) + 1e-12)


def _pairs(module: nn.Module) -> list[tuple[nn.Conv2d, nn.Conv2d]]:
    """Depthwise convolutions with the pointwise ones directly behind them."""
    found = []
    for parent in module.modules():
        if not isinstance(parent, nn.Sequential):
            continue
        parts = [part for part in parent if not isinstance(part, nn.Identity)]  # norms that were folded
        for first, second in pairwise(parts):
            if not isinstance(first, nn.Conv2d) or not isinstance(second, nn.Conv2d):
                continue
            if first.groups == first.in_channels > 1 and second.kernel_size == (1, 1) and second.groups == 1:
                found.append((first, second))
    return found
