"""`inceptions inspect`: the numbers of the library under the keys that were promised."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from inceptions.anatomy import cost, kept_for_training, receptive_fields
from inceptions.cli import main
from inceptions.image import Preprocess
from inceptions.layers import Head, convolution
from inceptions.weights import artifact
from inceptions.zoo import Network, Table, build


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
    assert "checks passed" in table


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
    answer = of(capsys, str(tmp_path))
    assert answer["parameters"] == sum(parameter.numel() for parameter in net.parameters())
    assert answer["head"]["channels"] == 3
    assert answer["input_size"] == 90  # what it was trained with, not what its name was published with
    assert answer["multiply_adds"] == cost(net, 90).multiply_adds
    assert of(capsys, str(tmp_path), "--img-size", "120")["input_size"] == 120


def test_blocks_and_branches_are_the_sums_of_their_layers(capsys: pytest.CaptureFixture[str]) -> None:
    answer = of(capsys, "inception_v3", "--stage", "mixed_7b")
    parts = {part["name"]: part for part in answer["parts"]}
    assert [name for name, part in parts.items() if part["block"]] == [
        f"mixed_7b.{name}" for name in ("3x3", "3x3.branches", "3x3dbl", "3x3dbl.branches", "pool")
    ]
    for name, block in parts.items():
        inside = [layer for layer in answer["layers"] if layer["name"].startswith(f"{name}.")]
        for what in ("parameters", "multiply_adds", "activations", "training_bytes", "share"):
            assert not block["block"] or block[what] == pytest.approx(sum(layer[what] for layer in inside))
    assert parts["mixed_7b.3x3.branches"]["channels"] == 384 + 384
    branches = [part["channels"] for name, part in parts.items() if name.count(".") == 1]
    assert branches == [320, 768, 768, 192]
    assert sum(branches) == answer["channels"]
    with torch.device("meta"):
        fields = receptive_fields(build("inception_v3"))
    assert tuple(parts["mixed_7b.3x3dbl"]["receptive_field"]) == fields["mixed_7b.3x3dbl"].size


def test_a_layers_own_stride_and_the_stages_are_two_things(capsys: pytest.CaptureFixture[str]) -> None:
    layers = [layer for layer in of(capsys, "xception", "--stage", "block3")["layers"] if layer["kernel"]]
    assert [(layer["kernel_stride"], layer["stride"]) for layer in layers] == [(1, 4), (1, 4), (2, 8), (2, 8)]


def test_memory_is_what_training_really_keeps(capsys: pytest.CaptureFixture[str]) -> None:
    """A conv with bias and an in-place ReLU keep the image and the activated values; the classifier its vector."""
    conv = convolution()
    net = Network(Table((("first", conv(4, 3)), ("second", conv(5))), Head()), num_classes=2)
    kept = kept_for_training(net, 8)
    assert kept == {"body.first.conv": 4 * 3 * 64, "body.first.activation": 4 * 4 * 64,
                    "body.second.activation": 4 * 5 * 64, "head.linear": 4 * 5}  # fmt: skip
    net = build("bn_inception", width=0.1, depth=0.2, num_classes=3).train()
    outside = {parameter.untyped_storage().data_ptr() for parameter in [*net.parameters(), *net.buffers()]}
    saved: dict[int, torch.Tensor] = {}
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: saved.setdefault(tensor.untyped_storage().data_ptr(), tensor), lambda tensor: tensor
    ):
        net(torch.rand(2, 3, 96, 96))
    really = sum(tensor.untyped_storage().nbytes() for address, tensor in saved.items() if address not in outside) // 2
    assert sum(kept_for_training(net, 96).values()) == pytest.approx(really, rel=1e-3)


def test_stages_share_out_the_memory(capsys: pytest.CaptureFixture[str]) -> None:
    answer = of(capsys, "xception")
    rows = [*answer["stages"], answer["head"]]
    assert sum(row["training_bytes"] for row in rows) == answer["training_bytes"]
    assert answer["training_bytes"] > 4 * answer["activations"]


OWN = """
from torch import nn
from inceptions.layers import Head, convolution, max_pool
from inceptions.zoo import Network, Table

conv = convolution()
table = Network(Table((("wide", conv(320)), ("halved", max_pool(3, 2, "valid")), ("after", conv(640))), Head()))

class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.cut, self.block = nn.Conv2d(3, 8, 4, 4), nn.Linear(8, 8)
    def forward(self, images):
        return self.block(self.cut(images).flatten(2).transpose(1, 2)).mean(1)

def Patches():
    return nn.Sequential(nn.Flatten(2), nn.Linear(16 * 16, 8))

