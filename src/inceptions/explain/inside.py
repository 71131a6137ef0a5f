"""What happens inside: feature maps, the first layer's filters, and which branch answered."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inceptions.explain.attribution import stage_module
from inceptions.layers import BranchesModule
from inceptions.zoo import Network


@dataclass(frozen=True, kw_only=True)
class BranchAnswer:
    """What one branch of a stage did for a class."""

    name: str
    channels: int
    contribution: float
    """Logits that the branch brought, to first order: the sum of activation times gradient. Where the stage is the last
    and ends with its branches, that is exact: all contributions and the classifier's bias add up to the logit."""
    map: Tensor
    """(H, W) float32: where, in pixels of the image."""


def branch_answers(net: Network, image: Tensor, target: int, stage: str) -> tuple[BranchAnswer, ...]:
    """Share out the logit of one class among the parallel branches of a stage.

    Args:
        net: a network; it is put in evaluation mode.
        image: (1, C, H, W), normalized.
        target: the class.
        stage: one that has branches; of a residual stage those of its body.

    Raises:
        ValueError: unknown stage, or one without branches.
    """
    module = next((part for part in stage_module(net, stage).modules() if isinstance(part, BranchesModule)), None)
    if module is None:
        having = [
            name for name, part in net.body.named_children() if any(_are_branches(inner) for inner in part.modules())
        ]
        there = f"these have: {', '.join(having)}" if having else "nor has any other of its stages"
        raise ValueError(f"stage {stage} of {net.name} has no branches; {there}")
    net.eval()
    kept: list[Tensor] = []

    def keep(_: nn.Module, __: object, output: Tensor) -> Tensor:
        output = output if output.requires_grad else output.requires_grad_()
        kept.append(output)
        return output

    widths: dict[str, int] = {}
    handles = [module.register_forward_hook(keep)]
    for name, branch in module.items():
        handles.append(
            branch.register_forward_hook(lambda _, __, output, name=name: widths.update({name: output.shape[1]}))
        )
    try:
        with torch.enable_grad():
            logit = net(image)[0, target]
            (gradient,) = torch.autograd.grad(logit, kept)
    finally:
        for handle in handles:
            handle.remove()
    parts = torch.split((kept[0] * gradient).detach(), list(widths.values()), 1)
    maps = F.interpolate(torch.cat([part.sum(1, keepdim=True) for part in parts], 1), image.shape[2:], mode="bilinear")
    return tuple(
        BranchAnswer(name=name, channels=width, contribution=part.sum().item(), map=shown.float())
        for (name, width), part, shown in zip(widths.items(), parts, maps[0], strict=True)
    )


def _are_branches(module: nn.Module) -> bool:
    return isinstance(module, BranchesModule)


def feature_maps(net: Network, image: Tensor, stage: str) -> Tensor:
    """The channels (C, H, W) that leave a stage for one image (1, C, H, W), normalized; the most active first."""
    stage_module(net, stage)
    net.eval()
    with torch.inference_mode():
        maps = net.forward_stages(image)[stage][0]
    return maps[maps.abs().mean((1, 2)).argsort(descending=True)].float()


def first_filters(net: Network) -> Tensor:
    """The kernels (N, C, h, w) of the first layer, what the network looks for in the pixels."""
    first = next(module for module in net.modules() if isinstance(module, nn.Conv2d))
    return first.weight.detach().float().cpu()
