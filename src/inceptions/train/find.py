"""The learning-rate finder (1506.01186): raise the rate from tiny to huge and see where the loss falls fastest."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from inceptions.data import Batch
from inceptions.progress import note, track
from inceptions.train.config import TrainConfig
from inceptions.train.loop import Training
from inceptions.train.run import assemble
from inceptions.train.settings import decide

SMOOTHING = 0.9  # share of the old average that each loss keeps
DIVERGED = 4.0  # times the smallest loss: nothing is learnt beyond


@dataclass(frozen=True, kw_only=True)
class Found:
    """A curve of losses over learning rates."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    """Of each step's batches, before the step."""
    smoothed: tuple[float, ...]
    """Their bias-corrected exponential average."""
    suggestion: float
    """The rate at which the smoothed loss falls fastest."""

    def plot(self, path: Path) -> None:
        """Draws the curve; the suffix chooses the format (png, svg, pdf)."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.add_subplot()
        axes.plot(self.rates, self.losses, linewidth=0.6, alpha=0.5, label="loss of a step")
        axes.plot(self.rates, self.smoothed, label="smoothed")
        axes.axvline(self.suggestion, linestyle="--", linewidth=1, label=f"steepest: {self.suggestion:.2g}")
        axes.set(xscale="log", xlabel="learning rate", ylabel="loss")
        axes.legend()
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=120)


def find_rate(config: TrainConfig, *, steps: int = 100, lowest: float = 1e-6, highest: float = 10.0) -> Found:
    """Trains for a moment at exponentially growing rates; writes nothing.

    Args:
        config: as for `train`; its own rate and schedule do not matter.
        steps: optimizer steps; it ends earlier where the loss explodes.
        lowest, highest: the first and the last rate.

    Raises:
        ValueError: settings, data or weights do not fit, or an impossible range.
    """
    if not (0 < lowest < highest < math.inf and steps >= 10):
        raise ValueError(f"{steps} steps from {lowest} to {highest}: at least 10, and 0 < lowest < highest, are needed")
    settled, data, net = assemble(decide(config))
    training = Training(settled, data, net, Path())
    rates, losses = list[float](), list[float]()
    average, smoothed = 0.0, list[float]()
    batches = _endless(training)
    net.train()
    for step in track(range(steps), description="learning rates", unit="steps"):
        rates.append(lowest * (highest / lowest) ** (step / (steps - 1)))
        before = training.state.sums.clone()
        for _ in range(settled.grad_accum_steps):
            training.backward(next(batches))
        training.update(rates[-1])
        loss, _, pictures = (training.state.sums - before).tolist()
        losses.append(loss / pictures if pictures else math.nan)
        if not math.isfinite(losses[-1]):
            break
        average = SMOOTHING * average + (1 - SMOOTHING) * losses[-1]
        smoothed.append(average / (1 - SMOOTHING ** (step + 1)))
        note(f"rate {rates[-1]:.2g}  loss {smoothed[-1]:.3f}")
        if smoothed[-1] > DIVERGED * min(smoothed):
            break
    kept = len(smoothed)
    return Found(
        rates=tuple(rates[:kept]),
        losses=tuple(losses[:kept]),
        smoothed=tuple(smoothed),
        suggestion=steepest(rates[:kept], smoothed),
    )


def steepest(rates: list[float], losses: list[float]) -> float:
    """The rate before the smallest loss at which the losses fall fastest per factor of the rate.

    Raises:
        ValueError: they never fall.
    """
    until = int(np.argmin(losses)) + 1 if losses else 0
    if until < 3:
        raise ValueError("the loss never falls, however small the rate: look at the data and the other settings")
    slopes = np.gradient(losses[:until], np.log(rates[:until]))
    return rates[int(np.argmin(slopes))]


def _endless(training: Training) -> Iterator[Batch]:
    """The batches of one epoch after the other."""
    while True:
        yield from training.train_batches()
        training.state.epoch += 1
        training.state.batch = 0
