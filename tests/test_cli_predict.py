"""`inceptions predict` on the command line: one answer an image, in order, wherever it goes."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import inceptions
from inceptions.cli import main
from inceptions.image import Preprocess
from inceptions.weights import artifact
from inceptions.zoo import build

CLASSES = ("ant", "bee", "=wasp")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    net = build("googlenet", width=0.125, num_classes=3, stem="small", norm="batch")
    net.preprocess, net.classes = Preprocess(size=(32, 32)), CLASSES
    folder = tmp_path_factory.mktemp("model")
    artifact.save(net.eval(), folder / "model")
    return str(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for i in (1, 2, 10):
        Image.fromarray(generator.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(root / f"{i}.png")
    (root / ".hidden.png").write_bytes(b"")
    return root


def test_json_is_one_object_a_image_in_order(model: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [folder / "10.png", folder / "1.png"]
    assert main(["predict", model, *map(str, files), str(folder), "--json", "--top-k", "2"]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["file"] for one in told] == [str(f) for f in (*files, *(folder / f"{i}.png" for i in (1, 2, 10)))]
    expected = inceptions.load(model).predict([one["file"] for one in told], top_k=2)
    assert told == [one.to_dict() for one in expected]
    assert [len(one["top_k"]) for one in told] == [2] * 5


def test_csv_and_jsonl_hold_the_same_answers(
    model: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("p.csv", "p.jsonl"):
        assert main(["predict", model, str(folder), "--output", str(tmp_path / name)]) == 0
    assert capsys.readouterr().out == "", "what is in the file is not printed as well"
    with (tmp_path / "p.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    objects = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text(encoding="utf-8").splitlines()]
    assert list(rows[0]) == ["file", "label", "probability", "top_k", "error"]
    assert len(rows) == len(objects) == 3
    for row, one in zip(rows, objects, strict=True):
        assert row["file"] == one["file"]
        assert row["label"].removeprefix("'") == one["label"]
        assert float(row["probability"]) == pytest.approx(one["probability"], abs=1e-8)
        assert [label for label, _ in json.loads(row["top_k"])] == [best["label"] for best in one["top_k"]]
        assert row["error"] == ""


def test_unreadable_images_are_reported_in_their_place(
    model: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "=bad.jpg"
    bad.write_bytes(b"no image")
    words = ["predict", model, str(bad), str(folder / "1.png"), "missing.png"]
    assert main([*words, "--json", "--output", str(tmp_path / "p.csv")]) == 0
    captured = capsys.readouterr()
    told = [json.loads(line) for line in captured.out.splitlines()]
    assert [sorted(one) for one in told][::2] == [["error", "file"], ["error", "file"]]
    assert "label" in told[1]
    with (tmp_path / "p.csv").open(newline="") as file:
        errors = [row["error"] for row in csv.DictReader(file)]
    assert [bool(error) for error in errors] == [True, False, True]
    assert main(words) == 0
    captured = capsys.readouterr()
    assert "unreadable: no JPEG" in captured.out
    assert "2 of 3 images could not be read" in captured.err


def test_nothing_readable_at_all_is_exit_code_3(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    assert main(["predict", model, str(tmp_path), "--json"]) == 3
    captured = capsys.readouterr()
    assert json.loads(captured.out)["file"] == str(tmp_path / "a.png")
    assert "none of the 1 images" in captured.err
    (tmp_path / "empty").mkdir()
    assert main(["predict", model, str(tmp_path / "empty")]) == 3
    assert "there are no images in" in capsys.readouterr().err


def test_people_get_a_table_that_no_name_can_disturb(
    model: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tricky = tmp_path / "\x1b[31mred\n.png"
    tricky.write_bytes((folder / "1.png").read_bytes())
    assert main(["predict", model, str(tricky), str(folder / "2.png")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert "\\x1b[31mred\\n.png" in lines[1]
    assert all(" %" in line for line in lines[1:])


def test_names_that_are_no_text_survive_json_exactly_and_csv_readably(model: str, folder: Path, tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"caf\xe9.png")
    odd.write_bytes((folder / "1.png").read_bytes())
    for name in ("p.csv", "p.jsonl"):
        assert main(["predict", model, str(odd), "--output", str(tmp_path / name)]) == 0
    assert json.loads((tmp_path / "p.jsonl").read_text(encoding="utf-8"))["file"] == str(odd)
    assert "caf\\xe9.png" in (tmp_path / "p.csv").read_text(encoding="utf-8")


def test_no_cell_is_a_formula(model: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("=1+1.png").write_bytes((folder / "1.png").read_bytes())
    assert main(["predict", model, "=1+1.png", "--output", "p.csv", "--top-k", "3"]) == 0
    with Path("p.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["file"] == "./=1+1.png"
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in row.values())


def test_an_interrupted_run_leaves_the_old_file(
    model: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "p.csv"
    old.write_text("old")

    def stop(*_: object, **__: object) -> object:
        yield inceptions.predict.Prediction(file="a", error="x")
        raise KeyboardInterrupt

    monkeypatch.setattr("inceptions.predict.Classifier.stream", stop)
    assert main(["predict", model, str(folder), "--output", str(old)]) == 130
    assert old.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["p.csv"]


@pytest.mark.parametrize("flags", [("-b", "1"), ("-j", "2"), ("--engine", "torch", "--device", "cpu")])
def test_batch_size_workers_and_engine_change_nothing(
    flags: tuple[str, ...], model: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = []
    for words in ((), flags):
        assert main(["predict", model, str(folder), "--json", *words]) == 0
        told.append([json.loads(line)["probability"] for line in capsys.readouterr().out.splitlines()])
    assert told[0] == pytest.approx(told[1], abs=1e-6)


def test_precision_and_size_act(model: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = []
    for words in ((), ("--precision", "bf16"), ("--img-size", "48")):
        assert main(["predict", model, str(folder), "--json", *words]) == 0
        told.append([json.loads(line)["probability"] for line in capsys.readouterr().out.splitlines()])
    assert told[0] != pytest.approx(told[1], abs=1e-5)
    assert told[0] != pytest.approx(told[2], abs=1e-5)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ((), 2, "no images given"),
        (("x.png", "--output", "p.xlsx"), 2, "must end in .csv or .jsonl"),
        (("x.png", "-j", "-1"), 2, "--workers -1"),
        (("x.png", "--top-k", "0"), 2, "top_k is 0"),
        (("x.png", "--precision", "int8"), 2, "int8 measures its ranges on training images"),
    ],
)
def test_what_cannot_be_done_is_said_with_its_exit_code(
    words: tuple[str, ...], code: int, message: str, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", model, *words]) == code
    assert message in capsys.readouterr().err


def test_no_model_is_an_error_that_names_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(tmp_path / "nothing"), "x.png"]) == 1
    assert "nothing" in capsys.readouterr().err
