"""Bars on terminals only, and files that are written whole or not at all."""

from __future__ import annotations

import os
import re
import stat
import time
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

import pytest

from inceptions.files import write_atomically
from inceptions.progress import note, track


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return Terminal()


def run(screen: StringIO) -> None:
    with redirect_stderr(screen):  # here: pytest sets its own between a fixture and its test
        for batch in track([3, 4], description="reading [x]", total=7, amount=lambda batch: batch):
            for _ in track(range(batch), description="inner"):
                note("loss 0.5")
                time.sleep(0.06)  # bars are drawn ten times a second


@pytest.mark.parametrize("rich", ["this", "before 15"])
def test_a_terminal_shows_nested_bars_with_notes(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, rich: str
) -> None:
    if rich == "before 15":  # what Rich puts in the place of stderr was no terminal
        monkeypatch.setattr("rich.file_proxy.FileProxy.isatty", lambda self: False, raising=False)
    run(terminal)
    shown = terminal.getvalue()
    for text in ("reading [x]", "3/7", "images/s", "inner", "loss 0.5"):
        assert text in shown
    assert "\x1b[3" in shown or "\x1b[9" in shown  # colors


@pytest.mark.parametrize("columns", ["80", "150"])
def test_numbers_fit_into_any_usual_terminal(terminal: Terminal, monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("NO_COLOR", "1")
    told = "loss 2.3704  accuracy 27.9%  lr 0.000122  waiting for data 100%"
    with redirect_stderr(terminal):
        for _ in track([32] * 3, description="epoch 100/100", total=29_340, amount=lambda units: units):
            note(told)
            time.sleep(0.12)
    shown = terminal.getvalue()
    assert re.search(r"epoch 100/100 .*64/29340 +[\d,.]+ images/s \d:\d\d:\d\d left", shown)
    assert told in shown
    assert "…" not in shown


def test_slow_items_have_a_time_left_too(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 0.0
    monkeypatch.setattr("inceptions.progress.monotonic", lambda: clock)
    with redirect_stderr(terminal):
        for _ in track(range(4), description="epochs", unit="epochs"):
            clock += 90  # beyond the half minute that rich looks back
            time.sleep(0.15)
    assert "0:03:00 left" in terminal.getvalue()
    assert "0:01:30 left" in terminal.getvalue()
    assert "epochs/s" not in terminal.getvalue()  # 0.0 epochs a second tells nobody anything


def test_no_color_is_honored(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    run(terminal)
    assert "3/7" in terminal.getvalue()
    assert "\x1b[3" not in terminal.getvalue()
    assert "\x1b[9" not in terminal.getvalue()


def test_ci_and_pipes_see_no_bar(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    run(terminal)
    assert terminal.getvalue() == ""
    monkeypatch.delenv("CI")
    pipe = StringIO()
    run(pipe)
    assert pipe.getvalue() == ""


def test_items_pass_unchanged_and_errors_close_the_bar(terminal: Terminal) -> None:
    with redirect_stderr(terminal):
        assert list(track("abc", description="x")) == ["a", "b", "c"]
        with pytest.raises(ZeroDivisionError):
            list(track((1 // n for n in (1, 0)), description="x"))
        note("nobody listens")
        assert list(track([1], description="y")) == [1]
    assert terminal.getvalue().rstrip().endswith("\x1b[?25h")  # the cursor is back


def test_writing_replaces_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_atomically(path, "one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert os.listdir(tmp_path) == ["a.json"]
    write_atomically(path, os.fsdecode(b"\xff"))  # a file name that is no text
    assert path.read_bytes() == b"\xff"
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os if step == "fsync" else Path, step, full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.json"]


def test_the_data_is_on_the_disk_before_the_name_points_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (steps.append("fsync"), fsync(fd))[1])
    monkeypatch.setattr(Path, "replace", lambda self, to: (steps.append("rename"), replace(self, to))[1])
    write_atomically(tmp_path / "a", "x")
    assert steps == ["fsync", "rename", "fsync"]
