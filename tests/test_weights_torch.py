"""Files of PyTorch's publishers give those publishers' networks: their names and shapes, and their logits by their own
code (tests/parity/torch_fixtures.py)."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from inceptions import create_model
from inceptions.errors import DataError
from inceptions.weights import load_weights
from inceptions.weights.layouts import LAYOUTS
from inceptions.zoo import MEMBERS
from parity.recipe import images, listing, listing_distance, listing_tensors, tensor

GOLDEN = Path(__file__).parent / "golden" / "weights"
V3 = "inception_v3/torchvision"


@cache
def fixtures() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(gzip.decompress((GOLDEN / "torch.json.gz").read_bytes()))
    return content


def state_dict(name: str) -> dict[str, Tensor]:
    """The file of a publisher: its names and shapes, the recipe's values."""
    return {
        key: torch.zeros((), dtype=torch.int64)
        if key.endswith("num_batches_tracked")
        else torch.from_numpy(tensor(key, tuple(shape), 1.45, scale=True).copy())
        for key, shape in fixtures()[name]["tensors"].items()
    }


def load(name: str, folder: Path, state: Mapping[str, object] | None = None, **options: Any) -> Any:
    path = folder / "weights.pth"
    torch.save(dict(state_dict(name) if state is None else state), path)
    return create_model(name.partition("/")[0], weights=path, **{"width": 0.01, **options})


def shown(logits: Tensor) -> Tensor:
    signs = torch.tensor([1.0, -1.0]).repeat(logits.shape[1])[: logits.shape[1]].double()
    return torch.stack([torch.cat([row[:4], row[-4:], (row @ signs)[None]]) for row in logits])


def answer(net: Any, size: tuple[int, int] = (107, 131)) -> Tensor:
    with torch.no_grad():
        logits: Tensor = net.double()(torch.from_numpy(images(*size)).double())
    return logits


# --- each publisher ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", fixtures())
def test_a_publishers_file_gives_the_publishers_logits(name: str, tmp_path: Path) -> None:
    net = load(name, tmp_path)
    for size, expected in fixtures()[name]["logits"].items():
        logits = answer(net, tuple(map(int, size.split("x"))))
        allowed = 1e-6 * logits.abs().max().item()
        torch.testing.assert_close(shown(logits), torch.tensor(expected).double(), rtol=1e-6, atol=allowed)


def test_the_original_listing_gives_its_logits(tmp_path: Path) -> None:
    """Its misspelled names, its shortcuts that receive what an in-place ReLU left; in full width, in float64."""
    net = load("xception_stride16/listing", tmp_path, listing_tensors(), width=1.0).double()
    assert listing_distance(net, listing()["cases"][0]) <= 1e-6


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.title)
def test_what_a_layout_decides_are_options_of_its_network(layout: Any) -> None:
    member = MEMBERS[layout.network]
    assert set(layout.options) <= set(member.options)
    assert layout.preprocess.size[0] in (32, 160, member.input_size)


# --- containers and wrappings -----------------------------------------------------------------------------------------

WRAPPED: dict[str, Callable[[dict[str, Tensor]], dict[str, Any]]] = {
    "DataParallel": lambda state: {f"module.{key}": value for key, value in state.items()},
    "compiled": lambda state: {f"_orig_mod.{key}": value for key, value in state.items()},
    "Lightning": lambda state: {"state_dict": {f"model.{key}": value for key, value in state.items()}, "epoch": 3},
    "a script's": lambda state: {"epoch": 3, "model": {f"module.{key}": value for key, value in state.items()}},
}


@pytest.mark.parametrize("how", WRAPPED)
def test_wrappings_of_training_scripts_are_taken_off(how: str, tmp_path: Path) -> None:
    name = "xception/timm"
    expected = answer(load(name, tmp_path))
    assert torch.equal(answer(load(name, tmp_path, WRAPPED[how](state_dict(name)))), expected)


def test_every_container_holds_the_same_network(tmp_path: Path) -> None:
    name, state = "xception/timm", state_dict("xception/timm")
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    save_file(state, tmp_path / "model.safetensors")
    expected = answer(load(name, tmp_path))
    for file in ("old.pth", "model.safetensors"):
        assert torch.equal(answer(create_model("xception", weights=tmp_path / file, width=0.01)), expected)


def test_half_precision_files_give_a_float32_network(tmp_path: Path) -> None:
    half = {key: value.half() if value.is_floating_point() else value for key, value in state_dict(V3).items()}
    assert load(V3, tmp_path, half).head.linear.weight.dtype == torch.float32


