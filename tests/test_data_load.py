"""Reading data sets: layouts, classes, divisions, and what is said when something is wrong."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from inceptions.data import evaluation_split, load, read_split, write_split
from inceptions.data.dataset import Entry, divide, natural
from inceptions.data.readers.folders import read_folders
from inceptions.data.split_file import changed
from inceptions.errors import DataError
from sets import folder, image, manifest, names

SHARED = Path(__file__).parents[2] / "shared"


# ---- folders --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val"])
@pytest.mark.parametrize("train", ["train", "training"])
def test_folders_of_splits_under_any_of_their_names(tmp_path: Path, train: str, val: str) -> None:
    data = load(folder(tmp_path, {f"{train}/a": 2, f"{train}/b": 1, f"{val}/a": 1, f"{val}/b": 3, "test/b": 1}))
    assert {part: len(split) for part, split in data.splits.items()} == {"train": 3, "val": 4, "test": 1}
    assert data.classes == ("a", "b")
    assert (data.layout, data.divided) == ("splits", True)
    assert data.splits["test"].targets.tolist() == [1]
    assert data.splits["val"].path(0) == tmp_path / val / "a" / "000.png"


def test_folders_of_classes_are_divided_by_class(tmp_path: Path) -> None:
    data = load(folder(tmp_path, {"a": 20, "b": 10, "c": 2, "d": 1}))
    assert (data.layout, data.divided) == ("classes", False)
    count = {part: Counter(label for _, label in rows) for part, rows in names(data).items()}
    assert count == {"train": {"a": 16, "b": 8, "c": 1, "d": 1}, "val": {"a": 4, "b": 2, "c": 1}}
    assert not names(data)["train"] & names(data)["val"]


def test_the_division_depends_on_seed_and_names_only(tmp_path: Path) -> None:
    one = load(folder(tmp_path / "one", {"a": 20, "b": 20}))
    two = load(folder(tmp_path / "two", {"b": 20, "a": 20}))  # created, and so perhaps listed, in another order
    assert names(one) == names(two)
    assert [one.splits["train"].name(i) for i in range(9)] == [two.splits["train"].name(i) for i in range(9)]
    assert names(load(tmp_path / "one", split_seed=1)) != names(one)
    assert {len(split) for split in load(tmp_path / "one", val_fraction=0.5).splits.values()} == {20}
    assert set(load(tmp_path / "one", val_fraction=0).splits) == {"train"}


def test_classes_sort_as_people_count() -> None:
    shuffled = ["class10", "class2", "class1", "b", "class02", "class", "a10b2", "a10b10", "10", "9", "1" * 5000]
    assert sorted(shuffled, key=natural)[:4] == ["9", "10", "1" * 5000, "a10b2"]
    assert sorted(shuffled, key=natural)[4:] == ["a10b10", "b", "class", "class1", "class02", "class2", "class10"]


def test_classes_are_numbered_alike_in_every_split(tmp_path: Path) -> None:
    data = load(folder(tmp_path, {"train/b": 1, "train/c": 1, "train/a": 1, "val/c": 1}))
    assert data.splits["val"].targets.tolist() == [2]


def test_hidden_and_other_files_are_ignored(tmp_path: Path) -> None:
    folder(tmp_path, {"a": 5, "b": 5, ".cache": 3, "__MACOSX": 2})
    (tmp_path / "a" / "notes.txt").write_text("x")
    image(tmp_path / "a" / ".hidden.png")
    (tmp_path / "README.md").write_text("x")
    data = load(tmp_path)
    assert data.classes == ("a", "b")
    assert len(data.whole()) == 10
    assert data.refused == ()


def test_images_in_subfolders_belong_to_the_class(tmp_path: Path) -> None:
    image(folder(tmp_path, {"a": 2, "b": 2}) / "a" / "2020" / "may" / "x.JPEG")
    assert ("a/2020/may/x.JPEG", "a") in names(load(tmp_path, val_fraction=0))["train"]


def test_circles_of_links_end(tmp_path: Path) -> None:
    folder(tmp_path, {"a": 3, "b": 3})
    (tmp_path / "a" / "again").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "b" / "self.png").symlink_to(tmp_path / "b" / "self.png")
    (tmp_path / "b" / "gone.png").symlink_to(tmp_path / "nothing")
    data = load(tmp_path)
    assert Counter(data.whole().targets.tolist())[1] == 3
    assert {Path(file).name for file, _ in data.refused} == {"self.png", "gone.png"}
    assert dict(data.refused)["b/gone.png"] == "dangling link"


def test_names_may_be_any_bytes(tmp_path: Path) -> None:
    folder(tmp_path, {"b": 1})
    label, file = os.fsdecode(b"\xe9t\xe9"), os.fsdecode(b"\xff \n.png")
    image(tmp_path / label / file)
    data = load(tmp_path, val_fraction=0)
    assert data.classes == ("b", label)
    assert data.splits["train"].path(1).read_bytes()
    write_split(data, tmp_path / "split.json")
    again = read_split(tmp_path / "split.json")
    assert again.classes == data.classes
    assert again.splits["train"].path(1) == tmp_path / label / file


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    assert load(folder(tmp_path, {"train": 3, "bus": 3})).classes == ("bus", "train")


def test_paths_live_in_one_array(tmp_path: Path) -> None:
    files = load(folder(tmp_path, {"a": 3, "b": 3})).splits["train"].files
    assert isinstance(files, np.ndarray)
    assert files.dtype.kind == "S"


def test_an_empty_class_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no images in the folder of class c"):
        load(folder(tmp_path, {"a": 2, "b": 2, "c": 0}))


def test_one_class_only_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="only one class, a: a classifier needs two"):
        load(folder(tmp_path, {"a": 2}))


def test_no_images_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no images"):
        load(tmp_path)
    image(tmp_path / "x.png")
    with pytest.raises(DataError, match="lie directly in"):
        load(tmp_path)


def test_what_does_not_exist_or_is_no_data_set_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(DataError, match="no such folder or file"):
        load(tmp_path / "nothing")
    with pytest.raises(DataError, match="not a data set"):
        load(tmp_path / "a.txt")


def test_an_unreadable_folder_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder(tmp_path, {"a": 2, "b": 2, "c": 2})
    scandir = os.scandir

    def locked(path: bytes) -> object:  # permissions do not stop root, who runs tests in containers
        if os.fsdecode(path).endswith(("a", "c")):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", locked)
    with pytest.raises(DataError) as caught:
        load(tmp_path)
    assert f"{tmp_path}/a: permission denied" in str(caught.value)
    assert f"{tmp_path}/c: permission denied" in str(caught.value)  # all problems at once


def test_a_class_that_is_only_evaluated_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="classes without training images: c"):
        load(folder(tmp_path, {"train/a": 1, "train/b": 1, "val/c": 1}))


def test_two_folders_of_one_split_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="both mean the val split"):
        load(folder(tmp_path, {"train/a": 1, "train/b": 1, "val/a": 1, "valid/b": 1}))


def test_images_outside_any_class_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    image(folder(tmp_path, {"train/a": 1, "train/b": 1, "val/a": 1, "extra": 2}) / "train" / "loose.png")
    load(tmp_path)
    assert "ignored next to train, val: extra (2 images)" in caplog.text
    assert "1 images that lie in no class's folder, as train/loose.png" in caplog.text


def test_a_fraction_out_of_range_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="val_fraction is 1"):
        load(tmp_path, val_fraction=1)
    with pytest.raises(ValueError, match="no column"):
        load(tmp_path, label="x")


# ---- the model's classes --------------------------------------------------------------------------------------------


def test_given_classes_map_by_name_and_the_rest_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = load(folder(tmp_path, {"a": 2, "c": 2, "z": 2}), classes=["c", "b", "a"], val_fraction=0)
    split = data.splits["train"]
    assert {split.name(i): split.targets[i] for i in range(6)} == {
        "z/000.png": -1, "z/001.png": -1, "c/000.png": 0, "c/001.png": 0, "a/000.png": 2, "a/001.png": 2,
    }  # fmt: skip
    assert data.classes == ("c", "b", "a")
    assert data.unknown_classes == ("z",)
    assert data.missing_classes == ("b",)
    assert "the model does not have: z" in caplog.text
    assert "have no image: b" in caplog.text
    assert sorted(split.known().targets.tolist()) == [0, 0, 2, 2]


def test_one_known_class_can_be_evaluated_but_none_cannot(tmp_path: Path) -> None:
    folder(tmp_path, {"a": 2})
    assert len(load(tmp_path, classes=["a", "b"]).whole()) == 2
    with pytest.raises(DataError, match="none of its classes"):
        load(tmp_path, classes=["x", "y"])


# ---- groups -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_a_group_never_straddles_and_every_class_keeps_its_share(seed: int) -> None:
    entries = [
        Entry(f"{i}".encode(), label, group=f"{label}{i % patients}")
        for label, patients in (("a", 10), ("b", 7), ("c", 2))
        for i in range(60)
    ]
    chosen = divide(entries, seed=seed, fraction=0.2)
    val = {entry.group for entry, yes in zip(entries, chosen, strict=True) if yes}
    train = {entry.group for entry, yes in zip(entries, chosen, strict=True) if not yes}
    assert not val & train
    for label, least, most in (("a", 12, 12), ("b", 8, 9), ("c", 30, 30)):  # c: half its images or none
        assert least <= sum(yes for entry, yes in zip(entries, chosen, strict=True) if entry.label == label) <= most


def test_a_class_of_one_group_stays_in_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder(tmp_path, {"x": 30})
    rows = [{"file_name": f"x/{i:03d}.png", "label": "ab"[i % 2], "group": "g" if i % 2 else i} for i in range(30)]
    data = load(manifest(tmp_path / "m.csv", rows))
    assert {label for _, label in names(data)["val"]} == {"a"}
    assert "no validation images of class b" in caplog.text


# ---- split.json -----------------------------------------------------------------------------------------------------


def test_split_json_gives_the_same_splits_back(tmp_path: Path) -> None:
    data = load(folder(tmp_path / "data", {"a": 10, "b": 10}))
    assert write_split(data, tmp_path / "split.json") == ()
    image(tmp_path / "data" / "a" / "new.png")  # what came later is not part of it
    again = read_split(tmp_path / "split.json")
    assert names(again) == names(data)
    assert again.splits["train"].files.tolist() == data.splits["train"].files.tolist()
    assert (again.classes, again.layout, again.divided, again.root) == (data.classes, "classes", False, data.root)
    record = json.loads((tmp_path / "split.json").read_text())
    assert set(record["files"][0]) == {"file", "sha256", "split", "class"}
    assert not Path(record["files"][0]["file"]).is_absolute()


def test_recorded_hashes_are_those_of_the_files_and_show_changes(tmp_path: Path) -> None:
    import hashlib

    data = load(folder(tmp_path / "data", {"a": 3, "b": 3}), val_fraction=0)
    write_split(data, tmp_path / "split.json")
    split = read_split(tmp_path / "split.json").splits["train"]
    assert split.hash(2) == hashlib.sha256(split.path(2).read_bytes()).hexdigest()
    assert changed(split) == ()
    split.path(1).write_bytes(b"other")
    split.path(4).unlink()
    assert [file for file, _ in changed(split)] == [split.name(1), split.name(4)]


def test_a_moved_data_set_is_found_where_it_is_now(tmp_path: Path) -> None:
    write_split(load(folder(tmp_path / "data", {"a": 3, "b": 3})), tmp_path / "split.json")
    (tmp_path / "data").rename(tmp_path / "moved")
    with pytest.raises(DataError, match="gone: say where"):
        read_split(tmp_path / "split.json")
    assert read_split(tmp_path / "split.json", root=tmp_path / "moved").splits["val"].path(0).is_file()


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"format_version": 9}', '{"format_version": 1, "files": 3}'])
def test_a_damaged_split_json_is_a_data_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "split.json").write_text(content)
    with pytest.raises(DataError, match=r"split\.json"):
        read_split(tmp_path / "split.json")


def test_evaluation_uses_the_runs_own_part_of_what_the_run_divided(tmp_path: Path) -> None:
    run, data = tmp_path / "split.json", folder(tmp_path / "data", {"a": 10, "b": 10})
    trained = load(data)
    write_split(trained, run)
    for source in (None, data, tmp_path / "." / "data"):
        part, dataset = evaluation_split(source, classes=("b", "a"), recorded=run)
        assert (part, names(dataset)["val"]) == ("val", names(trained)["val"])
        assert dataset.classes == ("b", "a")
    other = folder(tmp_path / "other", {"a": 0, "b": 0})
    for i in range(20):  # of colors that the run has not seen
        image(other / "ab"[i % 2] / f"{i:03d}.png", 5000 + i)
    part, dataset = evaluation_split(other, classes=("a", "b"), recorded=run)
    assert (part, len(dataset.splits[part])) == ("all", 20)


def test_evaluation_takes_val_then_test_of_a_divided_set(tmp_path: Path) -> None:
    folder(tmp_path, {"train/a": 2, "train/b": 2, "test/a": 3, "test/b": 3})
    assert evaluation_split(tmp_path, classes=("a", "b"))[0] == "test"
    folder(tmp_path, {"val/a": 1, "val/b": 1})
    part, dataset = evaluation_split(tmp_path, classes=("a", "b"))
    assert (part, len(dataset.splits[part])) == ("val", 2)
    with pytest.raises(DataError, match="no data given"):
        evaluation_split(None, classes=("a", "b"))


def test_flowers_are_read_as_divided() -> None:
    source = SHARED / "data" / "flowers"
    if not source.exists():
        pytest.skip(f"{source} is not here")
    data = load(source)
    assert {part: len(split) for part, split in data.splits.items()} == {"train": 2934, "val": 736}
    assert read_folders(source).problems == []
