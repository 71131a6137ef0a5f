"""`inceptions val` on the command line: what it judges, what it prints, what it writes, how it fails."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from inceptions.cli import main
from inceptions.cli.val import _show
from inceptions.data import load, write_split
from inceptions.image import Preprocess, with_crops
from inceptions.weights import artifact
from inceptions.zoo import Network, build
from tiny import saved_again

CLASSES = ("ant", "bee", "wasp", "hornet", "fly", "moth")
FILES = ("predictions.csv", "confusion.csv", "confusion.png", "val.json")


def network(seed: int, classes: tuple[str, ...] = CLASSES) -> Network:
    torch.manual_seed(seed)
    net = build("googlenet", width=0.125, num_classes=len(classes), stem="small", norm="batch")
    with torch.no_grad():
        net.head.linear.weight.mul_(3)  # answers that differ from image to image
    net.preprocess = Preprocess(size=(32, 32))
    net.classes = classes
    return net.eval()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CLASS/image: eight images of each of four of the model's six classes."""
    root = tmp_path_factory.mktemp("insects")
    generator = np.random.default_rng(0)
    for label in CLASSES[:4]:
        (root / label).mkdir()
        for i in range(8):
            color = generator.integers(0, 256, 3)
            pixels = np.clip(color + generator.integers(-40, 40, (36 + i, 50, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / label / f"{i}.png")
    return root


@pytest.fixture
def run(tmp_path: Path, data: Path) -> Path:
    """A run that divided `data` itself."""
    folder = tmp_path / "run"
    folder.mkdir()
    artifact.save(network(0), folder / "model", training={"epochs": 7}, metrics={"val": {}})
    write_split(load(data), folder / "split.json")
    return folder


def val(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    assert main(["val", *map(str, words), "--json"]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return told


def answers(net: Network, files: list[Path], crops: int = 1, temperature: float = 1.0) -> np.ndarray:
    """(files, classes) probabilities, by hand."""
    preprocess = with_crops(net.preprocess, crops)
    rows = []
    with torch.no_grad():
        for file in files:
            images = torch.from_numpy(np.array(preprocess.image(file))).reshape(-1, 3, *net.preprocess.size)
            logits = net(net.preprocess.normalize(images)).double() / temperature
            rows.append(logits.softmax(1).mean(0).numpy())
    return np.stack(rows)


def labeled(data: Path) -> tuple[list[Path], np.ndarray]:
    files = [data / label / f"{i}.png" for label in CLASSES[:4] for i in range(8)]
    return files, np.array([CLASSES.index(file.parent.name) for file in files])


def whole(data: Path, tmp_path: Path) -> Path:
    """Images of the same pixels, saved again, in a folder that no run has divided."""
    return saved_again(data, tmp_path / "other")


def accuracy(shares: np.ndarray, targets: np.ndarray) -> float:
    return float((shares.argmax(1) == targets).mean())


def test_without_data_the_runs_own_validation_part_is_judged(
    run: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = load(data).splits["val"]
    told = val(capsys, run)
    assert (told["n"], told["split"]) == (len(own), "val")
    assert told == {**val(capsys, run, data), "data": told["data"]}, "the folder that train divided is the run's own"
    with (run / "predictions.csv").open(newline="") as file:
        assert {row["file"] for row in csv.DictReader(file)} == {own.name(i) for i in range(len(own))}


def test_an_undivided_folder_is_judged_whole_and_the_numbers_are_right(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = val(capsys, run, whole(data, tmp_path))
    files, targets = labeled(data)
    shares = answers(network(0), files)
    assert (told["n"], told["skipped"], told["unknown"]) == (32, 0, 0)
    assert told["top1"] == accuracy(shares, targets)
    assert 0 < told["top1"] < told["top5"] < 1, "this model must be able to tell the metrics apart"
    assert told["top5"] == np.mean([t in row.argsort()[-5:] for t, row in zip(targets, shares, strict=True)])
    assert told["loss"] == pytest.approx(-np.log(shares[range(32), targets]).mean(), abs=1e-6)
    assert told["missing_classes"] == ["fly", "moth"]


def test_the_files_hold_what_was_printed(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = val(capsys, run, whole(data, tmp_path), "--output", tmp_path / "out")
    assert told["files"] == [str(tmp_path / "out" / name) for name in FILES]
    assert not (run / "predictions.csv").exists()
    with (tmp_path / "out" / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    files, targets = labeled(data)
    shares = answers(network(0), files)
    assert len(rows) == 32
    for row, target, file_shares in zip(rows, targets, shares, strict=True):
        assert row["label"] == CLASSES[target]
        assert row["prediction"] == CLASSES[file_shares.argmax()]
        assert float(row["probability"]) == pytest.approx(file_shares.max(), abs=1e-6)
        best = json.loads(row["top_5"])
        assert [label for label, _ in best] == [CLASSES[i] for i in file_shares.argsort()[::-1][:5]]
    with (tmp_path / "out" / "confusion.csv").open(newline="") as file:
        confusion = [[int(value) for value in row[1:]] for row in list(csv.reader(file))[1:]]
    assert sum(map(sum, confusion)) == 32
    assert sum(confusion[i][i] for i in range(6)) / 32 == told["top1"]
    assert {**json.loads((tmp_path / "out" / "val.json").read_text()), "files": told["files"]} == told


@pytest.mark.parametrize("flags", [("-b", 1), ("-b", 5, "-j", 2), ("--workers", 3, "--batch-size", 32)])
def test_counts_do_not_depend_on_batch_size_and_workers(
    flags: tuple[object, ...], run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = whole(data, tmp_path)
    one, two = val(capsys, run, other), val(capsys, run, other, *flags)
    assert (one["n"], one["top1"], one["top5"], one["per_class"]) == (
        two["n"],
        two["top1"],
        two["top5"],
        two["per_class"],
    )
    assert one["loss"] == pytest.approx(two["loss"], abs=1e-6)


@pytest.mark.slow
def test_counts_do_not_depend_on_the_number_of_processes(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = whole(data, tmp_path)
    alone = val(capsys, run, other, "--calibrate", "--coverage", 0.5)
    with (run / "predictions.csv").open(newline="") as file:
        before = [row["file"] for row in csv.DictReader(file)]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "3", "-m", "inceptions"]
    environment = {**os.environ, "MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "val", str(run), str(other), "--json", "--calibrate", "--coverage", "0.5"],
        env=environment, capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    together = json.loads(done.stdout)
    for key in ("n", "top1", "top5", "per_class", "skipped"):
        assert together[key] == alone[key]
    assert together["calibration"]["temperature"] == pytest.approx(alone["calibration"]["temperature"], rel=1e-4)
    assert together["coverage"]["coverage"] == alone["coverage"]["coverage"]
    with (run / "predictions.csv").open(newline="") as file:
        assert [row["file"] for row in csv.DictReader(file)] == before


def test_classes_are_matched_by_name_and_unknown_ones_are_reported_not_judged(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = whole(data, tmp_path)
    (other / "bee").rename(other / "aardvark")  # now first in the listing: indices of the listing would all be wrong
    (other / "wasp" / "bad.png").write_bytes(b"no image")
    told = val(capsys, run, other)
    assert (told["n"], told["unknown"], told["skipped"]) == (24, 8, 1)
    assert [refused["file"] for refused in told["refused"]] == ["wasp/bad.png"]
    assert told["unknown_classes"] == ["aardvark"]
    assert "bee" in told["missing_classes"]
    files, targets = labeled(data)
    shares = answers(network(0), files)
    kept = targets != CLASSES.index("bee")
    assert told["top1"] == accuracy(shares[kept], targets[kept])
    with (run / "predictions.csv").open(newline="") as file:
        labels = {row["file"]: row["label"] for row in csv.DictReader(file)}
    assert labels["aardvark/0.png"] == "", "a class that the model lacks must not be given another's name"
    assert "wasp/bad.png" not in labels


@pytest.mark.parametrize("crops", [10, 12, 144])
def test_crops_average_the_probabilities(crops: int, run: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = val(capsys, run, "--crops", crops)
    own = load(data).splits["val"]
    shares = answers(network(0), [own.path(i) for i in range(len(own))], crops)
    targets = [CLASSES.index(own.path(i).parent.name) for i in range(len(own))]
    assert told["loss"] == pytest.approx(-np.log(shares[range(len(own)), targets]).mean(), abs=1e-6)
    assert told["loss"] != pytest.approx(val(capsys, run)["loss"], abs=1e-4)


def test_an_ensemble_averages_probabilities_and_matches_classes_by_name(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backwards = network(1, CLASSES[::-1])
    artifact.save(backwards, tmp_path / "second")
    third = network(2)
    third.preprocess = Preprocess(size=(40, 40))
    artifact.save(third, tmp_path / "third", temperature=3.0)
    told = val(
        capsys, run, whole(data, tmp_path), "--ensemble", tmp_path / "second", tmp_path / "third", "--batch-size", 5
    )
    files, targets = labeled(data)
    members = (answers(network(0), files), answers(backwards, files)[:, ::-1], answers(third, files, temperature=3.0))
    shares = np.mean(members, axis=0)
    assert told["loss"] == pytest.approx(-np.log(shares[range(32), targets]).mean(), abs=1e-6)
    assert told["top1"] == accuracy(shares, targets)


def test_an_ensemble_of_different_classes_is_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    artifact.save(network(1, (*CLASSES[:5], "spider")), tmp_path / "second")
    assert main(["val", str(run), "--ensemble", str(tmp_path / "second")]) == 2
    assert "moth, spider differ" in capsys.readouterr().err


def test_calibration_is_fitted_stored_and_used_from_then_on(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = val(capsys, run)
    fitted = val(capsys, run, "--calibrate")
    temperature = fitted["calibration"]["temperature"]
    assert fitted["loss"] < before["loss"] == fitted["calibration"]["loss_before"]
    assert fitted["top1"] == before["top1"]
    stored = artifact.describe(run).facts
    assert stored.temperature == temperature
    assert stored.training == {"epochs": 7}, "the artifact's other facts stay"
    assert val(capsys, run)["loss"] == pytest.approx(fitted["loss"], abs=1e-9)
    assert val(capsys, run, "--temperature", 1)["loss"] == pytest.approx(before["loss"], abs=1e-9)
    again = val(capsys, run, "--calibrate")["calibration"]["temperature"]
    assert again == pytest.approx(temperature), "it is fitted on the logits, not on what was calibrated before"


def test_coverage_names_the_threshold_that_reaches_the_accuracy(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files, targets = labeled(data)
    shares = answers(network(0), files)
    right, order = shares.argmax(1) == targets, np.argsort(-shares.max(1))
    reached = right[order].cumsum() / np.arange(1, 33)
    wanted = reached[1:-1].max() - 1e-3  # some answers must be rejected for it
    told = val(capsys, run, whole(data, tmp_path), "--coverage", wanted)["coverage"]
    most = int(np.flatnonzero(reached >= wanted).max()) + 1
    assert 0 < most < 32
    assert told["coverage"] == most / 32
    assert told["accuracy"] == reached[most - 1]
    assert told["threshold"] == pytest.approx(shares.max(1)[order[most - 1]], abs=1e-6)


def test_an_accuracy_out_of_reach_is_said_in_words(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts: dict[str, Any] = {"wanted": 0.9, "threshold": 1.0, "coverage": 0.0, "accuracy": 0.0, "n": 4}
    told = val(capsys, run, whole(data, tmp_path))
    _show({**told, "coverage": facts})
    assert "no probability reaches 90 % right" in capsys.readouterr().out


def test_several_sizes_give_a_curve(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = val(capsys, run, "--img-size", "40,32")
    assert [point["img_size"] for point in told["curve"]] == [40, 32]
    assert told["curve"][0]["loss"] == told["loss"] != told["curve"][1]["loss"]
    assert told["curve"][1]["loss"] == pytest.approx(val(capsys, run)["loss"], abs=1e-6)


@pytest.mark.parametrize(("precision", "far"), [("bf16", 1e-5), pytest.param("int8", 1e-5, marks=pytest.mark.slow)])
def test_precision_acts(precision: str, far: float, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exact = val(capsys, run)["loss"]
    coarse = val(capsys, run, "--precision", precision)["loss"]
    assert far < abs(coarse - exact) < 1


def test_the_gate_closes_below_the_accuracy_and_still_writes(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    top1 = val(capsys, run)["top1"]
    (run / "predictions.csv").unlink()
    assert main(["val", str(run), "--min-top1", str(top1)]) == 0
    assert main(["val", str(run), "--min-top1", str(top1 + 0.01), "--json"]) == 4
    captured = capsys.readouterr()
    assert "below --min-top1" in captured.err
    assert (run / "predictions.csv").exists()


def test_a_bare_model_gets_no_files_unless_told_where(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = val(capsys, run / "model", whole(data, tmp_path))
    assert told["files"] == []
    assert artifact.load(run / "model").name == "googlenet"
    assert sorted(path.name for path in (run / "model").iterdir()) == ["README.md", "config.json", "model.safetensors"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--min-top1", "90"), 2, "--min-top1 90: a share from 0 to 1"),
        (("--coverage", "2", "-b", "0"), 2, "--coverage 2: a share from 0 to 1 (0.9 is 90 %); --batch-size 0"),
        (("--temperature", "0"), 2, "above 0"),
        (("--calibrate", "--crops", "10"), 2, "--calibrate fits one model"),
        (("--crops", "11"), 2, "11"),
        (("--img-size", "big"), 2, "--img-size big"),
        (("--img-size", "1"), 2, "at least"),
        (("--engine", "tensorrt"), 2, "unknown engine 'tensorrt'"),
        (("/nowhere",), 3, "/nowhere"),
    ],
)
def test_what_cannot_be_done_is_said_with_its_exit_code(
    words: tuple[str, ...], code: int, message: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["val", str(run), *words]) == code
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err


def test_data_without_a_single_class_of_the_model_is_an_error(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(data / "ant", tmp_path / "birds" / "crow")
    shutil.copytree(data / "bee", tmp_path / "birds" / "robin")
    assert main(["val", str(run), str(tmp_path / "birds")]) == 3
    assert "crow" in capsys.readouterr().err


def test_people_get_a_table(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["val", str(run), "--coverage", "0.5", "--calibrate", "--img-size", "32,40"]) == 0
    printed = capsys.readouterr().out
    for word in ("top1", "95 %", "calibration error", "temperature", "coverage", "img_size", "hornet", "fly, moth"):
        assert word in printed
