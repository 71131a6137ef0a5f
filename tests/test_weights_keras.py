"""Keras's own files (tests/parity/keras_fixtures.py) give Keras's logits, and what their models say about images."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor

from inceptions import create_model
from inceptions.errors import DataError
from inceptions.weights.keras import read_keras
from inceptions.weights.keras_graph import read_model
from inceptions.zoo import Network
from parity.recipe import splitmix

GOLDEN = Path(__file__).parent / "golden" / "weights"
SAID: dict[str, Any] = json.loads((GOLDEN / "keras.json").read_text())
HEIGHT, WIDTH = SAID["size"]
SCALING = ("xception_nested.keras", "inception_v3_binary.keras")  # models that scale the pixels themselves


def fixture(name: str, folder: Path) -> Path:
    path = folder / name
    path.write_bytes(gzip.decompress((GOLDEN / f"{name}.gz").read_bytes()))
    return path


def network_of(name: str) -> str:
    return next(network for network in ("inception_resnet_v2", "inception_v3", "xception") if name.startswith(network))


def load(name: str, folder: Path, **options: Any) -> Network:
    return create_model(network_of(name), weights=fixture(name, folder), width=0.01, **options)


def image() -> Tensor:
    """The image that Keras saw: (1, 3, H, W), whole numbers 0..255."""
    pixels = np.floor(splitmix(HEIGHT * WIDTH * 3, 7) * 256).astype(np.float32).reshape(1, HEIGHT, WIDTH, 3)
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


def says(net: Network, name: str) -> Tensor:
    assert net.preprocess is not None
    with torch.no_grad():
        return net(net.preprocess.normalize(image()) if name in SCALING else image())[0]


def assert_close(ours: Tensor, theirs: list[float]) -> None:
    expected = torch.tensor(theirs)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5 * expected.abs().max().item())


WITH_HEAD = [
    "xception_nested.keras", "xception_hidden.h5", "inception_v3_top.weights.h5", "inception_v3_top.h5",
    "inception_v3_in_line.h5", "inception_resnet_v2_top.keras",
]  # fmt: skip


@pytest.mark.parametrize("name", WITH_HEAD)
def test_a_file_gives_keras_logits(name: str, tmp_path: Path) -> None:
    net = load(name, tmp_path)
    assert net.num_classes == len(SAID["logits"][name])
    assert_close(says(net, name), SAID["logits"][name])


def test_a_file_without_a_head_gives_keras_features(tmp_path: Path) -> None:
    name = "xception_base.weights.h5"
    net = load(name, tmp_path, num_classes=3)
    with torch.no_grad():
        assert_close(net.forward_features(image()).mean((2, 3))[0], SAID["logits"][name])


def test_one_output_under_a_sigmoid_becomes_two_classes(tmp_path: Path) -> None:
    name = "inception_v3_binary.keras"
    logits = says(load(name, tmp_path), name)
    assert_close((logits[1] - logits[0])[None], SAID["logits"][name])
    assert logits.softmax(0)[1].item() == pytest.approx(1 / (1 + np.exp(-SAID["logits"][name][0])), rel=1e-5)


def test_kerass_numeric_options_come_with_the_file(tmp_path: Path) -> None:
    v3 = load("inception_v3_top.h5", tmp_path)
    assert (v3.options["norm_scale"], v3.options["include_border"], v3.options["norm_eps"]) == (False, False, 1e-3)
    assert not v3.body.conv_1a.norm.weight.requires_grad
    assert load("xception_base.weights.h5", tmp_path).options["padding"] == "tf_same"


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("inception_v3_top.h5", {"include_border": True}),
        ("inception_v3_top.h5", {"norm_scale": True}),
        ("inception_v3_top.h5", {"norm_eps": 1e-5}),
        ("xception_base.weights.h5", {"padding": "symmetric"}),
        ("inception_resnet_v2_top.keras", {"scales": (0.1, 0.1, 0.1)}),
        ("xception_base.weights.h5", {"stem": "small"}),
    ],
)
def test_an_option_that_contradicts_the_file_is_an_error(name: str, option: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(option))}.*contradicts"):
        load(name, tmp_path, **option)


def test_an_option_that_agrees_with_the_file_is_none(tmp_path: Path) -> None:
    assert load("inception_v3_top.h5", tmp_path, norm_scale=False, drop_rate=0.1).options["drop_rate"] == 0.1


# --- preprocessing ----------------------------------------------------------------------------------------------------


def test_scaling_layers_become_preprocessing(tmp_path: Path) -> None:
    for name in SCALING:
        preprocess = load(name, tmp_path).preprocess
        assert preprocess is not None
        np.testing.assert_allclose((preprocess.mean, preprocess.std), 0.5, rtol=1e-9)
        assert preprocess.size == (HEIGHT, WIDTH)


def test_the_base_alone_has_the_published_preprocessing(tmp_path: Path) -> None:
    preprocess = load("xception_nested.keras", tmp_path, num_classes=7).preprocess
    assert preprocess is not None
    assert preprocess.size == (299, 299)
    assert (preprocess.mean, preprocess.std, preprocess.value_range) == ((0.5,) * 3, (0.5,) * 3, 1.0)


def test_what_the_file_does_not_say_is_told_in_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    load("xception_hidden.h5", tmp_path)
    (line,) = [record.message for record in caplog.records if "does not say" in record.message]
    assert "mean" in line
    assert "crop_pct" in line
    assert "size" not in line.replace("resize", "")


# --- heads ------------------------------------------------------------------------------------------------------------


def test_the_hidden_layer_and_the_dropout_of_a_head_come_along(tmp_path: Path) -> None:
    net = load("xception_hidden.h5", tmp_path)
    assert net.options["hidden"] == (12,)
    assert net.options["drop_rate"] == pytest.approx(0.2)


def test_a_head_of_another_size_is_replaced_with_one_line_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    net = load("xception_hidden.h5", tmp_path, num_classes=9)
    assert (net.num_classes, net.classes, net.options["hidden"]) == (9, None, ())
    (line,) = [record.message for record in caplog.records if "new head" in record.message]
    assert "9 classes" in line
    assert "4" in line


def test_a_head_of_the_same_size_is_kept(tmp_path: Path) -> None:
    name = "xception_hidden.h5"
    assert_close(says(load(name, tmp_path, num_classes=4), name), SAID["logits"][name])


def test_the_base_stays_whatever_the_head(tmp_path: Path) -> None:
    kept, other = load("xception_hidden.h5", tmp_path), load("xception_hidden.h5", tmp_path, num_classes=9)
    with torch.no_grad():
        assert torch.equal(kept.forward_features(image()), other.forward_features(image()))


def test_a_head_that_is_not_understood_is_named_and_the_base_still_taken(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Flatten.*num_classes"):
        load("xception_flattened.keras", tmp_path)
    assert load("xception_flattened.keras", tmp_path, num_classes=3).num_classes == 3


def test_another_network_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds Keras's xception, not inception_v4"):
        create_model("inception_v4", weights=fixture("xception_base.weights.h5", tmp_path))


def test_a_shape_that_differs_is_named_with_both_shapes_and_the_layout(tmp_path: Path) -> None:
    path = fixture("xception_base.weights.h5", tmp_path)
    with pytest.raises(DataError, match=r"Keras's xception.*block1_conv1/kernel is \(8, 3, 3, 3\).*\(32, 3, 3, 3\)"):
        create_model("xception", weights=path)


def test_an_odd_layer_in_line_makes_it_another_network(tmp_path: Path) -> None:
    path = fixture("inception_v3_top.h5", tmp_path)
    with h5py.File(path, "a") as file:
        file.create_dataset("attention/attention/kernel:0", data=np.zeros((1, 1, 8, 8), np.float32))
    with pytest.raises(DataError, match=r"no place for 1 .*attention"):
        create_model("inception_v3", weights=path, width=0.01)


def test_a_missing_layer_is_named_with_the_nearest_layout(tmp_path: Path) -> None:
    path = fixture("xception_hidden.h5", tmp_path)
    with h5py.File(path, "a") as file:
        del file["model_weights/xception/block5_sepconv2"]
    with pytest.raises(DataError, match=r"nearest is Keras's xception.*block5_sepconv2"):
        create_model("xception", weights=path, width=0.01, num_classes=2)


# --- names ------------------------------------------------------------------------------------------------------------


def test_every_format_names_the_same_tensors(tmp_path: Path) -> None:
    new, old = (read_keras(fixture(f"inception_v3_top{end}", tmp_path)) for end in (".weights.h5", ".h5"))
    assert new.tensors.keys() == old.tensors.keys()
    assert all(torch.equal(new.tensors[name], old.tensors[name]) for name in new.tensors)


def test_scope_names_of_old_files_do_not_matter(tmp_path: Path) -> None:
    """Published files hold block1_conv1/block1_conv1_1/kernel:0; the group's name is the layer's."""
    path, renamed = fixture("inception_v3_top.h5", tmp_path), tmp_path / "renamed.h5"
    with h5py.File(path) as file, h5py.File(renamed, "w") as target:
        for layer, group in file.items():
            for scope in group:
                for variable, data in group[scope].items():
                    target[f"{layer}/{scope}_1/{variable}:0"] = data[()]
    assert read_keras(renamed).tensors.keys() == read_keras(path).tensors.keys()


def test_older_keras_3_archives_are_named_by_their_configuration(tmp_path: Path) -> None:
    """Keras 3.3 wrote no `name` beside the variables: groups are counted by class in the order of the layers."""
    path = fixture("xception_nested.keras", tmp_path)
    named = read_keras(path).tensors
    anonymous = _rewrite(path, tmp_path / "older.keras", _forget_names)
    assert read_keras(anonymous).tensors.keys() == named.keys()


def test_older_keras_3_weights_without_any_names_are_refused_with_advice(tmp_path: Path) -> None:
    path = fixture("xception_base.weights.h5", tmp_path)
    with h5py.File(path, "a") as file:
        _forget_names(file)
    with pytest.raises(DataError, match=r"names no layers.*\.keras"):
        read_keras(path)


def _forget_names(file: h5py.File) -> None:
    file.visititems(lambda _, item: item.attrs.pop("name", None) and None)


def _rewrite(path: Path, target: Path, how: Any) -> Path:
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(target, "w") as new:
        for entry in archive.infolist():
            content = archive.read(entry)
            if entry.filename.endswith(".h5"):
                buffer = io.BytesIO(content)
                with h5py.File(buffer, "a") as file:
                    how(file)
                content = buffer.getvalue()
            new.writestr(entry.filename, content)
    return target


# --- configurations of Keras 2, which has no package beside today's torch ---------------------------------------------


def _legacy(*layers: dict[str, Any]) -> dict[str, Any]:
    return {"class_name": "Functional", "config": {"name": "model", "layers": list(layers)}}


def _layer(
    kind: str, name: str, parent: str | None, call: dict[str, Any] | None = None, **facts: Any
) -> dict[str, Any]:
    nodes = [] if parent is None else [[[parent, 0, 0, call or {}]]]
    return {"class_name": kind, "name": name, "config": {"name": name, **facts}, "inbound_nodes": nodes}


def test_keras_2_models_are_understood() -> None:
    base = _layer("Functional", "xception", "sub")
    base["config"] = _legacy(_layer("InputLayer", "in", None), _layer("Conv2D", "block1_conv1", "in"))["config"]
    model = read_model(
        _legacy(
            _layer("InputLayer", "input_1", None, batch_input_shape=[None, 64, 48, 3]),
            _layer("TFOpLambda", "div", "input_1", {"y": 127.5, "name": None}, function="math.truediv"),
            _layer("TFOpLambda", "sub", "div", {"y": 1.0, "name": None}, function="math.subtract"),
            base,
            _layer("GlobalAveragePooling2D", "gap", "xception"),
            _layer("Dense", "fc", "gap", activation="relu", units=9),
            _layer("Dropout", "drop", "fc", rate=0.5),
            _layer("Dense", "out", "drop", activation="softmax", units=2),
        ),
        "file",
    )
    assert (model.size, model.base, model.drop_rate, model.obstacle) == ((64, 48), "xception", 0.5, None)
    assert [layer.name for layer in model.dense] == ["fc", "out"]
    assert (model.scale, model.offset) == ((1 / 127.5,), (-1.0,))


@pytest.mark.parametrize(
    ("kind", "facts", "named"),
    [
        ("LayerNormalization", {}, "LayerNormalization"),
        ("GlobalMaxPooling2D", {}, "GlobalMaxPooling2D"),
        ("Dense", {"activation": "tanh", "units": 3}, "tanh"),
    ],
)
def test_a_head_of_other_layers_is_an_obstacle_by_name(kind: str, facts: dict[str, Any], named: str) -> None:
    model = read_model(
        _legacy(
            _layer("InputLayer", "in", None),
            _layer("Conv2D", "block1_conv1", "in"),
            _layer("GlobalAveragePooling2D", "gap", "block1_conv1"),
            _layer(kind, "odd", "gap", **facts),
            _layer("Dense", "out", "odd", activation="softmax", units=2),
        ),
        "file",
    )
    assert model.obstacle is not None
    assert named in model.obstacle


@pytest.mark.parametrize("deep", [False, True])
def test_a_lambda_is_refused_wherever_it_stands(deep: bool) -> None:
    odd = _layer("Lambda", "evil", "in", function=["4wEAAAAAAAAA", None, None])
    inner = _legacy(_layer("InputLayer", "in", None), odd)
    model = _legacy({**inner, "name": "inner", "inbound_nodes": []}) if deep else inner
    with pytest.raises(DataError, match="'evil' is a Lambda"):
        read_model(model, "file")
