"""The pass that folds batch norms into the convolutions in front of them."""

from __future__ import annotations

import copy
from itertools import pairwise

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from inceptions.zoo import Network


def fold_batch_norm(net: Network, *, aux: bool = False) -> Network:
    """A copy of `net` in evaluation mode whose convolutions carry the scale and shift of the norms behind them.

    Exact up to rounding: w' = w * gamma / sqrt(var + eps), b' = beta + (b - mean) * gamma / sqrt(var + eps).

    Args:
        aux: keep the auxiliary heads.
    """
    folded = copy.deepcopy(net).eval()
    if not aux:
        folded.aux = nn.ModuleDict()
    for parent in folded.modules():
        if not isinstance(parent, nn.Sequential):
            continue
        for (conv_name, conv), (norm_name, norm) in pairwise(list(parent.named_children())):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, conv_name, fuse_conv_bn_eval(conv, norm))
                setattr(parent, norm_name, nn.Identity())
    return folded.requires_grad_(False)
