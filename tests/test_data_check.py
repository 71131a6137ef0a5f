"""`inceptions data check`: every kind of trouble is found, named and counted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inceptions.cli.data import check as verb
from inceptions.data.check import check
from inceptions.errors import DataError


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two classes, three training and one validation image each, all different and good."""
    random = np.random.default_rng(0)
    for part, count in (("train", 3), ("val", 1)):
        for label in ("a", "b"):
            folder = tmp_path / part / label
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = random.integers(0, 256, (20 + i, 30, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    return tmp_path


def test_a_good_set_is_valid_and_counted(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("CMYK", (100, 50)).save(data / "val" / "a" / "c.jpg")
    report = check(data)
    assert report.valid
    assert report.counts == {"train": {"a": 3, "b": 3}, "val": {"a": 2, "b": 1}}
    assert report.formats == {"PNG": 8, "JPEG": 1}
    assert report.modes == {"RGB": 8, "CMYK": 1}
    assert report.widths == (30, 30, 100)
    assert report.heights == (20, 21, 50)
    assert verb(str(data)) == 0
    out = capsys.readouterr().out
    assert "width" in out
    assert "CMYK" in out
    assert out.rstrip().endswith("\nvalid")


def test_unreadable_images_are_named_and_make_it_invalid(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = (data / "train" / "a" / "0.png").read_bytes()
    (data / "train" / "a" / "0.png").write_bytes(good[: len(good) // 2])  # its header is whole: only decoding tells
    (data / "val" / "b" / "gone.png").symlink_to("nothing")
    report = check(data)
    assert {file for file, _ in report.unreadable} == {"train/a/0.png", "val/b/gone.png"}
    assert report.counts["train"]["a"] == 2
    assert not report.valid
    assert verb(str(data)) == 3
    assert "train/a/0.png: image file is truncated" in capsys.readouterr().out


def test_the_same_image_in_two_splits_is_found(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(data / "train" / "a" / "1.png", data / "val" / "a" / "other name.png")
    report = check(data)
    (group,) = report.straddling
    assert {copy.file for copy in group} == {"train/a/1.png", "val/a/other name.png"}
    assert report.contradicting == ()
    assert verb(str(data)) == 3
    assert "in more than one split: 1" in capsys.readouterr().out


def test_the_same_image_in_two_classes_is_found(data: Path) -> None:
    shutil.copy(data / "train" / "a" / "1.png", data / "train" / "b" / "x.png")
    report = check(data)
    (group,) = report.contradicting
    assert {copy.label for copy in group} == {"a", "b"}
    assert report.straddling == ()
    assert not report.valid


def test_the_same_image_twice_in_a_class_is_told_but_valid(data: Path) -> None:
    shutil.copy(data / "train" / "a" / "1.png", data / "train" / "a" / "x.png")
    report = check(data)
    assert len(report.duplicates) == 1
    assert report.valid


def test_a_division_of_ours_keeps_copies_together(data: Path) -> None:
    for i in range(20):
        shutil.copy(data / "train" / "a" / "1.png", data / "train" / "a" / f"x{i}.png")
    report = check(data / "train")
    assert len(report.duplicates) == 1
    assert report.straddling == ()
    assert report.valid


def test_json_is_one_object_with_all_facts(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(data / "train" / "a" / "1.png", data / "val" / "a" / "x.png")
    assert verb(str(data), json=True) == 3
    facts = json.loads(capsys.readouterr().out)
    assert facts["valid"] is False
    assert facts["n"] == 9
    assert facts["counts"]["val"] == {"a": 2, "b": 1}
    assert [copy["split"] for copy in facts["straddling"][0]] == ["train", "val"]


def test_what_cannot_be_listed_is_json_too_and_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DataError, match="no images"):
        verb(str(tmp_path), json=True)
    assert json.loads(capsys.readouterr().out)["valid"] is False


def test_images_of_many_bits_that_use_few_are_named(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = np.random.default_rng(0).integers(0, 4096, (20, 20), np.uint16)
    Image.fromarray(values).save(data / "train" / "a" / "dark.png")
    Image.fromarray(values * 16).save(data / "train" / "a" / "full.png")
    report = check(data)
    assert (report.dark, report.valid) == (("train/a/dark.png",), True)
    assert verb(str(data)) == 0
    assert "dark: nothing is above an eighth of white" in capsys.readouterr().out
    assert verb(str(data), json=True) == 0
    assert json.loads(capsys.readouterr().out)["dark"] == ["train/a/dark.png"]
