"""Pooled features: right, kept on disk by what they depend on, and shared by `train --tune head` and `predict`."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import inceptions
from inceptions import features
from inceptions.cli import main
from inceptions.engines import Engine
from inceptions.features import Extractor, cache_folder
from inceptions.image import Preprocess
from inceptions.models import open_model
from inceptions.predict import images_in, unlabeled
from inceptions.weights import artifact
from inceptions.zoo import Network, build
from tests.tiny import config, exported, write_images


def network(seed: int = 0) -> Network:
    torch.manual_seed(seed)
    net = build("bn_inception", width=0.05, depth=0.2, stem="small", num_classes=3).eval()
    net.preprocess, net.classes = Preprocess(size=(32, 32)), ("a", "b", "c")
    return net


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INCEPTIONS_CACHE", str(tmp_path / "cache"))
    return cache_folder()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_images(tmp_path / "data", train=3, val=1)


def extracted(net: Network, folder: Path, **options: object) -> features.Features:
    files = images_in([folder])
    extract = Extractor(net, expected=len(files), **({"precision": "float32", "device": "cpu"} | options))  # type: ignore[arg-type]
    return extract(unlabeled(files))


def test_features_are_what_the_classifier_sees_of_the_upright_and_of_the_mirrored_image(data: Path) -> None:
    net, files = network(), images_in([data])
    seen = Extractor(net, expected=24, precision="float32", device="cpu")(unlabeled(files), views=2)
    assert net.preprocess is not None
    images = torch.stack([net.preprocess(file) for file in files])
    with torch.no_grad():
        for view, batch in enumerate((images, images.flip(3))):
            truth = net.forward_head(net.forward_features(batch), pre_logits=True)
            assert torch.allclose(seen.values[:, view], truth, atol=1e-5)
    assert list(seen.hashes) == [hashlib.sha256(Path(file).read_bytes()).hexdigest() for file in files]


def test_a_second_run_computes_nothing_and_a_new_image_only_itself(data: Path) -> None:
    first = extracted(network(), data)
    again = extracted(network(), data)
    assert (first.computed, again.computed) == (12, 0)
    assert torch.equal(first.values, again.values)
    path = data / "new.png"
    content = (data / "train/c0/0.png").read_bytes()
    path.write_bytes(content + b"another hash")
    assert extracted(network(), data).computed == 1
    path.write_bytes(content)
    assert extracted(network(), data).computed == 0, "the file's content counts, not its name"


def test_whatever_changes_the_features_is_in_the_key_and_the_classifier_is_not(data: Path) -> None:
    net = network()
    extracted(net, data)
    net.reset_classifier(7)
    assert extracted(net, data).computed == 0
    assert extracted(net, data, precision="bf16").computed == 12
    assert extracted(network(1), data).computed == 12
    assert net.preprocess is not None
    net.preprocess = replace(net.preprocess, crop_pct=0.9)
    assert extracted(net, data).computed == 12


def test_a_damaged_file_of_the_cache_is_computed_anew(data: Path, cache: Path) -> None:
    extracted(network(), data)
    (file,) = cache.rglob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-7])
    assert extracted(network(), data).computed == 12
    assert not file.exists()


def test_images_that_cannot_be_read_are_left_out(data: Path) -> None:
    (data / "bad.png").write_bytes(b"no image")
    files = [*images_in([data]), str(data / "gone.png"), str(data)]
    seen = Extractor(network(), expected=15, device="cpu")(unlabeled(files))
    assert (len(seen.indices), seen.skipped, seen.computed) == (12, 3, 12)
    assert [Path(one.file) for one in seen.refused] == [data / "bad.png", data / "gone.png", data]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "int8"}, "float32 or bf16"),
        ({"precision": "fp8"}, "unknown precision"),
        ({"engine": "abacus"}, "unknown engine"),
    ],
)
def test_what_cannot_compute_features_is_refused_even_if_nothing_is_missing(
    options: dict[str, str], message: str, data: Path
) -> None:
    extracted(network(), data)
    with pytest.raises(ValueError, match=message):
        extracted(network(), data, **options)


def test_an_export_has_no_features(tmp_path: Path) -> None:
    net = network()
    model = open_model(exported(net, tmp_path / "export"))
    with pytest.raises(ValueError, match="is an export, which has no weights in PyTorch"):
        Extractor(model, expected=1)


# On the command line


@pytest.fixture
def model(tmp_path: Path) -> str:
    artifact.save(network(), tmp_path / "run/model")
    return str(tmp_path / "run")


def test_predict_writes_features_with_names_and_hashes(model: str, data: Path, tmp_path: Path) -> None:
    odd = data / "caf\udce9.png"
    (data / "train/c0/0.png").rename(odd)
    files = [str(odd), *images_in([data / "val"])]
    words = ["predict", model, *files, "--features", str(tmp_path / "f.npz"), "--precision", "float32"]
    assert main([*words, "--device", "cpu"]) == 0
    with np.load(tmp_path / "f.npz") as written:
        assert written["names"].tolist() == files
        assert written["hashes"].tolist() == [hashlib.sha256(Path(file).read_bytes()).hexdigest() for file in files]
        assert written["features"].dtype == np.float32
        assert written["weights"] == Extractor(network(), expected=1).weights
        assert written["precision"] == "float32"
        logits = torch.from_numpy(written["features"]) @ network().head.linear.weight.T + network().head.linear.bias
    probable = logits.softmax(1).max(1).values.tolist()
    assert probable == pytest.approx([one.probability for one in inceptions.load(model).predict(files)], abs=1e-5)


def test_predict_finds_what_tuning_the_head_computed(
    model: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = inceptions.train(config(data, tmp_path / "tuned", weights=f"{model}/model", tune="head")).output

    def never(*_: object, **__: object) -> Engine:
        raise AssertionError("everything is known")

    monkeypatch.setattr(features, "open_engine", never)
    assert main(["predict", str(run), str(data), "--features", str(tmp_path / "f.npz"), "--device", "cpu"]) == 0
    assert len(np.load(tmp_path / "f.npz")["names"]) == 12


def test_unreadable_images_leave_no_row_and_nothing_readable_no_file(
    model: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = data / "bad.png"
    bad.write_bytes(b"no image")
    out = tmp_path / "f.npz"
    assert main(["predict", model, str(bad), "--features", str(out)]) == 3
    assert not out.exists()
    assert main(["predict", model, str(bad), str(data / "val"), "--features", str(out)]) == 0
    assert len(np.load(out)["names"]) == 3
    assert "1 of 4 images could not be read" in capsys.readouterr().err


@pytest.mark.parametrize("words", [("--features", "f.csv"), ("--features", "f.npz", "--json")])
def test_features_go_into_one_npz_file_and_nothing_else(words: tuple[str, ...], model: str) -> None:
    assert main(["predict", model, "x.png", *words]) == 2
