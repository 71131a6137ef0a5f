"""The learning-rate finder (1506.01186): raise the rate from tiny to huge and see where the loss falls fastest."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from inceptions.data import Batch
from inceptions.progress import note, track
from inceptions.training.config import TrainConfig
from inceptions.training.loop import Training
from inceptions.training.resolve import decide
from inceptions.training.run import assemble
from inceptions.training.step import train_mode

SMOOTHING = 0.9  # share of the old average that each loss keeps
DIVERGED = 4.0  # times the smallest loss: nothing is learned beyond
SURE = 3.5  # standard deviations of a fall: in a hundred steps chance makes no larger one


@dataclass(frozen=True, kw_only=True)
class Found:
    """A curve of losses over learning rates."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    """Of each step's batches, before the step."""
    smoothed: tuple[float, ...]
    """Their bias-corrected exponential average."""
    suggestion: float | None
    """The rate at which the smoothed loss falls fastest; None: it never falls by more than chance."""

    def plot(self, path: Path) -> None:
        """Draws the curve; the suffix chooses the format (png, svg, pdf)."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.add_subplot()
        axes.plot(self.rates, self.losses, linewidth=0.6, alpha=0.5, label="loss of a step")
        axes.plot(self.rates, self.smoothed, label="smoothed")
        if self.suggestion:
            axes.axvline(self.suggestion, color="C2", linestyle="--", label=f"steepest: {self.suggestion:.2g}")
        first, lowest = self.smoothed[0], min(self.smoothed)
        margin = max(first - lowest, 0.25 * first)  # the explosion at the end would flatten all the rest
        limits = (lowest - margin, first + margin)
        axes.set(xscale="log", xlabel="learning rate", ylabel="loss", ylim=limits)
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
    train_mode(net, training.frozen)
    for step in track(range(steps), description="learning rates", unit="steps"):
        rates.append(lowest * (highest / lowest) ** (step / (steps - 1)))
        before = training.state.sums.clone()
        training.backward(next(batches))
        while not training.step_ends:
            training.backward(next(batches))
        training.update(rates[-1])
        loss, _, _, weight = (training.state.sums - before).tolist()
        losses.append(loss / weight if weight else math.nan)
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
        suggestion=steepest(rates[:kept], losses[:kept], smoothed),
    )


def steepest(rates: list[float], losses: list[float], smoothed: list[float]) -> float | None:
    """The middle of the tenth of the steps in which the smoothed loss falls most, before its lowest value.

    None where that fall is within what the steps' noise makes of a level loss.
    """
    tenth = max(1, len(smoothed) // 10)
    until = int(np.argmin(smoothed)) + 1 if smoothed else 0
    # the first average is of one step only: the fall is looked for where some have been averaged
    before = np.array(smoothed[tenth if tenth > 1 else 0 : until])
    falls = before[:-tenth] - before[tenth:]
    if not len(falls):
        return None
    spread = np.median(np.abs(np.diff(losses[:until]))) / 0.6745 / math.sqrt(2)  # of one step, whatever stands out
    noise = spread * math.sqrt((1 - SMOOTHING) / (1 + SMOOTHING) * 2 * (1 - SMOOTHING**tenth))
    best = int(np.argmax(falls))
    return rates[until - len(before) + best + (tenth + 1) // 2] if falls[best] > SURE * noise else None


def _endless(training: Training) -> Iterator[Batch]:
    """The batches of one epoch after the other."""
    while True:
        yield from training.train_batches()
        training.state.epoch += 1
        training.state.batch = 0
