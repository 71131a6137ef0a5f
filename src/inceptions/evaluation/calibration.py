"""Can the probabilities be believed: temperature scaling, and a threshold below which to say "I do not know"."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from inceptions.engines.finite import finite
from inceptions.engines.probabilities import log_softmax
from inceptions.errors import DataError
from inceptions.progress import log

COLDEST, HOTTEST = 0.05, 20.0  # outside, the logits say nothing about how sure the network is


def fit_temperature(logits: Tensor, targets: Tensor) -> float:
    """The T that minimizes the negative log-likelihood of softmax(logits / T) (Guo et al., 1706.04599, section 4.2).

    The likelihood is convex in 1/T, so its derivative is followed to its only zero by halving an interval.

    Args:
        logits: (N, classes) of held-out images.
        targets: (N,) their classes; -1 (unknown) is left out.

    Returns:
        T within 0.05 ... 20; a limit is reached where every image is right (colder is always better), or where the
        logits carry no information.

    Raises:
        DataError: no image of a known class; logits that are not finite.
    """
    known = targets >= 0
    if not bool(known.any()):
        raise DataError("a temperature cannot be fitted: no image is of a class that the model has")
    scores, truth = finite(logits[known]).double().numpy(), targets[known].numpy()
    own = scores[np.arange(len(truth)), truth].mean()

    def slope(sharpness: float) -> float:
        probabilities = np.exp(log_softmax(scores * sharpness))
        return float((probabilities * scores).sum(axis=1).mean() - own)

    low, high = np.log(1 / HOTTEST), np.log(1 / COLDEST)
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(float(np.exp(middle))) <= 0 else (low, middle)
    temperature = float(np.exp(-(low + high) / 2))
    if not COLDEST * 1.001 < temperature < HOTTEST / 1.001:
        log.warning("the temperature stopped at its limit %.3g: these images do not determine it", temperature)
    return temperature


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """What is left when answers below a probability are rejected."""

    wanted: float
    """The requested accuracy."""
    threshold: float
    """Keep an answer when its probability is at least this; 1.0 with coverage 0 where no threshold reaches it."""
    coverage: float
    """Share of the images that are kept."""
    accuracy: float
    """Accuracy on the kept ones; 0 where none is kept."""
    n: int
    """Images that this was measured on."""


def coverage_at(accuracy: float, confidence: np.ndarray, right: np.ndarray) -> Coverage:
    """The lowest threshold on the probability of the answer that keeps at least this `accuracy`.

    Args:
        accuracy: from 0 to 1.
        confidence: (N,) probability of each answer.
        right: (N,) whether it was right.

    Raises:
        ValueError: an accuracy outside 0 ... 1.
        DataError: no image.
    """
    if not 0 < accuracy <= 1:
        raise ValueError(f"coverage at accuracy {accuracy}: an accuracy is above 0 and at most 1")
    if not len(confidence):
        raise DataError("coverage needs at least one image")
    order = np.argsort(-confidence, kind="stable")
    sorted_confidence, kept_right = confidence[order], np.cumsum(right[order].astype(np.int64))
    kept = np.arange(1, len(order) + 1)
    ends = np.append(sorted_confidence[1:] < sorted_confidence[:-1], True)  # equal ones are kept or rejected together
    reached = np.flatnonzero(ends & (kept_right >= accuracy * kept - 1e-9))
    if not len(reached):
        return Coverage(wanted=accuracy, threshold=1.0, coverage=0.0, accuracy=0.0, n=len(order))
    last = reached[-1]
    return Coverage(
        wanted=accuracy,
        threshold=float(sorted_confidence[last]),
        coverage=float(kept[last] / len(order)),
        accuracy=float(kept_right[last] / kept[last]),
        n=len(order),
    )
