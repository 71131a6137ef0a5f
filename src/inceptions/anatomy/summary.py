"""Networks side by side: what they cost, how deep they are and how far they see, how fast and how good they are."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import Any

import torch

from inceptions.anatomy.cost import cost, image_size
from inceptions.anatomy.receptive import receptive_fields
from inceptions.layers import Grid
from inceptions.models import Model, as_model
from inceptions.zoo import MEMBERS, Network

PUBLISHED = {
    "googlenet": (68.7, "BVLC's Caffe model, center crop"),
    "bn_inception": (74.8, "1502.03167, single crop"),
    "inception_v3": (78.8, "1512.00567, single crop, 48,238 images"),
    "inception_v4": (80.0, "1602.07261, single crop, 48,238 images"),
    "inception_resnet_v1": (78.7, "1602.07261, single crop, 48,238 images"),
    "inception_resnet_v2": (80.1, "1602.07261, single crop, 48,238 images"),
    "xception": (79.0, "1610.02357, single crop"),
    "xception41": (78.55, "timm's results, TensorFlow's weights"),
    "xception65": (79.56, "timm's results, TensorFlow's weights"),
    "xception71": (79.92, "timm's results, TensorFlow's weights"),
}
"""Top-1 on ImageNet's validation images, per cent, and who says so. Protocols differ; a point means little."""

RUNS = 9
"""Passes that a latency is the median of, after two that do not count."""


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Milliseconds of one image, in PyTorch eager, on this machine."""

    median: float
    quartiles: tuple[float, float]
    runs: int
    """Passes that they are of."""
    device: str
    threads: int


@dataclass(frozen=True, kw_only=True)
class Portrait:
    """One network among others."""

    name: str
    """What it was called by: a name of the family, or a folder."""
    model: str
    generation: str | None
    year: int | None
    input_size: Grid
    depth: int
    parameters: int
    multiply_adds: int
    activations: int
    receptive_field: Grid
    stride: int
    published_top1: float | None
    """Of the weights published under this name, per cent; None for a run and where the options are others."""
    published_by: str | None
    latency: Latency | None
    """None where it was not requested, and for an export."""
    measured: dict[str, Any] | None
    """What the run found on its validation part: n, top1, top1_interval, as shares from 0 to 1."""


def portrait(
    model: Network | Model, *, name: str | None = None, size: int | None = None, timed: bool = True
) -> Portrait:
    """Summarize one network.

    Args:
        model: with weights where it is to be timed.
        name: how to call it; None: as its network is called.
        size: side of the image, px; None: of its `preprocess`, or as published.
        timed: measure its latency. An export has no weights in PyTorch: there is nothing to time.

    Raises:
        ValueError: the image is too small.
    """
    model = as_model(model)
    network = model.shapes
    height, width = image_size(network, size)
    counted = cost(network, (height, width))
    field = receptive_fields(network, (height, width))[network.stages[-1]]
    member = MEMBERS.get(network.name)
    as_published = member is not None and model.folder is None and network.options == member.options
    accuracy, source = PUBLISHED.get(network.name, (None, None)) if as_published else (None, None)
    metrics = (model.facts.metrics or {}).get("val")
    return Portrait(
        name=name or network.name,
        model=network.name,
        generation=member.generation if member else None,
        year=member.year if member else None,
        input_size=(height, width),
        depth=counted.depth,
        parameters=counted.parameters,
        multiply_adds=counted.multiply_adds,
        activations=counted.activations,
        receptive_field=field.size,
        stride=field.stride[0],
        published_top1=accuracy,
        published_by=source,
        latency=latency(network, (height, width)) if timed and model.network is not None else None,
        measured={key: metrics[key] for key in ("n", "top1", "top1_interval") if key in metrics} if metrics else None,
    )


def latency(network: Network, size: Grid) -> Latency:
    """Time single images of `size` through `network` where its weights are; it is left in evaluation mode."""
    network.eval()
    device = next(network.parameters()).device
    image = torch.randn(1, network.in_channels, *size, generator=torch.Generator().manual_seed(0)).to(device)
    taken = []
    with torch.inference_mode():
        for _ in range(2 + RUNS):
            start = time.perf_counter()
            network(image)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            taken.append(1e3 * (time.perf_counter() - start))
    low, median, high = statistics.quantiles(taken[2:], n=4)
    return Latency(median=median, quartiles=(low, high), runs=RUNS, device=str(device), threads=torch.get_num_threads())
