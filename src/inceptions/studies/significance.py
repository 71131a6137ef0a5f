"""Means and differences of a few runs, with intervals that a few runs allow (Student's t)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

CONFIDENCE = 0.95
SIGNIFICANT = 0.05


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean of independent values."""

    n: int
    mean: float
    low: float
    high: float
    """Ends of the 95 % confidence interval (Student's t); infinite for one value."""


@dataclass(frozen=True, kw_only=True)
class Difference(Estimate):
    """A mean of paired differences."""

    p: float
    """Probability of a mean as far from zero if there were no difference (paired t-test, two-sided)."""

    @property
    def significant(self) -> bool:
        """Whether chance explains it worse than once in twenty times."""
        return self.p < SIGNIFICANT


def estimate(values: Sequence[float], *, least: float = 0.0) -> Estimate:
    """The mean with its interval; the values' standard deviation counts as `least` at least.

    Raises:
        ValueError: no values.
    """
    if not values:
        raise ValueError("no values to average")
    half = t_quantile(len(values) - 1) * _error(values, least) if len(values) > 1 else math.inf
    mean = fmean(values)
    return Estimate(n=len(values), mean=mean, low=mean - half, high=mean + half)


def paired_difference(values: Sequence[float], reference: Sequence[float], *, images: int | None = None) -> Difference:
    """`values` minus `reference`, pair by pair: runs that share a seed share split, order and initial weights.

    Shares of a few images may agree in all runs by their coarseness alone, and then their spread says nothing. Each
    is known to 1/n only: as if rounded, with variance (1/n)^2 / 12 (uniform within 1/n), a difference of two with twice
    that. So the standard deviation of the differences counts as 1 / (n sqrt(6)) at least.

    Args:
        values, reference: of the runs, in the order of their seeds.
        images: n, where the values are shares of so many images; None: they are not shares.

    Raises:
        ValueError: not as many of the one as of the other, or none.
    """
    differences = [value - other for value, other in zip(values, reference, strict=True)]
    least = 1 / (images * math.sqrt(6)) if images else 0.0
    found = estimate(differences, least=least)
    if found.n == 1:
        p = 1.0
    elif (error := _error(differences, least)) == 0:
        p = 1.0 if found.mean == 0 else 0.0
    else:
        p = 2 * (1 - t_cdf(abs(found.mean) / error, found.n - 1))
    return Difference(n=found.n, mean=found.mean, low=found.low, high=found.high, p=p)


def holm(probabilities: Mapping[str, float]) -> dict[str, float]:
    """Probabilities of several tests, adjusted so that a false alarm in any of them stays below 5 % (Holm 1979)."""
    adjusted: dict[str, float] = {}
    largest = 0.0
    for rank, name in enumerate(sorted(probabilities, key=probabilities.__getitem__)):
        largest = max(largest, min(1.0, (len(probabilities) - rank) * probabilities[name]))
        adjusted[name] = largest
    return {name: adjusted[name] for name in probabilities}


def t_quantile(degrees: int, probability: float = (1 + CONFIDENCE) / 2) -> float:
    """The value below which Student's t with `degrees` of freedom stays with `probability` (at least a half)."""
    low, high = 0.0, 1.0
    while t_cdf(high, degrees) < probability:
        high *= 2
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if t_cdf(middle, degrees) < probability else (low, middle)
    return high


def t_cdf(t: float, degrees: int) -> float:
    """Probability that Student's t stays below `t` >= 0 (Abramowitz and Stegun, 26.7.3 and 26.7.4)."""
    angle = math.atan2(t, math.sqrt(degrees))
    cosine2 = math.cos(angle) ** 2
    odd = degrees % 2 == 1
    term = total = 0.0 if degrees == 1 else math.cos(angle) if odd else 1.0
    for k in range(3 if odd else 2, degrees - 1, 2):
        term *= (k - 1) / k * cosine2
        total += term
    within = (angle + math.sin(angle) * total) * 2 / math.pi if odd else math.sin(angle) * total
    return (1 + within) / 2


def _error(values: Sequence[float], least: float) -> float:
    """Standard error of the mean."""
    return max(stdev(values), least) / math.sqrt(len(values))
