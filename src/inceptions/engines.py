"""Run a network: pictures in, logits or pooled features out, behind one callable for every runtime."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from inceptions.zoo import Network

ENGINES = ("torch",)
PRECISIONS = ("float32", "bf16")


class Engine(ABC):
    """A network ready to answer: `engine(pictures)` gives logits, `engine.features(pictures)` pooled features.

    `pictures` are what `Preprocess.picture` made, stacked: (N, C, H, W), uint8, *not* normalised. Normalisation
    happens inside, by `net.preprocess.normalise`, so no caller can forget or repeat it. Any N is accepted; it is split
    into parts of `batch_size`. Answers are float32 tensors on the CPU.
    """

    name: str
    precision: str
    batch_size: int
    reason: str

    def __call__(self, pictures: Tensor) -> Tensor:
        """Logits (N, classes) of `pictures`."""
        return self._split(self._logits, pictures)

    def features(self, pictures: Tensor) -> Tensor:
        """What the classifier sees: pooled features (N, F) of `pictures`."""
        return self._split(self._features, pictures)

    def _split(self, run: Callable[[Tensor], Tensor], pictures: Tensor) -> Tensor:
        if pictures.ndim != 4 or not len(pictures):
            raise ValueError(f"an engine takes pictures (N, C, H, W) with N >= 1, not a tensor {tuple(pictures.shape)}")
        return torch.cat([run(part) for part in pictures.split(self.batch_size)])

    @abstractmethod
    def _logits(self, pictures: Tensor) -> Tensor: ...

    @abstractmethod
    def _features(self, pictures: Tensor) -> Tensor: ...


class TorchEngine(Engine):
    """PyTorch eager, channels last, on a copy of the network: the caller's stays as it is, training mode included."""

    name = "torch"

    def __init__(self, net: Network, *, precision: str, batch_size: int, device: torch.device, reason: str) -> None:
        self.precision, self.batch_size, self.device, self.reason = precision, batch_size, device, reason
        self.net = copy.deepcopy(net).eval().to(device, memory_format=torch.channels_last)

    def _logits(self, pictures: Tensor) -> Tensor:
        return self._run(self.net, pictures)

    def _features(self, pictures: Tensor) -> Tensor:
        return self._run(
            lambda images: self.net.forward_head(self.net.forward_features(images), pre_logits=True), pictures
        )

    def _run(self, function: Callable[[Tensor], Tensor], pictures: Tensor) -> Tensor:
        preprocess = self.net.preprocess
        assert preprocess is not None
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"),
        ):
            images = preprocess.normalise(pictures.to(self.device, non_blocking=True))
            return function(images.contiguous(memory_format=torch.channels_last)).float().cpu()


def open_engine(
    net: Network,
    *,
    engine: str = "auto",
    precision: str = "auto",
    batch_size: int | None = None,
    device: str | torch.device | None = None,
) -> Engine:
    """Make `net` ready to answer.

    Args:
        net: a network with its `preprocess`; copied, never changed.
        engine: "torch", or "auto".
        precision: "float32", "bf16", or "auto" (float32: the answers of training).
        batch_size: pictures that are run at once; None: what suits the device.
        device: where a torch engine runs; None: a GPU where there is one.

    Raises:
        ValueError: an unknown engine or precision; a network without preprocessing.
    """
    if net.preprocess is None:
        raise ValueError(f"{net.name} carries no preprocessing: set net.preprocess to an inceptions.Preprocess first")
    if engine not in ("auto", *ENGINES):
        raise ValueError(f"unknown engine {engine!r}; one of auto, {', '.join(ENGINES)}")
    if precision not in ("auto", *PRECISIONS):
        raise ValueError(f"unknown precision {precision!r}; one of auto, {', '.join(PRECISIONS)}")
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return TorchEngine(
        net,
        precision="float32" if precision == "auto" else precision,
        batch_size=batch_size or (16 if where.type == "cpu" else 128),
        device=where,
        reason="asked for" if engine == "torch" else "no conversion, the arithmetic of training",
    )
