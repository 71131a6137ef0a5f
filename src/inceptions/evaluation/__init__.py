"""Exact counts of right and wrong answers, for any callable over any batches.

    answers  a model's logits with what is known about each batch     (answers, mean)
    count    integers that add up over batches and processes            (Counts)
    Metrics  accuracy with intervals, per class, calibration            (Metrics.of)

`evaluate` is these three in one call; `judge` does it for networks on a split, as `inceptions val`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from inceptions.engines.probabilities import log_softmax
from inceptions.evaluation.answers import Answer, Model, answers, mean
from inceptions.evaluation.calibration import Coverage, coverage_at, fit_temperature
from inceptions.evaluation.counts import Counts
from inceptions.evaluation.exits import Exit, exits
from inceptions.evaluation.metrics import ClassMetrics, Metrics, wilson
from inceptions.evaluation.outcome import Outcome, collect
from inceptions.evaluation.protocol import Protocol, judge

if TYPE_CHECKING:
    from inceptions.data import Batch

__all__ = [
    "Answer",
    "ClassMetrics",
    "Counts",
    "Coverage",
    "Exit",
    "Metrics",
    "Model",
    "Outcome",
    "Protocol",
    "answers",
    "collect",
    "count",
    "coverage_at",
    "evaluate",
    "exits",
    "fit_temperature",
    "judge",
    "log_softmax",
    "mean",
    "wilson",
]


def count(stream: Iterable[Answer], num_classes: int) -> Counts:
    """Count a stream of answers; counts of several processes add up with `Counts.all_reduce`."""
    counts = Counts(num_classes)
    for answer in stream:
        counts.add(answer.logits, answer.targets, skipped=answer.skipped)
    return counts


def evaluate(model: Model, batches: Iterable[Batch], classes: Sequence[str]) -> Metrics:
    """Judge `model` on `batches`.

    Args:
        model: images (N, C, H, W) uint8, not normalized -> logits (N, classes); an engine is one.
        batches: what `inceptions.data.batches` yields, its targets numbered as in `classes`; of a split that
            `inceptions.data.evaluation_split` gives, which leaves out what the model was trained on.
        classes: the model's class names, in its order.

    Raises:
        ValueError: no image could be judged; logits that do not fit `classes` or are not finite.
    """
    return Metrics.of(count(answers(model, batches), len(classes)), classes)
