"""What an early exit is worth: how many images leave, how many answers stay right, how much time it saves."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from inceptions.data import Split, batches
from inceptions.engines import EarlyExit, Engine
from inceptions.evaluation.outcome import Outcome
from inceptions.evaluation.protocol import Protocol, judge, opened, sized
from inceptions.zoo import Network

TIMED = 128  # images that the speed is measured on, evenly chosen
ROUNDS = 5  # in each of which every engine runs all of them


@dataclass(frozen=True, kw_only=True)
class Exit:
    """A row of the comparison."""

    threshold: float | None
    """The probability from which on an auxiliary head is sure; None: the plain network."""
    left: dict[str, float]
    """stage -> share of the images (with crops: of these) that left behind it."""
    top1: float
    images_per_second: float
    """Of the network alone, decoding left out: the median of some rounds."""
    ratio: float
    """To the plain network's speed."""


def exits(
    net: Network, split: Split, protocol: Protocol, thresholds: Sequence[float]
) -> tuple[list[Outcome], list[Exit]]:
    """Judge the plain network and an early exit at each of `thresholds`, all on the same engine.

    Their parts are opened once, and time is measured in turns on the same decoded images. Under `torch.distributed`
    all processes measure at once, each for itself.

    Returns:
        The outcomes and the rows, of the plain network first.

    Raises:
        ValueError: as `judge`; a network without auxiliary heads.
    """
    cascade = opened(net, replace(protocol, early_exit=thresholds[0]), len(split))
    assert isinstance(cascade, EarlyExit)
    plain = opened(net, replace(protocol, engine=cascade.name, early_exit=None), len(split))
    early = [cascade.at(threshold) for threshold in thresholds]
    engines = [plain, *early]
    outcomes = [judge([net], split, protocol, engines=[engine]) for engine in engines]
    shares = [dict.fromkeys(cascade.heads, 0.0), *map(_shares, early)]
    rates = _rates(engines, _sample(net, split, protocol))
    rows = [
        Exit(threshold=threshold, left=left, top1=outcome.metrics.top1, images_per_second=rate, ratio=rate / rates[0])
        for threshold, left, outcome, rate in zip((None, *thresholds), shares, outcomes, rates, strict=True)
    ]
    return outcomes, rows


def _shares(engine: EarlyExit) -> dict[str, float]:
    """Of the images of all processes."""
    counts = [engine.seen, *engine.left.values()]
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        parts = [counts] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(parts, counts)
        counts = [sum(column) for column in zip(*parts, strict=True)]
    return {stage: left / counts[0] for stage, left in zip(engine.left, counts[1:], strict=True)}


def _sample(net: Network, split: Split, protocol: Protocol) -> Tensor:
    """Decoded images from all over the split."""
    chosen = np.unique(np.linspace(0, len(split) - 1, TIMED).round().astype(np.int64))
    feed = batches(split, sized(net, protocol).preprocess, batch_size=protocol.batch_size, order=chosen)
    return torch.cat([batch.images for batch in feed if len(batch)])


def _rates(engines: Sequence[Engine], images: Tensor) -> list[float]:
    """Images per second of each engine, given as many at once as it asks for; a first round is not measured."""
    times: list[list[float]] = [[] for _ in engines]
    for _ in range(1 + ROUNDS):
        for engine, seconds in zip(engines, times, strict=True):
            begin = time.perf_counter()
            for part in torch.split(images, engine.at_once):
                engine(part)
            seconds.append(time.perf_counter() - begin)
    return [len(images) / statistics.median(seconds[1:]) for seconds in times]
