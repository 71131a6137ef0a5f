"""Answers that are not finite are an error in every command, which names the images and the tensor."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from inceptions.cli import main
from inceptions.engines import Engine, NotFiniteError, available, blaming, finite, open_engine
from inceptions.engines.probabilities import rank
from inceptions.evaluation import fit_temperature
from inceptions.image import Preprocess
from inceptions.predict import Classifier
from inceptions.weights import artifact
from inceptions.zoo import Network, build
from tiny import write_images


def network(value: float | None = math.nan) -> Network:
    torch.manual_seed(0)
    net = build("bn_inception", width=0.05, depth=0.2, stem="small", num_classes=3).eval()
    net.preprocess, net.classes = Preprocess(size=(32, 32)), ("c0", "c1", "c2")
    if value is not None:
        next(tensor for name, tensor in net.named_buffers() if name.endswith("running_mean"))[0] = value
    return net


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("data"), train=3, val=2)


@pytest.fixture(scope="module", params=[math.nan, math.inf], ids=str)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "model"
    artifact.save(network(request.param), folder)
    return folder


@pytest.mark.parametrize(
    ("words", "leaves"),
    [
        (["predict", "{model}", "{data}/val/c1/0.png"], ""),
        (["predict", "{model}", "{data}/val/c1/0.png", "--json"], ""),
        (["predict", "{model}", "{data}/val/c1/0.png", "--output", "{out}/p.csv"], "p.csv"),
        (["predict", "{model}", "{data}/val/c1/0.png", "--output", "{out}/p.jsonl"], "p.jsonl"),
        (["predict", "{model}", "{data}/val/c1/0.png", "--features", "{out}/f.npz"], "f.npz"),
        (["val", "{model}", "{data}/val", "--output", "{out}/v"], "v"),
        (["val", "{model}", "{data}/val", "--crops", "10", "--output", "{out}/v"], "v"),
        (["explain", "{model}", "{data}/val/c1/0.png", "--output", "{out}/e"], "e"),
        (["compare", "{data}/val/c1", "--weights", "{model}", "{model}"], ""),
        (["export", "{model}", "--data", "{data}", "--output", "{out}/x"], "x"),
    ],
    ids=lambda value: " ".join(word for word in value if "{" not in word) if isinstance(value, list) else "",
)
def test_every_command_ends_with_exit_code_3_and_says_why(
    words: list[str], leaves: str, model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("INCEPTIONS_CACHE", str(tmp_path / "cache"))
    code = main([word.format(model=model, data=data, out=tmp_path) for word in words])
    told = capsys.readouterr()
    assert code == 3, told.err
    assert "running_mean (1 of" in told.err
    assert "nan" not in told.out.lower()
    assert not leaves or not (tmp_path / leaves).exists() or not any((tmp_path / leaves).iterdir())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("engine", available())
def test_no_runtime_makes_finite_answers_of_damaged_weights(engine: str, value: float) -> None:
    with pytest.raises(NotFiniteError, match=r"running_mean \(1 of"):
        open_engine(network(value), engine=engine, precision="float32", device="cpu")


def test_numbers_that_overflow_on_the_way_name_the_image_and_not_the_weights() -> None:
    net = network(None)
    with torch.no_grad():
        net.head.linear.weight.fill_(3e38)
        net.head.linear.bias.fill_(3e38)
    blank = torch.zeros(32, 32, 3, dtype=torch.uint8).numpy()
    with pytest.raises(NotFiniteError, match="answers about image 1 is not finite: its weights are finite"):
        Classifier(net, device="cpu").predict([blank])


def test_only_the_images_without_an_answer_are_named() -> None:
    values = torch.tensor([[0.0, 1.0], [math.nan, 0.0], [1.0, 1.0], [0.0, -math.inf]])
    with pytest.raises(NotFiniteError, match=r"about b, d is no"), blaming(network(None), "abcd".__getitem__):
        finite(values)
    assert finite(values[::2]) is not None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_neither_ranked_nor_calibrated(value: float) -> None:
    logits = torch.tensor([[0.0, value], [1.0, 2.0]])
    with pytest.raises(NotFiniteError):
        rank(logits, 1)
    with pytest.raises(NotFiniteError):
        fit_temperature(logits, torch.tensor([0, 1]))


def test_features_need_only_features(tmp_path: Path) -> None:
    """A classifier that is about to be replaced may hold anything."""

    class Fixed(Engine):
        def file_size(self) -> int:
            return 0

        def _run(self, images: Tensor) -> tuple[Tensor, Tensor]:
            return torch.full((len(images), 2), math.nan), torch.ones(len(images), 4)

    engine, images = Fixed("float32", 4, "test"), torch.zeros(3, 3, 8, 8, dtype=torch.uint8)
    assert engine.features(images).shape == (3, 4)
    with pytest.raises(NotFiniteError) as caught:
        engine(images)
    assert caught.value.rows == (0, 1, 2)


def test_a_missing_class_is_null_in_json_and_in_words_on_the_terminal(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = network(None)
    net.classes = ("c0", "c1", "gone")
    artifact.save(net, tmp_path / "model")
    words = ["val", str(tmp_path / "model"), str(data / "val"), "--output", str(tmp_path / "out")]
    assert main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["missing_classes"] == ["gone"]
    assert told["macro_classes"] == 2
    assert told["per_class"][2]["recall"] is None
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "of the 2 classes that have images" in shown
    assert "unknown recall: gone" in shown
