"""Batches of images in a given order, made here or by worker processes: the same batches either way."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inceptions.data.augment import Augment, augmented
from inceptions.data.dataset import Refused, Split
from inceptions.image import Preprocess, Source, UnreadableImage
from inceptions.progress import log

if TYPE_CHECKING:
    from torch import Tensor

FEW_PIXELS = 20_000_000  # decoding fewer than these is over before a worker process has started
MOST_WORKERS = 8


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Images as `Preprocess.normalize` takes them. Unreadable ones are left out, so a batch may even be empty."""

    images: Tensor
    """(N, channels, height, width) uint8, or float32 (evaluation where `Preprocess.fractional`), not normalized."""
    targets: Tensor
    """(N,) int64: classes; -1: a class the model does not have."""
    indices: Tensor
    """(N,) int64: where the images are in the split."""
    refused: tuple[Refused, ...] = ()
    """What was left out, and why."""

    def __len__(self) -> int:
        return len(self.targets)


@dataclass(frozen=True, kw_only=True)
class Work:
    """How images are made: all a worker needs to know."""

    preprocess: Preprocess
    augment: Augment | None
    seed: int
    epoch: int

    @property
    def shape(self) -> tuple[int, ...]:
        """(channels, height, width) of one image; several crops have their number in front."""
        return self.preprocess.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of one image."""
        fractional = self.augment is None and self.preprocess.fractional
        return np.dtype(np.float32 if fractional else np.uint8)

    def fill(self, out: NDArray[Any], sources: Sequence[Source], indices: Sequence[int]) -> dict[int, str]:
        """Writes the readable images into `out`, one after the other without gaps.

        Returns:
            position in `sources` -> reason, for the unreadable ones.
        """
        refused: dict[int, str] = {}
        for position, (source, index) in enumerate(zip(sources, indices, strict=True)):
            try:
                out[position - len(refused)] = self._one(source, index)
            except UnreadableImage as error:
                refused[position] = error.reason
        return refused

    def _one(self, source: Source, index: int) -> NDArray[Any]:
        if self.augment is None:
            return self.preprocess.image(source)
        return augmented(source, self.preprocess, self.augment, seed=self.seed, epoch=self.epoch, index=index)


def batches(
    split: Split,
    preprocess: Preprocess,
    *,
    batch_size: int,
    workers: int = 0,
    augment: Augment | None = None,
    order: NDArray[np.int64] | None = None,
    seed: int = 0,
    epoch: int = 0,
    start: int = 0,
) -> Iterator[Batch]:
    """Batches of a split's images; the last one may be smaller.

    The time a caller spends in `next()` is the time it waits for data.

    Args:
        split: the images.
        preprocess: the network's input.
        batch_size: images a batch, unreadable ones included.
        workers: processes that decode ahead; 0: everything happens in `next()`. Changes nothing but the speed.
        augment: None for evaluation.
        order: indices into the split; None: all in order.
        seed: of the run (augmentation).
        epoch: of the run (augmentation).
        start: the first batch to make: a run interrupted after `start` batches goes on there.

    Raises:
        ValueError: an argument is out of its range.
        ChildProcessError: (from `next`) a worker died: killed, or crashed in a decoder.
        RuntimeError: (from `next`) a worker failed; the message holds its traceback.
    """
    indices = np.arange(len(split)) if order is None else np.asarray(order, dtype=np.int64)
    if batch_size < 1 or workers < 0 or start < 0:
        raise ValueError(f"batch_size {batch_size} (>= 1), workers {workers} (>= 0), start {start} (>= 0) expected")
    if len(indices) and not (indices.min() >= 0 and indices.max() < len(split)):
        raise ValueError(f"order reaches from {indices.min()} to {indices.max()}; the split has {len(split)} images")
    work = Work(preprocess=preprocess, augment=augment, seed=seed, epoch=epoch)
    if augment is not None and augment.crop == "pad" and augment.pad >= min(preprocess.size):
        raise ValueError(f"pad {augment.pad} is not smaller than the image, {preprocess.size}")
    parts = [indices[at : at + batch_size] for at in range(start * batch_size, len(indices), batch_size)]
    if workers and parts:
        from inceptions.data.worker_pool import work_ahead

        return work_ahead(split, work, parts, min(workers, len(parts)))
    return _work_here(split, work, parts)


def _work_here(split: Split, work: Work, parts: list[NDArray[np.int64]]) -> Iterator[Batch]:
    for part in parts:
        out = np.empty((len(part), *work.shape), work.dtype)
        refused = work.fill(out, [split.source(int(index)) for index in part], part.tolist())
        yield assemble(split, part, out, refused)


def assemble(split: Split, part: NDArray[np.int64], images: NDArray[Any], refused: dict[int, str]) -> Batch:
    """A batch from `Work.fill`'s result; `images` becomes the batch's memory."""
    import torch

    kept = np.delete(part, list(refused))
    left_out = tuple(Refused(split.name(int(part[position])), reason) for position, reason in refused.items())
    for file, reason in left_out:
        if file not in split.named:
            split.named.add(file)
            log.warning("left out: %s: %s", file, reason)
    return Batch(
        images=torch.from_numpy(images[: len(kept)]),
        targets=torch.from_numpy(split.targets[kept]),
        indices=torch.from_numpy(kept),
        refused=left_out,
    )


def reading_workers(images: int, preprocess: Preprocess) -> int:
    """How many processes should decode: one a core, or none where the work is over before they have started."""
    height, width = preprocess.size
    return 0 if images * height * width < FEW_PIXELS else min(os.cpu_count() or 1, MOST_WORKERS)
