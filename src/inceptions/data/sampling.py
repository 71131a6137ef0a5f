"""In which order an epoch sees the images, and how much each class weighs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from inceptions.data.keyed_random import BALANCE, ORDER, Draws
from inceptions.errors import DataError

Order = NDArray[np.int64]


def epoch_order(n: int, *, seed: int, epoch: int) -> Order:
    """A permutation of 0 .. n-1 that depends on nothing but (n, seed, epoch)."""
    return Draws(seed, epoch, stream=ORDER).permutation(n)


def balanced_order(targets: NDArray[np.int64], *, seed: int, epoch: int) -> Order:
    """An epoch of `len(targets)` images in which every class comes equally often (to within one).

    A class's images are used up in random order before one comes again; large classes show a part each epoch.

    Raises:
        DataError: no target is a known class.
    """
    present = np.unique(targets[targets >= 0])
    if not len(present):
        raise DataError("no image has a known class: nothing to balance")
    # which class of each row comes first changes by epoch, as the last row is not full
    which = Draws(seed, epoch, 0, stream=BALANCE).permutation(len(present))
    shares = np.full(len(present), len(targets) // len(present))
    shares[which[: len(targets) % len(present)]] += 1
    chosen = []
    for label, share in zip(present, shares, strict=True):
        members = np.flatnonzero(targets == label)
        draws = Draws(seed, epoch, 1 + int(label), stream=BALANCE)
        rounds = [members[draws.permutation(len(members))] for _ in range(-(-share // len(members)))]
        chosen.append(np.concatenate(rounds)[:share] if rounds else members[:0])
    order = np.concatenate(chosen)
    mixed: Order = order[epoch_order(len(order), seed=seed, epoch=epoch)]
    return mixed


def shard(order: Order, *, rank: int, world_size: int, even: bool = False) -> Order:
    """The part of `order` one of several processes handles; all parts together are `order`, nothing is repeated.

    Every `world_size` neighbors go to different processes, so together they see the batches one process would see.

    Args:
        order: the whole order.
        rank: this process, 0 .. world_size - 1.
        world_size: how many processes.
        even: drop the last few, so that every process gets equally many (training; never evaluation).

    Raises:
        ValueError: there is no such rank.
    """
    if not 0 <= rank < world_size:
        raise ValueError(f"rank {rank} given, 0 .. {world_size - 1} allowed")
    kept = len(order) - len(order) % world_size if even else len(order)
    return order[:kept][rank::world_size]


def class_weights(targets: NDArray[np.int64], classes: Sequence[str]) -> NDArray[np.float32]:
    """Weights for the loss by which every class counts alike: images / (classes * images of the class).

    Returns:
        (classes,) float32; their mean over the images is 1.

    Raises:
        DataError: a class has no image, so no weight makes it count.
    """
    counts = np.bincount(targets[targets >= 0], minlength=len(classes))
    empty = [name for name, count in zip(classes, counts, strict=True) if count == 0]
    if empty:
        raise DataError(f"classes without images have no balanced weight: {', '.join(empty)}")
    weights: NDArray[np.float32] = (counts.sum() / (len(classes) * counts)).astype(np.float32)
    return weights
