"""Networks of gray images, or of more than three channels, out of weights for another number of channels.

As timm does it: one channel reads the sum of the kernels of the colors, so that it answers as the network of colors
does to the same values in every channel; more channels read the kernels in turn, scaled to the same sum.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from inceptions.image import Preprocess
from inceptions.weights.convert import State
from inceptions.weights.layouts import Match
from inceptions.zoo import Network

_KERNELS = {
    "torch": (".weight",),
    "caffe": (".weight",),
    "keras": ("/kernel", "/depthwise_kernel"),
    "slim": ("/weights", "/depthwise_weights"),
}


def channels_of(match: Match) -> int | None:
    """Channels of the images that a checkpoint's first convolution reads; None where its shape tells nothing."""
    dialect = match.checkpoint.dialect
    first = match.names[match.layout.body[0]]
    for suffix in _KERNELS[dialect]:
        tensor = match.checkpoint.tensors.get(first + suffix)
        if tensor is not None and tensor.ndim == 4:
            return tensor.shape[1] if dialect in ("torch", "caffe") else tensor.shape[2]
    return None


def with_channels(net: Network, state: State, channels: int) -> State:
    """The tensors `state` of `net`, for a network of the same kind whose images have `channels` channels.

    Raises:
        ValueError: the network begins with a depthwise convolution, whose filters cannot be added up.
    """
    name, first = next((name, module) for name, module in net.named_modules() if isinstance(module, nn.Conv2d))
    if first.groups != 1:
        raise ValueError(
            f"in_channels={channels}: these weights of {net.name} are for {net.in_channels} channels, and begin with a "
            "depthwise convolution, which cannot be turned to another number; leave in_channels out"
        )
    key = f"{name}.weight"
    return {**state, key: _turned(state[key], channels)}


def _turned(kernel: Tensor, channels: int) -> Tensor:
    came = kernel.shape[1]
    if channels == 1:
        return kernel.sum(1, keepdim=True)
    repeated = kernel.repeat(1, -(-channels // came), 1, 1)[:, :channels]
    return torch.mul(repeated, came / channels)


def for_channels(preprocess: Preprocess, channels: int) -> Preprocess | None:
    """The same preprocessing for images of `channels` channels; None where there are no such images.

    One channel is fed with the averages of the colors' statistics, three with those of gray.
    """
    if channels == preprocess.channels:
        return preprocess
    if channels not in (1, 3):
        return None
    mean, std = (sum(values) / len(values) for values in (preprocess.mean, preprocess.std))
    order = preprocess.channel_order if channels == 3 else "rgb"
    return replace(preprocess, mean=(mean,) * channels, std=(std,) * channels, channel_order=order)
