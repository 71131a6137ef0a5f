"""The module that is exported: batch norm folded into the convolutions, and, on request, preprocessing inside."""

from __future__ import annotations

import copy
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from inceptions.zoo import Network


def fold_batch_norm(net: Network) -> Network:
    """A copy of `net` in evaluation mode whose convolutions carry the scale and shift of the norms behind them.

    Exact up to rounding: w' = w * gamma / sqrt(var + eps), b' = beta + (b - mean) * gamma / sqrt(var + eps).
    """
    folded = copy.deepcopy(net).eval()
    folded.aux = nn.ModuleDict()
    for parent in folded.modules():
        if not isinstance(parent, nn.Sequential):
            continue
        for (conv_name, conv), (norm_name, norm) in pairwise(list(parent.named_children())):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, conv_name, fuse_conv_bn_eval(conv, norm))
                setattr(parent, norm_name, nn.Identity())
    return folded.requires_grad_(False)


class ImagesToLogits(nn.Module):
    """images (N, C, H, W) float32, normalised -> logits (N, classes)."""

    inputs, outputs = "images", "logits"

    def __init__(self, net: Network) -> None:
        super().__init__()
        self.net = fold_batch_norm(net)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.net(images)
        return logits


class PicturesToProbabilities(nn.Module):
    """pictures (N, C, H, W) uint8 RGB of the network's size -> probabilities (N, classes).

    Channel order, normalisation and temperature are part of the graph: whoever runs it needs to decode and resize only.
    """

    inputs, outputs = "pictures", "probabilities"

    def __init__(self, net: Network, temperature: float) -> None:
        super().__init__()
        self.net = fold_batch_norm(net)
        self.preprocess = net.preprocess
        self.temperature = temperature

    def forward(self, pictures: Tensor) -> Tensor:
        if self.preprocess.channel_order == "bgr":
            pictures = pictures.flip(1)
        logits: Tensor = self.net(self.preprocess.normalise(pictures))
        return torch.softmax(logits / self.temperature, dim=1)