def made(width=4):
    classifier = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 2)
    return nn.Sequential(nn.Conv2d(3, width, 3, 2), nn.ReLU(), *classifier)

def raising():
    raise TypeError("no such width")

number = 3
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module of the user's own in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # puts sys.path back
    (tmp_path / "my_nets.py").write_text(OWN)
    yield "my_nets"
    sys.modules.pop("my_nets", None)


def test_a_table_of_ones_own_is_inspected_like_the_familys(capsys: pytest.CaptureFixture[str], own: str) -> None:
    answer = of(capsys, f"{own}:table", "--img-size", "35")
    assert [(row["name"], row["receptive_field"]) for row in answer["stages"]] == [
        ("wide", [1, 1]), ("halved", [3, 3]), ("after", [3, 3])]  # fmt: skip
    (found,) = [row for row in of(capsys, f"{own}:table", "--principles", "--img-size", "35")["principles"]
                if row["principle"] == "bottleneck"]  # fmt: skip
    assert (found["stage"], found["kept"]) == ("halved", False)
    assert "35x35x320 come in, 17x17x320 leave" in found["text"]


def test_anybodys_module_is_inspected_as_far_as_it_can_be(capsys: pytest.CaptureFixture[str], own: str) -> None:
    answer = of(capsys, f"{own}:made", "--img-size", "32", "--options.width", "6")
    assert answer["parameters"] == 3 * 9 * 6 + 6 + 6 * 2 + 2
    first = answer["stages"][0]
    assert (first["channels"], first["height"], first["receptive_field"]) == (6, 15, None)
    assert first["training_bytes"] == 4 * 3 * 32 * 32
    assert of(capsys, f"{own}:made", "--stage", "0")["layers"][0]["weights"] == "3 x 3 x 3 x 4"
    for words in ([], ["--stage", "0"], ["--principles"], ["--html"]):
        assert main(["inspect", f"{own}:made", *words]) == 0
        assert "receptive field" not in capsys.readouterr().out
    assert Path("inspect-my_nets.made.html").exists()


def test_tokens_have_no_grid_to_speak_of(capsys: pytest.CaptureFixture[str], own: str) -> None:
    assert main(["inspect", f"{own}:Tokens", "--principles", "--stage", "block"]) == 0
    assert "do not apply to it" in capsys.readouterr().out
    row = of(capsys, f"{own}:Tokens", "--img-size", "32")["stages"][1]
    assert (row["channels"], row["height"], row["width"], row["activations"]) == (8, 64, 1, 8 * 8 * 8)


def test_a_table_without_rows_has_its_header(own: str) -> None:
    assert main(["inspect", f"{own}:Patches", "--img-size", "16", "--principles", "--csv", "found.csv"]) == 0
    assert Path("found.csv").read_text() == "principle,stage,kept,number,text,suggestion\n"


@pytest.mark.parametrize("words", [[], ["--stage", "mixed_7b"], ["--principles"]])
@pytest.mark.parametrize("width", [80, 140])
def test_a_terminal_shows_whole_numbers(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str], width: int
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", str(width))
    assert main(["inspect", "inception_v3", *words]) == 0
    shown = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert not re.search(r"\d,\d{0,2}(?=\s*$|\s{2})", shown, re.MULTILINE)  # a number cut behind a comma
    assert ("1183x1183" in shown) == ("--principles" not in words)
    assert all(len(line) <= width or not line.startswith((" ", "mixed")) for line in shown.splitlines())


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["inception_v3", "--img-size", "74"], 2, "at least 75 x 75"),
        (["inception_v3", "--options.factorise", "false"], 2, "did you mean 'factorize'"),
        (["runs/nowhere"], 2, "no network is called"),
        (["my_nets:number"], 2, "is neither a torch.nn.Module nor a function that returns one: 3"),
        (["my_nets:table", "--options.width", "2"], 2, "is built already"),
        (["my_nets:absent"], 2, "my_nets has no absent"),
        (["my_nets:raising"], 1, "error: my_nets:raising raised TypeError: no such width\n"),
        (["my_nets:Tokens", "--img-size", "3"], 2, "Tokens cannot be traced"),
        (["inception_v3", "--stage", "mixed_9z"], 2, "it has: conv_1a"),
        (["my_nets:made", "--stage", "9"], 2, "it has: 0, 1, 2, 3, 4"),
        (["inception_v3", "--img-size", "0"], 2, "an image of 0 x 0 px cannot be"),
        (["inception_v3", "--csv", "absent/g.csv"], 2, "--csv absent/g.csv: there is no folder absent"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_words(
    capsys: pytest.CaptureFixture[str], own: str, words: list[str], code: int, said: str
) -> None:
    assert main(["inspect", *words]) == code
    assert said in capsys.readouterr().err
