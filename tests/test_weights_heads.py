"""Heads of somebody's own in PyTorch's, Caffe's and TensorFlow's files: taken over where names and widths tell enough,
else refused with what to do; one output is two classes everywhere."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from inceptions import Classifier, create_model
from inceptions.weights import artifact
from inceptions.zoo import build
from parity.recipe import images as random_images
from test_weights_torch import V3, answer, load, state_dict

GOLDEN = Path(__file__).parent / "golden"


def renamed(state: dict[str, Tensor], old: str, new: str) -> dict[str, Tensor]:
    return {new + key[len(old) :] if key.startswith(old) else key: value for key, value in state.items()}


def own_head(head: nn.Module, name: str = "fc", network: str = V3) -> dict[str, Tensor]:
    """A publisher's file with another head under `name`."""
    state = {key: value for key, value in state_dict(network).items() if not key.startswith(("fc.", "last_linear."))}
    return state | {f"{name}.{key}": value for key, value in head.state_dict().items()}


def features(tmp_path: Path) -> Tensor:
    net = load(V3, tmp_path).double()
    with torch.no_grad():
        pooled: Tensor = net.forward_features(torch.from_numpy(random_images(107, 131)).double()).mean((2, 3))
    return pooled


WIDTH = 48
"""Features of the tiny inception_v3."""


