"""The model that is exported or measured, whatever it is: a bare network is made fit for it."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn

from inceptions.deploy.images import made_up
from inceptions.models import Model
from inceptions.zoo import Network, preprocess_of


def original(model: Model) -> Model:
    """`model`, ready to be exported or measured.

    Classes that nobody named are numbered. The batch norms of a bare network, a name of the family with fresh weights,
    see made-up images: else activations grow from layer to layer, as no trained network's do, and low precision has
    nothing to hold on to.
    """
    if model.fresh:
        _settle_norms(model.in_pytorch())
    return model.with_classes()


def _settle_norms(net: Network) -> None:
    with TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]):
        norms = {module: module.momentum for module in net.modules() if isinstance(module, nn.BatchNorm2d)}
        for norm in norms:
            norm.momentum = None  # the statistics become those of this one batch
        split, preprocess = made_up(Path(folder), ()), preprocess_of(net)
        images = torch.stack([preprocess(split.path(index)) for index in range(8)])
        with torch.no_grad():
            net.train()(images)
        for norm, momentum in norms.items():
            norm.momentum = momentum
    net.eval()
