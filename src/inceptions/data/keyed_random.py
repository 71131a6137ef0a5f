"""Random numbers as a function of a key, not of a generator's history."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

AUGMENT, ORDER, BALANCE = range(3)
"""Streams: draws for different purposes never coincide."""


class Draws:
    """The random numbers of one (seed, epoch, index, stream).

    Philox (Salmon et al., SC 2011) is a function of a key and a counter. Only its raw 64-bit words are used: numpy
    guarantees them for ever, unlike its distributions, so a run resumes exactly under a newer numpy too.

    Raises:
        ValueError: a number is negative or has more than 64 bits.
    """

    def __init__(self, seed: int, epoch: int, index: int = 0, *, stream: int) -> None:
        if not all(0 <= number < 2**64 for number in (seed, epoch, index)):
            raise ValueError(f"seed {seed}, epoch {epoch}, index {index}: each must be between 0 and 2**64 - 1")
        key = np.array([seed, epoch], dtype=np.uint64)
        # the low words count the draws, so the streams of two indices cannot overlap
        self._bits = np.random.Philox(key=key, counter=np.array([0, 0, index, stream], dtype=np.uint64))

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """A number in [low, high)."""
        return low + (high - low) * ((self._bits.random_raw() >> 11) * 2.0**-53)

    def below(self, n: int) -> int:
        """A whole number in [0, n)."""
        return int(self.uniform() * n)

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.uniform() < probability

    def permutation(self, n: int) -> NDArray[np.int64]:
        """The numbers 0 .. n-1 in random order."""
        return np.argsort(self._bits.random_raw(n), kind="stable").astype(np.int64)

    def noise(self, *shape: int) -> NDArray[np.uint8]:
        """Independent bytes."""
        size = int(np.prod(shape))
        words = np.asarray(self._bits.random_raw(-(-size // 8)), dtype=np.uint64)
        return words.view(np.uint8)[:size].reshape(shape)
