"""What the layers behind a Keras network come to: dense layers, what stands between them, and the last activation.

Activations are composed in the order of the layers, whoever applies them: a dense layer itself, an `Activation`, a
layer of its own (`ReLU`, `Softmax`), or a function that the model calls. What does not come to hidden layers with a
ReLU and plain logits, one softmax or one sigmoid is an obstacle, in words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

NEUTRAL = (
    "InputLayer", "Dropout", "SpatialDropout2D", "GaussianNoise", "GaussianDropout", "AlphaDropout",
    "ActivityRegularization", "Identity",
)  # fmt: skip
"""Layers that do nothing when a model answers."""
POOLING = ("GlobalAveragePooling2D", "GlobalAvgPool2D")
FLATTENING = (*POOLING, "GlobalMaxPooling2D", "GlobalMaxPool2D", "Flatten")
"""Layers that a head begins with: they end the maps of features."""
WINDOWS = ("AveragePooling2D", "AvgPool2D")
"""Pooling over a window, which is global where the window is as large as the map."""
_FUNCTIONS = ("TFOpLambda", "Relu", "Sigmoid", "LogSoftmax")
"""Layers that Keras makes of a function that a model calls."""
_SAME = {
    "identity": "linear", "none": "linear", "softmax_v2": "softmax", "logsoftmax": "log_softmax",
    "log_softmax_v2": "log_softmax", "leakyrelu": "leaky_relu",
}  # fmt: skip
"""Other names of an activation."""
_COMPOSED = {("relu", "relu"): "relu", ("log_softmax", "softmax"): "softmax"}
_REGRESSION = re.compile(
    r"mse|mae|mape|msle|mean_(squared|absolute)\w*|huber\w*|log_?cosh|poisson|cosine_similarity|cosine_proximity"
)
_LAST = ("linear", "softmax", "log_softmax", "sigmoid")


@dataclass(frozen=True, kw_only=True)
class ChainLayer:
    """A layer of a model's chain."""

    name: str
    kind: str
    facts: Mapping[str, Any]
    number: float | None = None
    """The constant of a layer of arithmetic."""
    inner: tuple[ChainLayer, ...] = ()
    """The chain of a container."""


@dataclass(frozen=True, kw_only=True)
class NormLayer:
    """A batch norm of a head."""

    name: str
    epsilon: float


@dataclass(frozen=True, kw_only=True)
class DenseLayer:
    """A fully connected layer of a head."""

    name: str
    activation: str
    """What is made of its outputs before the next one reads them."""
    before: tuple[NormLayer, ...] = ()
    """What its inputs go through."""
    after: tuple[NormLayer, ...] = ()
    """What its outputs go through in front of the activation."""


@dataclass(frozen=True, kw_only=True)
class KerasHead:
    """What stands behind the network."""

    dense: tuple[DenseLayer, ...] = ()
    """The dense layers after global average pooling, in order."""
    drop_rate: float = 0.0
    """Of the dropout before the last dense layer."""
    window: tuple[int, int] | None = None
    """Height and width of an average pooling that is global only where the map of features is as large."""
    loss: str | None = None
    """What the model was trained with, where the file says so."""
    obstacle: str | None = None
    """Why the head cannot be reused; None: it can, or there is none."""


def read_head(layers: Sequence[ChainLayer], loss: str | None = None) -> KerasHead:
    """Reads the layers behind a network, from what ends its maps of features on.

    Args:
        layers: in order.
        loss: what the model was trained with, where the file says so.
    """
    reading = _Reading()
    for layer in layers:
        if obstacle := reading.add(layer):
            return KerasHead(obstacle=obstacle)
    dense = reading.dense
    if reading.norms and dense:
        return KerasHead(obstacle=f"its head ends in batch norm ({reading.norms[0].name})")
    for position, layer_ in enumerate(dense):
        allowed = _LAST if position == len(dense) - 1 else ("relu",)
        if layer_.activation not in allowed:
            known = "linear, softmax or sigmoid" if allowed is _LAST else "relu"
            return KerasHead(obstacle=f"its layer {layer_.name} ends in {layer_.activation}; understood is {known}")
    if dense and dense[-1].activation == "linear" and loss is not None and _REGRESSION.fullmatch(loss):
        return KerasHead(obstacle=f"it was trained for regression (loss {loss}), not to tell classes apart")
    return KerasHead(dense=tuple(dense), drop_rate=reading.drop_rate, window=reading.window, loss=loss)


def loss_of(training: object) -> str | None:
    """The loss that a model's `compile_config` or `training_config` names; None where it names none, or several."""
    loss = training.get("loss") if isinstance(training, Mapping) else None
    if isinstance(loss, Mapping) and "class_name" not in loss and len(loss) == 1:
        loss = next(iter(loss.values()))  # by the output's name
    if isinstance(loss, Sequence) and not isinstance(loss, str):
        loss = loss[0] if len(loss) == 1 else None
    if isinstance(loss, Mapping):
        inside = loss.get("config")
        loss = inside if isinstance(inside, str) else loss.get("class_name")
    if not isinstance(loss, str):
        return None
    return re.sub("(?<=[a-z])([A-Z])", r"_\1", loss.rsplit(".", 1)[-1]).lower()


