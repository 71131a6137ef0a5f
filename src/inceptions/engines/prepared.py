"""`Prepared`: normalization and network as one module, its batch norm folded, which every runtime runs or converts."""

from __future__ import annotations

import io
import logging
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from typing import Any

import torch
from torch import Tensor, nn

from inceptions.image import Preprocess
from inceptions.passes import fold_batch_norm, whole_operators
from inceptions.zoo import Network


class Prepared(nn.Module):
    """A copy of a network, or of some of its stages, that any runtime runs: one tensor in, two out.

    The whole of it takes un-normalized images and gives logits and pooled features. Cut behind a stage that an
    auxiliary head taps, the first part (`until` that stage) takes images, and gives the logits of that head and the
    activations (N, C, H, W) that it read; the last (`after` the stage) takes these, and gives what the whole gives.

    The copy has only the head that it answers with, no batch norm of its own, is in evaluation mode, and leaves the
    caller's network as it is.

    Args:
        net: with its `preprocess`.
        after: the stage whose output comes in; None: images come in.
        until: the stage whose auxiliary head answers; None: the last stage, and the classifier.

    Raises:
        ValueError: the network carries no preprocessing.
    """

    def __init__(self, net: Network, *, after: str | None = None, until: str | None = None) -> None:
        super().__init__()
        self.preprocess = preprocess_of(net)
        self.after, self.until = after, until
        self.net = fold_batch_norm(net, aux=until is not None)
        first = 0 if after is None else net.stages.index(after) + 1
        last = len(net.stages) if until is None else net.stages.index(until) + 1
        self.net.body = nn.Sequential(OrderedDict(list(self.net.body.named_children())[first:last]))
        if until is not None:
            head: Any = self.net.aux[until]
            self.net.head, self.net.aux = head, nn.ModuleDict()
        self.dtype = torch.float32

    def in_bf16(self) -> Prepared:
        """Its body in bf16 (in place), with the weights stored so; pooling and classifier stay in float32."""
        self.net.body.to(torch.bfloat16)
        self.dtype = torch.bfloat16
        return self

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, H, W), images uint8 or float, or activations -> logits (N, classes) and what the class says."""
        if self.after is None:
            trunk = self.net.forward_features(self._laid_out(self.preprocess.normalize(inputs))).float()
        else:
            trunk = self.net.body(self._laid_out(inputs)).float()
        if self.until is not None:
            return self.net.head(trunk), trunk
        return self.net.forward_head(trunk), self.net.forward_head(trunk, pre_logits=True)

    def _laid_out(self, images: Tensor) -> Tensor:
        return images.to(self.dtype).contiguous(memory_format=torch.channels_last)


def preprocess_of(net: Network) -> Preprocess:
    """What images go through before they come to `net`.

    Raises:
        ValueError: the network carries none.
    """
    if net.preprocess is None:
        raise ValueError(f"{net.name} carries no preprocessing: set net.preprocess to an inceptions.Preprocess")
    preprocess: Preprocess = net.preprocess
    return preprocess


def exported(prepared: Prepared, images: Tensor, *, whole: bool = True) -> torch.export.ExportedProgram:
    """The graph of `prepared` for inputs of this height, width and type, any number of them.

    Args:
        whole: with operators that other runtimes have as one, see `whole_operators`.
    """
    example = images[:1].expand(2, -1, -1, -1).contiguous()  # 0 and 1 would be taken for constants
    with torch.no_grad(), quiet(), whole_operators(prepared) if whole else nullcontext():
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
