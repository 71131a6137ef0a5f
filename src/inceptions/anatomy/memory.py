"""What training keeps of a forward pass until the backward pass has used it: most of the memory that training takes."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from inceptions.anatomy.cost import channels_read, image_size
from inceptions.anatomy.trace import hollow, paths
from inceptions.layers import Grid


def kept_for_training(network: nn.Module, size: int | Grid | None = None) -> dict[str, int]:
    """Bytes that autograd keeps for one image in float32, by the path of the module that was running.

    Counted on shapes alone, as `cost` does: every tensor that an operation saves for its gradient, once, without the
    parameters. Auxiliary heads, gradients and the optimizer's state come on top.

    Raises:
        ValueError: the module cannot be run in training on shapes alone.
    """
    bare = hollow(network).train()
    kept: dict[str, int] = {}
    # A storage is counted where it is saved first; it is held, for its address must not be given out again.
    seen = {tensor.untyped_storage()._cdata: tensor for tensor in itertools.chain(bare.parameters(), bare.buffers())}
    running = [""]

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in seen:
            seen[storage._cdata] = tensor
            kept[running[-1]] = kept.get(running[-1], 0) + storage.nbytes() // IMAGES
        return tensor

    try:
        with paths(bare, running), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            bare(torch.empty(IMAGES, channels_read(network), *image_size(network, size), device="meta"))
    except Exception as error:  # whatever a foreign module may raise
        raise ValueError(f"{type(network).__name__} cannot be trained on shapes alone: {error}") from error
    return kept


IMAGES = 2
"""In the batch: batch norm refuses to train on a single value a channel."""
