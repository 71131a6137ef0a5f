"""`inceptions compare`: networks side by side, and two checkpoints of one network."""

from __future__ import annotations

import copy
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from inceptions.anatomy import cost
from inceptions.anatomy.difference import answer_differences, tensor_differences
from inceptions.anatomy.summary import portrait
from inceptions.cli import main
from inceptions.image import Preprocess
from inceptions.weights import artifact
from inceptions.zoo import Network, build
from tests.tiny import exported


@pytest.fixture
def net() -> Network:
    torch.manual_seed(0)
    net = build("googlenet", width=0.125, depth=0.1, stem="small", num_classes=3).eval()
    net.preprocess, net.classes = Preprocess(size=(32, 32), mean=(0.5,) * 3, std=(0.5,) * 3), ("a", "b", "c")
    return net


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    draws = np.random.default_rng(0)
    files = [tmp_path / f"{index}.png" for index in range(3)]
    for file in files:
        Image.fromarray(draws.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(file)
    (tmp_path / "broken.png").write_bytes(b"no image")
    return [*files, tmp_path / "broken.png"]


def test_a_portrait_says_what_cost_says(net: Network) -> None:
    drawn, counted = portrait(net, timed=False), cost(net, 32)
    assert (drawn.parameters, drawn.multiply_adds) == (counted.parameters, counted.multiply_adds)
    assert (drawn.activations, drawn.depth) == (counted.activations, counted.depth)
    assert (drawn.input_size, drawn.generation, drawn.year) == ((32, 32), "v1", 2014)
    assert drawn.latency is None


def test_a_published_accuracy_is_told_of_the_published_network_only(net: Network) -> None:
    with torch.device("meta"):
        published, other = build("xception"), build("xception", residual=False)
    assert portrait(published, timed=False).published_top1 == 79.0
    assert portrait(other, timed=False).published_top1 is None
    assert portrait(net, timed=False).published_top1 is None


def test_a_latency_is_measured_and_grows_with_the_image(net: Network) -> None:
    small, large = (portrait(net, size=size).latency for size in (32, 256))
    assert small is not None
    assert large is not None
    assert 0 < small.quartiles[0] <= small.median <= small.quartiles[1]
    assert large.median > small.median
    assert (small.device, small.threads) == ("cpu", torch.get_num_threads())


def test_a_run_is_compared_by_what_it_measured(
    net: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = {"val": {"n": 50, "top1": 0.9, "top1_interval": [0.79, 0.96], "loss": 0.3}}
    artifact.save(net, tmp_path / "model", metrics=metrics)
    assert main(["compare", "googlenet", str(tmp_path), "--no-latency", "--json"]) == 0
    named, run = json.loads(capsys.readouterr().out)
    assert run["measured"] == {"n": 50, "top1": 0.9, "top1_interval": [0.79, 0.96]}
    assert (run["published_top1"], named["published_top1"], named["measured"]) == (None, 68.7, None)
    assert main(["compare", str(tmp_path), "--img-size", "40"]) == 0
    shown = capsys.readouterr().out
    assert "90.00% (79.0% to 96.0%, n 50)" in shown
    assert "40x40" in shown
    assert "the median of 9, on cpu" in shown


def test_a_narrow_terminal_shows_whole_numbers_and_short_names(
    net: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("first", "second"):
        artifact.save(net, tmp_path / name / "model", metrics={"val": {"n": 5, "top1": 0.8, "top1_interval": [0.4, 1]}})
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["compare", "xception71", str(tmp_path / "first"), str(tmp_path / "second"), "--no-latency"]) == 0
    shown = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    for cell in ("17,946,553,928", "42,338,736", "first", "second", "80.00% (40.0% to 100.0%, n 5)"):
        assert re.search(rf"(^|\s){re.escape(cell)}(\s|$)", shown), cell
    assert str(tmp_path) not in shown
    assert "published top-1 of xception71: timm" in shown


def test_an_export_has_no_latency_in_pytorch(net: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(exported(net, tmp_path / "export")), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["latency"] is None
    assert row["parameters"] == cost(net, 32).parameters


def test_weight_files_and_foreign_modules_are_told_apart(
    net: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    artifact.save(net, tmp_path / "model")
    assert main(["compare", str(tmp_path), "torch.nn:Identity", "--no-latency"]) == 2
    assert "`inceptions inspect torch.nn:Identity` shows any module" in capsys.readouterr().err


def test_without_names_the_whole_family_is_compared(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--no-latency"]) == 0
    shown = capsys.readouterr().out
    for number in ("6,998,552", "23,834,568", "55,843,464", "3039x3039"):
        assert number in shown
    assert "latency" not in shown


# --- two checkpoints ----------------------------------------------------------------------------------------------


def test_equal_checkpoints_do_not_differ(net: Network, images: list[Path]) -> None:
    assert all(row.equal and row.relative == 0 for row in tensor_differences(net.state_dict(), net.state_dict()))
    for row in answer_differences(net, copy.deepcopy(net), images[:3]):
        assert row.agree
        assert row.distance == 0


def test_a_changed_tensor_is_found_and_measured() -> None:
    first = {"same": torch.ones(3), "scaled": torch.tensor([3.0, 4.0]), "turned": torch.tensor([1.0, 0.0])}
    second = {**first, "scaled": torch.tensor([6.0, 8.0]), "turned": torch.tensor([0.0, 1.0])}
    rows = {row.name: row for row in tensor_differences(first, second)}
    assert rows["same"].equal
    assert (rows["scaled"].largest, rows["scaled"].relative, rows["scaled"].cosine) == (4.0, 1.0, pytest.approx(1.0))
    assert rows["turned"].relative == pytest.approx(math.sqrt(2))
    assert rows["turned"].cosine == 0.0


def test_tensors_without_a_counterpart_are_named() -> None:
    one, other = {"a": torch.ones(2), "b": torch.ones(2)}, {"a": torch.ones(3), "c": torch.zeros(())}
    rows = {row.name: row for row in tensor_differences(one, other)}
    assert list(rows) == ["a", "b", "c"]
    assert rows["a"].shapes == ((2,), (3,))
    assert rows["b"].shapes == ((2,), None)
    assert rows["c"].shapes == (None, ())
    assert not any(row.equal or row.largest is not None for row in rows.values())


def test_a_tensor_of_zeros_has_no_angle() -> None:
    (zero,) = tensor_differences({"a": torch.zeros(2)}, {"a": torch.ones(2)})
    assert (zero.relative, zero.cosine) == (math.inf, None)


def test_answers_are_compared_by_class_name(net: Network, images: list[Path]) -> None:
    """The same network with its outputs in another order gives the same answers."""
    other = copy.deepcopy(net)
    order = [2, 0, 1]
    with torch.no_grad():
        other.head.linear.weight.copy_(net.head.linear.weight[order])  # type: ignore[union-attr,index,operator]  # a Linear
        other.head.linear.bias.copy_(net.head.linear.bias[order])  # type: ignore[union-attr,index,operator]
    other.classes = ("c", "a", "b")
    for row in answer_differences(net, other, images[:3]):
        assert row.agree
        assert row.distance == pytest.approx(0, abs=1e-6)


def test_each_network_sees_the_image_its_own_way(net: Network, images: list[Path]) -> None:
    other = copy.deepcopy(net)
    other.preprocess = Preprocess(size=(32, 32), mean=(0.0,) * 3, std=(0.25,) * 3)
    assert all(row.distance for row in answer_differences(net, other, images[:3]))


def save_two(net: Network, folder: Path) -> tuple[str, str]:
    artifact.save(net, folder / "one")
    changed = copy.deepcopy(net)
    with torch.no_grad():
        changed.body.conv1.conv.bias += 1  # type: ignore[union-attr,operator]  # a Conv2d
        changed.head.linear.bias[1] += 50  # type: ignore[union-attr,index,operator]  # always "b"
    artifact.save(changed, folder / "other")
    return str(folder / "one"), str(folder / "other")


def test_the_command_compares_tensors_and_answers(
    net: Network, tmp_path: Path, images: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["compare", *map(str, images), "--weights", *save_two(net, tmp_path)]
    assert main([*words, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert {row["name"] for row in found["tensors"] if row["largest"]} == {"body.conv1.conv.bias", "head.linear.bias"}
    read = [row for row in found["answers"] if row["labels"]]
    assert [row["labels"][1] for row in read] == ["b", "b", "b"]
    assert [Path(row["file"]).name for row in found["answers"] if row["error"]] == ["broken.png"]
    assert main(words) == 0
    captured = capsys.readouterr()
    assert "2 different, 0 only in one" in captured.out
    assert "of 3 images get the same label" in captured.out
    assert "broken.png" in captured.err


def test_an_export_has_no_tensors_to_compare(net: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    artifact.save(net, tmp_path / "model")
    assert main(["compare", "--weights", str(tmp_path / "model"), str(exported(net, tmp_path / "export"))]) == 2
    assert "export is an export, which has no weights in PyTorch: give the run" in capsys.readouterr().err


def test_the_size_of_the_compared_images_acts(
    net: Network, tmp_path: Path, images: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    both, shares = save_two(net, tmp_path), []
    for size in ("32", "64"):
        assert main(["compare", str(images[0]), "--weights", *both, "--img-size", size, "--json"]) == 0
        shares.append(json.loads(capsys.readouterr().out)["answers"][0]["probabilities"][0])
    assert shares[0] != shares[1]
    assert main(["compare", "--weights", *both, "--img-size", "32"]) == 2
    assert "--img-size 32 is of images" in capsys.readouterr().err


def test_images_none_of_which_can_be_read_are_invalid_data(
    net: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both, absent = save_two(net, tmp_path), str(tmp_path / "absent.png")
    (tmp_path / "empty").mkdir()
    assert main(["compare", absent, "--weights", *both]) == 3
    said = capsys.readouterr().err
    assert "none of the 1 images could be read" in said
    assert said.count("absent.png") == 1
    assert main(["compare", absent, "--weights", *both, "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["answers"][0]["error"] == "no such file or directory"
    assert main(["compare", str(tmp_path / "empty"), "--weights", *both]) == 3
    assert "there are no images in" in capsys.readouterr().err


def test_checkpoints_without_classes_cannot_be_shown_images(net: Network, images: list[Path]) -> None:
    with pytest.raises(ValueError, match="class names"):
        next(answer_differences(net, build("googlenet", width=0.125), images))
