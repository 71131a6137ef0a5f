"""What is a split and what a class: folders as people and public data sets lay them out."""

from __future__ import annotations

from pathlib import Path

import pytest

from inceptions.data import load
from inceptions.errors import DataError
from sets import folder, image


def laid_out(root: Path, *folders: str) -> Path:
    """Two images in each folder; one that ends in / is empty."""
    return folder(root, {name.rstrip("/"): 0 if name.endswith("/") else 2 for name in folders})


def refusal(root: Path, **options: object) -> str:
    with pytest.raises(DataError) as caught:
        load(root, **options)  # type: ignore[arg-type]
    return str(caught.value)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("training_set", "test_set"), ("Training", "Testing"), ("train1", "test1"), ("images_train", "images_test"),
        ("seg_train/seg_train", "seg_test/seg_test"), ("TRAIN", "Holdout"), ("train/data", "test/images"),
        ("flowers train", "flowers test"), ("trainset", "evaluation"), ("训练集", "测试集"),
    ],
)  # fmt: skip
def test_splits_in_the_spellings_of_public_data_sets(tmp_path: Path, train: str, test: str) -> None:
    data = load(laid_out(tmp_path, f"{train}/a", f"{train}/b", f"{test}/a", f"{test}/b"), val_fraction=0)
    assert (data.classes, data.layout) == (("a", "b"), "splits")
    assert {part: len(split) for part, split in data.splits.items()} == {"train": 4, "test": 4}


def test_an_unusual_name_of_a_split_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    load(laid_out(tmp_path, "train/a", "train/b", "dev/a", "dev/b"))
    assert "taken as splits: dev = val" in caplog.text
    assert "train =" not in caplog.text


@pytest.mark.parametrize(
    "folders",
    [
        ("train", "test1"), ("Training", "Validation"), ("trainA", "trainB", "testA", "testB"), ("train",),
        ("flowers_train", "flowers_test"), ("train/images", "val/images"), ("training_set", "unlabeled"),
    ],
)  # fmt: skip
def test_splits_without_classes_are_never_classes(tmp_path: Path, folders: tuple[str, ...]) -> None:
    assert "no folder of a class: sort the images into SPLIT/CLASS/" in refusal(laid_out(tmp_path, *folders))


@pytest.mark.parametrize("table", ["train/metadata.csv", "train/metadata.jsonl", "labels.csv", "train.csv", "y.tsv"])
def test_the_table_beside_images_without_classes_is_named(tmp_path: Path, table: str) -> None:
    laid_out(tmp_path, "train", "validation")
    (tmp_path / "train" / "000.txt").write_text("belongs to one image")
    (tmp_path / table).write_text("file_name,label\n000.png,a\n")
    said = refusal(tmp_path)
    assert str(tmp_path / table) in said
    assert "000.txt" not in said


@pytest.mark.parametrize("name", ["test", "val", "training_set", "Train1", "dev", "predictions"])
def test_a_split_beside_classes_is_ambiguous(tmp_path: Path, name: str) -> None:
    assert f"{name} is called like a split" in refusal(laid_out(tmp_path, "cat", "dog", name))


def test_a_class_may_be_called_like_a_split_where_it_is_a_things_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert load(laid_out(tmp_path / "one", "bus", "car", "train")).classes == ("bus", "car", "train")
    assert "train is taken for a class, as bus, car beside it" in caplog.text
    assert load(laid_out(tmp_path / "two", "valid", "invalid")).classes == ("invalid", "valid")
    things = ("evaluate", "steam train", "test tube", "trains", "valley")
    assert load(laid_out(tmp_path / "three", *things)).classes == things
    vehicles = laid_out(tmp_path / "four", "train/bus", "train/train", "val/bus", "val/train")
    assert load(vehicles).classes == ("bus", "train")


def test_classes_beside_one_split_are_ambiguous(tmp_path: Path) -> None:
    said = refusal(laid_out(tmp_path, "bus", "car", "train/steam", "train/diesel"))
    assert "train holds folders (diesel, steam), as the train split would, and beside it bus, car hold images" in said


def test_a_further_folder_of_the_same_classes_is_a_split_by_another_name(tmp_path: Path) -> None:
    said = refusal(laid_out(tmp_path, "train/a", "train/b", "val/a", "val/b", "extra/a", "extra/b"))
    assert "extra beside train, val holds folders of the same classes" in said


