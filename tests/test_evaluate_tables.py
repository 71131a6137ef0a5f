"""The files of an evaluation: exact, whole, and harmless in a spreadsheet."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from inceptions.engines.probabilities import rank
from inceptions.evaluation import fonts
from inceptions.evaluation.csv_files import draw_confusion, prediction_rows, write_confusion, write_predictions
from inceptions.files import safe_cell, safe_path


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_predictions_hold_file_label_prediction_probability_and_the_five_best(tmp_path: Path) -> None:
    classes = tuple("abcdefg")
    logits = torch.tensor([[0.05, 0.1, 0.4, 0.2, 0.15, 0.06, 0.04]]).log()
    write_predictions(tmp_path / "p.csv", prediction_rows(["x/1.png"], ["a"], logits, classes))
    (row,) = read(tmp_path / "p.csv")
    assert list(row) == ["file", "label", "prediction", "probability", "top_5"]
    assert (row["file"], row["label"], row["prediction"]) == ("x/1.png", "a", "c")
    assert float(row["probability"]) == pytest.approx(0.4, abs=1e-7)
    best = json.loads(row["top_5"])
    assert [label for label, _ in best] == ["c", "d", "e", "b", "f"]
    assert [value for _, value in best] == pytest.approx([0.4, 0.2, 0.15, 0.1, 0.06], abs=1e-7)


def test_fewer_than_five_classes_give_fewer_than_five_best() -> None:
    order, probabilities = rank(torch.zeros(1, 3), 5)
    assert order.tolist() == [[0, 1, 2]]
    assert probabilities.sum() == pytest.approx(1)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@sum", "\t=1", "\r=1"])
def test_no_cell_begins_as_a_formula(text: str) -> None:
    assert safe_cell(text) == f"'{text}"
    assert safe_path(f"{text}.png") == f"./{text}.png"


@pytest.mark.parametrize("text", ["rose", "tulip, red", "a=b", "été", "x\ny"])
def test_ordinary_cells_stay_as_they_are_and_survive_the_file(text: str, tmp_path: Path) -> None:
    write_confusion(tmp_path / "c.csv", np.array([[3]]), [text])
    assert safe_cell(text) == text
    assert read(tmp_path / "c.csv") == [{"label": text, text: "3"}]


def test_a_name_that_is_no_utf8_is_written_readably(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    write_predictions(tmp_path / "p.csv", [(name, "a", "b", 0.5, [("b", 0.5)])])
    assert read(tmp_path / "p.csv")[0]["file"] == "caf\\xe9.png"


def test_confusion_has_a_row_a_class_and_a_column_a_prediction(tmp_path: Path) -> None:
    write_confusion(tmp_path / "c.csv", np.array([[3, 1], [0, 2]]), ["ant", "bee"])
    assert read(tmp_path / "c.csv") == [
        {"label": "ant", "ant": "3", "bee": "1"},
        {"label": "bee", "ant": "0", "bee": "2"},
    ]


@pytest.mark.parametrize("classes", [2, 25, 70])
def test_confusion_is_drawn_for_any_number_of_classes_and_odd_names(classes: int, tmp_path: Path) -> None:
    names = [f"$\\frac{{{i}}} {'long ' * (i % 9)}" for i in range(classes)]
    draw_confusion(tmp_path / "c.png", np.eye(classes, dtype=np.int64) * 4, names)
    with Image.open(tmp_path / "c.png") as image:
        assert min(image.size) > 300
        first = np.asarray(image.convert("L"))
    draw_confusion(tmp_path / "d.png", np.ones((classes, classes), np.int64), names)
    with Image.open(tmp_path / "d.png") as image:
        assert not np.array_equal(first, np.asarray(image.convert("L"))), "the image does not show the counts"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "names", [("猫", "狗"), ("แมว", "ж"), ("कुत्ता", "x"), ("👩‍🔬", "😀"), ("قط", "כלב"), ("$x", "\u200bb")]
)
def test_names_in_any_script_are_drawn_without_a_word_of_matplotlibs(
    names: tuple[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    draw_confusion(tmp_path / "c.png", np.eye(2, dtype=np.int64), names)
    assert "glyph" not in "".join(capfd.readouterr()).lower()
    with Image.open(tmp_path / "c.png") as drawn:
        assert drawn.size[0] > 100


def test_a_name_is_drawn_by_a_font_that_has_its_letters_else_as_its_number(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    has = {"DejaVuSans.ttf": set("abc"), "STIXGeneral.ttf": set("猫狗")}  # both come with matplotlib
    monkeypatch.setattr(fonts, "_has", lambda file, letters: letters & has.get(Path(file).name, set()))
    fonts._families.cache_clear()
    shown, families = fonts.legible(["cab", "猫", "狗 a", "鳥", "猫鳥"], figure="c.png")
    fonts._families.cache_clear()
    assert shown == ["cab", "猫", "狗 a", "class 3", "class 4"]
    assert families == ["DejaVu Sans", "STIXGeneral"]
    assert [record.getMessage()[:49] for record in caplog.records] == [
        "c.png: no font here can draw the names of 2 class"
    ]


def test_a_script_that_joins_its_letters_is_numbered_where_matplotlib_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "_has", lambda file, letters: letters)
    fonts._families.cache_clear()
    for version, shown in (((3, 9), ["class 0", "b"]), ((3, 11), ["قط", "b"])):
        monkeypatch.setattr(fonts, "_version", lambda version=version: version)
        assert fonts.legible(["قط", "b"], figure="c.png")[0] == shown
    fonts._families.cache_clear()
