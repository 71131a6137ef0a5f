"""Metrics as people quote them, computed from counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inceptions.errors import DataError
from inceptions.evaluation.counts import SQUARE, UNIT, Counts, Integers

Interval = tuple[float, float]
DRAWS = 1000  # of the bootstrap
NORMAL_95 = 1.959963984540054  # the two-sided 95 % quantile of the normal distribution


def wilson(right: int, n: int) -> Interval:
    """The 95 % confidence interval of a share `right / n` (Wilson 1927): sound near 0 and 1 and for small n."""
    if not n:
        return 0.0, 1.0
    share, z2 = right / n, NORMAL_95**2
    center = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = NORMAL_95 * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    # rounding must not push a bound past the share itself, nor outside 0 ... 1
    return max(0.0, min(share, center - half)), min(1.0, max(share, center + half))


@dataclass(frozen=True, kw_only=True)
class ClassMetrics:
    """The results of one class. Without images they are unknown, so None: 0 would mean that all were wrong."""

    label: str
    support: int
    """Images of this class."""
    predicted: int
    """Images that were called this class."""
    right: int
    precision: float | None
    """right / predicted; None: no image was called this class."""
    recall: float | None
    """right / support: the accuracy on this class; None: it has no images."""
    f1: float | None
    """2 right / (support + predicted), the harmonic mean of the two; None: this class has no images."""
    recall_interval: Interval | None
    """95 %, Wilson; None as `recall`."""


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """The result of an evaluation; accuracies are shares from 0 to 1."""

    n: int
    """Images judged: neither padding, nor unreadable ones, nor those of classes unknown to the model."""
    skipped: int
    """Images that could not be read."""
    unknown: int
    """Images of classes that the model does not have."""
    top1: float
    top1_interval: Interval
    """95 %, Wilson."""
    top5: float
    """Share whose label is among the five most probable; with five classes or fewer always 1."""
    top5_interval: Interval
    loss: float
    """Mean negative log-likelihood, nats."""
    ece: float
    """Expected calibration error, 15 equal bins (1706.04599, equation 3)."""
    macro_f1: float
    """Mean F1 of the classes that have images."""
    macro_classes: int
    """How many classes that is a mean of."""
    per_class: tuple[ClassMetrics, ...]
    counts: Counts
    """What all of this was computed from, with the confusion matrix."""

    @classmethod
    def of(cls, counts: Counts, classes: Sequence[str]) -> Metrics:
        """Compute every metric from `counts`.

        Raises:
            ValueError: nothing was counted; a wrong number of class names.
        """
        n = counts.n
        if len(classes) != len(counts.top5):
            raise ValueError(f"{len(classes)} class names for counts of {len(counts.top5)} classes")
        if not n:
            reasons = f"{counts.skipped} unreadable, {counts.unknown} of classes that the model does not have"
            raise DataError(f"no image could be judged ({reasons})")
        right, best_five = int(np.trace(counts.confusion)), int(counts.top5.sum())
        per_class = tuple(_class_metrics(counts.confusion, index, label) for index, label in enumerate(classes))
        known = [one.f1 for one in per_class if one.f1 is not None]
        return cls(
            n=n,
            skipped=counts.skipped,
            unknown=counts.unknown,
            top1=right / n,
            top1_interval=wilson(right, n),
            top5=best_five / n,
            top5_interval=wilson(best_five, n),
            loss=counts.nll * UNIT / n,
            ece=float(np.abs(counts.bins[1] - counts.bins[2] * UNIT).sum() / n),
            macro_f1=sum(known) / len(known),
            macro_classes=len(known),
            per_class=per_class,
            counts=counts,
        )

    @property
    def confusion(self) -> Integers:
        """(classes, classes): images of class `row` that were called `column`."""
        return self.counts.confusion

    @property
    def missing_classes(self) -> tuple[str, ...]:
        """The classes of which no image was judged: their recall is not known."""
        return tuple(one.label for one in self.per_class if not one.support)

    @cached_property
    def loss_interval(self) -> Interval:
        """95 %, normal approximation of a mean."""
        half = NORMAL_95 * math.sqrt(max(0.0, self.counts.squares * SQUARE / self.n - self.loss**2) / self.n)
        return max(0.0, self.loss - half), self.loss + half

    @cached_property
    def macro_f1_interval(self) -> Interval:
        """95 %, percentiles of the seeded bootstrap (Efron 1979) over the confusion matrix."""
        random, classes = np.random.default_rng(0), len(self.per_class)
        rows, columns = np.nonzero(self.confusion)
        shares = self.confusion[rows, columns] / self.n
        drawn = np.empty(DRAWS)
        for place, cells in enumerate(random.multinomial(self.n, shares) for _ in range(DRAWS)):
            right = np.bincount(rows, cells * (rows == columns), classes)
            support = np.bincount(rows, cells, classes)
            both = support + np.bincount(columns, cells, classes)
            drawn[place] = (2 * right[support > 0] / both[support > 0]).mean()
        return _middle(drawn, self.macro_f1)

    @cached_property
    def ece_interval(self) -> Interval:
        """95 %, percentiles of the seeded bootstrap over the bins, each at its own mean confidence."""
        random = np.random.default_rng(0)
        images, right, confidence = self.counts.bins[:, self.counts.bins[0] > 0]
        drawn = random.multinomial(self.n, images / self.n, size=DRAWS)
        gaps = random.binomial(drawn, right / images) - drawn * (confidence * UNIT / images)
        return _middle(np.abs(gaps).sum(axis=1) / self.n, self.ece)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the counts, JSON-able."""
        plain = {name: value for name, value in vars(self).items() if name not in ("counts", "per_class")}
        found = {name: getattr(self, name) for name in ("loss_interval", "macro_f1_interval", "ece_interval")}
        missing = list(self.missing_classes)
        return {**plain, **found, "missing_classes": missing, "per_class": [vars(one) for one in self.per_class]}


def _middle(drawn: NDArray[np.float64], value: float) -> Interval:
    """The middle 95 % of `drawn`, and `value` in any case: resampling adds noise, which a calibration error counts."""
    low, high = (float(end) for end in np.quantile(drawn, (0.025, 0.975)))
    return min(low, value), max(high, value)


def _class_metrics(confusion: Integers, index: int, label: str) -> ClassMetrics:
    right, support = int(confusion[index, index]), int(confusion[index].sum())
    predicted = int(confusion[:, index].sum())
    return ClassMetrics(
        label=label,
        support=support,
        predicted=predicted,
        right=right,
        precision=right / predicted if predicted else None,
        recall=right / support if support else None,
        f1=2 * right / (support + predicted) if support else None,
        recall_interval=wilson(right, support) if support else None,
    )
