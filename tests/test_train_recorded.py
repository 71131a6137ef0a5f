"""Runs whose data is moved, shares images with itself, or was learned from before."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from inceptions.cli import main
from inceptions.data.split_file import read_record
from inceptions.errors import DataError
from inceptions.report.facts import read_run
from inceptions.training import train
from inceptions.weights import artifact
from tiny import config, results, saved_again, write_images


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(a folder that `train` divided, the run)."""
    folder = tmp_path_factory.mktemp("finished")
    data = write_images(folder, train=10, val=0) / "train"
    train(config(data, folder / "run", epochs=1))
    return data, folder / "run"


@pytest.fixture
def own(finished: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    """The same; the data is gone, and a copy of it lies elsewhere: (the copy, the run)."""
    data, run = finished
    copied = tmp_path / "run"
    shutil.copytree(run, copied)
    record = (copied / "split.json").read_text().replace(str(data), str(tmp_path / "gone"))
    (copied / "split.json").write_text(record)
    shutil.copytree(data, tmp_path / "copy")
    return tmp_path / "copy", copied


def said(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    assert main([*map(str, words), "--json"]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return told


def test_val_judges_moved_data_and_its_hint_exists(
    own: tuple[Path, Path], finished: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy, run = own
    assert main(["val", str(run)]) == 3
    assert f"(inceptions val {run} FOLDER)" in capsys.readouterr().err
    straight = said(capsys, "val", finished[1])
    for words in ((copy,), ("--data", copy)):
        told = said(capsys, "val", run, *words)
        for key in ("split", "n", "top1", "loss", "per_class", "trained_on"):
            assert told[key] == straight[key], key
    assert (straight["split"], straight["n"], straight["trained_on"]) == ("val", 6, 24)
    assert said(capsys, "val", run, saved_again(copy, tmp_path / "again"))["n"] == 30
    assert main(["val", str(run), str(copy)]) == 0
    assert "left out, because the model was trained on them: 24 images" in capsys.readouterr().out


def test_a_models_copy_and_the_model_in_the_run_know_what_was_trained_on(
    finished: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = finished
    shutil.copytree(run / "model", tmp_path / "somewhere")
    for model in (run / "model", tmp_path / "somewhere"):
        assert said(capsys, "val", model, data)["n"] == 6
    config = json.loads((tmp_path / "somewhere" / "config.json").read_text())
    config["inceptions"]["training"]["step"] = 12345  # another run has taken its place
    (tmp_path / "somewhere" / "config.json").write_text(json.dumps(config))
    assert said(capsys, "val", tmp_path / "somewhere", data)["n"] == 30


@pytest.mark.parametrize("other", [False, True])
def test_an_export_is_checked_on_what_was_not_trained_on(
    other: bool, own: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy, run = own
    assert main(["export", str(run), "--format", "pt2", "--output", str(tmp_path / "no")]) == 3
    assert "say where they lie now (--data)" in capsys.readouterr().err
    place = saved_again(copy, tmp_path / "again") if other else copy
    told = said(capsys, "export", run, "--format", "pt2", "--data", place, "--output", tmp_path / "out")
    assert told["n"] == (30 if other else 6)


def test_a_stopped_run_goes_on_where_its_data_lies_now(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_images(tmp_path / "one", train=8, val=0) / "train"
    straight, run = tmp_path / "straight", tmp_path / "run"
    train(config(data, straight, epochs=2))
    train(config(data, run, epochs=2, max_time="0.001s"))
    data.rename(tmp_path / "moved")
    assert main(["train", "--resume", "--output", str(run)]) == 3
    assert f"(inceptions train FOLDER --output {run} --resume)" in capsys.readouterr().err
    other = write_images(tmp_path / "other", train=9, val=0, size=20) / "train"
    assert main(["train", str(other), "--resume", "--output", str(run)]) == 2
    for number, file in enumerate(sorted((tmp_path / "moved").rglob("*.png"))):
        file.rename(file.with_name(f"{100 - number}.png"))  # another order, too
    assert main(["train", str(tmp_path / "moved"), "--resume", "--output", str(run)]) == 0
    assert (run / "model" / "model.safetensors").read_bytes() == (straight / "model" / "model.safetensors").read_bytes()
    assert results(run) == results(straight)
    assert read_record(run / "split.json").root == tmp_path / "moved"
    assert said(capsys, "val", run)["n"] == 6


def test_shared_images_and_classes_without_any_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    data, run = write_images(tmp_path / "data", train=6, val=3), tmp_path / "run"
    for number in range(2):
        shutil.copy(data / "train" / "c0" / f"{number}.png", data / "val" / "c0" / f"copy {number}.png")
    shutil.copy(data / "train" / "c0" / "5.png", data / "train" / "c1" / "c0.png")
    shutil.rmtree(data / "val" / "c2")
    result = train(config(data, run, epochs=1))
    assert result.to_dict()["shared"] == {"val": 2}
    for told in (
        "2 of the validation images are training images too",
        "1 images lie in more than one class",
        "no validation images of class c2",
    ):
        assert told in caplog.text
    page = read_run(run)
    assert len(page.copies.learned["val"]) == 2
    assert main(["report", str(run)]) == 0
    assert "2 validation images are training images too" in (run / "report.html").read_text()
    told = said(capsys, "val", run)
    assert (told["n"], told["trained_on"], told["missing_classes"]) == (6, 2, ["c2"])
    assert (result.metrics.n, result.top1, result.metrics.loss) == (6, told["top1"], pytest.approx(told["loss"]))
    assert len((run / "predictions.csv").read_text().splitlines()) == 1 + 6
    assert float(results(run)[0]["val_top1"]) == pytest.approx(told["top1"])


def test_a_run_that_could_be_judged_on_nothing_but_its_training_images_is_refused(tmp_path: Path) -> None:
    data = write_images(tmp_path / "data", train=3, val=0)
    shutil.rmtree(data / "val")
    shutil.copytree(data / "train", data / "val")
    with pytest.raises(DataError, match="was or is trained on all 9 validation images"):
        train(config(data, tmp_path / "run", epochs=1))
    assert not (tmp_path / "run" / "split.json").exists()


def test_what_the_weights_learned_from_is_not_judged(
    finished: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    data, base = finished
    train(config(data, tmp_path / "run", epochs=1, weights=str(base / "model"), split_seed=2, lr=0.001))
    first, second = read_record(base / "split.json"), read_record(tmp_path / "run" / "split.json")
    assert first.contents("train") <= second.learned
    seen = first.contents("train") & second.contents("val")
    assert seen
    assert len(seen) < 6
    assert f"{len(seen)} of the 6 validation images were trained on before" in caplog.text
    assert said(capsys, "val", tmp_path / "run", data)["n"] == 6 - len(seen)
    assert artifact.describe(tmp_path / "run").facts.metrics["val"]["n"] == 6 - len(seen)
    assert artifact.load(tmp_path / "run").classes == ("c0", "c1", "c2")
