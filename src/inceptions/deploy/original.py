"""The network that is exported or measured: a trained one, published weights, or a bare name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from inceptions.deploy.images import made_up
from inceptions.predict import load_network
from inceptions.weights import create_model
from inceptions.zoo import ALIASES, MEMBERS, Network
from inceptions.zoo.options import nearest


def open_original(
    model: str,
    *,
    options: Mapping[str, Any] | None = None,
    img_size: int | None = None,
    weights_part: str | None = None,
) -> Network:
    """A network with preprocessing and classes.

    Args:
        model: a folder or published weights as `inceptions.load` takes them; a name of the family: fresh weights and
            numbered classes.
        options: of the network, only with a name.
        img_size: side of the images, px; None: the network's own.
        weights_part: as of `create_model`.

    Raises:
        ValueError: options for a network that has its own already; a size below its minimum.
        FileNotFoundError: there is nothing of this name; the text names the nearest network.
    """
    bare = model in (*MEMBERS, *ALIASES) and not Path(model).exists()
    if not bare and options:
        raise ValueError(f"{model} has its options already; give options with a name of `inceptions models`")
    try:
        net = _fresh(model, options or {}) if bare else load_network(model, weights_part)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}, nor a network's name{nearest(model, [*MEMBERS, *ALIASES])}") from error
    net.classes = net.classes or tuple(f"class{index}" for index in range(net.num_classes))
    if img_size is not None:
        if img_size < net.min_size:
            raise ValueError(f"--img-size {img_size}: {net.name} needs at least {net.min_size} px")
        net.preprocess = replace(net.preprocess, size=(img_size, img_size))
    return net


def _fresh(name: str, options: Mapping[str, Any]) -> Network:
    """A network of seeded weights whose batch norms have seen made-up images: else activations grow from layer to
    layer, as no trained network's do, and low precision has nothing to hold on to."""
    with torch.random.fork_rng(devices=[]), TemporaryDirectory() as folder:
        torch.manual_seed(0)
        net = create_model(name, **options)
        norms = {module: module.momentum for module in net.modules() if isinstance(module, nn.BatchNorm2d)}
        for norm in norms:
            norm.momentum = None  # the statistics become those of this one batch
        split = made_up(Path(folder), ())
        images = torch.stack([net.preprocess(split.path(index)) for index in range(8)])
        with torch.no_grad():
            net.train()(images)
        for norm, momentum in norms.items():
            norm.momentum = momentum
    return net.eval()
