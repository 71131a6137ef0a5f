"""What the layers behind a Keras network compute is what the classifier computes, or it is refused in words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import batch_norm

from inceptions import create_model
from inceptions.errors import DataError
from inceptions.weights.keras_graph import KerasModel, read_model
from inceptions.zoo import Network
from test_weights_keras import _layer, _legacy, fixture, image

Layer = dict[str, Any]


def behind(*tail: Layer, **more: Any) -> KerasModel:
    """A model with these layers behind a network's pooling, each behind the one before."""
    chain = [
        _layer("InputLayer", "in", None),
        _layer("Conv2D", "conv", "in"),
        _layer("GlobalAveragePooling2D", "gap", "conv"),
    ]
    for layer in tail:
        chain.append({**layer, "inbound_nodes": [[[chain[-1]["name"], 0, 0, {}]]]})
    return read_model({**_legacy(*chain), **more}, "file")


def dense(units: int, activation: Any = "linear", name: str = "out") -> Layer:
    return _layer("Dense", name, None, activation=activation, units=units)


def then(activation: Any) -> Layer:
    return _layer("Activation", f"then_{activation}", None, activation=activation)


RELU = {"module": "keras.layers", "class_name": "ReLU", "config": {"max_value": None, "negative_slope": 0.0}}
BN = _layer("BatchNormalization", "bn", None)


@pytest.mark.parametrize(
    ("layers", "activation"),
    [
        ([dense(1, "sigmoid"), then("linear")], "sigmoid"),
        ([dense(3, "softmax"), then("linear")], "softmax"),
        ([dense(3), then("softmax")], "softmax"),
        ([dense(3), _layer("Identity", "i", None), then("softmax"), then("linear")], "softmax"),
        ([dense(3, "log_softmax")], "log_softmax"),
        ([dense(3, "log_softmax"), then("softmax")], "softmax"),
        ([dense(3), _layer("Softmax", "s", None, axis=-1)], "softmax"),
        ([dense(3), _layer("Softmax", "s", None, axis=[-1])], "softmax"),
        ([dense(3, "softmax_v2")], "softmax"),
        ([dense(3, "keras.activations.softmax")], "softmax"),
        ([dense(3, {"class_name": "function", "config": "softmax_v2", "registered_name": "softmax_v2"})], "softmax"),
        ([dense(3, {"module": "builtins", "class_name": "function", "config": "softmax"})], "softmax"),
        ([dense(3, {"class_name": "Softmax", "config": {"axis": -1}})], "softmax"),
        ([dense(3, {"class_name": "Activation", "config": {"activation": "softmax"}})], "softmax"),
        ([dense(3, None)], "linear"),
        ([dense(3), _layer("TFOpLambda", "tf.nn.softmax", None, function="nn.softmax")], "softmax"),
        ([dense(1), _layer("Sigmoid", "sigmoid", None)], "sigmoid"),
        ([dense(3), _layer("Flatten", "flat", None), then("softmax")], "softmax"),
    ],
    ids=str,
)  # fmt: skip
def test_activations_are_composed_whoever_applies_them(layers: list[Layer], activation: str) -> None:
    model = behind(*layers)
    assert (model.obstacle, [layer.activation for layer in model.dense]) == (None, [activation])


@pytest.mark.parametrize(
    ("layers", "named"),
    [
        ([dense(3, "relu"), then("softmax")], "relu, then softmax"),
        ([dense(3, "softmax"), then("softmax")], "softmax, then softmax"),
        ([dense(1, "sigmoid"), then("sigmoid")], "sigmoid, then sigmoid"),
        ([dense(3, "softmax"), then("relu")], "softmax, then relu"),
        ([dense(3, "Custom>softmax")], "custom>softmax"),
        ([dense(3), _layer("Softmax", "s", None, axis=0)], "axis 0"),
        ([dense(3), _layer("TFOpLambda", "t", None, function="nn.l2_normalize")], "TFOpLambda"),
        ([dense(8, "softmax", "h"), dense(3)], "h ends in softmax"),
        ([dense(8, "linear", "h"), dense(3)], "h ends in linear"),
        ([dense(8, "linear", "h"), _layer("LeakyReLU", "l", None, alpha=0.3), dense(3)], "leaky_relu"),
        ([dense(8, "linear", "h"), _layer("ReLU", "l", None, max_value=6.0), dense(3)], "a ReLU with a limit"),
        ([dense(8, "linear", "h"), _layer("PReLU", "l", None), dense(3)], "PReLU"),
        ([dense(8, {"class_name": "LeakyReLU", "config": {"negative_slope": 0.1}}, "h"), dense(3)], "leaky_relu"),
        ([then("tanh"), dense(3)], "tanh"),
        ([dense(3, "softmax"), BN], "ends in batch norm"),
        ([dense(8, "relu", "h"), BN, then("relu"), dense(3)], "behind batch norm"),
        ([_layer("BatchNormalization", "bn", None, axis=2), dense(3)], "axis 2"),
        ([dense(6), _layer("Reshape", "r", None, target_shape=[2, 3]), then("softmax")], "Reshape"),
        ([_layer("AveragePooling2D", "p", None), dense(3)], "AveragePooling2D"),
    ],
    ids=str,
)  # fmt: skip
def test_what_does_not_compose_is_an_obstacle_in_words(layers: list[Layer], named: str) -> None:
    model = behind(*layers)
    assert model.obstacle is not None
    assert named in model.obstacle
    assert not model.dense


