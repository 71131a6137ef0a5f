"""Text that users give is read in every usual form, or refused with its place; and what a class may be called."""

from __future__ import annotations

import codecs
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inceptions.cli import main
from inceptions.data import load
from inceptions.data.check import check
from inceptions.data.text import class_problems, read_json, read_names, read_text
from inceptions.errors import DataError
from inceptions.training.folder import stored_settings
from inceptions.training.losses import class_weights

FORMS = {
    "UTF-8": lambda text: text.encode(),
    "UTF-8 with a mark": lambda text: codecs.BOM_UTF8 + text.encode(),
    "UTF-16 little": lambda text: codecs.BOM_UTF16_LE + text.encode("utf-16-le"),
    "UTF-16 big": lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
    "UTF-32": lambda text: codecs.BOM_UTF32_LE + text.encode("utf-32-le"),
}
ENDS = {"LF": "\n", "CR LF": "\r\n", "CR": "\r"}


@pytest.fixture(params=FORMS.values(), ids=FORMS)
def form(request: pytest.FixtureRequest) -> object:
    return request.param


def images(folder: Path, *names: str | bytes) -> Path:
    for number, name in enumerate(names):
        place = os.path.join(os.fsencode(folder), os.fsencode(name))
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with open(place, "wb") as file:
            Image.fromarray(np.full((8, 8, 3), 10 * number, np.uint8)).save(file, "png")
    return folder


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_every_usual_form_of_text_is_the_same_text(tmp_path: Path, form: object, end: str) -> None:
    file = tmp_path / "labels.txt"
    file.write_bytes(form(end.join(("cat", "Käfer", "猫", ""))))  # type: ignore[operator]
    assert read_text(file) == "cat\nKäfer\n猫\n"
    assert read_names(str(file)) == ("cat", "Käfer", "猫")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"cat\nK\xe4fer\n", r"labels.txt: byte 5 \(line 2\) is e4, .*not UTF-8 \(as Windows-1252 .*'Käfer'\)"),
        ("cat\ndog".encode("utf-16-le"), r"labels.txt: byte 1 \(line 1\) is 00, .*UTF-16 without a byte-order mark"),
        (b"cat\0dog", r"labels.txt: byte 3 \(line 1\) is 00"),
        (codecs.BOM_UTF16_LE + b"c\0a", r"labels.txt: byte 4 .*is 61"),
        (b"\xff\xd8\xff\xe0 JFIF", r"labels.txt: byte 0 \(line 1\) is ff"),
    ],
)
def test_what_is_no_such_text_is_refused_with_file_line_and_byte(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "labels.txt").write_bytes(content)
    with pytest.raises(DataError, match=told):
        read_text(tmp_path / "labels.txt")


def test_a_text_larger_than_any_list_is_not_read_whole() -> None:
    with pytest.raises(DataError, match="/dev/zero is no list of names"):
        read_text("/dev/zero", largest=1000)


@pytest.mark.parametrize(
    "text",
    ['["cat", "dog"]', '{"1": "dog", "0": "cat"}', '{"dog": 1, "cat": 0}', '{"0": ["n1", "cat"], "1": ["n2", "dog"]}'],
)
def test_names_in_json_stand_in_the_order_of_their_indices(tmp_path: Path, text: str) -> None:
    (tmp_path / "names.json").write_text(text)
    assert read_names(str(tmp_path / "names.json")) == ("cat", "dog")


@pytest.mark.parametrize(
    "text", ['{"0": "cat", "2": "dog"}', '{"a": "b"}', "3", "[1, 2]", '["cat", "cat"]', '["cat", ""]']
)
def test_names_in_json_that_say_no_order_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "names.json").write_text(text)
    with pytest.raises(DataError, match=r"names\.json"):
        read_names(str(tmp_path / "names.json"))


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', '{"a": NaN}', "{", "[" * 100_000])
def test_json_that_means_nothing_certain_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "w.json").write_text(text)
    with pytest.raises(DataError, match=r"w\.json is no"):
        read_json(tmp_path / "w.json")


def test_class_weights_are_read_in_every_form_of_text(tmp_path: Path, form: object) -> None:
    file = tmp_path / "w.json"
    file.write_bytes(form('{"Ka\u0308fer": 2, "b": 0.5}'))  # type: ignore[operator]  # as macOS spells it
    assert class_weights(str(file), np.array([0, 1]), ("Käfer", "b")).tolist() == [2.0, 0.5]


