"""One record for whatever answers, and one way to open it."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

import pytest
import torch

import inceptions
from inceptions import Classifier, create_model
from inceptions.engines import open_engine
from inceptions.image import Preprocess
from inceptions.models import Model, as_model, open_model
from inceptions.weights import artifact, load_weights
from inceptions.zoo import Network
from tests.tiny import config, exported, write_images

WEIGHTS = Path(__file__).parent / "golden" / "tensorflow" / "inception_v3.tar.gz"
CLASSES = ("ant", "bee", "cat")
OPTIONS = {"width": 0.05, "depth": 0.3, "stem": "small"}


def network() -> Network:
    torch.manual_seed(0)
    net = create_model("googlenet", num_classes=3, **OPTIONS).eval()
    net.preprocess, net.classes = Preprocess(size=(32, 32)), CLASSES
    return net


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    training = {"settings": {"output": str(folder)}, "epoch": 3}
    artifact.save(network(), folder / "model", training=training, metrics={"val": {"n": 5}}, temperature=1.5)
    (folder / "split.json").write_text("{}")
    return folder


def test_a_run_its_model_and_a_copy_open_as_the_same_model(run: Path, tmp_path: Path) -> None:
    inceptions.load(run).save(tmp_path / "copy")
    images = torch.rand(2, 3, 32, 32)
    for source in (run, run / "model", tmp_path / "copy", str(run)):
        model = open_model(source)
        assert (model.name, model.classes, model.preprocess) == ("googlenet", CLASSES, network().preprocess)
        assert (model.temperature, model.facts.metrics) == (1.5, {"val": {"n": 5}})
        assert model.facts.options == network().options
        assert model.record() == run / "split.json", "where its run is, it says itself"
        with torch.no_grad():
            assert torch.equal(model.in_pytorch()(images), network()(images))


def test_a_model_does_not_change(run: Path) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        open_model(run).classes = ()  # type: ignore[misc]


def test_a_description_costs_no_weights_and_answers_nothing(run: Path) -> None:
    (run / "model" / "model.safetensors").unlink()
    model = open_model(run, weights=False)
    assert model.network is None
    assert all(tensor.is_meta for tensor in model.shapes.state_dict().values())
    assert (model.classes, model.temperature, model.min_size) == (CLASSES, 1.5, network().min_size)
    with pytest.raises(ValueError, match="was opened without its weights"):
        open_engine(model.answering)


def test_an_export_opens_as_a_model_without_a_network(tmp_path: Path) -> None:
    model = open_model(exported(network(), tmp_path / "export"))
    assert model.export is not None
    assert (model.name, model.classes, model.export.format) == ("googlenet", CLASSES, "onnx")
    assert model.answering is model.export
    for needs in (
        Model.in_pytorch,
        lambda model: Classifier(model).save(tmp_path / "saved"),
        lambda m: Classifier(m).net,
    ):
        with pytest.raises(ValueError, match="is an export, which has no weights in PyTorch: give the run or model"):
            needs(model)


def test_a_weight_file_opens_with_where_it_came_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = partial(load_weights, options={"width": 0.01})  # as the file was made
    monkeypatch.setattr("inceptions.models.load_weights", narrow)
    model = open_model(WEIGHTS)
    assert model.folder is None
    assert model.facts.provenance is not None
    assert model.facts.provenance["source"] == str(WEIGHTS)
    Classifier(model).save(tmp_path / "saved")
    assert artifact.describe(tmp_path / "saved").facts.provenance == model.facts.provenance


@pytest.mark.parametrize("name", ["googlenet", "inception_v1"])
def test_a_name_of_the_family_answers_only_where_fresh_weights_are_asked_for(name: str) -> None:
    with pytest.raises(FileNotFoundError, match="names no weights"):
        open_model(name)
    one, other = (open_model(name, options=OPTIONS, fresh=True) for _ in range(2))
    assert one.fresh
    assert one.name == "googlenet"
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(one.in_pytorch()(images), other.in_pytorch()(images)), "drawn from one seed"
    assert open_model(name, options=OPTIONS, weights=False).network is None


def test_opening_a_fresh_network_leaves_the_users_random_numbers_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    open_model("googlenet", options=OPTIONS, fresh=True)
    assert torch.equal(torch.rand(3), expected)


def test_options_of_a_model_that_has_its_own_are_refused(run: Path) -> None:
    with pytest.raises(ValueError, match="has its options already"):
        open_model(run, options={"width": 0.5})


def test_another_size_shares_the_weights_and_leaves_the_model_as_it_is(run: Path) -> None:
    model = open_model(run)
    larger = model.resized(64)
    assert larger.preprocess is not None
    assert model.preprocess is not None
    assert (larger.preprocess.size, model.preprocess.size) == ((64, 64), (32, 32))
    assert larger.in_pytorch().preprocess == larger.preprocess
    assert larger.in_pytorch().head.linear.weight is model.in_pytorch().head.linear.weight
    assert open_model(run, img_size=64).preprocess == larger.preprocess
    with pytest.raises(ValueError, match="--img-size 4: googlenet needs images of at least"):
        model.resized(4)


def test_classes_that_nobody_named_are_numbered_on_request(run: Path) -> None:
    assert open_model(run).with_classes().classes == CLASSES
    bare = open_model("googlenet", options={**OPTIONS, "num_classes": 2}, fresh=True)
    assert bare.classes is None
    assert bare.with_classes().classes == bare.with_classes().in_pytorch().classes == ("class0", "class1")
    assert bare.in_pytorch().classes is None


def test_the_temperature_comes_with_the_weights_and_goes_with_the_head(run: Path) -> None:
    net = create_model("googlenet", weights=run)
    assert Classifier(net).temperature == as_model(net).temperature == 1.5
    net.reset_classifier(3)
    assert as_model(net).temperature == 1.0


def test_what_learns_on_from_a_calibrated_model_is_not_calibrated(tmp_path: Path) -> None:
    data, net = write_images(tmp_path / "data", train=4, val=2), network()
    net.classes = ("c0", "c1", "c2")  # the head is kept
    artifact.save(net, tmp_path / "model", temperature=1.5)
    settings = {"model": "googlenet", "width": 0.05, "depth": 0.3, "weights": str(tmp_path / "model")}
    inceptions.train(config(data, tmp_path / "next", **settings))
    assert open_model(tmp_path / "next").temperature == 1.0
