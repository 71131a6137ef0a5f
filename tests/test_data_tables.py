"""Reading lists and tables of images: columns, labels, splits, and what is said when something is wrong."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import pytest
from PIL import Image

from inceptions.data import load, read_split, write_split
from inceptions.data.check import check
from inceptions.data.split_file import changed
from inceptions.errors import DataError
from sets import folder, image, manifest, names, table

SHARED = Path(__file__).parents[2] / "shared"


# ---- manifests ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_manifest_with_splits(tmp_path: Path, suffix: str) -> None:
    folder(tmp_path, {"x": 4})
    outside = image(tmp_path.parent / f"{tmp_path.name}-outside.png")
    rows = [
        {"file_name": "x/000.png", "label": "one", "split": "train", "more": 1},
        {"file_name": "./x/001.png", "label": "two", "split": "training", "more": 1},
        {"file_name": "x/002.png", "label": "one", "split": "valid", "more": 1},
        {"file_name": str(outside), "label": "two", "split": "test", "more": 1},
    ]
    data = load(manifest(tmp_path / f"m{suffix}", rows))
    assert names(data) == {
        "train": {("x/000.png", "one"), ("x/001.png", "two")},
        "val": {("x/002.png", "one")},
        "test": {(str(outside), "two")},
    }
    assert (data.layout, data.divided, data.root) == ("manifest", True, tmp_path)
    assert data.splits["test"].path(0) == outside
    outside.unlink()


def test_numbers_are_class_names_and_the_column_may_be_chosen(tmp_path: Path) -> None:
    folder(tmp_path, {"x": 4})
    rows = [{"file_name": f"x/00{i}.png", "kind": i // 2, "label": "same"} for i in range(4)]
    assert load(manifest(tmp_path / "m.jsonl", rows), label="kind").classes == ("0", "1")


def test_a_missing_file_is_refused_not_fatal(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder(tmp_path, {"x": 4})
    rows = [{"file_name": f"x/00{i}.png", "label": i % 2} for i in range(5)] + [
        {"file_name": "/no/way.png", "label": 1}
    ]
    data = load(manifest(tmp_path / "m.csv", rows))
    assert {file for file, _ in data.refused} == {"x/004.png", "/no/way.png"}
    assert "left out: x/004.png: no such file" in caplog.text


def test_everything_wrong_with_a_manifest_is_told_at_once(tmp_path: Path) -> None:
    folder(tmp_path, {"x": 4})
    file = tmp_path / "m.csv"
    file.write_text(
        "file_name,label,split,group\n"
        "x/000.png,a,train,g\n"
        "x/000.png,b,train,\n"
        "../secret.png,a,train,\n"
        "x/001.png,,train,\n"
        "x/002.png,b,later,\n"
        ",b,train,\n"
        "x/003.png,b,val,g\n"
        "x/001.png,b,,\n"
    )
    with pytest.raises(DataError) as caught:
        load(file)
    for said in (
        "line 3: x/000.png is listed already, in line 2",
        "line 4: ../secret.png leaves the manifest's folder",
        "line 5: x/001.png has no label",
        "line 6: split 'later'; one of train",
        "line 7: no file_name",
        "group g is in train and val",
        "some lines have a split and others have none",
    ):
        assert said in str(caught.value)


def test_a_manifest_that_is_none_says_what_is_expected(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("where;what\nx;y\n")
    with pytest.raises(DataError, match=r"no column file_name and label.*file_name,label\[,split\]\[,group\] expected"):
        load(tmp_path / "a.csv")
    (tmp_path / "b.jsonl").write_text('{"file_name": \n[1]\n' + "[" * 100_000)
    with pytest.raises(DataError, match=r"(?s)line 1: not JSON.*line 2: an object .* expected.*line 3: not JSON"):
        load(tmp_path / "b.jsonl")


def test_windows_paths_are_resolved_but_never_leave_the_folder(tmp_path: Path) -> None:
    folder(tmp_path, {"x": 2, "y/z": 2})
    image(tmp_path / "back\\slash.png")  # a name like any other here
    rows = [{"file_name": name, "label": label} for name, label in (
        ("x\\000.png", "a"), (".\\x\\001.png", "a"), ("y\\z/000.png", "b"), ("back\\slash.png", "b")
    )]  # fmt: skip
    data = load(manifest(tmp_path / "m.csv", rows), val_fraction=0)
    assert {file for file, _ in names(data)["train"]} == {"x/000.png", "x/001.png", "y/z/000.png", "back\\slash.png"}
    with pytest.raises(DataError, match="leaves the manifest's folder"):
        load(manifest(tmp_path / "m.csv", [*rows, {"file_name": "x\\..\\..\\secret.png", "label": "a"}]))


def test_a_list_whose_files_are_all_missing_says_where_it_looked(tmp_path: Path) -> None:
    root = folder(tmp_path / "D", {"cat": 1, "dog": 1})
    rows = [{"file_name": f"D/{label}/000.png", "label": label} for label in ("cat", "dog")]
    with pytest.raises(DataError, match=r"none of its 2 files exists in .*D/cat/000\.png; leave D out"):
        load(manifest(root / "m.csv", rows))
    (root / "lists").mkdir()
    rows = [{"file_name": f"{label}/000.png", "label": label} for label in ("cat", "dog")]
    with pytest.raises(DataError, match=f"it exists in {root}: put the manifest there"):
        load(manifest(root / "lists" / "m.csv", rows))


def test_missing_files_are_told_with_the_problem_they_cause(tmp_path: Path) -> None:
    folder(tmp_path, {"dog": 1})
    rows = [
        {"file_name": f"{name}.png", "label": label}
        for name, label in (("x/1", "cat"), ("dog/000", "dog"), ("y", "cat"))
    ]
    with pytest.raises(DataError, match=r"(?s)only one class, dog.*left out: x/1\.png: no such file \(and 1 more\)"):
        load(manifest(tmp_path / "m.csv", rows))


@pytest.mark.parametrize("answer", ["", "-1", None, -1])
def test_a_list_may_have_a_test_part_without_answers(
    tmp_path: Path, answer: object, caplog: pytest.LogCaptureFixture
) -> None:
    folder(tmp_path, {"x": 8})
    rows = [
        {"file_name": f"x/00{i}.png", "label": "ab"[i % 2] if i < 4 else answer, "split": "train" if i < 4 else "Test"}
        for i in range(8)
    ]
    for suffix in (".csv", ".jsonl"):
        caplog.clear()
        data = load(manifest(tmp_path / f"m{suffix}", rows), val_fraction=0)
        assert (data.classes, data.unlabeled, set(data.splits)) == (("a", "b"), {"test": 4}, {"train"})
        assert caplog.messages == ["left out: 4 images of test, which have no class"]


def test_minus_one_is_a_class_where_it_is_learned(tmp_path: Path) -> None:
    folder(tmp_path, {"x": 4})
    rows = [{"file_name": f"x/00{i}.png", "label": i % 2 - 1, "split": "train" if i < 2 else "test"} for i in range(4)]
    assert set(load(manifest(tmp_path / "m.csv", rows)).classes) == {"-1", "0"}


def test_labels_that_differ_in_capitals_only_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder(tmp_path, {"x": 4})
    rows = [{"file_name": f"x/00{i}.png", "label": ("cat", "Cat", "dog", "dog")[i]} for i in range(4)]
    load(manifest(tmp_path / "m.csv", rows), val_fraction=0)
    assert "classes that differ only in capitals or accents: Cat, cat" in caplog.text


def test_splits_of_a_column_are_called_as_people_call_them(tmp_path: Path) -> None:
    folder(tmp_path, {"x": 8})
    called = ["Training", "TRAIN", "train_set", "trainval", "PublicTest", "Validation", "Dev", "TEST"]
    rows = [{"file_name": f"x/00{i}.png", "label": i % 2, "split": split} for i, split in enumerate(called)]
    data = load(manifest(tmp_path / "m.csv", rows))
    assert {part: len(split) for part, split in data.splits.items()} == {"train": 4, "val": 2, "test": 2}


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        ([False, True], ("False", "True")),
        ([0.0, 1.0], ("0", "1")),
        ([0.5, 1.5], ("0.5", "1.5")),
        ([3, 12], ("3", "12")),
    ],
)
def test_labels_of_any_scalar_type_are_read_in_lists(
    tmp_path: Path, values: list[object], classes: tuple[str, ...]
) -> None:
    folder(tmp_path, {"x": 4})
    rows = [{"file_name": f"x/00{i}.png", "label": values[i % 2]} for i in range(4)]
    for suffix in (".jsonl", ".csv"):
        assert load(manifest(tmp_path / f"m{suffix}", rows)).classes == classes


def test_a_model_trained_when_whole_floats_were_text_finds_its_classes(tmp_path: Path) -> None:
    folder(tmp_path, {"x": 4})
    rows = [{"file_name": f"x/00{i}.png", "label": float(i % 2)} for i in range(4)]
    data = load(manifest(tmp_path / "m.csv", rows), classes=("0.0", "1.0"), val_fraction=0)
    assert data.splits["train"].targets.tolist() == [0, 0, 1, 1]


# ---- tables ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def quiet_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    logging.getLogger("datasets").setLevel(logging.ERROR)


@pytest.mark.usefixtures("quiet_datasets")
def test_a_folder_of_tables_is_a_data_set_with_class_names(tmp_path: Path) -> None:
    table(tmp_path / "t" / "train-00000-of-00002.parquet", [0, 1, 1], names=["cat", "dog"])
    table(tmp_path / "t" / "train-00001-of-00002.parquet", [0], names=["cat", "dog"])
    table(tmp_path / "t" / "test.parquet", [1, 0, -1], names=["cat", "dog"])
    data = load(tmp_path / "t", val_fraction=0)
    assert data.classes == ("cat", "dog")
    assert data.splits["train"].targets.tolist() == [0, 0, 1, 1]
    assert data.splits["test"].targets.tolist() == [0, 1]
    assert data.unlabeled == {"test": 1}
    assert data.refused == ()
    content = data.splits["test"].source(0)
    assert isinstance(content, bytes)
    assert Image.open(io.BytesIO(content)).getpixel((0, 0)) == (1, 0, 0)
    with pytest.raises(ValueError, match="is a table"):
        data.splits["test"].path(0)


@pytest.mark.usefixtures("quiet_datasets")
def test_a_table_maps_by_name_divides_and_is_recorded(tmp_path: Path) -> None:
    file = table(tmp_path / "all.parquet", ["b", "a"] * 10, column="kind")
    data = load(file, label="kind")
    assert (data.divided, len(data.splits["train"]), len(data.splits["val"])) == (False, 16, 4)
    write_split(data, tmp_path / "split.json")
    again = read_split(tmp_path / "split.json")
    assert names(again) == names(data)
    assert changed(again.splits["val"]) == ()
    assert (
        load(file, label="kind", classes=("b", "a"), val_fraction=0).splits["train"].targets.tolist()
        == [0] * 10 + [1] * 10
    )
    with pytest.raises(DataError, match="say which one holds the class"):
        load(file)


@pytest.mark.usefixtures("quiet_datasets")
def test_what_save_to_disk_wrote_is_read(tmp_path: Path) -> None:
    import datasets

    table(tmp_path / "x.parquet", [0, 1, 0, 1], names=["cat", "dog"])
    one = datasets.Dataset.from_parquet(str(tmp_path / "x.parquet"))
    datasets.DatasetDict({"train": one, "validation": one}).save_to_disk(str(tmp_path / "saved"))
    data = load(tmp_path / "saved")
    assert {part: len(split) for part, split in data.splits.items()} == {"train": 4, "val": 4}


@pytest.mark.usefixtures("quiet_datasets")
def test_a_damaged_table_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match="cannot read it"):
        load(tmp_path / "x.parquet")


def test_a_mistyped_path_is_not_asked_of_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    for wrong in ("data/flwers", "./flowers", "../flowers", "a/b/c", str(tmp_path / "no")):
        with pytest.raises(DataError, match="no such folder"):
            load(wrong)


@pytest.mark.usefixtures("quiet_datasets")
def test_cifar10_is_read_by_its_class_names() -> None:
    source = SHARED / "data" / "cifar10" / "test.parquet"
    if not source.exists():
        pytest.skip(f"{source} is not here")
    pytest.importorskip("datasets")
    data = load(source, val_fraction=0.2)
    assert data.classes[:3] == ("airplane", "automobile", "bird")
    assert {part: len(split) for part, split in data.splits.items()} == {"test": 10_000}


@pytest.mark.usefixtures("quiet_datasets")
@pytest.mark.parametrize(
    ("values", "kind", "classes"),
    [
        ([True, False], "bool", ("False", "True")), ([0.0, 1.0], "float64", ("0", "1")), ([1, 0], "int8", ("0", "1")),
        ([0.5, 1.0], "float32", ("0.5", "1")), (["b", "a"], "large_string", ("a", "b")),
        ([b"b", b"a"], "binary", ("a", "b")),
    ],
)  # fmt: skip
def test_labels_of_any_scalar_type_are_read_in_tables(
    tmp_path: Path, values: list[object], kind: str, classes: tuple[str, ...]
) -> None:
    file = table(tmp_path / "x.parquet", values * 3, kind=kind)
    assert load(file).classes == classes


@pytest.mark.usefixtures("quiet_datasets")
def test_a_test_set_without_answers_is_one_line_and_valid(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table(tmp_path / "t" / "train.parquet", [0, 1] * 4, names=["cat", "dog"])
    table(tmp_path / "t" / "test.parquet", [-1] * 200, names=["cat", "dog"])
    report = check(tmp_path / "t")
    assert [record.message for record in caplog.records] == ["left out: 200 images of test, which have no class"]
    assert (report.valid, report.unlabeled, report.unreadable) == (True, {"test": 200}, ())


@pytest.mark.usefixtures("quiet_datasets")
def test_labels_that_are_missing_where_one_learns_are_told_in_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = table(tmp_path / "train.parquet", [None, "a", "b"] * 30)
    assert len(load(file).refused) == 30
    assert "left out: train/000000: no class: label is None (and 29 more)" in caplog.text
    assert len(caplog.records) == 1
    assert not check(file).valid


@pytest.mark.usefixtures("quiet_datasets")
def test_files_and_parts_are_splits_by_any_of_their_names(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    import datasets

    for name in ("Training_set-00000-of-00001", "my_validation", "test1"):
        table(tmp_path / "t" / f"{name}.parquet", ["a", "b"] * 2)
    assert set(load(tmp_path / "t").splits) == {"train", "val", "test"}
    table(tmp_path / "t" / "flowers.parquet", ["a", "b"])
    with pytest.raises(DataError, match="some of its files are called like splits"):
        load(tmp_path / "t")
    one = datasets.Dataset.from_parquet(str(tmp_path / "t" / "flowers.parquet"))
    datasets.DatasetDict({"TRAIN": one, "dev": one, "extra": one}).save_to_disk(str(tmp_path / "saved"))
    assert {part: len(split) for part, split in load(tmp_path / "saved").splits.items()} == {"train": 2, "val": 2}
    assert "ignored: the parts extra" in caplog.text
    datasets.DatasetDict({"train": one, "training": one}).save_to_disk(str(tmp_path / "twice"))
    with pytest.raises(DataError, match="its parts train, training all mean the train split"):
        load(tmp_path / "twice")