@pytest.mark.parametrize("weight", ["1e39", "1e-46", "0", "-1", "true", '"2"', "1" + "0" * 400])
def test_class_weights_that_float32_cannot_hold_are_refused(tmp_path: Path, weight: str) -> None:
    (tmp_path / "w.json").write_text(f'{{"a": 1, "b": {weight}}}')
    with pytest.raises(DataError, match=r"positive numbers.*w\.json"):
        class_weights(str(tmp_path / "w.json"), np.array([0, 1]), ("a", "b"))


def test_a_runs_settings_are_read_in_every_form_of_text(tmp_path: Path, form: object) -> None:
    (tmp_path / "config.yaml").write_bytes(form("data: Käfer\nlr: 0.25\n"))  # type: ignore[operator]
    stored = stored_settings(tmp_path, resume=True)
    assert stored is not None
    assert (stored.data, stored.lr) == ("Käfer", 0.25)


@pytest.mark.parametrize("head", ["", "sep={}\n", "\n\n"])
@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_a_manifests_cells_may_be_separated_as_spreadsheets_do(
    tmp_path: Path, form: object, mark: str, head: str
) -> None:
    images(tmp_path, "1.png", "2.png", "3.png", "a,b.png")
    rows = [("file_name", " label"), ("1.png", "Käfer"), ("2.png", "b"), ("3.png", "Käfer"), ('"a,b.png"', "b")]
    file = tmp_path / "m.csv"
    file.write_bytes(form(head.format(mark) + "\r\n".join(mark.join(row) for row in rows)))  # type: ignore[operator]
    data = load(file, val_fraction=0)
    assert data.classes == ("Käfer", "b")
    assert sorted(data.splits["train"].name(i) for i in range(4)) == ["1.png", "2.png", "3.png", "a,b.png"]


def test_a_line_separator_inside_json_ends_no_line(tmp_path: Path) -> None:
    images(tmp_path, "1.png", "2.png")
    lines = [
        json.dumps({"file_name": f"{n}.png", "label": n, "note": "\u2028\x85"}, ensure_ascii=False) for n in (1, 2)
    ]
    (tmp_path / "m.jsonl").write_text("\n".join(lines), encoding="utf-8")
    assert load(tmp_path / "m.jsonl", val_fraction=0).classes == ("1", "2")


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ((os.fsdecode(b"caf\xe9"),), r"class 'caf\\xe9' is not text"),
        ((" ",), "nothing that can be seen"),
        (("\u200b\u00a0",), "nothing that can be seen"),
        (("a\nb",), "control character"),
        (("a\x1b[31m",), "control character"),
        (("\ufeffcat",), "control character"),
        (("cat", "cat "), "differ only in the space"),
        (("caf\u00e9", "cafe\u0301"), "Unicode form"),
    ],
)
def test_names_that_no_class_can_have_are_told_why(names: tuple[str, ...], told: str) -> None:
    import re

    assert re.search(told, " ".join(class_problems([*names, "fine"])))


@pytest.mark.parametrize("name", ["cat", "sea lion", "猫", "कुत्ता", "می‌خواهم", "👩‍🔬", "C++", "3", "a  b", "Cat", "-1"])
def test_names_in_any_script_are_fine(name: str) -> None:
    assert not class_problems([name, "cat" if name != "cat" else "dog"])


@pytest.mark.parametrize("name", [b"caf\xe9", b" ", b"a\x07b"], ids=repr)
def test_train_and_data_check_refuse_the_same_folders_before_anything_is_written(
    tmp_path: Path, name: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    data = images(
        tmp_path / "D", *(os.path.join(name, b"%d.png" % n) for n in range(4)), *(f"b/{n}.png" for n in range(4))
    )
    with pytest.raises(DataError, match="class "):
        check(data)
    assert main(["train", str(data), "--output", str(tmp_path / "R")]) == 3
    assert "class " in capsys.readouterr().err
    assert not (tmp_path / "R").exists()


def test_the_models_classes_are_found_in_other_unicode_forms(tmp_path: Path) -> None:
    data = images(tmp_path, "cafe\u0301/1.png", "b/1.png")
    found = load(data, classes=("caf\u00e9", "b"), val_fraction=0)
    assert (found.unknown_classes, found.missing_classes) == ((), ())
    assert sorted(found.splits["train"].targets.tolist()) == [0, 1]
