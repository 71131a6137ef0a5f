"""Exact integer counts of right and wrong answers, from which every metric is computed."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inceptions.engines.finite import finite
from inceptions.engines.probabilities import log_softmax

BINS = 15  # of the reliability diagram (Guo et al., 1706.04599, section 2)
UNIT = 2.0**-32  # what one count of `nll` and `confidence` stands for: sums of integers do not depend on their order
SQUARE = 2.0**-20  # of one count of `squares`
LARGEST_NLL = 2.0**20  # nats; keeps a sum over two thousand million images inside 63 bits at ordinary losses

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


class Counts:
    """What a classifier got right and wrong, as integers.

    Counts of disjoint parts of a data set add up (`+`, `all_reduce`) to the counts of the whole, bit for bit: batch
    size, order, workers and the number of processes cannot change a metric.

    Attributes:
        confusion: (classes, classes) images of class `row` that were called `column`.
        top5: (classes,) images of a class whose label is among the five most probable.
        nll: negative log-likelihood of all images, in units of 2^-32 nats.
        squares: the sum of its squares, in units of 2^-20; an image's is at most 2^20.
        bins: (3, 15) per bin of confidence: images, right ones, sum of confidences (units of 2^-32).
        skipped: images that could not be read.
        unknown: images of classes that the model does not have; neither they nor the skipped are in `n`.
    """

    def __init__(self, num_classes: int) -> None:
        self.confusion: Integers = np.zeros((num_classes, num_classes), np.int64)
        self.top5: Integers = np.zeros(num_classes, np.int64)
        self.bins: Integers = np.zeros((3, BINS), np.int64)
        self.nll = 0
        self.squares = 0
        self.skipped = 0
        self.unknown = 0

    @property
    def n(self) -> int:
        """Images that were judged."""
        return int(self.confusion.sum())

    def add(self, logits: Tensor, targets: Tensor, *, skipped: int = 0) -> None:
        """Count a batch: logits (N, classes), targets (N,) int64 with -1 for a class that the model does not have.

        Equal logits rank by class index, so a tie is never luck.

        Raises:
            NotFiniteError: logits that are not finite.
            ValueError: a wrong number of classes, a target that is not a class.
        """
        self.skipped += skipped
        if not len(targets):
            return
        classes = len(self.top5)
        scores, truth = logits.detach().cpu().double().numpy(), targets.cpu().numpy().astype(np.int64)
        if scores.shape != (len(truth), classes):
            raise ValueError(f"logits {scores.shape} for {len(truth)} images of {classes} classes")
        finite(logits)
        if truth.min() < -1 or truth.max() >= classes:
            raise ValueError(f"targets {truth.min()} to {truth.max()}; allowed are 0 to {classes - 1}, and -1: unknown")
        self.unknown += int((truth < 0).sum())
        known = truth >= 0
        scores, truth = scores[known], truth[known]
        if not len(truth):
            return
        rows = np.arange(len(truth))
        logs = log_softmax(scores)
        guess = scores.argmax(axis=1)
        own = scores[rows, truth][:, None]
        before = (scores > own) | ((scores == own) & (np.arange(classes) < truth[:, None]))
        np.add.at(self.confusion, (truth, guess), 1)
        np.add.at(self.top5, truth[before.sum(axis=1) < 5], 1)
        nll = np.minimum(-logs[rows, truth], LARGEST_NLL)
        self.nll += int(_fixed(nll).sum())
        self.squares += int(_fixed(np.minimum(nll**2, LARGEST_NLL), SQUARE).sum())
        confidence = np.exp(logs[rows, guess])
        place = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
        for row, amount in enumerate((np.ones_like(truth), (guess == truth).astype(np.int64), _fixed(confidence))):
            np.add.at(self.bins[row], place, amount)

    def __add__(self, other: Counts) -> Counts:
        total = Counts(len(self.top5))
        total._set(self._vector() + other._vector())
        return total

    def all_reduce(self) -> Counts:
        """The sum over all processes of the default group; these counts themselves where there is only one process."""
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            return self
        backend = torch.distributed.get_backend()
        vector = torch.from_numpy(self._vector()).to("cuda" if backend == "nccl" else "cpu")
        torch.distributed.all_reduce(vector)
        total = Counts(len(self.top5))
        total._set(vector.cpu().numpy())
        return total

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Counts) and np.array_equal(self._vector(), other._vector())

    __hash__ = None  # type: ignore[assignment]  # counts change

    def _vector(self) -> Integers:
        single = np.array([self.nll, self.squares, self.skipped, self.unknown], np.int64)
        return np.concatenate([self.confusion.ravel(), self.top5, self.bins.ravel(), single])

    def _set(self, vector: Integers) -> None:
        classes = len(self.top5)
        ends = np.cumsum([classes * classes, classes, 3 * BINS])
        confusion, self.top5, bins, single = np.split(vector, ends)
        self.confusion, self.bins = confusion.reshape(classes, classes), bins.reshape(3, BINS)
        self.nll, self.squares, self.skipped, self.unknown = (int(value) for value in single)


def _fixed(values: Floats, unit: float = UNIT) -> Integers:
    return np.rint(values / unit).astype(np.int64)