def test_batch_norm_vectors_stored_as_rows_are_read(tmp_path: Path) -> None:
    name = "bn_inception/cadene"
    rows = {key: value[None] if "_bn." in key and value.ndim else value for key, value in state_dict(name).items()}
    rows = {key: value for key, value in rows.items() if not key.endswith("num_batches_tracked")}
    expected = answer(load(name, tmp_path), (96, 160))
    assert torch.equal(answer(load(name, tmp_path, rows), (96, 160)), expected)


# --- what comes with the tensors --------------------------------------------------------------------------------------


def test_numeric_options_come_with_the_file(tmp_path: Path) -> None:
    xception = load("xception/timm", tmp_path)
    assert (xception.options["norm_eps"], xception.options["padding"]) == (1e-5, "symmetric")
    assert load(V3, tmp_path).options["include_border"]
    googlenet = load("googlenet/torchvision", tmp_path)
    assert {key: googlenet.options[key] for key in ("norm", "five", "fourth_pool", "aux_pool")} == {
        "norm": "batch", "five": "3x3", "fourth_pool": "2x2", "aux_pool": "adaptive",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("googlenet/torchvision", {"five": "5x5"}),
        ("googlenet/torchvision", {"norm": "lrn"}),
        (V3, {"include_border": False}),
        (V3, {"last_pool": "max"}),
        (V3, {"factorize": False}),
        ("xception/timm", {"norm_eps": 1e-3}),
        ("xception/timm", {"rectify": True}),
        ("inception_v4/timm", {"asymmetric_order": "paper"}),
        ("inception_resnet_v2/timm", {"scales": [0.1, 0.1, 0.1]}),
    ],
    ids=str,
)
def test_an_option_that_contradicts_the_file_is_an_error(name: str, option: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(option))}=.*contradicts the weights"):
        load(name, tmp_path, **option)


def test_options_that_agree_or_change_no_number_are_allowed(tmp_path: Path) -> None:
    net = load(V3, tmp_path, include_border=True, drop_rate=0.3, norm_momentum=0.01)
    assert net.head.dropout.p == 0.3
    assert net.body.conv_1a.norm.momentum == 0.01


def test_biases_under_batch_norm_can_be_folded(tmp_path: Path) -> None:
    name = "bn_inception/cadene"
    kept, folded = load(name, tmp_path), load(name, tmp_path, conv_bias=False)
    assert folded.body.conv1.conv.bias is None
    torch.testing.assert_close(answer(folded, (96, 160)), answer(kept, (96, 160)), rtol=1e-5, atol=1e-5)


def test_preprocessing_comes_with_the_file(tmp_path: Path) -> None:
    caffe = load("bn_inception/cadene", tmp_path).preprocess
    assert (caffe.channel_order, caffe.value_range, caffe.mean) == ("bgr", 255.0, (104.0, 117.0, 128.0))
    faces = load("inception_resnet_v1/facenet", tmp_path).preprocess
    white = faces.normalize(torch.full((1, 3, 1, 1), 255.0))
    assert white.flatten().tolist() == pytest.approx([(255 - 127.5) / 128] * 3)
    torchvision = load(V3, tmp_path).preprocess
    assert int(torchvision.size[0] / torchvision.crop_pct) == 342
    # ImageNet's statistics, then transform_input, are one affine map to [-1, 1]
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    pixel = torch.tensor([10.0, 100.0, 250.0])
    transformed = (pixel / 255 - mean) / std * (std / 0.5) + (mean - 0.5) / 0.5
    torch.testing.assert_close(torchvision.normalize(pixel.view(1, 3, 1, 1)).flatten(), transformed)


def test_class_names_come_along(tmp_path: Path) -> None:
    assert load(V3, tmp_path).classes[:2] == ("tench", "goldfish")
    assert load("inception_v4/cadene", tmp_path).classes[:2] == ("background", "tench")
    assert load("inception_v3/fid", tmp_path).classes[-1] == "class 1007"


# --- heads ------------------------------------------------------------------------------------------------------------


def test_the_background_class_is_dropped_on_request(tmp_path: Path) -> None:
    name = "inception_v4/cadene"
    whole, without = load(name, tmp_path), load(name, tmp_path, num_classes=1000)
    assert (whole.num_classes, without.num_classes) == (1001, 1000)
    assert torch.equal(without.head.linear.weight, whole.head.linear.weight[1:])
    torch.testing.assert_close(answer(without), answer(whole)[:, 1:])
    assert without.classes == whole.classes[1:]


def test_1008_classes_make_it_the_fid_network(tmp_path: Path) -> None:
    net = load("inception_v3/fid", tmp_path)
    assert (net.options["last_pool"], net.options["include_border"]) == ("max", False)
    assert load(V3, tmp_path).options["last_pool"] == "avg"