def sequential(*parts: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    head = nn.Sequential(*parts).eval()
    for part in head:
        for value in part.state_dict().values():
            if value.is_floating_point():
                nn.init.uniform_(value, 0.1, 1)
    return head


@pytest.mark.parametrize("name", ["fc.1", "fc_new", "classifier", "last_linear", "head.fc", "fc.classifier.0", "0"])
def test_one_linear_layer_beside_the_body_is_the_classifier(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    net = load(V3, tmp_path, renamed(state_dict(V3), "fc.", f"{name}."))
    assert torch.equal(answer(net), answer(load(V3, tmp_path)))
    assert any(f"does not say what {name} is" in record.message for record in caplog.records)


HEADS = {
    "hidden": lambda: sequential(nn.Linear(WIDTH, 9), nn.ReLU(), nn.Dropout(), nn.Linear(9, 4)),
    "norm in front of the ReLU": lambda: sequential(
        nn.Dropout(), nn.Linear(WIDTH, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Dropout(), nn.Linear(9, 4)
    ),
    "norm behind the ReLU": lambda: sequential(nn.Linear(WIDTH, 9), nn.ReLU(), nn.BatchNorm1d(9), nn.Linear(9, 4)),
    "norm of the features": lambda: sequential(nn.BatchNorm1d(WIDTH), nn.Dropout(), nn.Linear(WIDTH, 4)),
    "two hidden": lambda: sequential(
        nn.Linear(WIDTH, 9),
        nn.ReLU(),
        nn.Linear(9, 9),
        nn.ReLU(),
        nn.Linear(9, 9, bias=False),
        nn.ReLU(),
        nn.Linear(9, 4),
    ),
}


@pytest.mark.parametrize("head", HEADS)
def test_a_chain_of_linear_layers_computes_what_it_did(head: str, tmp_path: Path) -> None:
    own = HEADS[head]()
    net = load(V3, tmp_path, own_head(own))
    with torch.no_grad():
        expected = own.double()(features(tmp_path))
    torch.testing.assert_close(answer(net), expected, rtol=1e-5, atol=1e-5)


UNCLEAR = {
    "no activation": (lambda: sequential(nn.Linear(WIDTH, 9), nn.Linear(9, 4)), "no activation stands between"),
    "a norm between two gaps": (
        lambda: sequential(nn.Linear(WIDTH, 9), nn.ReLU(), nn.BatchNorm1d(9), nn.Dropout(), nn.Linear(9, 4)),
        "before or after batch norm fc.2",
    ),
    "no chain": (lambda: sequential(nn.Linear(WIDTH, 9), nn.ReLU(), nn.Linear(8, 4)), "are no chain"),
    "other features": (lambda: sequential(nn.Dropout(), nn.Linear(WIDTH * 2, 4)), "fc.1 reads 96 numbers"),
    "norm at the end": (lambda: sequential(nn.Linear(WIDTH, 4), nn.BatchNorm1d(4)), "ends in batch norm"),
    "two heads": (lambda: nn.ModuleDict({"age": nn.Linear(WIDTH, 4), "sex": nn.Linear(WIDTH, 2)}), "are no chain"),
}


@pytest.mark.parametrize("head", UNCLEAR)
def test_a_head_that_is_not_understood_stops_nobody_who_gives_num_classes(head: str, tmp_path: Path) -> None:
    make, reason = UNCLEAR[head]
    state = own_head(make())
    with pytest.raises(ValueError, match=rf"{reason}.*give num_classes"):
        load(V3, tmp_path, state)
    for classes in (4, 7):
        net = load(V3, tmp_path, state, num_classes=classes)
        assert (net.num_classes, net.options["hidden"]) == (classes, ())
        assert torch.equal(net.body.conv_1a.conv.weight, state["Conv2d_1a_3x3.conv.weight"])


def test_linear_layers_behind_the_published_classifier_are_not_dropped_in_silence(tmp_path: Path) -> None:
    state = {**state_dict(V3), "extra.weight": torch.zeros(3, 1000), "extra.bias": torch.zeros(3)}
    with pytest.raises(ValueError, match=r"beside its classifier fc it holds extra.*num_classes"):
        load(V3, tmp_path, state)
    assert load(V3, tmp_path, state, num_classes=3).num_classes == 3


def test_linear_layers_inside_of_the_body_make_it_another_network(tmp_path: Path) -> None:
    state = {**state_dict(V3), "Mixed_5b.attention.weight": torch.zeros(8, 8)}
    with pytest.raises(ValueError, match=r"no place for 1 of its modules: Mixed_5b\.attention"):
        load(V3, tmp_path, state, num_classes=3)


def test_caffes_renamed_classifier_is_its_classifier(tmp_path: Path) -> None:
    """Who trains on with Caffe gives the last layer another name, and its weights are drawn anew."""
    path = tmp_path / "flowers.caffemodel"
    content = gzip.decompress((GOLDEN / "caffe" / "googlenet.caffemodel.gz").read_bytes())
    path.write_bytes(content)
    expected = create_model("googlenet", weights=path, width=0.01)
    path.write_bytes(content.replace(b"loss3/classifier", b"loss3/flowers_17"))
    net = create_model("googlenet", weights=path, width=0.01)
    assert torch.equal(net.head.linear.weight, expected.head.linear.weight)


# --- one output -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["xception/timm", V3, "inception_v4/timm", "inception_resnet_v2/timm"])
def test_one_output_is_two_classes_by_its_sigmoid(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    state = state_dict(name)
    heads = [key for key in state if key.split(".")[0] in ("fc", "last_linear", "classif")]
    for key in heads:
        state[key] = state[key][:1]
    net = load(name, tmp_path, state)
    with torch.no_grad():
        images = torch.from_numpy(random_images(107, 131)).double()
        pooled = net.double().forward_features(images).mean((2, 3))
        weight, bias = (state[key].double() for key in sorted(heads, reverse=True))
        expected = torch.sigmoid(pooled @ weight.T + bias)[:, 0]
        torch.testing.assert_close(net(images).softmax(1)[:, 1], expected)
    assert net.classes == ("class 0", "class 1")
    assert any("the sigmoid of the output is the probability of 'class 1'" in r.message for r in caplog.records)


def test_a_network_of_one_class_is_no_classifier_and_is_not_saved(tmp_path: Path) -> None:
    net = build("googlenet", width=0.125, num_classes=1, stem="small")
    net.classes, net.preprocess = ("cat",), load(V3, tmp_path).preprocess
    with pytest.raises(ValueError, match="one class, which every image would be with 100 %"):
        Classifier(net)
    with pytest.raises(ValueError, match="one class"):
        artifact.save(net, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_an_old_artifact_of_one_class_is_refused_with_what_to_do(tmp_path: Path, monkeypatch: Any) -> None:
    net = build("googlenet", width=0.125, num_classes=1, stem="small")
    net.classes, net.preprocess = ("cat",), load(V3, tmp_path).preprocess
    with monkeypatch.context() as patch:
        patch.setattr(artifact, "_unfit", lambda *_: None)  # as it was
        artifact.save(net, tmp_path / "model")
    with pytest.raises(ValueError, match=r"config\.json: googlenet has one class.*convert the original file again"):
        artifact.load(tmp_path / "model")