@pytest.mark.parametrize(
    "between",
    [
        [dense(8, "linear", "h"), then("relu")],
        [dense(8, "linear", "h"), _layer("ReLU", "r", None, max_value=None, negative_slope=0.0, threshold=0.0)],
        [dense(8, "linear", "h"), _layer("ReLU", "r", None, negative_slope={"type": "ndarray", "value": 0.0})],
        [dense(8, RELU, "h"), _layer("Dropout", "d", None, rate=0.5)],
        [_layer("Flatten", "f", None), dense(8, "relu", "h")],
        [_layer("Reshape", "r", None, target_shape=[-1]), dense(8, "relu", "h")],
        [_layer("Reshape", "r", None, target_shape=[1, 1, 2048]), _layer("Flatten", "f", None), dense(8, "relu", "h")],
        [then("relu"), dense(8, "relu", "h"), then("relu")],
    ],
    ids=str,
)
def test_hidden_layers_with_a_relu_are_read_in_every_spelling(between: list[Layer]) -> None:
    model = behind(*between, dense(3, "softmax"))
    assert model.obstacle is None
    assert [(layer.name, layer.activation) for layer in model.dense] == [("h", "relu"), ("out", "softmax")]


def test_the_dropout_of_keras_1_is_called_p() -> None:
    assert behind(_layer("Dropout", "d", None, p=0.25), dense(3)).drop_rate == 0.25


@pytest.mark.parametrize(
    "loss",
    ["mse", "mean_squared_error", {"class_name": "MeanAbsoluteError", "config": {}}, ["huber_loss"], {"out": "mae"}],
    ids=str,
)
def test_a_network_that_estimates_numbers_is_no_classifier(loss: Any) -> None:
    model = behind(dense(1), compile_config={"optimizer": "adam", "loss": loss})
    assert model.obstacle is not None
    assert "trained for regression" in model.obstacle


def test_a_model_with_two_outputs_is_an_obstacle() -> None:
    model = _legacy(
        _layer("InputLayer", "in", None), _layer("Conv2D", "conv", "in"),
        _layer("GlobalAveragePooling2D", "gap", "conv"), _layer("Dense", "a", "gap"), _layer("Dense", "b", "gap"),
    )  # fmt: skip
    model["config"]["output_layers"] = [["a", 0, 0], ["b", 0, 0]]
    assert read_model(model, "file").obstacle == "it has 2 outputs"


def test_a_head_inside_of_a_nested_model_is_its_head() -> None:
    base = {**_legacy(_layer("InputLayer", "in", None), _layer("Conv2D", "conv", "in")), "name": "base"}
    whole = _legacy(
        _layer("InputLayer", "first", None), _layer("Rescaling", "scale", "first", scale=1 / 255),
        {**base, "inbound_nodes": [[["scale", 0, 0, {}]]]}, _layer("GlobalAveragePooling2D", "gap", "base"),
        _layer("Dense", "h", "gap", activation="relu"),
    )  # fmt: skip
    model = {
        "class_name": "Sequential",
        "config": {"name": "s", "layers": [{**whole, "name": "inner"}, dense(3, "softmax")]},
    }
    read = read_model(model, "file")
    assert (read.obstacle, read.base, read.scale) == (None, "base", (1 / 255,))
    assert [layer.name for layer in read.dense] == ["h", "out"]


# --- whole files ------------------------------------------------------------------------------------------------------

FILE = "xception_hidden.h5"
"""A Sequential: the network with pooling, dense (12, relu), dropout, dense_1 (4)."""


