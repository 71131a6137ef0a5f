"""The loss: cross-entropy of soft targets, label smoothing, class weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from inceptions.checks import between, kind
from inceptions.data import class_weights as balanced_weights
from inceptions.data.text import read_json, same_name
from inceptions.errors import DataError

_POSITIVE = kind(Annotated[float, between(torch.finfo(torch.float32).tiny, torch.finfo(torch.float32).max)])


def soft_targets(targets: Tensor, num_classes: int, smoothing: float = 0.0) -> Tensor:
    """(1 - smoothing) * one_hot + smoothing / num_classes, of shape (N, num_classes), for class indices (N,).

    Source: Inception v3 (1512.00567), section 7, with the uniform prior over all classes, the right one included.
    """
    return F.one_hot(targets, num_classes) * (1 - smoothing) + smoothing / num_classes


def cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean cross-entropy of logits (N, C) and soft targets (N, C), computed in float32 at least.

    With class weights w (C,) it is sum(w t (-log p)) / sum(w t), both sums over all images and classes: every share
    of a target counts weight-fold, and the mean divides by what was counted. With hard targets that equals
    `torch.nn.functional.cross_entropy(..., weight=w)`. With smoothed or mixed ones PyTorch's divides by the weights of
    the right classes alone (for class indices) or by N (for soft targets).
    """
    if weights is not None:
        targets = targets * weights
    exact = logits if logits.dtype == torch.float64 else logits.float()
    return -(targets * exact.log_softmax(dim=1)).sum() / targets.sum()


def loss_weight(targets: Tensor, weights: Tensor | None = None, smoothing: float = 0.0) -> float:
    """What `cross_entropy` divides by, for class indices (N,) on the CPU: the sum of the weights of all targets.

    Mixing divides every target among images of the same batch, which does not change their sum.
    """
    if weights is None:
        return float(len(targets))
    own, prior = weights[targets].sum(), weights.mean() * len(targets)
    return float((1 - smoothing) * own + smoothing * prior)


def class_weights(spec: str, targets: NDArray[np.int64], classes: Sequence[str]) -> Tensor:
    """Weights (C,) of the classes: `balanced` is n / (C * n_class), anything else a JSON file {class: weight}.

    Args:
        spec: `balanced` or the file's path.
        targets: the training images' class indices (N,).
        classes: names of the classes.

    Raises:
        DataError: the file misses or does not know classes, or holds a weight that is not a positive number.
    """
    if spec == "balanced":
        return torch.from_numpy(balanced_weights(targets, classes))
    record = read_json(spec, meant="JSON file of class weights {class: weight}")
    own = {same_name(name): name for name in classes}
    if isinstance(record, dict):
        record = {own.get(same_name(name), name): weight for name, weight in record.items()}
    if not isinstance(record, dict) or set(record) != set(classes):
        have = sorted(record) if isinstance(record, dict) else record
        raise DataError(f"class weights: {spec} must give a weight to each of {sorted(classes)}, it holds {have}")
    wrong = {name: weight for name, weight in record.items() if not _POSITIVE.fits(weight)}
    if wrong:
        raise DataError(f"class weights must be positive numbers; {spec} holds {wrong}")
    return torch.tensor([float(record[name]) for name in classes])
