"""The vocabulary of the family: small frozen records that know how to build themselves.

A layer is declared by its *output* only; `build(width)` takes the channels that arrive and returns the module with the
channels that leave, so widths flow through a table and a network reads like its paper's figure. `grid(height, width)`
is the same for the spatial size. Records print, compare and hash; what a network is made of can be looked at without
building it.

Tensors are (N, C, H, W); kernels and grids are (height, width), so "1x7" is one high and seven wide.
"""

from __future__ import annotations

from inceptions.layers.borders import Grid, Layer, Padding, SameConv2d, SameMaxPool2d, out_size, pad_same, tf_same
from inceptions.layers.composition import Branches, BranchesModule, Chain, Identity, Projected, Residual, ResidualModule
from inceptions.layers.convolution import (
    ACTIVATIONS,
    Act,
    Activation,
    BatchNorm,
    Conv,
    ConvNormAct,
    Separable,
    SeparableModule,
)
from inceptions.layers.heads import AuxHead, AuxModule, Head, HeadModule
from inceptions.layers.pooling import LRN, Pool
from inceptions.layers.words import ConvWord, avg_pool, branches, chain, convolution, initialize, max_pool, scale_width

__all__ = [
    "ACTIVATIONS",
    "LRN",
    "Act",
    "Activation",
    "AuxHead",
    "AuxModule",
    "BatchNorm",
    "Branches",
    "BranchesModule",
    "Chain",
    "Conv",
    "ConvNormAct",
    "ConvWord",
    "Grid",
    "Head",
    "HeadModule",
    "Identity",
    "Layer",
    "Padding",
    "Pool",
    "Projected",
    "Residual",
    "ResidualModule",
    "SameConv2d",
    "SameMaxPool2d",
    "Separable",
    "SeparableModule",
    "avg_pool",
    "branches",
    "chain",
    "convolution",
    "initialize",
    "max_pool",
    "out_size",
    "pad_same",
    "scale_width",
    "tf_same",
]
