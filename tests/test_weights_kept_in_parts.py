"""Weights that `torch.nn.utils` keeps in parts, wrappers that normalize images, classifiers in other forms: what they
compute is what the network computes, or it is refused; no classifier is made up in silence."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from inceptions import create_model
from inceptions.errors import DataError
from inceptions.weights import load_weights
from test_weights_heads import own_head, renamed
from test_weights_parts import X, under
from test_weights_torch import V3, answer, load, state_dict

State = dict[str, Tensor]


# --- weights in parts -------------------------------------------------------------------------------------------------


def weighted(norm: Callable[..., nn.Module], layer: nn.Module, **how: Any) -> tuple[State, State]:
    """(a layer's state under a parametrization, the state it comes to)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = norm(layer, **how).eval()
    module(torch.ones(2, 4, 5, 5) if isinstance(layer, nn.Conv2d) else torch.ones(2, 4))
    bias = {} if module.bias is None else {"bias": module.bias.detach().clone()}  # type: ignore[union-attr,operator]
    return dict(module.state_dict()), {"weight": module.weight.detach().clone(), **bias}  # type: ignore[operator,union-attr]


def masked(layer: nn.Module) -> nn.Module:
    prune.random_unstructured(layer, "weight", amount=0.5)
    prune.random_unstructured(layer, "bias", amount=0.5)
    return layer


KEPT = {
    "weight norm": lambda: weighted(weight_norm, nn.Linear(4, 6)),
    "weight norm of a convolution": lambda: weighted(weight_norm, nn.Conv2d(4, 6, 3)),
    "weight norm of columns": lambda: weighted(weight_norm, nn.Linear(4, 6), dim=1),
    "one norm": lambda: weighted(weight_norm, nn.Linear(4, 6), dim=None),
    "one row": lambda: weighted(weight_norm, nn.Linear(4, 1)),
    "weight norm, parametrized": lambda: weighted(parametrizations.weight_norm, nn.Linear(4, 6)),
    "spectral norm": lambda: weighted(spectral_norm, nn.Linear(4, 6)),
    "spectral norm of a convolution": lambda: weighted(spectral_norm, nn.Conv2d(4, 6, 3)),
    "spectral norm, parametrized": lambda: weighted(parametrizations.spectral_norm, nn.Conv2d(4, 6, 3)),
    "pruned": lambda: weighted(masked, nn.Linear(4, 6)),
}


@pytest.mark.parametrize("how", KEPT)
def test_a_weight_kept_in_parts_is_put_together(how: str) -> None:
    from inceptions.weights.layouts.folded import folded

    torch.manual_seed(1)
    kept, expected = KEPT[how]()
    assert "weight" not in kept
    found = folded(under("fc.", kept))
    assert found.keys() == under("fc.", expected).keys()
    for name, tensor in under("fc.", expected).items():
        torch.testing.assert_close(found[name], tensor)


def test_a_pruned_network_answers_as_it_did(tmp_path: Path) -> None:
    state = state_dict(V3)
    generator = torch.Generator().manual_seed(3)
    masks = {name: (torch.rand(t.shape, generator=generator) > 0.3).float() for name, t in state.items() if t.ndim > 1}
    kept = {name: tensor for name, tensor in state.items() if name not in masks}
    kept |= {f"{name}_orig": state[name] for name in masks} | {f"{name}_mask": mask for name, mask in masks.items()}
    plain = state | {name: state[name] * mask for name, mask in masks.items()}
    assert torch.equal(answer(load(V3, tmp_path, under("module.", kept))), answer(load(V3, tmp_path, plain)))


def test_parts_that_do_not_go_together_stay_missing(tmp_path: Path) -> None:
    state = state_dict(V3)
    weight = state.pop("fc.weight")
    with pytest.raises(ValueError, match=r"classifier fc is no linear layer.*fc\.weight_orig.*give num_classes"):
        load(V3, tmp_path, state | {"fc.weight_orig": weight, "fc.weight_mask": weight[1:].clone()})


# --- classifiers in other forms ---------------------------------------------------------------------------------------


def test_a_convolution_behind_pooling_is_a_classifier(tmp_path: Path) -> None:
    state = state_dict(V3)
    state["fc.weight"] = state["fc.weight"][:, :, None, None]
    assert torch.equal(answer(load(V3, tmp_path, state)), answer(load(V3, tmp_path)))


@pytest.mark.parametrize("shape", [(1000, 48, 3, 3), (1, 1000, 48), (48000,)])
def test_a_classifier_of_no_known_form_is_never_replaced_in_silence(shape: tuple[int, ...], tmp_path: Path) -> None:
    state = state_dict(V3) | {"fc.weight": torch.ones(shape)}
    with pytest.raises(ValueError, match="classifier fc is no linear layer"):
        load(V3, tmp_path, state)
    assert load(V3, tmp_path, state, num_classes=3).num_classes == 3


@pytest.mark.parametrize("name", ["arc_margin", "head.arcface", "fc.cosine", "margin"])
def test_a_classifier_that_compares_angles_is_no_linear_layer(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="compare angles"):
        load(V3, tmp_path, own_head(nn.Linear(48, 4, bias=False), name))


def test_one_hidden_layer_is_told_as_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    load(V3, tmp_path, own_head(nn.Sequential(nn.Linear(48, 9), nn.ReLU(), nn.Linear(9, 4))))
    assert "read as 1 hidden layer with a ReLU each" in caplog.text
    load(V3, tmp_path, renamed(state_dict(V3), "fc.", "fc.1."))
    assert "does not say what fc.1 is:" in caplog.text


@pytest.mark.parametrize("classes", [None, 7])
def test_a_forgotten_auxiliary_classifier_stops_nobody(classes: int | None, tmp_path: Path) -> None:
    """Whoever replaced `fc` for classes of their own, and not `AuxLogits.fc`."""
    state = state_dict(V3) | {"fc.weight": torch.ones(5, 48), "fc.bias": torch.zeros(5)}
    net = load(V3, tmp_path, state, aux=True, num_classes=classes)
    aux = net.aux["mixed_6e"]
    assert (net.num_classes, aux.linear.out_features) == (classes or 5,) * 2
    assert not aux.linear.weight.is_meta
    first = next(module for module in aux.modules() if isinstance(module, nn.Conv2d))
    assert torch.equal(first.weight, state["AuxLogits.conv0.conv.weight"])


# --- what a wrapper does to images ------------------------------------------------------------------------------------

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
WRAPPERS: dict[str, Callable[[State, Tensor, Tensor], State]] = {
    "buffers of a wrapper": lambda s, mean, std: {**under("model.", s), "mean": mean, "std": std},
    "buffers of the network": lambda s, mean, std: {**s, "mean": mean, "std": std},
    "a layer in front": lambda s, mean, std: {**under("1.", s), "0.mean": mean, "0.std": std},
    "of other names": lambda s, mean, std: {
        **under("module.model.", s), "module.normalizer.new_mean": mean, "module.normalizer.new_std": std
    },
    "of pixels": lambda s, mean, std: {**under("net.", s), "pixel_mean": mean, "pixel_std": std},
}  # fmt: skip


@pytest.mark.parametrize("how", WRAPPERS)
@pytest.mark.parametrize("white", [1, 255])
def test_the_statistics_that_a_wrapper_keeps_are_the_preprocessing(how: str, white: int, tmp_path: Path) -> None:
    mean, std = (torch.tensor([[value * white] for value in values])[:, :, None] for values in (MEAN, STD))
    net = load(X, tmp_path, WRAPPERS[how](state_dict(X), mean, std))
    images = torch.randint(0, 256, (2, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    expected = (images * white / 255 - mean) / std
    torch.testing.assert_close(net.preprocess.normalize(images), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "beside",
    [
        {"optimizer.mean": torch.full((3,), 0.4), "optimizer.std": torch.ones(3)},
        {"metric.mean": torch.full((3,), 0.4), "metric.std": torch.ones(3)},
        {"mean": torch.full((3,), 0.4), "std": torch.zeros(3)},
        {"mean": torch.full((3,), math.nan), "std": torch.ones(3)},
        {"mean": torch.full((2048,), 0.4), "std": torch.ones(2048)},
        {"mean": torch.full((3,), 0.4), "std": torch.ones(3), "new_mean": torch.zeros(3), "new_std": torch.ones(3)},
    ],
)
def test_other_means_are_not_taken_for_a_wrappers(beside: State, tmp_path: Path) -> None:
    net = load(X, tmp_path, {**under("model.", state_dict(X)), **beside})
    assert net.preprocess.mean == (0.5, 0.5, 0.5)


def test_tensors_of_no_layer_are_left(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    state = state_dict(X)
    net = load(X, tmp_path, {**state, "class_weights": torch.ones(1000), "centers": torch.ones(5, 2)})
    assert torch.equal(net.head.linear.weight, state["fc.weight"])
    assert "left out class_weights, centers" in caplog.text


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_pickle_is_read_whatever_it_is_called(tmp_path: Path) -> None:
    torch.save(state_dict(X), tmp_path / "model.safetensors")
    assert create_model("xception", weights=tmp_path / "model.safetensors", width=0.01).num_classes == 1000


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda t: t.to(torch.int8), r"conv1\.weight is torch\.int8"),
        (lambda t: t.to_sparse(), "sparse tensors"),
        (lambda t: t.to(torch.float8_e4m3fn), "fewer bits"),
    ],
)
def test_tensors_that_are_no_plain_numbers_are_named(change: Any, told: str, tmp_path: Path) -> None:
    state = {name: change(tensor) if tensor.ndim == 4 else tensor for name, tensor in state_dict(X).items()}
    with pytest.raises(DataError, match=told) as caught:
        load(X, tmp_path, state)
    assert "plain floating-point tensors are needed" in str(caught.value)


def test_a_later_protocol_is_refused_without_advice_to_run_the_file(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    torch.save(state_dict(X), tmp_path / "w.pth", pickle_protocol=4)
    with pytest.raises(DataError, match="a later protocol") as caught:
        load_weights(tmp_path / "w.pth")
    assert "weights_only" not in str(caught.value)
    assert not recwarn.list


def test_a_folder_of_other_names_says_what_lies_in_it(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-500").mkdir()
    (tmp_path / "checkpoint-500" / "model.safetensors").touch()
    (tmp_path / "best.pth").touch()
    with pytest.raises(FileNotFoundError, match=r"there is best\.pth, checkpoint-500.model\.safetensors: give"):
        load_weights(tmp_path)


# --- names of classes -------------------------------------------------------------------------------------------------

NAMED: dict[str, dict[str, Any]] = {
    "ImageFolder's": {"class_to_idx": {"dog": 2, "cat": 0, "cow": 1}},
    "turned around": {"idx_to_class": {2: "dog", 0: "cat", 1: "cow"}},
    "Hugging Face's": {"config": {"id2label": {"0": "cat", "1": "cow", "2": "dog"}, "num_labels": 3}},
    "Lightning's": {"hyper_parameters": {"class_names": ["cat", "cow", "dog"], "lr": 0.1}},
    "MMPretrain's": {"meta": {"dataset_meta": {"classes": ("cat", "cow", "dog")}}},
    "of another number beside": {"classes": ["cat", "cow", "dog"], "labels": ["a", "b"]},
}  # fmt: skip


def three(**beside: Any) -> dict[str, Any]:
    return {"model": state_dict(X) | {"fc.weight": torch.ones(3, 24), "fc.bias": torch.zeros(3)}, **beside}


@pytest.mark.parametrize("how", NAMED)
def test_classes_are_called_as_the_file_calls_them(how: str, tmp_path: Path) -> None:
    assert load(X, tmp_path, three(**NAMED[how])).classes == ("cat", "cow", "dog")


@pytest.mark.parametrize(
    "beside",
    [
        {"classes": 3},
        {"classes": ["cat", "cat", "dog"]},
        {"classes": ["cat", "cow"]},
        {"classes": ["cat", "cow", " "]},
        {"class_to_idx": {"cat": 0, "cow": 1, "dog": 3}},
        {"class_to_idx": {"cat": 1, "cow": 2, "dog": 3}},
        {"class_to_idx": {"cat": 0, "cow": 1, "dog": torch.tensor(2)}},
        {"classes": ["cat", "cow", "dog"], "labels": ["dog", "cow", "cat"]},
    ],
    ids=str,
)
def test_names_that_do_not_fit_the_outputs_are_nobodys(beside: dict[str, Any], tmp_path: Path) -> None:
    assert load(X, tmp_path, three(**beside)).classes == ("class 0", "class 1", "class 2")


def test_the_names_of_one_output_are_its_two_classes(tmp_path: Path) -> None:
    state = state_dict(X) | {"fc.weight": torch.ones(1, 24), "fc.bias": torch.zeros(1)}
    net = load(X, tmp_path, {"state_dict": state, "class_to_idx": {"ants": 0, "bees": 1}})
    assert net.classes == ("ants", "bees")
