"""Which pixels contributed to a class: Grad-CAM, integrated gradients, occlusion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from captum.attr import IntegratedGradients, LayerGradCam, Occlusion
from torch import Tensor

from inceptions.layers import Grid
from inceptions.zoo import Network

Method = Literal["grad_cam", "integrated_gradients", "occlusion"]
METHODS: tuple[Method, ...] = get_args(Method)

ENOUGH = 4
"""Units that each side of a grid needs for a map to say where."""
STEPS = 32
"""Points on the way from the mean color to the image that integrated gradients are summed over."""
WINDOWS = 8
"""Windows of occlusion that fit along a side without overlap; they are moved by half of one."""


def attribute(
    net: Network,
    images: Tensor,
    targets: Sequence[int] | Tensor,
    *,
    method: Method = "grad_cam",
    stage: str | None = None,
) -> Tensor:
    """How much each pixel contributed to a class; negative where it is evidence against it.

    - `grad_cam` (1610.02391): the channels of a stage, weighted by how the logit depends on them, added up; positive
      part only. As coarse as the stage's grid.
    - `integrated_gradients` (1703.01365): gradients along the way from the mean color (zero after normalization) to
      the image, times the way; their sum is the difference of the two logits.
    - `occlusion` (1311.2901): how much the logit falls when a window is covered by the mean color.

    Args:
        net: a network; it is put in evaluation mode.
        images: (N, C, H, W), normalized.
        targets: a class index for each image.
        method: one of `METHODS`.
        stage: whose output `grad_cam` looks at; None: `grid_stage`'s.

    Returns:
        (N, H, W) float32.

    Raises:
        ValueError: an unknown method or stage, or another number of targets than images.
    """
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; there are: {', '.join(METHODS)}")
    wanted = torch.as_tensor(targets, device=images.device)
    if wanted.shape != (len(images),):
        raise ValueError(f"{len(images)} images need as many targets, not {tuple(wanted.shape)}")
    if stage is not None and method != "grad_cam":
        raise ValueError(f"{method} looks at pixels, not at a stage: leave the stage out")
    net.eval()
    ways: dict[Method, Callable[[], Tensor]] = {
        "grad_cam": lambda: _grad_cam(net, images, wanted, stage),
        "integrated_gradients": lambda: _integrated(net, images, wanted),
        "occlusion": lambda: _occluded(net, images, wanted),
    }
    return ways[method]().detach().float()


def grid_stage(net: Network, size: Grid) -> str:
    """The last stage whose grid is at least 4x4 at this size of image; else the one with the largest grid.

    Later stages know more about what is there, and less about where.
    """
    height, width = size
    grids: dict[str, int] = {}
    for name, layer in net.table.stages:
        height, width = layer.grid(height, width)
        grids[name] = min(height, width)
    fine = [name for name, side in grids.items() if side >= ENOUGH]
    return fine[-1] if fine else max(grids, key=grids.__getitem__)


def _grad_cam(net: Network, images: Tensor, targets: Tensor, stage: str | None) -> Tensor:
    name = stage or grid_stage(net, (images.shape[2], images.shape[3]))
    maps = LayerGradCam(net, stage_module(net, name)).attribute(images, target=targets, relu_attributions=True)
    return F.interpolate(maps, images.shape[2:], mode="bilinear")[:, 0]


def _integrated(net: Network, images: Tensor, targets: Tensor) -> Tensor:
    maps: Tensor = IntegratedGradients(net).attribute(
        images, target=targets, n_steps=STEPS, internal_batch_size=max(len(images), 8)
    )
    return maps.sum(1)


def _occluded(net: Network, images: Tensor, targets: Tensor) -> Tensor:
    channels, height, width = images.shape[1:]
    window = (channels, max(1, height // WINDOWS), max(1, width // WINDOWS))
    steps = (channels, max(1, window[1] // 2), max(1, window[2] // 2))
    with torch.no_grad():
        maps: Tensor = Occlusion(net).attribute(
            images, sliding_window_shapes=window, strides=steps, target=targets, perturbations_per_eval=8
        )
    return maps.mean(1)


def stage_module(net: Network, name: str) -> torch.nn.Module:
    """A stage by name. Raises `ValueError` saying which there are."""
    if name not in net.stages:
        raise ValueError(f"{net.name} has no stage {name!r}; it has: {', '.join(net.stages)}")
    return net.body.get_submodule(name)
