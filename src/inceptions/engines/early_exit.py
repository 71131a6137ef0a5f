"""Early exit: an image that an auxiliary head is sure of does not go through the rest of the network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from inceptions.engines.engine import Engine
from inceptions.engines.precisions import said
from inceptions.engines.prepared import Prepared
from inceptions.zoo import Network

Open = Callable[[Prepared, list[Tensor] | None], Engine]
"""Opens an engine for a part of a network; the tensors are batches of what comes in, for int8 to measure ranges on."""


class EarlyExit(Engine):
    """A cascade: behind each part of the network those images leave with its head's logits that it is sure of.

    Args:
        heads: stage -> what runs the network from the stage before up to this one, and its auxiliary head.
        rest: what runs the stages behind the last of them, and the classifier.
        threshold: the softmax probability from which on a head is sure.

    Attributes:
        seen: images answered so far.
        left: stage -> how many of them its head answered.
    """

    def __init__(self, heads: Mapping[str, Engine], rest: Engine, threshold: float) -> None:
        super().__init__(rest.precision, rest.batch_size, f"{rest.reason}; early exit at {threshold:g}")
        self.name, self.worth_tuning = rest.name, rest.worth_tuning
        self.heads, self.rest, self.threshold = heads, rest, threshold
        self.emulated = rest.emulated
        self.seen, self.left = 0, dict.fromkeys(heads, 0)

    @property
    def computes(self) -> str:
        """As in `Engine`, of all parts that ran."""
        layers = Counter[str]()
        for part in (*self.heads.values(), self.rest):
            layers.update(part.executed)
        return said(dict(layers.most_common()) or {self.precision: 1}, emulated=self.emulated)

    def at(self, threshold: float) -> EarlyExit:
        """The same parts, opened once, under another threshold and with counts of its own."""
        return EarlyExit(self.heads, self.rest, threshold)

    def features(self, images: Tensor) -> Tensor:
        """Raises `ValueError`: an image that left early has none."""
        raise ValueError("images that leave at an early exit have no features: run without it")

    @property
    def at_once(self) -> int:
        """What the first part needs, where no image has left yet."""
        return next(iter(self.heads.values())).at_once

    def tune(self, image: Tensor, *, most: int | None = None, seconds: float = 4.0) -> None:
        """As in `Engine`, each part for itself."""
        for part in (*self.heads.values(), self.rest):
            part.tune(image, most=most, seconds=seconds)
            image = part.run(image[None])[1][0]
        self.batch_size = next(iter(self.heads.values())).batch_size

    def file_size(self) -> int:
        """As in `Engine`: of all parts."""
        return sum(part.file_size() for part in (*self.heads.values(), self.rest))

    def _parts(self, images: Tensor) -> Iterable[Tensor]:
        return (images,)  # what is left of many images fills the later parts' batches better

    def _run(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits, and no features: (N, 0)."""
        waiting = torch.arange(len(images))
        answers, places = [], []
        for stage, part in self.heads.items():
            logits, activations = part.run(images)
            sure = (logits.softmax(1).amax(1) >= self.threshold).cpu()
            answers.append(logits[sure])
            places.append(waiting[sure])
            images, waiting = activations[~sure], waiting[~sure]
            self.left[stage] += int(sure.sum())
            if not len(waiting):
                break
        else:
            answers.append(self.rest.run(images)[0])
            places.append(waiting)
        logits = torch.cat(answers)[torch.cat(places).argsort()]
        self.seen += len(logits)
        return logits, logits.new_zeros(len(logits), 0)


def early_exit(net: Network, threshold: float, opened: Open, calibration: list[Tensor] | None) -> EarlyExit:
    """`net` cut behind each stage that an auxiliary head taps, every part on an engine of its own.

    Args:
        net: with auxiliary heads.
        threshold: see `EarlyExit`.
        opened: makes the engine of a part.
        calibration: batches of images; a later part's ranges are measured on what the parts before it, in float32,
            make of them.
    """
    heads: dict[str, Engine] = {}
    after = None
    for stage in net.aux:
        part = Prepared(net, after=after, until=stage)
        heads[stage] = opened(part, calibration)
        if calibration is not None:
            with torch.inference_mode():
                calibration = [part(batch)[1] for batch in calibration]
        after = stage
    return EarlyExit(heads, opened(Prepared(net, after=after), calibration), threshold)


def refuse(net: Network, threshold: float) -> None:
    """Raises `ValueError` where `net` has no early exit, or `threshold` is no probability."""
    if not 0 < threshold <= 1:
        raise ValueError(f"early exit at {threshold:g}: a probability above 0 and at most 1")
    if net.export is not None:
        raise ValueError(f"{net.export} is an export, which has no auxiliary heads; early exit needs the run it is of")
    if not net.aux:
        raise ValueError(f"{net.name} has no auxiliary head to leave at: train it with --aux for an early exit")
