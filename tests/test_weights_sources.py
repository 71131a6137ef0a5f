"""The same weights by every name that people write for them, and the averages that TensorFlow's files keep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from inceptions.cli import main
from inceptions.errors import DataError
from inceptions.predict import load_network
from inceptions.weights import artifact, create_model, load_weights, network_in, tensorflow
from inceptions.weights.layouts import LAYOUTS, choose, recognize
from inceptions.weights.locate import locate
from test_tensorflow import GOLDEN, unpacked
from test_weights_torch import state_dict

X = "xception/timm"

# --- names ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None]]:
    """A hub whose every folder is this one, and what was asked of it."""
    asked: list[tuple[str, str | None]] = []
    folder = tmp_path / "snapshot"
    folder.mkdir()
    for name in ("model.safetensors", "my own.pth"):
        (folder / name).touch()

    def snapshot(name: str, *, revision: str | None = None, **_: Any) -> str:
        asked.append((name, revision))
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    monkeypatch.chdir(tmp_path)
    return asked


HUB = {
    "owner/name": None, "hf-hub:owner/name": None, "hf_hub:owner/name": None, "hf:owner/name": None,
    "HF-Hub:owner/name": None, "hf://owner/name": None, "huggingface:owner/name": None, "hf-hub:owner/name@v2": "v2",
    "https://huggingface.co/owner/name": None, "https://huggingface.co/owner/name/": None,
    "https://hf.co/owner/name": None, "https://huggingface.co/owner/name/tree/v2": "v2",
}  # fmt: skip


@pytest.mark.parametrize("source", HUB)
def test_every_spelling_of_a_name_on_the_hub_is_that_name(
    source: str, hub: list[tuple[str, str | None]], tmp_path: Path
) -> None:
    assert locate(source) == tmp_path / "snapshot"
    assert hub == [("owner/name", HUB[source])]


@pytest.mark.parametrize("kind", ["blob", "resolve"])
def test_the_address_of_a_file_on_the_hub_is_that_file(
    kind: str, hub: list[tuple[str, str | None]], tmp_path: Path
) -> None:
    address = f"https://huggingface.co/owner/name/{kind}/main/"
    assert locate(f"{address}my%20own.pth?download=true") == tmp_path / "snapshot" / "my own.pth"
    with pytest.raises(FileNotFoundError, match=r"has no file other\.pth"):
        locate(f"{address}other.pth")


def test_what_is_no_name_on_the_hub_is_not_asked_for(hub: list[tuple[str, str | None]]) -> None:
    with pytest.raises(ValueError, match="write owner/name behind hf-hub:"):
        locate("hf-hub:xception")
    with pytest.raises(FileNotFoundError, match="names no weights"):
        locate("local-dir:owner/name")
    assert not hub


def test_a_folder_may_be_called_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_file(state_dict(X), tmp_path / "model.safetensors")
    monkeypatch.chdir(tmp_path.parent)
    for prefix in ("local-dir:", "local_dir:", "file:", "file://"):
        assert locate(f"{prefix}{tmp_path}") == tmp_path
    assert locate(f"local-dir:{tmp_path.name}") == Path(tmp_path.name)
    net = create_model("xception", weights=f"local-dir:{tmp_path}", width=0.01)
    assert torch.equal(net.head.linear.weight, state_dict(X)["fc.weight"])
    (tmp_path / "hf:x").mkdir()
    monkeypatch.chdir(tmp_path)
    assert locate("hf:x") == Path("hf:x")  # what is there is meant


# --- averages beside variables ----------------------------------------------------------------------------------------

AVERAGE = "/ExponentialMovingAverage"


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, Any]:
    (index,) = unpacked("inception_v3", tmp_path, ".index")
    kinds = ("weights", "biases", "beta", "gamma", "moving_mean", "moving_variance")
    arrays = tensorflow.read_checkpoint(index)
    return {name: array for name, array in arrays.items() if name.rpartition("/")[2] in kinds}


def chosen(variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch, part: str | None = None) -> Any:
    monkeypatch.setattr(tensorflow, "read_checkpoint", lambda _: variables)
    return choose(tensorflow.read_tensorflow(Path("m.ckpt.index")), LAYOUTS, part)


def test_moving_averages_are_taken_and_said(variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    trained = {name: array for name, array in variables.items() if "/moving_" not in name}
    slots = {name + slot: array for name, array in trained.items() for slot in ("/Momentum", "/RMSProp_1", "/Adam")}
    both = {**variables, **slots, **{name + AVERAGE: array + np.float32(1) for name, array in trained.items()}}
    found = chosen(both, monkeypatch)
    for name, tensor in found.checkpoint.tensors.items():
        assert np.array_equal(tensor.numpy(), variables[name] + (name in trained))
    assert found.checkpoint.tensors.keys() == variables.keys()
    assert found.part == "ema"
    assert "moving averages are taken (--weights-part model" in found.notes[0]
    assert np.array_equal(chosen(both, monkeypatch, "model").checkpoint.tensors[name].numpy(), variables[name])


def test_averages_of_a_few_variables_are_no_network(variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    few = {**variables, **{name + AVERAGE: array + 1 for name, array in variables.items() if "Mixed_7c" in name}}
    found = chosen(few, monkeypatch)
    assert all(np.array_equal(tensor.numpy(), variables[name]) for name, tensor in found.checkpoint.tensors.items())
    assert "moving averages of only" in found.notes[0]
    with pytest.raises(DataError, match="moving averages of only"):
        chosen(few, monkeypatch, "ema")


def test_a_scope_around_slims_is_taken_off(variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    inner = {f"tower_0/{name}": array for name, array in variables.items()} | {"loss/weights": np.ones(3, "f4")}
    assert chosen(inner, monkeypatch).checkpoint.tensors.keys() == variables.keys()


def test_an_unknown_head_of_slims_stops_nobody_who_gives_num_classes(
    variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {"InceptionV3/Mine/Conv/weights": np.ones((1, 3, 8, 5), "f4")}
    checkpoint = chosen({**variables, **own}, monkeypatch).checkpoint
    assert recognize(checkpoint, new_head=True).layout.network == "inception_v3"
    with pytest.raises(DataError, match="Mine/Conv; give num_classes"):
        recognize(checkpoint)
    inside = {"InceptionV3/Mixed_5b/Gate/weights": np.ones((1, 3, 8, 5), "f4")}
    with pytest.raises(DataError, match=r"Gate$"):
        recognize(chosen({**variables, **inside}, monkeypatch).checkpoint, new_head=True)


def test_a_file_of_one_network_holds_no_average() -> None:
    with pytest.raises(DataError, match="holds no network called ema"):
        load_weights(GOLDEN / "inception_v3.tar.gz", options={"width": 0.01}, part="ema")


# --- commands ---------------------------------------------------------------------------------------------------------


def test_every_command_that_takes_weights_takes_the_part(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("train", "val", "predict", "explain", "export", "inspect", "weights convert"):
        assert main([*command.split(), "--help"]) == 0
        assert "--weights-part" in capsys.readouterr().out


def test_a_model_of_ours_holds_one_network(tmp_path: Path) -> None:
    net = create_model("googlenet", width=0.05, depth=0.3, stem="small", num_classes=2)
    net.classes = ("a", "b")
    artifact.save(net, tmp_path / "model", provenance={})
    assert network_in(tmp_path / "model") == "googlenet"
    assert load_network(tmp_path / "model", "model").name == "googlenet"
    with pytest.raises(ValueError, match="leave --weights-part ema out"):
        load_network(tmp_path / "model", "ema")
