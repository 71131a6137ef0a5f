"""`Prepared`: normalisation and network as one module, its batch norm folded, which every runtime runs or converts."""

from __future__ import annotations

import copy
import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from inceptions.zoo import Network


class Prepared(nn.Module):
    """A copy of a network that takes un-normalised pictures and gives logits and pooled features.

    The copy has no auxiliary heads, no batch norm of its own, is in evaluation mode, and leaves the caller's network as
    it is.

    Raises:
        ValueError: the network carries no preprocessing.
    """

    def __init__(self, net: Network) -> None:
        super().__init__()
        if net.preprocess is None:
            raise ValueError(f"{net.name} carries no preprocessing: set net.preprocess to an inceptions.Preprocess")
        self.preprocess = net.preprocess
        self.net = fold_batch_norm(net)
        self.dtype = torch.float32

    def in_bf16(self) -> Prepared:
        """Its body in bf16 (in place), with the weights stored so; pooling and classifier stay in float32."""
        self.net.body.to(torch.bfloat16)
        self.dtype = torch.bfloat16
        return self

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, H, W) uint8 or float -> logits (N, classes) and features (N, F)."""
        images = self.preprocess.normalise(pictures).to(self.dtype).contiguous(memory_format=torch.channels_last)
        trunk = self.net.forward_features(images).float()
        return self.net.forward_head(trunk), self.net.forward_head(trunk, pre_logits=True)


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


def exported(prepared: Prepared, pictures: Tensor) -> torch.export.ExportedProgram:
    """The graph of `prepared` for pictures of this height, width and type, any number of them."""
    example = pictures[:1].expand(2, -1, -1, -1).contiguous()  # 0 and 1 would be taken for constants
    with torch.no_grad(), quiet():
        return torch.export.export(prepared, (example,), dynamic_shapes=({0: torch.export.Dim("n", min=1)},))


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps the converters' deprecations, progress bars and advice from a user who can do nothing about them.

    stdout carries results, and one of the converters draws its bars there.
    """
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
