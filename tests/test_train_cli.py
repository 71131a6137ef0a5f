"""`inceptions train` and `lr-find` as typed: flags, recipes, exit codes, output."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from inceptions.cli import main
from inceptions.training import TrainConfig, checkpoint, lr_finder
from inceptions.training.lr_finder import steepest
from inceptions.training.resolve import network_of
from tiny import results, write_images

TINY = "--model bn_inception --width 0.05 --depth 0.2 --stem small --img-size 32 -b 8 -j 0 --crop none --device cpu"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"), train=6, val=2)


def test_train_ends_with_one_object_on_stdout(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert main(["train", str(data), *TINY.split(), "--epochs", "1", "--output", str(run), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["output"] == str(run)
    assert said["model"] == "bn_inception"
    assert 0 <= said["top1"] <= 1
    assert said["seconds"] > 0
    assert (run / "report.html").exists()


def test_flags_override_the_recipe_and_the_recipe_the_defaults(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    flags = f"{TINY} --recipe modern --epochs 7 --max-time 0.001s --smoothing 0 --no-flip --no-ema --output {run}"
    assert main(["train", str(data), *flags.split()]) == 0
    stored = yaml.safe_load((run / "config.yaml").read_text())
    assert (stored["smoothing"], stored["flip"], stored["model_ema"], stored["epochs"]) == (0.0, False, False, 7)
    assert (stored["cutmix"], stored["opt"]) == (1.0, "nesterov")


def test_resume_needs_only_the_output(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ["train", str(data), *TINY.split(), "--epochs", "2", "--output", str(run)]
    assert main([*words, "--max-time", "0.001s"]) == 0
    assert main(["train", "--resume", "--output", str(run)]) == 0
    assert [row["epoch"] for row in results(run)] == ["1", "2"]


def test_the_weights_decide_the_network(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, head = tmp_path / "run", tmp_path / "head"
    assert main(["train", str(data), *TINY.split(), "--epochs", "1", "--output", str(run)]) == 0
    words = ["train", str(data), "--weights", str(run / "model"), "--tune", "head", "-j", "0", "--device", "cpu"]
    assert main([*words, "--output", str(head)]) == 0
    stored = yaml.safe_load((head / "config.yaml").read_text())
    assert stored["model"] == "bn_inception"
    (head / "config.yaml").write_text(yaml.safe_dump({k: v for k, v in stored.items() if k != "weights_part"}))
    assert main(["train", "--resume", "--output", str(head)]) == 0  # as an older version wrote it
    monkeypatch.chdir(tmp_path)
    assert main(words) == 0
    assert (tmp_path / "runs" / f"{data.name}-bn_inception" / "model").is_dir()
    assert main([*words, "--model", "xception", "--output", str(tmp_path / "x")]) == 2


def test_without_weights_xception_is_trained() -> None:
    assert network_of(TrainConfig("data")) == "xception"
    assert network_of(TrainConfig("data", model="inception_v2")) == "bn_inception"
    with pytest.raises(ValueError, match="weights_part=ema needs weights"):
        TrainConfig("data", weights_part="ema")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_command_with_its_code_after_saving(
    data: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    run = tmp_path / "run"
    words = ["train", str(data), *TINY.split(), "--epochs", "10000", "--output", str(run)]
    process = subprocess.Popen([sys.executable, "-m", "inceptions", *words], stderr=subprocess.PIPE, text=True)
    while not (run / "results.csv").exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code, said
    assert f"{number.name}: finishing this step and saving" in said
    assert "Traceback" not in said
    found = checkpoint.load(run / "checkpoints")
    assert found is not None
    assert found[1]["state"]["step"] >= int(results(run)[-1]["step"])


def test_resume_finds_the_usual_output_and_takes_a_recipe_as_given_flags(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["train", str(data), "--model", "bn_inception"]
    tiny = TINY.removeprefix("--model bn_inception").split()
    assert main([*words, *tiny, "--epochs", "2", "--max-time", "0.001s"]) == 0
    assert main([*words, "--resume"]) == 0
    (run,) = (tmp_path / "runs").iterdir()
    assert [row["epoch"] for row in results(run)] == ["1", "2"]
    capsys.readouterr()
    assert main(["train", "--resume", "--output", str(run), "--recipe", "modern"]) == 2
    said = capsys.readouterr().err
    assert "opt sgd -> nesterov" in said
    assert "width" not in said


def test_resuming_with_another_flag_is_refused_by_name(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main(["train", str(data), *TINY.split(), "--epochs", "1", "--output", str(run)]) == 0
    assert main(["train", "--resume", "--output", str(run), "--lr", "0.7"]) == 2
    assert "lr 0.05 -> 0.7" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "no DATA"),
        (["DATA", "--lr", "0"], 2, "lr must be > 0"),
        (["DATA", "--recipe", "moden"], 2, "did you mean 'modern'"),
        (["DATA", "--opt", "sdg"], 2, "opt"),
        (["DATA", "--opt", "nesterov", "--momentum", "0"], 2, "momentum must be above 0 for nesterov"),
        (["DATA", "--min-lr", "0.2"], 2, "min_lr 0.2 must not be above lr 0.05"),
        (["DATA", "--model", "xceptoin"], 2, "did you mean 'xception'"),
        (["nowhere"], 3, "nowhere"),
        (["DATA", "--img-size", "1"], 2, "at least"),
    ],
)
def test_what_cannot_work_is_said_with_its_exit_code(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int, message: str
) -> None:
    words = [str(data) if word == "DATA" else word for word in words]
    assert main(["train", *words, "--output", str(tmp_path / "run"), "--device", "cpu"]) == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_used_output_is_refused(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").write_text("")
    assert main(["train", str(data), *TINY.split(), "--output", str(tmp_path)]) == 1
    assert "--resume" in capsys.readouterr().err


def test_lr_find_writes_its_plot_and_suggests_a_rate(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plot = tmp_path / "curve.png"
    words = [*TINY.split(), "--steps", "30", "--highest", "100", "--plot", str(plot), "--json"]
    assert main(["lr-find", str(data), *words]) == 0
    said = json.loads(capsys.readouterr().out)
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert said["suggestion"] in said["rates"]
    assert said["rates"][0] == 1e-6
    assert len(said["rates"]) == len(said["losses"]) == len(said["smoothed"])
    assert list(tmp_path.iterdir()) == [plot]


def test_lr_find_refuses_a_range_that_is_none(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lr-find", str(data), *TINY.split(), "--lowest", "2", "--highest", "1"]) == 2
    assert "lowest < highest" in capsys.readouterr().err


def test_lr_find_refuses_a_plot_it_cannot_draw_before_the_work(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lr-find", str(data), *TINY.split(), "--plot", "p.xyz"]) == 2
    assert "must end in .png, .svg or .pdf" in capsys.readouterr().err


@pytest.mark.parametrize("flag", [("--output", "run"), ("--resume",), ("--override",)])
def test_lr_find_refuses_what_only_a_run_has(
    data: Path, flag: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lr-find", str(data), *TINY.split(), *flag]) == 2
    assert f"{flag[0]}: lr-find keeps no run; --plot FILE" in capsys.readouterr().err


def test_the_steepest_fall_is_found_before_the_smallest_loss() -> None:
    rates, losses = [10.0**e for e in range(-6, 2)], [2.0, 2.0, 1.9, 1.2, 1.0, 1.1, 5.0, 9.7]
    assert steepest(rates, losses, losses) == pytest.approx(1e-3)
    assert steepest(rates, [1.0, 2, 3, 4, 5, 6, 7, 8], [1.0, 2, 3, 4, 5, 6, 7, 8]) is None


def _noisy(seed: int, fall: float) -> tuple[list[float], list[float], list[float]]:
    """(rates, losses, smoothed) of 100 steps: the loss falls by `fall` around 1e-2 and explodes from 1 on."""
    rates = np.logspace(-6, 1, 100)
    losses = (
        1.6 - fall / (1 + (1e-2 / rates) ** 2) + (rates > 1) * rates + np.random.default_rng(seed).normal(0, 0.2, 100)
    )
    average, smoothed = 0.0, []
    for step, loss in enumerate(losses.tolist(), 1):
        average = 0.9 * average + 0.1 * loss
        smoothed.append(average / (1 - 0.9**step))
    return rates.tolist(), losses.tolist(), smoothed


def test_noise_neither_hides_a_fall_nor_makes_one() -> None:
    found = [steepest(*_noisy(seed, 0.7)) for seed in range(50)]
    assert sum(rate is not None and 3e-3 < rate < 1e-1 for rate in found) >= 48
    level = [steepest(*_noisy(seed, 0.0)) for seed in range(50)]
    assert level.count(None) >= 48


def test_lr_find_says_so_where_no_rate_stands_out(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lr_finder, "steepest", lambda *_: None)
    plot = tmp_path / "curve.svg"
    words = [*TINY.split(), "--steps", "10", "--plot", str(plot)]
    assert main(["lr-find", str(data), *words]) == 1
    assert "never falls by more than chance" in capsys.readouterr().out
    assert plot.exists()