def test_a_new_head_keeps_the_body_and_says_so_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    net = load(V3, tmp_path, num_classes=7, aux=True)
    assert net.head.linear.out_features == net.aux["mixed_6e"].linear.out_features == net.num_classes == 7
    assert net.classes is None
    assert torch.equal(net.body.conv_1a.conv.weight, state_dict(V3)["Conv2d_1a_3x3.conv.weight"])
    assert [record.message for record in caplog.records if "new head" in record.message] == [
        "new head: 7 classes (the file has 1000)"
    ]


def test_auxiliary_heads_come_along_where_asked_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    state = state_dict("googlenet/torchvision")
    net = load("googlenet/torchvision", tmp_path, aux=True)
    assert torch.equal(net.aux["inception_4a"].linear.weight, state["aux1.fc2.weight"])
    assert torch.equal(net.aux["inception_4d"].hidden.weight, state["aux2.fc1.weight"])
    assert not load("googlenet/torchvision", tmp_path).aux
    assert not [record for record in caplog.records if "auxiliary" in record.message]


@pytest.mark.parametrize("name", [V3, "googlenet/torchvision"])
def test_auxiliary_heads_are_new_where_the_file_has_none(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    state = {key: value for key, value in state_dict(name).items() if not key.lower().startswith("aux")}
    net = load(name, tmp_path, state, aux=True)
    assert all(bool(torch.isfinite(value).all()) for value in net.aux.state_dict().values())
    assert any("new auxiliary heads" in record.message for record in caplog.records)


def test_facenets_embedding_comes_with_or_without_its_classifier(tmp_path: Path) -> None:
    name = "inception_resnet_v1/facenet"
    state = state_dict(name)
    net = load(name, tmp_path, num_classes=2)
    assert torch.equal(net.head.bottleneck.linear.weight, state["last_linear.weight"])
    bare = {key: value for key, value in state.items() if not key.startswith("logits")}
    assert torch.equal(
        load(name, tmp_path, bare, num_classes=2).head.bottleneck.linear.weight, state["last_linear.weight"]
    )
    assert load(name, tmp_path, num_classes=2, bottleneck=None).head.linear.in_features == 48


def test_every_tensor_of_a_loaded_network_has_memory(tmp_path: Path) -> None:
    net = load(V3, tmp_path, num_classes=3, aux=True)
    assert not [name for name, value in net.state_dict().items() if value.is_meta]
    assert not net.training


# --- what does not fit ------------------------------------------------------------------------------------------------


def test_a_shape_that_differs_is_named_with_both_shapes_and_the_layout(tmp_path: Path) -> None:
    state = state_dict(V3)
    state["Mixed_6b.branch7x7_2.conv.weight"] = torch.zeros(8, 8, 7, 1)
    message = r"nearest layout: torchvision's inception_v3\): Mixed_6b\.branch7x7_2\.conv\.weight is \(8, 8, 7, 1\).*"
    with pytest.raises(DataError, match=message + r"\(8, 8, 1, 7\)$"):
        load(V3, tmp_path, state)


def test_a_missing_module_is_named_with_the_nearest_layout(tmp_path: Path) -> None:
    state = {key: value for key, value in state_dict(V3).items() if not key.startswith("Mixed_7c.branch_pool.")}
    with pytest.raises(DataError, match=r"nearest is .*inception_v3, of whose 188 modules 186.*Mixed_7c\.branch_pool"):
        load(V3, tmp_path, state)


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    state = state_dict(V3)
    del state["Mixed_7c.branch_pool.bn.running_var"]
    with pytest.raises(DataError, match=r"Mixed_7c\.branch_pool\.bn\.running_var is missing"):
        load(V3, tmp_path, state)


def test_a_module_too_much_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"torchvision's inception_v3, has no place for 1 .*attention"):
        load(V3, tmp_path, {**state_dict(V3), "attention.weight": torch.zeros(3)})


def test_names_of_no_known_network_are_shown_with_what_is_known(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"fit no known layout. It holds layer1\.weight.*timm"):
        load(V3, tmp_path, {"layer1.weight": torch.zeros(3)})


def test_weights_of_another_member_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds torchvision's inception_v3, not xception"):
        load("xception/torchvision", tmp_path, state_dict(V3))


def test_the_network_need_not_be_named(tmp_path: Path) -> None:
    torch.save(state_dict("xception41/timm"), tmp_path / "weights.pth")
    assert load_weights(tmp_path / "weights.pth", options={"width": 0.01}).net.name == "xception41"
