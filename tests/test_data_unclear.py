"""Folders that are no classes, however much they look like some: as public data sets and desktops leave them."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from inceptions.data import load
from inceptions.data.readers.names import copied_from, numbered_parts, split_called
from inceptions.errors import DataError
from sets import folder, image


def laid_out(root: Path, *folders: str) -> Path:
    return folder(root, dict.fromkeys(folders, 2))


def refusal(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        load(root)
    return str(caught.value)


def test_a_copy_of_the_whole_beside_its_classes_is_no_class(tmp_path: Path) -> None:
    said = refusal(laid_out(tmp_path, "yes", "no", "brain/yes", "brain/no"))
    assert "brain holds folders called like those beside it (no, yes)" in said
    assert f"give it alone: {tmp_path / 'brain'}" in said


def test_a_class_may_hold_one_folder_called_like_another(tmp_path: Path) -> None:
    assert load(laid_out(tmp_path, "cat", "dog", "dog/cat")).classes == ("cat", "dog")


@pytest.mark.parametrize("answers", ["masks", "annotations/trimaps", "Segmentation", "label"])
def test_images_beside_what_belongs_to_them_are_no_classes(tmp_path: Path, answers: str) -> None:
    assert "images beside" in refusal(laid_out(tmp_path, "images", answers))


def test_a_folder_of_images_beside_others_is_a_class_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert load(laid_out(tmp_path / "a", "images", "text")).classes == ("images", "text")
    assert "images taken for a class, as text beside it" in caplog.text
    caplog.clear()
    assert load(laid_out(tmp_path / "b", "photo", "sketch")).classes == ("photo", "sketch")
    assert "taken for a class" not in caplog.text


@pytest.mark.parametrize(
    "folders",
    [
        ("images_001/images", "images_002/images"), ("HAM_images_part_1", "HAM_images_part_2"), ("fold1", "fold2"),
        ("img0", "img1", "img2"),
    ],
)  # fmt: skip
def test_numbered_parts_of_one_set_are_no_classes(tmp_path: Path, folders: tuple[str, ...]) -> None:
    laid_out(tmp_path, *folders)
    (tmp_path / "labels.csv").write_text("id,what\n")
    said = refusal(tmp_path)
    assert "differ in their numbers only" in said
    assert str(tmp_path / "labels.csv") in said


def test_what_only_may_be_parts_is_told_and_refused_beside_a_table(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    laid_out(tmp_path, "part_1", "part_2")
    assert load(tmp_path).classes == ("part_1", "part_2")
    assert "though called like parts" in caplog.text
    (tmp_path / "labels.csv").write_text("id,what\n")
    assert "differ in their numbers only" in refusal(tmp_path)


def test_numbered_things_are_classes() -> None:
    assert numbered_parts(["class1", "class2"]) is None
    assert numbered_parts(["s1", "s2"]) is None
    assert numbered_parts(["image1", "cat2"]) is None
    assert numbered_parts(["images"]) is None


@pytest.mark.parametrize("name", ["Copy of cat", "cat - Copy", "cat (1)", "cat copy", "cat copy 2", "Cat - Copy (2)"])
def test_a_copy_that_a_desktop_made_of_a_class_is_none(tmp_path: Path, name: str) -> None:
    assert "is called like a copy of it" in refusal(laid_out(tmp_path, "cat", "dog", name))


def test_names_that_only_look_like_copies_are_classes(tmp_path: Path) -> None:
    assert load(laid_out(tmp_path, "BMW (1)", "photocopy", "copy")).classes == ("BMW (1)", "copy", "photocopy")
    assert copied_from("copy of") is None


def test_splits_are_found_below_folders_that_hold_nothing_else(tmp_path: Path) -> None:
    said = refusal(laid_out(tmp_path, "set/set/images/TRAIN/a", "set/set/images/TEST/a", "other"))
    assert f"or give {tmp_path / 'set/set/images'}" in said
    said = refusal(
        laid_out(tmp_path / "b", "amazon/images/bag", "amazon/images/cup", "dslr/images/bag", "dslr/images/cup")
    )
    assert "amazon, dslr hold folders of the same names (bag, cup)" in said


def test_a_second_split_without_classes_makes_the_first_one_sure(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = load(laid_out(tmp_path, "Train/0", "Train/1", "Test", "Meta"))
    assert data.classes == ("0", "1")
    assert "ignored next to Train: Meta (2 images)" in caplog.text


def test_every_refusal_says_what_to_give(tmp_path: Path) -> None:
    laid_out(tmp_path / "flat", "train/a", "train/b", "val")
    (tmp_path / "flat/val/val.txt").write_text("0.png a")
    said = refusal(tmp_path / "flat")
    assert f"or give {tmp_path / 'flat/train'} alone" in said
    assert "val.txt: make a .csv of them" in said
    spaced = laid_out(tmp_path / "spaced", "My Set/train/a", "My Set/train/b", "test/test")
    assert f"give '{spaced / 'My Set'}'" in refusal(spaced)
    one = laid_out(tmp_path / "one", "ISIC_Input")
    (one / "truth.csv").write_text("image,melanoma\n")
    assert f"Their labels may be in {one / 'truth.csv'}" in refusal(one)


def test_a_list_of_answers_to_hand_in_holds_no_labels(tmp_path: Path) -> None:
    laid_out(tmp_path, "train", "test1")
    (tmp_path / "sampleSubmission.csv").write_text("id,label\n")
    (tmp_path / "LICENCE.txt").write_text("mine")
    said = refusal(tmp_path)
    assert "sampleSubmission" not in said
    assert "LICENCE" not in said


def test_folders_beside_the_one_with_the_classes_need_no_images(tmp_path: Path) -> None:
    folder(tmp_path, {"images/a": 2, "images/b": 2, "attributes": 0})
    said = refusal(tmp_path)
    assert f"give {tmp_path / 'images'}" in said
    assert "attributes" not in said


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("entrenamiento", "train"), ("Validaci\u00f3n", "val"), ("Trainingsdaten", "train"), ("Testdaten", "test"),
        ("\u043e\u0431\u0443\u0447\u0435\u043d\u0438\u0435", "train"), ("\u30c6\u30b9\u30c8\u30c7\u30fc\u30bf", "test"),
        ("\u5b66\u7fd2\u7528", "train"), ("\uac80\uc99d", "val"), ("treino", "train"), ("train_mini", "train"),
        ("\u0422\u0435\u0441\u0442", "test"), ("Testament", None), ("Trainer", None), ("\u30c7\u30fc\u30bf", None),
    ],
)  # fmt: skip
def test_splits_in_other_languages(name: str, split: str | None) -> None:
    assert split_called(name) == split


def test_what_a_run_wrote_beside_the_classes_is_no_class(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    laid_out(tmp_path, "cat", "dog")
    for name in ("config.yaml", "split.json"):
        (tmp_path / "runs/mine").mkdir(parents=True, exist_ok=True)
        (tmp_path / "runs/mine" / name).write_text("{}")
    image(tmp_path / "runs/mine/confusion.png")
    image(tmp_path / "runs/mine/figures/more.png")
    assert load(tmp_path).classes == ("cat", "dog")
    assert "not taken: the folders mine" in caplog.text


def test_what_programs_keep_beside_images_is_left_out(tmp_path: Path) -> None:
    laid_out(tmp_path, "cat", "dog", "#snapshot/old", "node_modules/x", "cat/My Previews.lrdata/0")
    data = load(tmp_path, val_fraction=0)
    assert (data.classes, len(data.splits["train"])) == (("cat", "dog"), 4)


def test_a_class_that_another_split_spells_otherwise_is_named(tmp_path: Path) -> None:
    assert "Dog (called dog there)" in refusal(laid_out(tmp_path, "train/cat", "train/dog", "val/cat", "val/Dog"))


def test_names_that_differ_in_separators_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert len(load(laid_out(tmp_path, "golden retriever", "golden_retriever")).classes) == 2
    assert "differ only in spaces, hyphens and underscores" in caplog.text


def test_classes_of_which_each_is_divided_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert load(laid_out(tmp_path, "a/abbey", "a/airport", "b/bar", "b/bank")).classes == ("a", "b")
    assert "If those are the classes" in caplog.text
