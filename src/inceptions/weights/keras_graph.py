"""What a Keras model's configuration says about the layers around the family's network. Nothing of it is executed.

A user's model is a chain: an input, perhaps scaling, the network (nested as one layer, or its layers in line), then
pooling, dropout and dense layers. Both spellings of a configuration are read, Keras 2's and Keras 3's.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from inceptions.checks import at_least, is_number, kind
from inceptions.errors import DataError
from inceptions.weights.keras_head import (
    FLATTENING,
    NEUTRAL,
    WINDOWS,
    ChainLayer,
    DenseLayer,
    KerasHead,
    loss_of,
    read_head,
)

CONTAINERS = ("Functional", "Model", "Sequential")
_ARITHMETIC = {"TrueDivide": "/", "Divide": "/", "Multiply": "*", "Subtract": "-", "Add": "+"}
_LEGACY_ARITHMETIC = {"truediv": "/", "divide": "/", "multiply": "*", "subtract": "-", "add": "+"}
_TRAINING = ("RandAugment", "AugMix", "CutMix", "MixUp", "GridMask", "ChannelShuffle", "JitteredResize")
"""Layers that change images only while a model is trained, besides those called Random."""
_SMALLEST = 1e-7
"""The least deviation that Keras's `Normalization` divides by."""
_SIDE = kind(Annotated[int, at_least(1)])
_DEEPEST = 16  # containers in containers


@dataclass(frozen=True, kw_only=True)
class KerasModel:
    """What a model's configuration tells about the network inside it."""

    size: tuple[int, int] | None
    """Height and width of the input in pixels, where it is fixed."""
    scale: tuple[float, ...] | None
    """What a pixel (0 to 255) is multiplied with inside of the model, a value a channel or one; None: nothing is."""
    offset: tuple[float, ...]
    """What is added after that."""
    base: str | None
    """Name of the layer that is the nested network; None where its layers stand in line with the others."""
    head: KerasHead
    """What stands behind the network."""
    names: Mapping[str, str]
    """Layer names by the path Keras 3 files them under ("layers/functional/layers/conv2d_2"), from `model.layers`."""

    @property
    def dense(self) -> tuple[DenseLayer, ...]:
        """The dense layers of its head."""
        return self.head.dense

    @property
    def drop_rate(self) -> float:
        """Of the dropout before the last dense layer."""
        return self.head.drop_rate

    @property
    def obstacle(self) -> str | None:
        """Why the head cannot be reused; None: it can, or there is none."""
        return self.head.obstacle


def read_model(config: object, source: str, training: object = None) -> KerasModel:
    """Reads a model's configuration (the JSON of `config.json`, or of a `.h5` file's attribute `model_config`).

    Args:
        config: the JSON.
        source: how messages call the file.
        training: what the model was compiled with, where it does not stand in `config` (`training_config`).

    Raises:
        DataError: it is no model, or it holds a Lambda layer (code).
    """
    _refuse_code(config, source)
    try:
        return _model(config, training)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError, OverflowError) as error:
        raise DataError(
            f"{source}: its model configuration is not understood ({type(error).__name__}: {error})"
        ) from error


def _model(config: Any, training: object) -> KerasModel:
    chain = list(_spread(_chain(config, 0), None))
    convolutions = Counter(home for layer, home in chain if "Conv" in layer.kind)
    base = convolutions.most_common(1)[0][0] if convolutions else None
    layers = [layer for layer, _ in chain]
    start = next((index for index, layer in enumerate(layers) if not _is_entrance(layer)), len(layers))
    inside = [index for index, (_, home) in enumerate(chain) if home == base and index >= start]
    # in line with the others, every network of Keras's begins with a convolution
    first = inside[0] if base is not None else next((i for i in inside if "Conv" in layers[i].kind), start)
    head = read_head(layers[_head_start(layers, inside) :], loss_of(training or config.get("compile_config")))
    if len(outputs := _outputs(config)) > 1:
        head = KerasHead(obstacle=f"it has {len(outputs)} outputs")
    if first != start:
        head = KerasHead(obstacle=f"{layers[start].kind} ({layers[start].name}) stands in front of the network")
    scale, offset = _affine(layers[:start])
    return KerasModel(
        size=_input_size(config), scale=scale, offset=offset, base=base, head=head, names=dict(_names(config, ""))
    )


def _refuse_code(config: object, source: str) -> None:
    waiting = [config]
    while waiting:
        item = waiting.pop()
        if isinstance(item, Mapping):
            if item.get("class_name") in ("Lambda", "__lambda__"):
                facts = item.get("config")
                name = facts.get("name") if isinstance(facts, Mapping) else None
                raise DataError(
                    f"{source}: layer {name or 'unnamed'!r:.80} is a Lambda, program code, which is never executed "
                    "from a file. Save the network's own weights (base.save_weights), or use a Rescaling layer instead"
                )
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