@pytest.mark.parametrize("inner", [("a", "b"), ("a", "b", "c"), ("images", "masks")])
def test_siblings_with_the_same_folders_are_no_classes(tmp_path: Path, inner: tuple[str, ...]) -> None:
    laid_out(tmp_path, *(f"{outer}/{name}" for outer in ("part1", "part2") for name in inner), "part2/further")
    assert "part1, part2 hold folders of the same names" in refusal(tmp_path)


def test_splits_inside_classes_are_refused(tmp_path: Path) -> None:
    said = refusal(laid_out(tmp_path / "one", "cat/train", "cat/test", "dog/train", "dog/test"))
    assert "cat holds test, train, called like splits: put splits above classes" in said
    assert "test called like splits, inside a split" in refusal(
        laid_out(tmp_path / "two", "train/cat", "train/dog", "train/test")
    )
    said = refusal(laid_out(tmp_path / "three", "data/train/a", "data/train/b", "sample"))
    assert f"give {tmp_path / 'three' / 'data'}" in said


def test_folders_inside_classes_are_of_the_class_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    assert load(laid_out(tmp_path / "one", "a/x", "a/y", "b/z", "b")).classes == ("a", "b")
    assert "folders in a class's folder belong to that class: a (x, y), b (z)" in caplog.text
    # as Tiny ImageNet lies: one folder of the same name in each class says nothing
    assert load(laid_out(tmp_path / "two", "n01/images", "n02/images")).classes == ("n01", "n02")


def test_a_flat_test_set_beside_good_splits_is_left_out_in_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = load(laid_out(tmp_path, "train/a", "train/b", "test"))
    assert data.classes == ("a", "b")
    assert [record.message for record in caplog.records] == [
        "ignored: 2 images in test, which holds no folder of a class"
    ]


def test_flat_or_empty_validation_is_a_problem(tmp_path: Path) -> None:
    laid_out(tmp_path, "train/a", "train/b", "val/images")
    (tmp_path / "val" / "val_annotations.txt").write_text("x")
    said = refusal(tmp_path)
    assert "val holds 2 images and no folder of a class" in said
    assert "val_annotations.txt" in said
    assert "val holds no images" in refusal(laid_out(tmp_path / "two", "train/a", "train/b", "val/"))


@pytest.mark.parametrize(
    ("folders", "meant"),
    [
        (("PetImages/Cat", "PetImages/Dog"), "PetImages"),
        (("data/train/cat", "data/train/dog"), "data"),
        (("a/b/Cat", "a/b/Dog", "notes/"), "a/b"),
        (("train/Pets/Cat", "train/Pets/Dog"), "train/Pets"),
    ],
)
def test_the_folder_that_is_meant_is_offered(tmp_path: Path, folders: tuple[str, ...], meant: str) -> None:
    laid_out(tmp_path, *folders)
    assert f"give {tmp_path / meant}\n" in refusal(tmp_path) + "\n"
    assert f"give {tmp_path / meant}" in refusal(tmp_path, classes=["Cat", "Dog", "cat", "dog"])


def test_classes_that_differ_in_capitals_are_refused_but_letters_are_not(tmp_path: Path) -> None:
    laid_out(tmp_path / "one", "Cat", "dog")
    if (tmp_path / "one" / "cat").exists():
        pytest.skip("names do not differ in capitals on this disk")
    assert "Cat, cat differ only in capitals" in refusal(laid_out(tmp_path / "one", "cat"))
    assert load(laid_out(tmp_path / "two", "A", "a")).classes == ("A", "a")


def test_images_beside_classes_and_archives_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    image(laid_out(tmp_path, "a", "b") / "loose.png")
    load(tmp_path)
    assert "ignored: 1 images that lie in no class's folder, as loose.png" in caplog.text
    (tmp_path / "data.zip").write_bytes(b"PK\5\6")
    with pytest.raises(DataError, match="an archive: unpack it"):
        load(tmp_path / "data.zip")
    (tmp_path / "only").mkdir()
    (tmp_path / "data.zip").rename(tmp_path / "only" / "data.zip")
    assert "not taken: 1 .zip (archives: unpack them)" in refusal(tmp_path / "only")
