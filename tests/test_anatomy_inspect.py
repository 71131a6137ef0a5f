"""`inceptions inspect`: the numbers of the library under the keys that were promised."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from inceptions.anatomy import cost, receptive_fields
from inceptions.cli import main
from inceptions.image import Preprocess
from inceptions.weights import artifact
from inceptions.zoo import build


def of(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main(["inspect", *words, "--json"]) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def test_json_holds_what_cost_and_receptive_fields_say(capsys: pytest.CaptureFixture[str]) -> None:
    answer = of(capsys, "inception_v3")
    assert answer["parameters"] == 23_834_568
    assert answer["multiply_adds"] == 5_713_216_096
    assert answer["input_size"] == 299
    with torch.device("meta"):
        net = build("inception_v3")
    fields = receptive_fields(net)
    assert [stage["name"] for stage in answer["stages"]] == list(net.stages)
    for stage, row in zip(answer["stages"], cost(net).stages, strict=True):
        for key in ("channels", "height", "width", "parameters", "multiply_adds"):
            assert stage[key] == getattr(row, key)
        assert tuple(stage["receptive_field"]) == fields[row.name].size
        assert stage["stride"] == fields[row.name].stride[0]
    heads = [answer["head"], *answer["aux"]]
    assert sum(row["parameters"] for row in [*answer["stages"], *heads]) == answer["parameters"]
    assert sum(row["share"] for row in answer["stages"]) == pytest.approx(1 - heads[0]["multiply_adds"] / 5_713_216_096)


def test_the_size_and_the_options_act(capsys: pytest.CaptureFixture[str]) -> None:
    plain = of(capsys, "googlenet", "--img-size", "96")
    assert plain["input_size"] == 96
    assert plain["stages"][0]["height"] == 48
    naive = of(capsys, "googlenet", "--img-size", "96", "--options.reduce", "false", "--options.aux", "true")
    assert naive["multiply_adds"] > 3 * plain["multiply_adds"]
    assert [row["name"] for row in naive["aux"]] == ["inception_4a", "inception_4d"]
    assert plain["aux"] == []


def test_a_stage_is_shown_layer_by_layer(capsys: pytest.CaptureFixture[str]) -> None:
    answer = of(capsys, "googlenet", "--stage", "inception_3a")
    assert answer["name"] == "inception_3a"
    layers = {layer["name"]: layer for layer in answer["layers"]}
    five = layers["inception_3a.5x5.conv5x5"]
    assert (five["kernel"], five["weights"], five["channels"]) == ([5, 5], "16 x 5 x 5 x 32", 32)
    assert five["parameters"] == 16 * 25 * 32 + 32
    assert five["receptive_field"] == [59, 59]
    assert layers["inception_3a.pool.max_pool"]["weights"] is None
    assert sum(layer["multiply_adds"] for layer in layers.values()) == answer["multiply_adds"]
    assert answer["receptive_fields"] == [[27, 27], [43, 43], [59, 59]]


def test_batch_norms_parameters_count_to_their_layer(capsys: pytest.CaptureFixture[str]) -> None:
    answer = of(capsys, "xception", "--stage", "block2")
    assert sum(layer["parameters"] for layer in answer["layers"]) == answer["parameters"]
    assert answer["layers"][0]["weights"] == "1 x 3 x 3 x 64 + 64 x 1 x 1 x 128"


def test_principles_are_shown_with_their_cures(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["inception_v3", "--principles", "--options.parallel_reduction", "false"]
    found = of(capsys, *words)["principles"]
    named = {row["stage"] for row in found if row["principle"] == "bottleneck" and not row["kept"]}
    assert {"mixed_6a", "mixed_7a"} <= named
    assert main(["inspect", *words]) == 0
    table = capsys.readouterr().out
    assert "beside the pool" in table
    assert "checks are kept" in table


def test_the_table_says_what_the_json_says(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    answer = of(capsys, "googlenet")
    assert main(["inspect", "googlenet", "--csv", str(tmp_path / "stages.csv")]) == 0
    shown = capsys.readouterr().out
    for stage in answer["stages"]:
        assert stage["name"] in shown
    assert "6,998,552 parameters, 1,582,671,872 multiply-adds" in shown
    assert "715x715" in shown
    with (tmp_path / "stages.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == [*(stage["name"] for stage in answer["stages"]), "head"]
    assert sum(int(row["parameters"]) for row in rows) == 6_998_552
    assert rows[-2]["receptive_field"] == "715x715"


def test_the_page_holds_stages_layers_and_principles(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["inspect", "googlenet", "--html", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    page = (tmp_path / "inspect-googlenet.html").read_text()
    assert page.startswith("<!doctype html>")
    for stage in answer["stages"]:
        assert f"<td>{stage['name']}</td>" in page
        assert f'data-value="{stage["multiply_adds"]}"' in page
    for words in ("16 x 5 x 5 x 32", "inception_3a.5x5.conv5x5", "112x112x64 come in", "715 × 715"):
        assert words in page


def test_a_folder_is_inspected_as_it_was_built(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    net = build("inception_v4", width=0.125, depth=0.2, num_classes=3)
    net.preprocess, net.classes = Preprocess(size=(90, 90), mean=(0.5,) * 3, std=(0.5,) * 3), ("a", "b", "c")
    artifact.save(net, tmp_path / "model")
    answer = of(capsys, str(tmp_path / "model"), "--img-size", "90")
    assert answer["parameters"] == sum(parameter.numel() for parameter in net.parameters())
    assert answer["head"]["channels"] == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["inception_v3", "--stage", "mixed_9z"], "it has: conv_1a"),
        (["inception_v3", "--img-size", "74"], "at least 75 x 75"),
        (["inception_v3", "--options.factorise", "false"], "did you mean 'factorize'"),
        (["runs/nowhere"], "no network is called"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_words(
    capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(["inspect", *words]) == 1
    assert said in capsys.readouterr().err
