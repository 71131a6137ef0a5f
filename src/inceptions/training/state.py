"""How far a run has come: everything that a checkpoint must hold besides weights, optimizer and average."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from inceptions.evaluation import Metrics

_OLD_COLUMNS = {"pictures_per_second": "images_per_second"}  # of runs begun before the column had its name


@dataclass(kw_only=True)
class State:
    """The position, the finished rows of results.csv, and what the next row is computed from.

    The sums live on the device and are read only on demand, so counting never waits for it.
    """

    epoch: int = 0
    """Epochs done."""
    batch: int = 0
    """Batches of the running epoch that are done."""
    step: int = 0
    """Optimizer steps done."""
    rows: list[dict[str, Any]] = field(default_factory=list)
    """Of results.csv."""
    best_epoch: int = 0
    """Epoch (from 1) of the lowest validation loss."""
    best_loss: float = math.inf
    refused: dict[str, str] = field(default_factory=dict)
    """Images that could not be read during training, with the reason."""
    seconds: float = 0.0
    """Of the running epoch."""
    waiting: float = 0.0
    """Of these, waiting for data."""
    sums: Tensor
    """(4,) of the running epoch: sum of the losses, right ones, images, sum of the weights in the loss."""
    norms: Tensor
    """(parts + 1,) of the running epoch: sums of gradient norms, and the number of measurements."""
    failed: Tensor
    """() number of the first batch whose loss was not finite; -1: none."""

    @classmethod
    def new(cls, parts: int, device: torch.device) -> State:
        """The state before the first batch; `parts` are those of `step.gradient_norms`."""
        exact = torch.float32 if device.type == "mps" else torch.float64  # which MPS lacks
        return cls(
            sums=torch.zeros(4, dtype=exact, device=device),
            norms=torch.zeros(parts + 1, dtype=exact, device=device),
            failed=torch.full((), -1, dtype=torch.int64, device=device),
        )

    @torch.no_grad()
    def count(self, loss: Tensor, logits: Tensor, targets: Tensor, number: int, weight: float) -> None:
        """Adds a batch: its mean loss, logits (N, C), class indices (N,), its number since the run's start, and the sum
        of the weights over which the loss is a mean."""
        right = (logits.argmax(dim=1) == targets).sum()
        images = torch.full_like(right, len(targets))
        self.sums += torch.stack([loss * weight, right, images, torch.full_like(loss, weight)]).to(self.sums.dtype)
        self.failed.copy_(torch.where((self.failed < 0) & ~loss.isfinite(), number, self.failed))

    def measure(self, norms: Tensor) -> None:
        """Adds the gradient norms (parts,) of one step; those that float16 overflowed are left out."""
        if_finite = torch.where(norms.isfinite().all(), 1.0, 0.0)
        self.norms += (
            torch.cat([norms.nan_to_num(0, 0, 0), torch.ones_like(norms[:1])]).to(self.norms.dtype) * if_finite
        )

    def averages(self) -> tuple[float, float]:
        """(mean loss, accuracy) of the running epoch; NaN before its first batch. Waits for the device."""
        loss, right, images, weight = self.sums.tolist()
        return (loss / weight, right / images) if images else (math.nan, math.nan)

    def mean_norms(self) -> list[float]:
        """Mean gradient norm of each part in the running epoch."""
        *sums, count = self.norms.tolist()
        return [total / max(count, 1) for total in sums]

    def end_epoch(self, *, lr: float, metrics: Metrics, parts: Sequence[str]) -> dict[str, Any]:
        """Appends the finished epoch's row of results.csv, returns it, and begins the next epoch."""
        loss, top1 = self.averages()
        norms = self.mean_norms()
        self.epoch += 1
        if metrics.loss < self.best_loss or not self.best_epoch:
            self.best_epoch, self.best_loss = self.epoch, metrics.loss
        row = {
            "epoch": self.epoch,
            "step": self.step,
            "lr": lr,
            "train_loss": loss,
            "train_top1": top1,
            "val_loss": metrics.loss,
            "val_top1": metrics.top1,
            "val_top5": metrics.top5,
            "skipped": len(self.refused) + metrics.skipped,
            "gradient": math.hypot(*norms),
            **{f"gradient/{part}": norm for part, norm in zip(parts, norms, strict=True)},
            "seconds": self.seconds,
            "waiting": self.waiting,
            "images_per_second": float(self.sums[2]) / self.seconds if self.seconds else math.nan,
        }
        self.rows.append(row)
        self.begin_epoch()
        return row

    def begin_epoch(self) -> None:
        """Forgets what the running epoch has counted."""
        self.batch, self.seconds, self.waiting = 0, 0.0, 0.0
        self.sums.zero_()
        self.norms.zero_()

    def tensors(self) -> dict[str, Tensor]:
        """The part of the state a checkpoint holds as tensors."""
        return {"sums": self.sums, "norms": self.norms}

    def facts(self) -> dict[str, Any]:
        """The part of the state a checkpoint holds as JSON."""
        plain = {item.name: getattr(self, item.name) for item in fields(self)}
        return {name: value for name, value in plain.items() if not isinstance(value, Tensor)}

    def load(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Takes over what `tensors` and `facts` gave."""
        for name, value in facts.items():
            setattr(self, name, value)
        self.rows = [{_OLD_COLUMNS.get(name, name): value for name, value in row.items()} for row in self.rows]
        sums = tensors["sums"]  # of an older checkpoint without the weights: each image weighed one
        self.sums.copy_(sums if len(sums) == len(self.sums) else torch.cat([sums, sums[2:]]))
        self.norms.copy_(tensors["norms"])