def changed(folder: Path, how: Callable[[list[Layer]], object], add: dict[str, dict[str, Any]] | None = None) -> Path:
    """The file with other layers in its configuration, and more weights: by layer and variable."""
    path = fixture(FILE, folder)
    with h5py.File(path, "a") as file:
        config = json.loads(file.attrs["model_config"])
        how(config["config"]["layers"])
        file.attrs["model_config"] = json.dumps(config)
        for layer, variables in (add or {}).items():
            for name, values in variables.items():
                file[f"model_weights/{layer}/{layer}/{name}:0"] = np.asarray(values, np.float32)
    return path


def read(path: Path, **options: Any) -> Network:
    return create_model("xception", weights=path, width=0.01, **options)


def norm(width: int, seed: int) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    names = ("gamma", "beta", "moving_mean", "moving_variance")
    return {name: random.uniform(0.5, 2, width) for name in names}


def normed(values: Tensor, norm: dict[str, Any], epsilon: float) -> Tensor:
    mean, variance, gamma, beta = (
        torch.from_numpy(norm[name]) for name in ("moving_mean", "moving_variance", "gamma", "beta")
    )
    return batch_norm(values.double(), mean, variance, gamma, beta, eps=epsilon)


def test_batch_norm_in_a_head_becomes_part_of_its_dense_layers(tmp_path: Path) -> None:
    plain = read(fixture(FILE, tmp_path))
    with torch.no_grad():
        features = plain.forward_features(image()).mean((2, 3)).double()
    hidden, last = plain.head.hidden[0][0].double(), plain.head.linear.double()
    first, second, third = norm(features.shape[1], 1), norm(12, 2), norm(12, 3)

    def insert(layers: list[Layer]) -> None:
        place = next(index for index, layer in enumerate(layers) if layer["config"].get("name") == "dense")
        layers[place]["config"]["activation"] = "linear"
        layers.insert(place + 1, _layer("BatchNormalization", "bn_c", None, epsilon=0.5))
        layers.insert(place + 1, _layer("Activation", "act", None, activation="relu"))
        layers.insert(place + 1, _layer("BatchNormalization", "bn_b", None, epsilon=1e-3))
        layers.insert(place, _layer("BatchNormalization", "bn_a", None, axis=[1], epsilon=1e-2))

    path = changed(tmp_path, insert, {"bn_a": first, "bn_b": second, "bn_c": third})
    with torch.no_grad():
        inner = normed(hidden(normed(features, first, 1e-2)), second, 1e-3).relu()
        expected = last(normed(inner, third, 0.5))
        torch.testing.assert_close(read(path)(image()).double(), expected, rtol=1e-4, atol=1e-4)


def test_weights_that_no_layer_of_the_head_accounts_for_are_named(tmp_path: Path) -> None:
    path = changed(tmp_path, lambda _: None, {"odd": norm(12, 1)})
    with pytest.raises(ValueError, match=r"odd: neither of the network nor of its head.*num_classes"):
        read(path)
    assert read(path, num_classes=5).num_classes == 5


@pytest.mark.parametrize(
    ("facts", "named"),
    [
        ({"units": 4, "activation": "sigmoid"}, "sigmoid over 4 outputs gives each image several labels"),
        ({"units": 4, "activation": "selu"}, "dense_1 ends in selu"),
    ],
    ids=str,
)
def test_a_head_of_another_meaning_is_refused_with_what_to_do(facts: Layer, named: str, tmp_path: Path) -> None:
    path = changed(tmp_path, lambda layers: layers[-1]["config"].update(facts))
    with pytest.raises(ValueError, match=rf"{named}.*give num_classes"):
        read(path)
    assert read(path, num_classes=4).num_classes == 4


def test_a_loss_of_several_labels_is_refused(tmp_path: Path) -> None:
    path = changed(tmp_path, lambda _: None)
    with h5py.File(path, "a") as file:
        file.attrs["training_config"] = json.dumps(
            {"loss": {"class_name": "BinaryCrossentropy", "config": {"from_logits": True}}}
        )
    with pytest.raises(ValueError, match=r"loss binary_crossentropy over 4 outputs.*several labels"):
        read(path)


@pytest.mark.parametrize(("window", "fits"), [(2, True), (1, False)])
def test_an_average_over_a_window_is_global_only_where_the_map_is_as_large(
    window: int, fits: bool, tmp_path: Path
) -> None:
    """keras: AveragePooling2D((8, 8)), Flatten, Dense behind InceptionV3 at 299 px."""

    def replace(layers: list[Layer]) -> None:
        base = next(layer for layer in layers if layer["class_name"] == "Functional")
        base["config"]["layers"].pop()  # its own pooling
        place = layers.index(base)
        layers.insert(place + 1, _layer("Flatten", "flat", None))
        layers.insert(place + 1, _layer("AveragePooling2D", "pool", None, pool_size=[window, window]))
        layers[0]["config"]["batch_shape"] = [None, 64, 64, 3]

    path = changed(tmp_path, replace)
    if fits:
        assert torch.equal(read(path)(image()), read(fixture(FILE, tmp_path))(image()))
        return
    with pytest.raises(ValueError, match=r"average pooling over \(1, 1\) is not global for a map of \(2, 2\)"):
        read(path)


