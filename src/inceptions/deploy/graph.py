"""The module that is exported: batch norm folded into the convolutions, and, on request, preprocessing inside."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from inceptions.passes import fold_batch_norm
from inceptions.zoo import Network


class ImagesToLogits(nn.Module):
    """images (N, C, H, W) float32, normalized -> logits (N, classes)."""

    inputs, outputs = "images", "logits"

    def __init__(self, net: Network) -> None:
        super().__init__()
        self.net = fold_batch_norm(net)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.net(images)
        return logits


class ImagesToProbabilities(nn.Module):
    """images (N, C, H, W) uint8 RGB of the network's size -> probabilities (N, classes).

    Channel order, normalization and temperature are part of the graph: whoever runs it needs to decode and resize only.
    """

    inputs, outputs = "images", "probabilities"

    def __init__(self, net: Network, temperature: float) -> None:
        super().__init__()
        self.net = fold_batch_norm(net)
        self.preprocess = net.preprocess
        self.temperature = temperature

    def forward(self, images: Tensor) -> Tensor:
        if self.preprocess.channel_order == "bgr":
            images = images.flip(1)
        logits: Tensor = self.net(self.preprocess.normalize(images))
        return torch.softmax(logits / self.temperature, dim=1)
