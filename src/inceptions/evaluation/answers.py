"""A stream of answers: logits with what is known about the images they belong to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from inceptions.engines.finite import blaming
from inceptions.engines.probabilities import log_softmax

if TYPE_CHECKING:
    from inceptions.data import Batch, Refused, Split
    from inceptions.engines.export_folder import Export
    from inceptions.zoo import Network

Model = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a model said to one batch."""

    logits: Tensor
    """(N, classes) on the CPU; N may be 0."""
    targets: Tensor
    """(N,) int64, -1 where the model does not have the class."""
    indices: Tensor
    """(N,) int64: the images' places in their split."""
    skipped: int
    """Images of the batch that could not be read."""
    refused: tuple[Refused, ...] = ()
    """Their names and reasons, where they are known."""


def answers(
    model: Model, batches: Iterable[Batch], *, net: Network | Export | None = None, split: Split | None = None
) -> Iterator[Answer]:
    """Ask `model` about each batch; a batch without a readable image is answered without asking.

    Args:
        model: images -> logits.
        batches: what to ask.
        net, split: what an error about answers that are not finite names.

    Raises:
        NotFiniteError: an answer is not finite.
    """
    for batch in batches:
        logits = torch.zeros(0, 0)
        if len(batch.targets):
            crops = batch.images.shape[1] if batch.images.ndim == 5 else 1
            name = split.names(batch.indices, crops) if split is not None else lambda _: None
            with blaming(net, name) if net is not None else nullcontext():
                logits = model(batch.images).cpu()
        yield Answer(
            logits=logits,
            targets=batch.targets,
            indices=batch.indices,
            skipped=len(batch.refused),
            refused=tuple(batch.refused),
        )


def over_crops(model: Model) -> Model:
    """`model` for images (N, crops, C, H, W), see `inceptions.image.Crops`: the mean of the crops' probabilities."""

    def averaged(images: Tensor) -> Tensor:
        logits = model(images.flatten(0, 1))
        shares = np.exp(log_softmax(logits)).reshape(*images.shape[:2], -1)
        return log_of_mean(shares.swapaxes(0, 1))

    return averaged


def mean(streams: Sequence[Iterable[Answer]], orders: Sequence[Sequence[int]]) -> Iterator[Answer]:
    """The answers of an ensemble: the mean of its members' probabilities (GoogLeNet, 1409.4842, section 7).

    Args:
        streams: each member's answers to the same batches (the members may preprocess them differently).
        orders: for each member, where it keeps the first member's classes: `order[i]` is its index of class `i`.

    Yields:
        Answers whose logits are the logarithms of the mean probabilities, so that their softmax gives these back.
    """
    for group in zip(*streams, strict=True):
        first = group[0]
        if any(not torch.equal(first.indices, other.indices) for other in group[1:]):
            raise ValueError("the members of an ensemble were asked about different images")
        if not len(first.targets):
            yield first
            continue
        shares = [
            np.exp(log_softmax(answer.logits))[:, list(order)] for answer, order in zip(group, orders, strict=True)
        ]
        yield Answer(
            logits=log_of_mean(np.stack(shares)),
            targets=first.targets,
            indices=first.indices,
            skipped=first.skipped,
            refused=first.refused,
        )


def log_of_mean(probabilities: np.ndarray) -> Tensor:
    """The logarithm of the mean over the first axis, float64; a probability of exactly 0 becomes the smallest one."""
    return torch.from_numpy(np.log(np.maximum(probabilities.mean(axis=0), np.finfo(np.float64).tiny)))
