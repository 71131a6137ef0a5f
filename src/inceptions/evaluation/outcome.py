"""`Outcome`: what an evaluation found out about each image, with the counts of all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from inceptions.engines.probabilities import rank
from inceptions.evaluation.answers import Answer
from inceptions.evaluation.calibration import Coverage, coverage_at, fit_temperature
from inceptions.evaluation.counts import Counts, Floats, Integers
from inceptions.evaluation.csv_files import PredictionRow
from inceptions.evaluation.metrics import Metrics

if TYPE_CHECKING:
    from inceptions.data import Refused, Split


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The answers to all images that could be read, in the order of the split."""

    classes: tuple[str, ...]
    counts: Counts
    indices: Integers
    """(n,) places in the split, ascending."""
    targets: Integers
    """(n,) classes, -1 where the model does not have it."""
    best: Integers
    """(n, 5) the most probable classes (fewer columns where there are fewer classes)."""
    probabilities: Floats
    """(n, 5) theirs."""
    logits: Tensor | None
    """(n, classes), where they were kept."""
    refused: tuple[Refused, ...]
    """What could not be read, and why."""
    ran: tuple[str, ...] = ()
    """The engine of each network, and what it computed in, as reported by its runtime."""

    @cached_property
    def metrics(self) -> Metrics:
        """Computed from the counts. Raises `ValueError` where no image could be judged."""
        return Metrics.of(self.counts, self.classes)

    def coverage(self, accuracy: float) -> Coverage:
        """How many answers can be kept at this `accuracy`, see `coverage_at`."""
        known = self.targets >= 0
        right = self.best[known, 0] == self.targets[known]
        return coverage_at(accuracy, self.probabilities[known, 0], right)

    def calibrated(self) -> tuple[float, Outcome]:
        """The fitted temperature (see `fit_temperature`) and the outcome with it; needs the logits."""
        assert self.logits is not None
        targets = torch.from_numpy(self.targets)
        temperature = fit_temperature(self.logits, targets)
        answer = Answer(
            logits=self.logits / temperature,
            targets=targets,
            indices=torch.from_numpy(self.indices),
            skipped=self.counts.skipped,
            refused=self.refused,
        )
        return temperature, collect([answer], self.classes)

    def rows(self, split: Split) -> Iterator[PredictionRow]:
        """A row of `predictions.csv` for each image; the label is empty where the model does not have the class."""
        for index, target, places, values in zip(
            self.indices.tolist(), self.targets.tolist(), self.best.tolist(), self.probabilities.tolist(), strict=True
        ):
            best = [(self.classes[place], value) for place, value in zip(places, values, strict=True)]
            yield split.name(index), self.classes[target] if target >= 0 else "", *best[0], best

    def gathered(self) -> Outcome:
        """The outcome of all processes of the default group together; this one where there is only one process."""
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            return self
        parts: list[Outcome] = [self] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(parts, self)
        return _joined(self.classes, self.counts.all_reduce(), parts)


def _joined(classes: tuple[str, ...], counts: Counts, parts: Sequence[Outcome]) -> Outcome:
    indices = np.concatenate([part.indices for part in parts])
    order = np.argsort(indices, kind="stable")
    logits = [part.logits for part in parts if part.logits is not None]
    return Outcome(
        classes=classes,
        counts=counts,
        indices=indices[order],
        targets=np.concatenate([part.targets for part in parts])[order],
        best=np.concatenate([part.best for part in parts])[order],
        probabilities=np.concatenate([part.probabilities for part in parts])[order],
        logits=torch.cat(logits)[torch.from_numpy(order)] if logits else None,
        refused=tuple(sorted(refused for part in parts for refused in part.refused)),
    )


def collect(stream: Iterable[Answer], classes: Sequence[str], *, keep_logits: bool = False) -> Outcome:
    """Count a stream of answers and remember what was said about each image.

    Args:
        stream: of this process; `Outcome.gathered` puts several together.
        classes: the model's class names, in its order.
        keep_logits: needed to fit a temperature; n * classes numbers.
    """
    counts, none = Counts(len(classes)), torch.zeros(0, dtype=torch.int64)
    empty = Answer(logits=torch.zeros(0, len(classes)), targets=none, indices=none, skipped=0)
    parts = [_remembered(empty, tuple(classes), counts, keep_logits)]
    for answer in stream:
        counts.add(answer.logits, answer.targets, skipped=answer.skipped)
        if len(answer.targets):
            parts.append(_remembered(answer, tuple(classes), counts, keep_logits))
        elif answer.refused:
            parts.append(replace(parts[0], refused=answer.refused))
    return _joined(tuple(classes), counts, parts)


def _remembered(answer: Answer, classes: tuple[str, ...], counts: Counts, keep_logits: bool) -> Outcome:
    best, probabilities = rank(answer.logits, 5)
    return Outcome(
        classes=classes,
        counts=counts,
        indices=answer.indices.numpy(),
        targets=answer.targets.numpy(),
        best=best,
        probabilities=probabilities,
        logits=answer.logits if keep_logits else None,
        refused=answer.refused,
    )
