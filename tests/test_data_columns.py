"""Manifests and tables as spreadsheets, competitions and other libraries write them."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import pytest
from PIL import Image

from inceptions.data import load
from inceptions.errors import DataError
from sets import image, names


def listed(root: Path, text: str, name: str = "m.csv") -> Path:
    """A manifest beside a.png ... d.png."""
    for number, letter in enumerate("abcd"):
        image(root / f"{letter}.png", number)
    (root / name).write_text(text)
    return root / name


def refusal(file: Path) -> str:
    with pytest.raises(DataError) as caught:
        load(file)
    return str(caught.value)


def read(file: Path) -> set[tuple[str, str]]:
    return set().union(*names(load(file, val_fraction=0)).values())


PAIR = {("a.png", "x"), ("b.png", "y")}


@pytest.mark.parametrize(
    "header", ["filename,label", "File Name,Label", "image_path,class", "FILE_NAME;Category", "label_name\tImg"]
)
def test_columns_by_the_names_that_people_give_them(
    tmp_path: Path, header: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    mark = next(mark for mark in ",;\t" if mark in header)
    first = header.lower().startswith("label")
    cells = [("x", "a.png"), ("y", "b.png")] if first else [("a.png", "x"), ("b.png", "y")]
    assert read(listed(tmp_path, "\n".join([header, *(mark.join(row) for row in cells)]))) == PAIR
    assert ("columns taken" in caplog.text) == (header in ("image_path,class", "FILE_NAME;Category", "label_name\tImg"))


def test_the_split_in_a_column_of_other_capitals_is_read(tmp_path: Path) -> None:
    data = load(listed(tmp_path, "file_name,label,Split\na.png,x,train\nb.png,y,train\nc.png,x,val\nd.png,y,val\n"))
    assert data.divided
    assert names(data)["val"] == {("c.png", "x"), ("d.png", "y")}


def test_a_column_that_may_divide_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    load(listed(tmp_path, "file_name,label,is_train\na.png,x,1\nb.png,y,0\n"))
    assert "column is_train is not read" in caplog.text


def test_a_column_that_stands_twice_is_refused(tmp_path: Path) -> None:
    assert "column label stands in the header 2 times" in refusal(
        listed(tmp_path, "file_name,label,label\na.png,x,p\nb.png,y,p\n")
    )


def test_lines_of_json_may_use_other_names_too(tmp_path: Path) -> None:
    rows = '{"image": "a.png", "class": "x"}\n{"image": "b.png", "class": "y"}\n'
    assert read(listed(tmp_path, rows, "m.jsonl")) == PAIR


def test_rows_that_a_spreadsheet_left_empty_are_none(tmp_path: Path) -> None:
    assert read(listed(tmp_path, "file_name,label\n,\na.png,x\n , \nb.png,y,\n,,,\n")) == PAIR


def test_a_row_of_too_many_cells_is_refused(tmp_path: Path) -> None:
    said = refusal(listed(tmp_path, "file_name,label\na.png,big, grey\nb.png,y\nc.png,x\n"))
    assert "line 2: 3 cells, the header has 2: quote a cell that holds ','" in said


def test_spaces_around_a_file_name_are_no_part_of_it_unless_it_has_them(tmp_path: Path) -> None:
    image(tmp_path / "e.png", 9).rename(tmp_path / "d.png ")
    found = read(listed(tmp_path, "file_name,label\na.png ,x\n b.png,y\nd.png ,x\n"))
    assert found == PAIR | {("d.png ", "x")}


def test_a_line_that_is_repeated_counts_once_and_one_that_differs_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert read(listed(tmp_path, "file_name,label\na.png,x\nb.png,y\n./a.png,x\n")) == PAIR
    assert "1 lines say again" in caplog.text
    whole = tmp_path / "a.png"
    said = refusal(listed(tmp_path, f"file_name,label\na.png,x\nb.png,y\n{whole},y\n"))
    assert "is listed already, in line 2: label x and y" in said


def test_a_path_that_leads_out_and_back_stays_in_the_folder(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    assert read(listed(tmp_path / "set", "file_name,label\n../set/a.png,x\n../set/b.png,y\n")) == PAIR
    assert "leaves the manifest's folder" in refusal(listed(tmp_path / "set", "file_name,label\n../a.png,x\n"))


def test_addresses_are_no_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    said = refusal(listed(tmp_path, "file_name,label\nhttps://here.org/a.png,x\nhttps://here.org/b.png,y\n"))
    assert "are addresses (https://here.org/a.png): download them" in said
    assert read(listed(tmp_path, "file_name,label\ngs://b/c.png,x\na.png,x\nb.png,y\n")) == PAIR
    assert "gs://b/c.png: an address, not a file" in caplog.text
    whole = (tmp_path / "a.png").as_uri()
    assert {file for file, _ in read(listed(tmp_path, f"file_name,label\n{whole},x\nb.png,y\n"))} == {
        str(tmp_path / "a.png"), "b.png"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("a", "add .png to each name: a.png exists"), ("A.PNG", "a.png exists"),
        ("images/a.png", "leave images out: a.png exists"), ("images/a", "leave images out: add .png to each name"),
        ("deep", "part_2/in/deep.png exists: list the files so"),
    ],
)  # fmt: skip
def test_where_files_are_that_a_manifest_misses(tmp_path: Path, name: str, hint: str) -> None:
    image(tmp_path / "part_2/in/deep.png")
    assert hint in refusal(listed(tmp_path, f"file_name,label\n{name},x\n"))


def test_a_manifest_of_no_rows_says_so(tmp_path: Path) -> None:
    assert "it lists no images" in refusal(listed(tmp_path, "file_name,label\n"))


def test_words_for_no_answer_and_several_answers_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    load(listed(tmp_path, "file_name,label\na.png,nan\nb.png,-1\nc.png,x|y\nd.png,x\n"), val_fraction=0)
    assert "taken for classes: nan (1 images), -1 (1 images)" in caplog.text
    assert "several of the others" not in caplog.text
    load(listed(tmp_path, "file_name,label\na.png,y\nc.png,x|y\nd.png,x\n"), val_fraction=0)
    assert "1 classes are called like several of the others (x|y)" in caplog.text


def test_a_pointer_of_git_lfs_is_named(tmp_path: Path) -> None:
    for name in ("t.csv", "t.parquet"):
        (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n")
        assert "git lfs pull" in refusal(tmp_path / name)


# ---- tables ---------------------------------------------------------------------------------------------------------


def table(path: Path, **columns: object) -> Path:
    """Four images and further columns, as pyarrow writes them; kinds by pyarrow's rules."""
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pytest.importorskip("datasets")
    images = []
    for number in range(4):
        file = io.BytesIO()
        Image.new("RGB", (4, 4), (number, 0, 0)).save(file, "PNG")
        images.append(file.getvalue())
    large = columns.pop("large", False)
    held = {"image": pa.array(images, pa.large_binary() if large else pa.binary())}
    parquet.write_table(
        pa.table(held | {name: images if value == "again" else value for name, value in columns.items()}), path
    )
    return path


