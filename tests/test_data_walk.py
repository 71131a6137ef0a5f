"""One walk for every command: links, system folders, and what is not taken is counted and told."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from inceptions.cli import main
from inceptions.cli.data import check as verb
from inceptions.data import load
from inceptions.data.check import check
from inceptions.data.readers.walk import Walk
from inceptions.errors import DataError
from inceptions.predict import images_in, some_images
from sets import folder, image


def relative(root: Path) -> list[str]:
    return [os.path.relpath(file, root) for file in images_in([root])]


def loaded(root: Path) -> set[str]:
    split = load(root).whole()
    return {split.name(index) for index in range(len(split))}


def test_training_and_prediction_see_the_same_images(tmp_path: Path) -> None:
    real, root = folder(tmp_path / "real", {"a": 2, "b": 2}), tmp_path / "root"
    folder(root, {"c": 2, "@eaDir": 1, "a/@eaDir": 0, "c/__MACOSX": 1, "c/lost+found": 1, ".ipynb_checkpoints": 1})
    folder(root, {"$RECYCLE.BIN": 1, "System Volume Information": 1, "c/deep/deeper": 1})
    (root / "a" / "@eaDir").rmdir()
    (root / "a").rmdir()
    (root / "a").symlink_to(real / "a")
    (root / "b").symlink_to(real / "b")
    (root / "c" / "up").symlink_to(root)
    for junk in ("Thumbs.db", ".DS_Store", "._000.png", "desktop.ini"):
        (root / "c" / junk).write_bytes(b"x")
    files = {f"{label}/00{i}.png" for label in "abc" for i in range(2)} | {"c/deep/deeper/000.png"}
    assert loaded(root) == files  # through c/up, all would be of class c
    assert set(relative(root)) == files
    skipped = load(root).skipped
    assert skipped["hidden"] > 0
    assert {"@eaDir", "__MACOSX", "lost+found", ".ipynb_checkpoints", "$RECYCLE.BIN"} <= set(skipped["folders"])


def test_what_leads_nowhere_stays_in_the_list(tmp_path: Path) -> None:
    image(tmp_path / "10.png")
    image(tmp_path / "2.png")
    (tmp_path / "3.png").symlink_to(tmp_path / "nothing")
    assert relative(tmp_path) == ["2.png", "3.png", "10.png"]


def test_many_links_into_each_other_end(tmp_path: Path) -> None:
    for name in "abcdefghij":
        image(tmp_path / name / "x.png")
        for other in "abcdefghij":
            (tmp_path / name / f"to-{other}").symlink_to(tmp_path / other)
    assert len(relative(tmp_path)) == 10


def test_a_folder_that_cannot_be_listed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder(tmp_path, {"a": 1, "b": 1})
    scandir = os.scandir

    def locked(path: bytes) -> object:
        if os.fsdecode(path).endswith("a"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", locked)
    assert relative(tmp_path) == ["b/000.png"]
    assert f"{tmp_path}/a: permission denied" in caplog.text


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Four images among files that are none, or cannot be read here."""
    folder(tmp_path, {"a": 2, "b": 2})
    content = (tmp_path / "a" / "000.png").read_bytes()
    for i in range(40):
        (tmp_path / "a" / f"{i}.PSD").write_bytes(b"8BPS")
    for i in range(5):
        (tmp_path / "b" / f"{i:x}f3a").write_bytes(content)
    (tmp_path / "b" / "x.jpg_large").write_bytes(content)
    (tmp_path / "b" / "photo.jpg?w=200").write_bytes(content)
    (tmp_path / "b" / "000.txt").write_text("0 0.5 0.5 1 1")
    (tmp_path / "notes.md").write_text("x")
    return tmp_path


def test_what_is_not_taken_is_counted_by_suffix_and_told_once(mixed: Path, caplog: pytest.LogCaptureFixture) -> None:
    for look in (load, lambda root: images_in([root])):
        caplog.clear()
        look(mixed)
        (line,) = [record.message for record in caplog.records if "not taken" in record.message]
        assert "40 .psd (not read: convert them to PNG or JPEG)" in line
        assert "6 without a suffix (images by their content, as " in line
        assert "1 .jpg_large (images by their content" in line
        assert "1 .txt (labels of boxes" in line
        assert "1 .md" in line


def test_data_check_counts_it_in_json(mixed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verb(str(mixed), json=True)
    facts = json.loads(capsys.readouterr().out)
    assert facts["skipped"]["files"] == {".psd": 40, "no suffix": 6, ".jpg_large": 1, ".txt": 1, ".md": 1}
    assert facts["suffixes"] == {".png": 4}
    assert check(mixed).valid


def test_an_error_tells_what_was_not_taken(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.svg").write_text("<svg/>")
    with pytest.raises(DataError, match=r"(?s)no images.*not taken: 1 \.svg"):
        load(tmp_path)


def test_notes_beside_images_are_no_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder(tmp_path, {"a": 2, "b": 2})
    (tmp_path / "README.md").write_text("x")
    caplog.set_level("INFO")
    load(tmp_path)
    assert [(r.levelname, r.message) for r in caplog.records] == [("INFO", f"{tmp_path}: not taken: 1 .md")]


def test_pipes_are_neither_opened_nor_lost(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "pipe.png")
    listing = Walk(os.fsencode(tmp_path)).at(b"")
    assert listing.others == []
    assert listing.broken == [(b"pipe.png", "not a file")]
    assert relative(tmp_path) == ["pipe.png"]


def test_a_folder_without_images_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(DataError, match=f"there are no images in {tmp_path}"):
        some_images([tmp_path])
    for command in ("predict", "explain"):
        assert main([command, "nothing", str(tmp_path)]) != 0
    assert main(["explain", "nothing", str(tmp_path)]) == 3
    assert "there are no images in" in capsys.readouterr().err
