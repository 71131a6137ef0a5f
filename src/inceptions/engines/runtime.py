"""`Runtime`: how a network is run, stated once and passed as a value."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """What is asked for; `inceptions.engines.resolved` says what that means on this machine."""

    engine: str = "auto"
    """"torch", "torch-compiled", "onnxruntime", "openvino"; "auto": torch on a GPU, and for work that it finishes on
    the CPU in half a minute; else what is measured to be fastest of those that are installed and have the precision
    (compiled for work of minutes only). The measurement is kept for this machine."""
    precision: str | None = None
    """"float32", "bf16", "int8" (needs images to measure its ranges on); "auto": bf16 where the device is fast in it;
    None: float32, and of an export its own. What runs is `Engine.precision`."""
    device: str | torch.device | None = None
    """Where torch runs; None: a GPU where there is one and the engine may be torch."""
    batch_size: int | None = None
    """Images that are run at once; None: 16 on a CPU and 128 on a GPU, and for much work on a CPU what is measured to
    be fastest."""
    threads: int | None = None
    """Of the CPU; None: as many as PyTorch uses."""
    early_exit: float | None = None
    """The softmax probability from which on an auxiliary head is sure, so that its images stop there; the engine is
    then an `EarlyExit`, which has no features."""


@dataclass(frozen=True, kw_only=True)
class Resolved(Runtime):
    """The same with nothing left open that is not measured."""

    precision: str
    device: torch.device