def test_columns_split_and_group_of_a_table_are_read(tmp_path: Path) -> None:
    data = load(
        table(tmp_path / "t.parquet", label=["x", "y"] * 2, Split=["train", "train", "Test", "test"]), val_fraction=0
    )
    assert {part: len(split) for part, split in data.splits.items()} == {"train": 2, "test": 2}
    with pytest.raises(DataError, match=r"column split holds 0, 1; train, val or test expected"):
        load(table(tmp_path / "t.parquet", label=["x", "y"] * 2, split=[0, 1, 0, 1]))
    grouped = load(table(tmp_path / "g.parquet", label=["x", "y"] * 2, group=["p", "p", "q", "q"]), val_fraction=0.5)
    assert {file for file, _ in names(grouped)["val"]} in ({"all/000000", "all/000001"}, {"all/000002", "all/000003"})


@pytest.mark.parametrize(
    "columns",
    [
        {"label": ["x", "y"] * 2, "large": True}, {"label": [b"x", b"y"] * 2}, {"Class": ["x", "y"] * 2},
        {"label": ["x", "y"] * 2, "mask": "again"},
    ],
)  # fmt: skip
def test_tables_as_other_libraries_write_them(tmp_path: Path, columns: dict[str, object]) -> None:
    data = load(table(tmp_path / "t.parquet", **columns), val_fraction=0)
    assert data.classes == ("x", "y")
    assert bytes(data.splits["train"].source(0))[1:4] == b"PNG"


def test_a_table_without_rows_or_images_says_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(
        pa.table({"image": pa.array([], pa.binary()), "label": pa.array([], pa.string())}), tmp_path / "e.parquet"
    )
    assert "it has no rows" in refusal(tmp_path / "e.parquet")
    parquet.write_table(pa.table({"image_path": ["a.png"], "label": ["x"]}), tmp_path / "p.parquet")
    assert "if image_path names files, write the table as .csv" in refusal(tmp_path / "p.parquet")
    (tmp_path / "b.parquet").write_bytes(b"PAR1 no")
    assert "cannot read it: Arrow" in refusal(tmp_path / "b.parquet")
    assert capfd.readouterr().err == ""