# --- the chain ----------------------------------------------------------------------------------------------------


def _inner(config: Any) -> list[Any]:
    """The configurations of a container's layers (the first Sequential of Keras 2 had a bare list)."""
    inside = config["config"]
    layers = inside if isinstance(inside, list) else inside["layers"]
    if config["class_name"] not in CONTAINERS or not isinstance(layers, list):
        raise TypeError(f"it is a {config['class_name']!r:.80}, one of {', '.join(CONTAINERS)} is read")
    return layers


def _name(config: Any) -> str:
    return str(config.get("name") or config["config"]["name"])


def _layer(config: Any, depth: int) -> ChainLayer:
    kind = str(config["class_name"])
    inside = config.get("config")
    return ChainLayer(
        name=_name(config),
        kind=kind,
        facts=inside if isinstance(inside, Mapping) else {},
        number=_constant(kind, config.get("inbound_nodes")),
        inner=tuple(_chain(config, depth + 1)) if kind in CONTAINERS else (),
    )


def _chain(config: Any, depth: int) -> list[ChainLayer]:
    """The layers from input to output as far as each has one neighbor; between them the rest, as they are listed."""
    if depth > _DEEPEST:
        raise ValueError(f"containers stand deeper than {_DEEPEST} in each other")
    configs = _inner(config)
    layers = {_name(layer): _layer(layer, depth) for layer in configs}
    if config["class_name"] == "Sequential":
        return list(layers.values())
    parents = {_name(layer): list(_parents(layer.get("inbound_nodes"))) for layer in configs}
    children: dict[str, list[str]] = {}
    for name, above in parents.items():
        for parent in above:
            children.setdefault(parent, []).append(name)
    front = _walk([name for name in layers if not parents[name]], children, len(layers))
    back = _walk([name for name in layers if name not in children], parents, len(layers))[::-1]
    if front == back:
        return [layers[name] for name in front]
    ends = {*front, *back}
    return [layers[name] for name in (*front, *(name for name in layers if name not in ends), *back)]


def _walk(names: list[str], following: Mapping[str, list[str]], longest: int) -> list[str]:
    """From the only start on, as long as exactly one layer follows."""
    path: list[str] = []
    while len(names) == 1 and len(path) <= longest:
        path.append(names[0])
        names = following.get(names[0], [])
    return path


def _parents(nodes: Any) -> Iterator[str]:
    """Names of the layers whose outputs the first call of a layer received."""
    if not nodes:
        return
    first = nodes[0]
    if isinstance(first, Mapping):  # Keras 3: {"args": [{"class_name": "__keras_tensor__", ...}]}
        waiting: list[Any] = [first.get("args")]
        while waiting:
            item = waiting.pop()
            if isinstance(item, Mapping) and item.get("class_name") == "__keras_tensor__":
                yield str(item["config"]["keras_history"][0])
            elif isinstance(item, Mapping):
                waiting.extend(item.values())
            elif isinstance(item, list):
                waiting.extend(item)
    elif isinstance(first[0], str):  # one tensor without a list around it: ["name", 0, 0, {...}]
        yield first[0]
    else:
        for tensor in first:
            yield str(tensor[0])


def _spread(chain: Iterable[ChainLayer], home: str | None) -> Iterator[tuple[ChainLayer, str | None]]:
    """Every layer that is no container, and the nearest container around it."""
    for layer in chain:
        if layer.inner:
            yield from _spread(layer.inner, layer.name)
        else:
            yield layer, home


def _head_start(layers: list[ChainLayer], inside: list[int]) -> int:
    """Where the head begins: at what ends the maps of features, and what stands between the network and that.

    Args:
        layers: all of them.
        inside: the places of those that stand in line with the network's.
    """
    ends = inside[-1] + 1 if inside else len(layers)
    start = next((index for index in inside if layers[index].kind in FLATTENING), ends)
    between = (*NEUTRAL, *WINDOWS, "BatchNormalization")  # every network of Keras's ends in none of these
    while start > 0 and layers[start - 1].kind in between and start < len(layers):
        start -= 1
    return start


def _outputs(config: Any) -> list[Any]:
    """The outputs that a functional model lists."""
    inside = config["config"]
    listed = inside.get("output_layers") if isinstance(inside, Mapping) else None
    return listed if isinstance(listed, list) and listed and isinstance(listed[0], list) else []


# --- before the network -------------------------------------------------------------------------------------------


def _is_entrance(layer: ChainLayer) -> bool:
    """Whether a layer only scales pixels, or does nothing when a model answers."""
    kind = layer.kind.rpartition(">")[2]  # a package's own: "keras_cv>RandomFlip"
    if kind in (*NEUTRAL, *_TRAINING, "Rescaling") or kind.startswith("Random") or layer.number is not None:
        return True
    if kind == "Normalization":  # one that has seen data keeps what it learned as weights
        return layer.facts.get("mean") is not None and layer.facts.get("variance") is not None
    return kind == "Cast" or (kind == "TFOpLambda" and layer.facts.get("function") == "cast")


