"""Keras's own applications, run by Keras on PyTorch."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "torch"
import keras
import numpy as np
from keras.src.backend.common import dtypes

from parity.recipe import Answer
from parity.rows import Row, Size

# By Keras's rules of promotion float64 and float32 make float32, and its batch norm, mean and dense layers ask them:
# in a float64 model they would round. Here they compute as the model says.
_promoted = dtypes._lattice_result_type
dtypes._lattice_result_type = lambda *kinds: "float64" if "float64" in map(_kind, kinds) else _promoted(*kinds)


def _kind(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")


MODELS = {
    "inception_v3": keras.applications.InceptionV3,
    "inception_resnet_v2": keras.applications.InceptionResNetV2,
    "xception": keras.applications.Xception,
}


def keras_peer(row: Row, tensors: Mapping[str, np.ndarray], size: Size, double: bool) -> Callable[[np.ndarray], Answer]:
    """The peer of a row with our tensors in it, for images of this size."""
    keras.utils.clear_session()  # so that unnamed layers count from 0
    keras.config.set_floatx("float64" if double else "float32")
    model = MODELS[row.network](weights=None, input_shape=(*size, 3), classifier_activation=None)
    _load(row.network, model, tensors)
    stages = dict(_stages(row.network).items())
    outputs = [model.get_layer(layer).output for layer in stages.values()]
    inspected = keras.Model(model.input, [model.output, *outputs])

    def run(images: np.ndarray) -> Answer:
        logits, *others = inspected.predict_on_batch(images.transpose(0, 2, 3, 1))
        return Answer(
            logits, {}, {stage: value.transpose(0, 3, 1, 2) for stage, value in zip(stages, others, strict=True)}
        )

    return run


def keras_files(row: Row, tensors: Mapping[str, np.ndarray], folder: Path) -> list[Path]:
    """The peer's own files with our tensors in them: a whole model and its weights, of Keras 3 and of Keras 2."""
    keras.utils.clear_session()
    keras.config.set_floatx("float32")
    model = MODELS[row.network](weights=None, classifier_activation=None)
    _load(row.network, model, tensors)
    paths = [folder / name for name in ("model.keras", "model.weights.h5", "model.h5")]
    for path in paths:
        model.save_weights(path) if path.name.endswith(".weights.h5") else model.save(path)
    return paths


# --- weights: each layer of ours finds theirs by name, or as the next unnamed one ---------------------------------


def _load(network: str, model: keras.Model, tensors: Mapping[str, np.ndarray]) -> None:
    named = _NAMED[network]
    unnamed = _unnamed("conv2d"), _unnamed("batch_normalization")
    layers: dict[str, dict[str, np.ndarray]] = {}
    for name, value in tensors.items():
        path, _, leaf = name.rpartition(".")
        layers.setdefault(path, {})[leaf] = value
    loaded = set()
    separable: np.ndarray | None = None
    for path, values in layers.items():
        normalized = path.endswith("norm")
        if path.endswith("depthwise"):
            separable = values["weight"].transpose(2, 3, 0, 1)
            continue
        layer = model.get_layer(named(path) or next(unnamed[normalized]))
        if normalized:
            # Where Keras has no gamma, ours is 1 by the recipe.
            gamma = [values["weight"]] if layer.scale else []
            arrays = [*gamma, values["bias"], values["running_mean"], values["running_var"]]
        else:
            kernel = values["weight"].transpose(*((2, 3, 1, 0) if values["weight"].ndim == 4 else (1, 0)))
            arrays = [kernel, *([values["bias"]] if "bias" in values else [])]
            if path.endswith("pointwise"):
                assert separable is not None
                arrays = [separable, kernel]
        layer.set_weights(arrays)
        loaded.add(layer.name)
    left = {layer.name for layer in model.layers if layer.weights} - loaded
    if left:
        raise ValueError(f"no weights for {sorted(left)}")


def _unnamed(kind: str) -> Iterator[str]:
    yield kind
    index = 0
    while True:
        index += 1
        yield f"{kind}_{index}"


def _named_v3(path: str) -> str | None:
    return "predictions" if path.startswith("head") else None


def _named_resnet_v2(path: str) -> str | None:
    if path.startswith("body.conv_7b"):
        return "conv_7b_bn" if path.endswith("norm") else "conv_7b"
    if "linear" in path and not path.startswith("head"):
        block = path.split(".")[1].replace("block8_last", "block8_10")
        return f"{block}_conv"
    return _named_v3(path)


def _named_xception(path: str) -> str | None:
    if path.startswith("head"):
        return "predictions"
    if "shortcut" in path:
        return None
    norm = "_bn" if path.endswith("norm") else ""
    stage = path.split(".")[1]
    if stage in ("conv1", "conv2"):
        return f"block1_{stage}{norm}"
    number = re.search(r"separable3x3(?:_(\d))?", path)
    assert number
    return f"{stage}_sepconv{number[1] or 1}{norm}"


_NAMED: dict[str, Callable[[str], str | None]] = {
    "inception_v3": _named_v3,
    "inception_resnet_v2": _named_resnet_v2,
    "xception": _named_xception,
}


# --- which layer's output is which of our stages ------------------------------------------------------------------


def _stages(network: str) -> dict[str, Any]:
    stem = {"conv_1a": "activation", "conv_2a": "activation_1", "conv_2b": "activation_2", "pool_3a": "max_pooling2d",
            "conv_3b": "activation_3", "conv_4a": "activation_4", "pool_5a": "max_pooling2d_1"}  # fmt: skip
    if network == "inception_v3":
        blocks = ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c")
        return {**stem, **{f"mixed_{block}": f"mixed{index}" for index, block in enumerate(blocks)}}
    if network == "inception_resnet_v2":
        flows = (("block35", 10), ("block17", 20), ("block8", 9))
        repeats = {f"{flow}_{index}": f"{flow}_{index}_ac" for flow, count in flows for index in range(1, count + 1)}
        mixed = {name: name for name in ("mixed_5b", "mixed_6a", "mixed_7a")}
        return {**stem, **mixed, **repeats, "block8_last": "custom_scale_layer_39", "conv_7b": "conv_7b_ac"}
    sums = {f"block{index}": "add" if index == 2 else f"add_{index - 2}" for index in range(2, 14)}
    return {"conv1": "block1_conv1_act", "conv2": "block1_conv2_act", **sums, "block14": "block14_sepconv2_act"}
