"""Reading lists and tables of images: columns, labels, splits, and what is said when something is wrong."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import pytest
from PIL import Image

from inceptions.data import load, read_split, write_split
from inceptions.data.splitfile import changed
from inceptions.progress import DataError
from sets import folder, manifest, names, picture, table

SHARED = Path(__file__).parents[2] / "shared"


# ---- manifests ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_manifest_with_splits(tmp_path: Path, suffix: str) -> None:
    folder(tmp_path, {"x": 4})
    outside = picture(tmp_path.parent / f"{tmp_path.name}-outside.png")
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
    (tmp_path / "a.csv").write_text("path;label\nx;y\n")
    with pytest.raises(DataError, match=r"no column file_name and label.*file_name,label\[,split\]\[,group\] expected"):
        load(tmp_path / "a.csv")
    (tmp_path / "b.jsonl").write_text('{"file_name": \n[1]\n' + "[" * 100_000)
    with pytest.raises(DataError, match=r"(?s)line 1: not JSON.*line 2: an object .* expected.*line 3: not JSON"):
        load(tmp_path / "b.jsonl")


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
