"""What a run could not read is listed and counted, in whichever part it lies, and its report says so."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from inceptions.report import write_report
from inceptions.training import train
from tiny import config, write_images

LEFT_OUT = {"train/c0/broken.png", "val/c1/broken.png", "train/c2/link.png"}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = write_images(tmp_path / "data")
    for file in ("train/c0/broken.png", "val/c1/broken.png"):
        (folder / file).write_bytes(b"\x89PNG\r\n\x1a\nand no more")
    (folder / "train/c2/link.png").symlink_to(tmp_path / "nowhere.png")
    return folder


def listed(run: Path) -> set[str]:
    found: dict[str, str] = json.loads((run / "unreadable.json").read_text())
    assert all(found.values())
    return set(found)


def test_every_image_that_was_left_out_is_listed_with_its_reason(data: Path, tmp_path: Path) -> None:
    train(config(data, tmp_path / "run"))
    assert listed(tmp_path / "run") == LEFT_OUT
    page = write_report(tmp_path / "run").read_text()
    assert "3 images could not be read and had to be left out" in page
    assert all(file in page for file in LEFT_OUT)


def test_so_is_what_a_fitted_head_left_out(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INCEPTIONS_CACHE", str(tmp_path / "cache"))
    base = train(config(write_images(tmp_path / "whole"), tmp_path / "base", epochs=1)).output
    free: dict[str, Any] = {"width": 1.0, "depth": 1.0, "stem": "standard"}  # as in the weights
    train(config(data, tmp_path / "run", weights=str(base), tune="head", **free))
    assert listed(tmp_path / "run") == LEFT_OUT


def test_an_interruption_forgets_nothing(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(config(data, run, epochs=3, max_time="0.01s"))
    train(config(data, run, epochs=3, resume=True))
    assert listed(run) == LEFT_OUT
    with (run / "results.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 3
