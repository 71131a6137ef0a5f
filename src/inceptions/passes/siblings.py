"""The 1x1 convolutions with which several branches of a block begin, as one convolution.

They read the same tensor, so one with all their channels gives the same numbers. It saves launches, which are most of
the time that a GPU needs for a single image; on a CPU it was measured to change nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from inceptions.layers import BranchesModule, ConvNormAct


class SiblingsModule(nn.Module):
    """Branches whose first 1x1 convolutions are computed together.

    Args:
        branches: with folded batch norm; its modules are taken over.
        first: the branches that begin with such a convolution -> their first layer; all with the same activation.
    """

    def __init__(self, branches: BranchesModule, first: dict[str, ConvNormAct]) -> None:
        super().__init__()
        convs = [_conv(layer) for layer in first.values()]
        biases = [conv.bias for conv in convs if conv.bias is not None]
        weight = torch.cat([conv.weight for conv in convs])
        self.conv = nn.Conv2d(
            weight.shape[1], len(weight), 1, bias=bool(biases), device=weight.device, dtype=weight.dtype
        )
        self.conv.weight = nn.Parameter(weight, requires_grad=False)
        if biases:
            self.conv.bias = nn.Parameter(torch.cat(biases), requires_grad=False)
        self.after = nn.Sequential(*list(next(iter(first.values())))[1:])
        self.widths = {name: conv.out_channels for name, conv in zip(first, convs, strict=True)}
        self.branches = nn.ModuleDict(
            {name: _rest(branch) if name in first else branch for name, branch in branches.items()}
        )

    def forward(self, images: Tensor) -> Tensor:
        parts = self.after(self.conv(images)).split(list(self.widths.values()), dim=1)
        ready = dict(zip(self.widths, parts, strict=True))
        joined: Tensor = torch.cat([branch(ready.get(name, images)) for name, branch in self.branches.items()], dim=1)
        return joined


def merge_siblings(net: nn.Module) -> int:
    """Merges them in every block of `net` (in place, for inference); returns in how many blocks there were any."""
    merged = 0
    for parent in list(net.modules()):
        for name, child in list(parent.named_children()):
            if not isinstance(child, BranchesModule):
                continue
            first = {key: layer for key, branch in child.items() if (layer := _pointwise(branch)) is not None}
            kinds = {tuple(map(type, list(layer)[1:])) for layer in first.values()}
            biased = {_conv(layer).bias is not None for layer in first.values()}
            if len(first) > 1 and len(kinds) == len(biased) == 1:
                setattr(parent, name, SiblingsModule(child, first))
                merged += 1
    return merged


def _pointwise(branch: nn.Module) -> ConvNormAct | None:
    """The layer that a branch begins with, if it is a 1x1 convolution of stride 1 without a norm of its own."""
    layer = branch
    while type(layer) is nn.Sequential and len(layer):
        layer = layer[0]
    if not isinstance(layer, ConvNormAct) or any(isinstance(part, nn.BatchNorm2d) for part in layer):
        return None
    conv = _conv(layer)
    plain = type(conv) is nn.Conv2d and conv.kernel_size == conv.stride == (1, 1) and conv.groups == 1
    return layer if plain else None


def _conv(layer: ConvNormAct) -> nn.Conv2d:
    conv = layer[0]
    assert isinstance(conv, nn.Conv2d)
    return conv


def _rest(branch: nn.Module) -> nn.Module:
    """A branch without the layer that it begins with."""
    if isinstance(branch, ConvNormAct):
        return nn.Identity()
    first, *others = branch.children()
    return nn.Sequential(_rest(first), *others)