def test_a_head_without_its_weights_is_damage(tmp_path: Path) -> None:
    path = changed(tmp_path, lambda layers: layers[-1]["config"].update(name="elsewhere"))
    with pytest.raises(DataError, match="layer elsewhere has weights in the file not at all"):
        read(path)


def test_weights_alone_tell_the_head_by_its_widths(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    path = fixture(FILE, tmp_path)
    expected = read(path)(image())
    with h5py.File(path, "a") as file:
        del file.attrs["model_config"]
    assert torch.equal(read(path)(image()), expected)
    assert any("does not say what dense, dense_1 are" in record.message for record in caplog.records)


# --- in front of the network ------------------------------------------------------------------------------------------


def in_front(*front: Layer, nested: bool) -> KerasModel:
    """A model with these layers between its input and its network, which is one layer or stands in line."""
    convolutions = [_layer("Conv2D", "conv", "in"), _layer("Conv2D", "conv2", "conv")]
    inside = {
        "layers": [_layer("InputLayer", "in", None), *convolutions],
        "input_layers": [["in", 0, 0]],
        "output_layers": [["conv2", 0, 0]],
    }
    base = {"class_name": "Functional", "name": "base", "config": {"name": "base", **inside}}
    chain = [_layer("InputLayer", "image", None)]
    tail = [_layer("GlobalAveragePooling2D", "gap", None), dense(3)]
    for layer in (*front, *([base] if nested else convolutions), *tail):
        chain.append({**layer, "inbound_nodes": [[[chain[-1]["name"], 0, 0, {}]]]})
    return read_model(_legacy(*chain), "file")


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize(
    "layer",
    [
        _layer("Normalization", "n", None, axis=[-1]),
        _layer("Normalization", "n", None, axis=[-1], mean=None, variance=None),
        _layer("Resizing", "r", None, height=299, width=299),
        _layer("CenterCrop", "r", None, height=299, width=299),
        _layer("ZeroPadding2D", "pad", None),
        _layer("BatchNormalization", "bn", None),
        _layer("Concatenate", "gray", None),
        _layer("AutoContrast", "auto", None),
        _layer("Permute", "p", None, dims=[2, 3, 1]),
        _layer("SlicingOpLambda", "tf.getitem", None, function="__operators__.getitem"),
    ],
    ids=lambda layer: str(layer["class_name"]),
)
def test_what_changes_pixels_in_front_of_a_network_is_an_obstacle(layer: Layer, nested: bool) -> None:
    assert f"{layer['class_name']} ({layer['name']}) stands in front" in (in_front(layer, nested=nested).obstacle or "")


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize(
    "layer",
    [
        _layer("RandomFlip", "f", None),
        _layer("keras_cv>RandomFlip", "f", None),
        _layer("RandAugment", "f", None),
        _layer("Dropout", "f", None, rate=0.1),
        _layer("GaussianNoise", "f", None, stddev=0.1),
        _layer("TFOpLambda", "tf.cast", None, function="cast"),
        _layer("Cast", "cast", None),
    ],
    ids=lambda layer: str(layer["class_name"]),
)
def test_what_does_nothing_when_a_model_answers_is_no_obstacle(layer: Layer, nested: bool) -> None:
    model = in_front(layer, nested=nested)
    assert (model.obstacle, model.scale) == (None, None)


@pytest.mark.parametrize("nested", [True, False])
def test_a_normalization_that_knows_its_numbers_is_preprocessing(nested: bool) -> None:
    """(x - mean) / sqrt(variance), Keras's documentation; a constant deviation below 1e-7 counts as that."""
    for mean, variance in (([123.0, 116.0, 103.0], [4.0, 9.0, 16.0]), ([[[[9.0]]]], [[[[4.0]]]])):
        model = in_front(_layer("Normalization", "n", None, mean=mean, variance=variance), nested=nested)
        flat = np.ravel(mean), np.sqrt(np.ravel(variance))
        np.testing.assert_allclose(model.scale or (), 1 / flat[1])
        np.testing.assert_allclose(model.offset, -flat[0] / flat[1])
    back = in_front(_layer("Normalization", "n", None, mean=[1.0], variance=[4.0], invert=True), nested=nested)
    assert (back.obstacle, back.scale, back.offset) == (None, (2.0,), (1.0,))
