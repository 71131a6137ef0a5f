"""What a training step does with its gradients, and what a run says while it works."""

from __future__ import annotations

import logging
import math
import os
import signal
import time
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from inceptions.training import checkpoint, train
from inceptions.training import resolve as run_settings
from inceptions.training.loop import Training
from inceptions.training.optim import RMSPropTF
from inceptions.zoo import build
from tiny import config, results, write_images


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 images to learn from, 6 to judge by."""
    return write_images(tmp_path_factory.mktemp("images"), train=8, val=2)


def trained(data: Path, output: Path, **settings: Any) -> dict[str, Tensor]:
    """The learnt tensors after one epoch; running statistics left out."""
    train(config(data, output, **({"epochs": 1} | settings)))
    every = load_file(output / "model" / "model.safetensors")
    return {name: tensor.double() for name, tensor in every.items() if "running" not in name and "num_b" not in name}


def apart(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """The norm of the difference."""
    return math.hypot(*(float((one[name] - other[name]).norm()) for name in one))


def test_gathered_batches_make_the_step_of_one_large_batch(data: Path, tmp_path: Path) -> None:
    # without batch norm and dropout, which see the batches
    settings: dict[str, Any] = {"model": "googlenet", "depth": 1.0, "drop_rate": 0.0, "lr": 0.1}
    whole = trained(data, tmp_path / "whole", batch_size=8, **settings)
    gathered = trained(data, tmp_path / "gathered", batch_size=4, grad_accum_steps=2, **settings)
    alone = trained(data, tmp_path / "alone", batch_size=4, **settings)
    assert results(tmp_path / "whole")[0]["step"] == results(tmp_path / "gathered")[0]["step"] == "3"
    assert apart(whole, gathered) < 1e-4 * apart(whole, alone)


def test_rmsproptf_takes_tensorflows_steps() -> None:
    """Of `tf.compat.v1.train.RMSPropOptimizer(rate, decay=0.9, momentum=0.9, epsilon=1.0)`, TensorFlow 2.21."""
    weight = nn.Parameter(torch.tensor(2.0))
    opt, seen = RMSPropTF([weight], lr=1.0), []
    for gradient, rate in ((3.0, 0.045), (-1.0, 0.045), (0.5, 0.0423), (4.0, 0.0423), (-8.0, 0.0398)):
        opt.param_groups[0]["lr"] = rate
        weight.grad = torch.tensor(gradient)
        opt.step()
        seen.append(weight.item())
    theirs = [1.9193220138549805, 1.8739970922470093, 1.8200193643569946, 1.6870049238204956, 1.6674091815948486]
    assert seen == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize("precision", [{}, {"amp": True}, {"amp": True, "amp_dtype": "float16"}], ids=str)
def test_clipping_bounds_the_step(data: Path, tmp_path: Path, precision: dict[str, Any]) -> None:
    one_step = {"batch_size": 24, "momentum": 0.0, "weight_decay": 0.0, "sched": "constant", **precision}
    still = trained(data, tmp_path / "still", lr=1e-12, **one_step)
    moved = trained(data, tmp_path / "moved", lr=1.0, clip_grad=0.01, **one_step)
    free = trained(data, tmp_path / "free", lr=1.0, **one_step)
    assert apart(still, moved) == pytest.approx(0.01, rel=1e-3)
    assert apart(still, free) > 0.02


def test_the_scale_of_float16s_loss_survives_an_interruption(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scale begins so high that the first steps are left out: forgotten, it would leave out steps again."""
    scaler, update = torch.amp.GradScaler, Training.update
    monkeypatch.setattr(torch.amp, "GradScaler", lambda *a, **k: scaler(*a, init_scale=2.0**30, **k))
    settings = config(data, tmp_path / "straight", epochs=10, amp=True, amp_dtype="float16")
    train(settings)

    def interrupted(self: Training, rate: float) -> None:
        update(self, rate)
        if self.state.step == 16:
            os.kill(os.getpid(), signal.SIGINT)

    settings = settings.replace(output=tmp_path / "resumed")
    with monkeypatch.context() as patch:
        patch.setattr(Training, "update", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(settings)
    found = checkpoint.load(tmp_path / "resumed" / "checkpoints")
    assert found is not None
    assert found[1]["scaler"]["scale"] < 2.0**30
    train(settings.replace(resume=True))
    assert results(tmp_path / "resumed") == results(tmp_path / "straight")


def test_vanishing_gradients_are_warned_of(data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        train(config(data, tmp_path / "sound", epochs=1))
        assert "vanishing" not in caplog.text
        train(config(data, tmp_path / "starved", epochs=1, model="googlenet", depth=1.0, init_scale=0.1))
    assert "vanishing gradients" in caplog.text


@pytest.mark.parametrize(("most", "expected"), [(1, 2), (2, 2), (47, 32), (64, 64), (10_000, 1024)])
def test_the_automatic_batch_is_the_largest_power_of_two_that_fits(
    monkeypatch: pytest.MonkeyPatch, most: int, expected: int
) -> None:
    monkeypatch.setattr(run_settings, "_fits", lambda config, net, size: size <= most)
    settings = config(Path("data"), Path("run"), device="cuda:0", batch_size="auto")
    assert run_settings.batch_size(settings, build("bn_inception", width=0.05)) == expected


def test_a_terminal_shows_epochs_and_steps_with_loss_accuracy_rate_time_left_and_waiting(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    update = Training.update
    monkeypatch.setattr(Training, "update", lambda self, rate: (update(self, rate), time.sleep(0.12))[0])
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "150")
    screen = Terminal()
    with redirect_stderr(screen):
        train(config(data, tmp_path / "run", epochs=2))
    shown = screen.getvalue()
    for text in (
        "epochs",
        "1/2",
        "epoch 2/2",
        "16/24",
        "loss ",
        "accuracy ",
        "waiting for data ",
        "images/s",
        "0:00:0",
    ):
        assert text in shown, text
