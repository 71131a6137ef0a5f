"""From logits to probabilities: one softmax, one ranking and one temperature for evaluation and prediction."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from inceptions.engines.finite import finite
from inceptions.zoo import Network

Floats = NDArray[np.float64]
Model = Callable[[Tensor], Tensor]


def log_softmax(logits: Tensor | Floats) -> Floats:
    """Logarithms of the probabilities (N, classes), in float64: the one softmax of evaluation and prediction."""
    values = np.asarray(logits.detach().cpu().double() if isinstance(logits, Tensor) else logits, np.float64)
    shifted = values - values.max(axis=1, keepdims=True)
    result: Floats = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def rank(logits: Tensor, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The `k` most probable classes of each image: indices (N, k) and probabilities (N, k), float64.

    Equal logits rank by class index, as they are counted.

    Raises:
        NotFiniteError: logits that are not finite, which have no order.
    """
    probabilities = np.exp(log_softmax(finite(logits)))
    order = np.argsort(-logits.detach().cpu().double().numpy(), axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(probabilities, order, axis=1)


def tempered(model: Model, temperature: float) -> Model:
    """`model` with its logits divided by a fitted temperature."""
    return model if temperature == 1 else lambda images: model(images) / temperature


def temperature_of(net: Network) -> float:
    """What divides the logits of `net` before softmax: fitted by `inceptions val --calibrate`, else 1."""
    block = getattr(net, "artifact", None) or {}
    return float(block.get("temperature") or 1)
