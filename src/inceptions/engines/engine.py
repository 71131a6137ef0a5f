"""`Engine`: what every runtime looks like from outside."""

from __future__ import annotations

import statistics
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from inceptions.engines.finite import finite
from inceptions.engines.precisions import said


class Engine(ABC):
    """A network ready to answer: `engine(images)` gives logits, `engine.features(images)` pooled features.

    `images` are what `Preprocess.image` made, stacked: (N, C, H, W), uint8, *not* normalized. Normalization
    happens inside, by `Preprocess.normalize`, so no caller can forget or repeat it. Any N is accepted; it is split
    into parts of `batch_size`. Answers are float32 tensors on the CPU.

    Attributes:
        name: the runtime.
        precision: "float32", "bf16" or "int8": of the arithmetic that runs, as its runtime reports it after the first
            run; answers are float32 always.
        executed: precision -> how many of the layers that multiply run in it, the most first; known after the first
            run at the latest, empty where the runtime does not tell.
        emulated: whether `precision` is that of the numbers only, and the arithmetic is float32's.
        batch_size: images that are run at once.
        reason: why this engine was chosen.
    """

    name: str
    sizes: tuple[int, ...] = (1, 4, 16, 64)
    """Batch sizes that `tune` tries; between them the rate hardly changes."""
    worth_tuning: int = 200
    """Images to come from which on `tune` is worth its time."""

    def __init__(self, precision: str, batch_size: int, reason: str) -> None:
        self.precision, self.batch_size, self.reason = precision, batch_size, reason
        self.executed: Mapping[str, int] = {}
        self.emulated = False

    @property
    def computes(self) -> str:
        """What runs, for people: "bf16", "int8 (94 layers; bf16 1)", "bf16 (emulated in float32)"."""
        return said(self.executed or {self.precision: 1}, emulated=self.emulated)

    @property
    def at_once(self) -> int:
        """How many images a call should bring at least, so that nothing in here waits."""
        return self.batch_size

    def __str__(self) -> str:
        return f"{self.name}, {self.computes}, batches of {self.batch_size}: {self.reason}"

    def __call__(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of `images`.

        Raises:
            NotFiniteError: one of them is NaN or infinite.
            ValueError: as `logits_and_features`.
        """
        return finite(self.logits_and_features(images)[0])

    def features(self, images: Tensor) -> Tensor:
        """What the classifier sees: pooled features (N, F) of `images`; raises as a call does."""
        return finite(self.logits_and_features(images)[1])

    def logits_and_features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Both, for the price of one.

        Raises:
            ValueError: no batch of images, or of a shape that the network does not take.
        """
        logits, features = self.run(images)
        return logits.cpu(), features.cpu()

    def run(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """As `logits_and_features`, but the answers stay on the device that computed them."""
        if images.ndim != 4 or not len(images):
            raise ValueError(f"an engine takes images (N, C, H, W) with N >= 1, not a tensor {tuple(images.shape)}")
        parts = [self._run(part) for part in self._parts(images)]
        return torch.cat([logits for logits, _ in parts]), torch.cat([features for _, features in parts])

    def rate(self, images: Tensor, *, seconds: float = 0.0) -> float:
        """Images per second, measured on `images` after one unmeasured run of them: the median of as many runs as
        take `seconds` together, at least one."""
        self(images)
        took: list[float] = []
        while sum(took) < seconds or not took:
            start = time.perf_counter()
            self(images)
            took.append(time.perf_counter() - start)
        return len(images) / statistics.median(took)

    def tune(self, image: Tensor, *, most: int | None = None, seconds: float = 4.0) -> None:
        """Set `batch_size` to what is fastest on this machine.

        Args:
            image: (C, H, W) like the ones to come.
            most: images that a call will bring; None: `at_once`.
            seconds: nothing more is measured after this time.
        """
        self(image[None])  # the first run converts, which no batch size is to blame for
        begin, rates = time.perf_counter(), dict[int, list[float]]()

        def measured(size: int) -> float:
            self.batch_size = size
            images = image.expand(most or self.at_once, -1, -1, -1).contiguous()
            rates.setdefault(size, []).append(self.rate(images, seconds=0.2))
            return rates[size][-1]

        best = 0.0
        for size in self.sizes:
            if most is not None and size > most:
                break
            best = max(best, rate := measured(size))
            if rate < 0.9 * best or time.perf_counter() - begin > seconds:
                break  # where one is slower, larger ones are slower still
        for size in [*rates] * 2:  # interleaved, so that background load affects all of them equally
            if time.perf_counter() - begin < seconds:
                measured(size)
        medians = {size: statistics.median(found) for size, found in rates.items()}
        # a larger batch must pay for its memory
        self.batch_size = min(size for size, rate in medians.items() if rate > 0.99 * max(medians.values()))

    @abstractmethod
    def file_size(self) -> int:
        """Bytes of a file with the network as this runtime takes it, in this precision; asked after the first run."""

    def _parts(self, images: Tensor) -> Iterable[Tensor]:
        return torch.split(images, self.batch_size)

    @abstractmethod
    def _run(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and features of at most `batch_size` images."""