@dataclass(kw_only=True)
class _Reading:
    """A head as far as it was read."""

    dense: list[DenseLayer] = field(default_factory=list)
    norms: list[NormLayer] = field(default_factory=list)
    """What the next dense layer's inputs go through."""
    pooled: bool = False
    window: tuple[int, int] | None = None
    rate: float = 0.0
    drop_rate: float = 0.0

    def add(self, layer: ChainLayer) -> str | None:
        """Reads one more layer; what stands against it, in words."""
        activation = _activation(layer)
        if activation is not None:
            return self._activate(layer, activation)
        if layer.kind == "Dense":
            return self._add_dense(layer)
        if layer.kind == "BatchNormalization":
            return self._add_norm(layer)
        if layer.kind in WINDOWS and not self.pooled and self.window is None:
            return self._add_window(layer)
        if layer.kind == "Dropout":
            self.rate = float(layer.facts.get("rate", layer.facts.get("p", 0.0)))  # p: Keras 1's
        elif layer.kind in POOLING or (self.window is not None and layer.kind == "Flatten"):
            self.pooled = True
        elif layer.kind not in NEUTRAL and not (self.pooled and _keeps_vectors(layer)):
            return f"its head holds {layer.kind} ({layer.name})"
        return None

    def _activate(self, layer: ChainLayer, activation: str) -> str | None:
        if activation == "linear":
            return None
        if self.norms:
            return f"its head holds {activation} ({layer.name}) behind batch norm, where no dense layer is between them"
        if self.dense:
            self.dense[-1] = replace(self.dense[-1], activation=_composed(self.dense[-1].activation, activation))
        elif activation != "relu":  # the features of the family end in a ReLU, which a second one leaves alone
            return f"its head holds {activation} ({layer.name}) in front of its dense layers"
        return None

    def _add_dense(self, layer: ChainLayer) -> str | None:
        if not self.pooled:
            return f"its layer {layer.name} (Dense) reads features that are not pooled by global averages"
        activation = spelled(layer.facts.get("activation"))
        self.dense.append(DenseLayer(name=layer.name, activation=activation, before=tuple(self.norms)))
        self.norms, self.rate, self.drop_rate = [], 0.0, self.rate
        return None

    def _add_norm(self, layer: ChainLayer) -> str | None:
        axis = layer.facts.get("axis", -1)
        axis = axis[0] if isinstance(axis, list) and len(axis) == 1 else axis
        if axis not in ((-1, 1) if self.pooled else (-1, 3)):
            return f"its head holds {layer.kind} ({layer.name}) over axis {axis!r:.40}"
        norm = NormLayer(name=layer.name, epsilon=float(layer.facts.get("epsilon", 1e-3)))
        if self.dense and not self.norms and self.dense[-1].activation == "linear":
            self.dense[-1] = replace(self.dense[-1], after=(*self.dense[-1].after, norm))
        else:
            self.norms.append(norm)
        return None

    def _add_window(self, layer: ChainLayer) -> str | None:
        size = layer.facts.get("pool_size", 2)
        size = [size, size] if isinstance(size, int) else list(size)
        height, width = size
        self.window = int(height), int(width)
        return None


def _composed(first: str, second: str) -> str:
    if "linear" in (first, second):
        return first if second == "linear" else second
    return _COMPOSED.get((first, second), f"{first}, then {second}")


def _keeps_vectors(layer: ChainLayer) -> bool:
    """Whether the layer only drops or adds axes of one: pooled features, and what dense layers make of them, stay."""
    if layer.kind in ("Flatten", "Squeeze"):
        return True
    shape = layer.facts.get("target_shape", layer.facts.get("newshape"))
    if layer.kind != "Reshape" or not isinstance(shape, list) or not shape:
        return False
    return all(side == 1 for side in shape[:-1])


# --- activations --------------------------------------------------------------------------------------------------


def spelled(value: Any) -> str:
    """The name of an activation in any of Keras's spellings: a name, a function's path, or a serialized object."""
    if value is None:
        return "linear"
    if isinstance(value, Mapping):
        kind, inside = str(value.get("class_name")), value.get("config")
        if isinstance(inside, str):  # {"class_name": "function", "config": "softmax_v2"}
            return spelled(inside)
        facts = inside if isinstance(inside, Mapping) else {}
        return _activation(ChainLayer(name="", kind=kind, facts=facts)) or kind
    path = str(value).split(".")
    known = path[0] in ("keras", "tf", "tensorflow", "nn", "math", "activations") or len(path) == 1
    name = (path[-1] if known else str(value)).lower()
    return _SAME.get(name, name)


def _activation(layer: ChainLayer) -> str | None:
    """What a layer without weights makes of each number; None for another layer."""
    facts = layer.facts
    if layer.kind == "Activation":
        return spelled(facts.get("activation"))
    if layer.kind == "Softmax":
        axis = facts.get("axis", -1)
        axis = axis[0] if isinstance(axis, list) and len(axis) == 1 else axis
        return "softmax" if axis in (-1, 1) else f"softmax over axis {axis!r:.40}"
    if layer.kind == "ReLU":
        return _rectifier(facts.get("max_value"), facts.get("negative_slope"), facts.get("threshold"))
    if layer.kind == "LeakyReLU":
        return _rectifier(None, facts.get("negative_slope", facts.get("alpha", 0.3)), None)
    if layer.kind in _FUNCTIONS and layer.number is None:
        name = spelled(facts.get("function", layer.kind))
        return name if name in (*_LAST, "relu") else None
    return None


def _rectifier(ceiling: Any, slope: Any, threshold: Any) -> str:
    values = [value.get("value") if isinstance(value, Mapping) else value for value in (ceiling, slope, threshold)]
    if values[1]:
        return "leaky_relu"
    return "relu" if values[0] is None and not values[2] else "a ReLU with a limit"