def _constant(kind: str, nodes: Any) -> float | None:
    """The number that a layer of arithmetic (`x / 127.5` in a functional model) works with."""
    if not nodes or (kind not in _ARITHMETIC and kind != "TFOpLambda"):
        return None
    first = nodes[0]
    if isinstance(first, Mapping):
        values = [*(first.get("args") or []), *(first.get("kwargs") or {}).values()]
    else:
        call = first if isinstance(first[0], str) else first[0]
        values = [value for key, value in (call[3] if len(call) > 3 else {}).items() if key != "name"]
    numbers = [float(value) for value in values if is_number(value)]
    return numbers[0] if len(numbers) == 1 else None


def _affine(layers: list[ChainLayer]) -> tuple[tuple[float, ...] | None, tuple[float, ...]]:
    """What the layers make of a pixel: scale (None where they leave it alone) and offset."""
    scale, offset = [1.0], [0.0]
    for layer in layers:
        factor, shift = [1.0], [0.0]
        if layer.kind == "Rescaling":
            factor, shift = _numbers(layer.facts["scale"]), _numbers(layer.facts.get("offset", 0.0))
        elif layer.kind == "Normalization":
            factor, shift = _normalization(layer.facts)
        elif layer.number is not None:
            function = str(layer.facts.get("function", "")).rsplit(".", 1)[-1]
            operation = _ARITHMETIC.get(layer.kind) or _LEGACY_ARITHMETIC[function]
            if operation in "*/":
                factor = [layer.number if operation == "*" else 1 / layer.number]
            else:
                shift = [layer.number if operation == "+" else -layer.number]
        scale, offset = _times(scale, factor), _plus(_times(offset, factor), shift)
    if not all(map(math.isfinite, (*scale, *offset))) or 0.0 in scale:
        raise ValueError(f"the pixels are scaled by {scale} and shifted by {offset}")
    changed = any(layer.kind in ("Rescaling", "Normalization") or layer.number is not None for layer in layers)
    return (tuple(scale) if changed else None), tuple(offset)


def _normalization(facts: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    """What a `Normalization` multiplies with and adds: (x - mean) / deviation; inverted: x * deviation + mean."""
    mean = _numbers(facts["mean"])
    deviation = [max(math.sqrt(value), _SMALLEST) for value in _numbers(facts["variance"])]
    if facts.get("invert"):
        return deviation, mean
    pairs = list(_aligned(mean, deviation))
    return [1 / divisor for _, divisor in pairs], [-value / divisor for value, divisor in pairs]


def _numbers(value: Any) -> list[float]:
    if isinstance(value, Mapping):  # Keras 3 writes arrays as {"class_name": "__numpy__", "config": {"value": [...]}}
        value = value["config"]["value"]
    while isinstance(value, list) and len(value) == 1 and isinstance(value[0], list):  # an axis of one
        value = value[0]
    return [float(item) for item in value] if isinstance(value, list) else [float(value)]


def _times(left: list[float], right: list[float]) -> list[float]:
    return [a * b for a, b in _aligned(left, right)]


def _plus(left: list[float], right: list[float]) -> list[float]:
    return [a + b for a, b in _aligned(left, right)]


def _aligned(left: list[float], right: list[float]) -> Iterator[tuple[float, float]]:
    longest = max(len(left), len(right))
    return zip(left * (longest // len(left)), right * (longest // len(right)), strict=True)


def _input_size(config: Any) -> tuple[int, int] | None:
    facts = _inner(config)[0]["config"]
    shape = facts.get("batch_shape") or facts.get("batch_input_shape") or []
    sides = shape[1:3] if len(shape) == 4 else []
    if len(sides) == 2 and all(map(_SIDE.fits, sides)):
        return sides[0], sides[1]
    return None


# --- paths --------------------------------------------------------------------------------------------------------


def _names(config: Any, path: str) -> Iterator[tuple[str, str]]:
    """(path of a layer in a Keras 3 file, its name): groups are counted by class in the order of `model.layers`."""
    seen: dict[str, int] = {}
    for layer in _inner(config):
        kind = _snake(str(layer["class_name"]))
        number = seen[kind] = seen.get(kind, -1) + 1
        place = f"{path}layers/{kind}" + (f"_{number}" if number else "")
        yield place, _name(layer)
        if layer["class_name"] in CONTAINERS:
            yield from _names(layer, f"{place}/")


def _snake(name: str) -> str:
    """Keras's own spelling of a class in a path: SeparableConv2D becomes separable_conv2d."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
