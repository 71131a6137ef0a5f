"""A training run: what it leaves, that every option acts, and how it refuses and stops."""

from __future__ import annotations

import errno
import json
import logging
import math
import os
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import nn

from inceptions.errors import DataError
from inceptions.recipes import RECIPES, configure
from inceptions.training import checkpoint, train
from inceptions.training.config import TrainConfig, idle
from inceptions.training.loop import DivergenceError, Training
from inceptions.training.step import parts, starved
from inceptions.weights import artifact
from inceptions.zoo import build
from tiny import config, results, workers_alive, write_images


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For runs of one epoch of two steps: unequal classes."""
    folder = write_images(tmp_path_factory.mktemp("few"), train=5, val=2)
    for number in (3, 4):
        (folder / "train" / "c0" / f"{number}.png").unlink()
    return folder


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two epochs."""
    output = tmp_path_factory.mktemp("runs") / "run"
    train(config(data, output, epochs=4))
    return output


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / "model.safetensors")


# What a run leaves


def test_a_run_leaves_the_files_of_the_design_and_nothing_else(run: Path) -> None:
    assert {path.name for path in run.iterdir()} == {
        "model", "config.yaml", "environment.json", "split.json", "results.csv", "tensorboard", "predictions.csv",
        "checkpoints",
    }  # fmt: skip
    assert len(list((run / "checkpoints").iterdir())) == 2


def test_a_run_learns_and_says_so_in_its_files(run: Path) -> None:
    rows = results(run)
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])
    best = min(rows, key=lambda row: float(row["val_loss"]))
    facts = artifact.load(run).artifact
    assert facts["training"]["epoch"] == int(best["epoch"])
    assert facts["metrics"]["val"]["top1"] == pytest.approx(float(best["val_top1"]))
    assert facts["metrics"]["val"]["loss"] == pytest.approx(float(best["val_loss"]), rel=1e-5)


def test_the_settings_are_stored_decided(run: Path) -> None:
    stored = yaml.safe_load((run / "config.yaml").read_text())
    assert stored["device"] == "cpu"
    assert stored["tune"] == "all"
    assert stored["resume"] is False


def test_the_gradient_of_each_stage_with_weights_is_recorded(run: Path) -> None:
    row = results(run)[0]
    columns = {name.removeprefix("gradient/") for name in row if name.startswith("gradient/")}
    assert columns == set(parts(artifact.load(run)))
    assert all(float(row[f"gradient/{name}"]) > 0 for name in columns)
    total = math.hypot(*(float(row[f"gradient/{name}"]) for name in columns))
    assert float(row["gradient"]) == pytest.approx(total)


def test_tensorboard_holds_every_epoch(run: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard")).Reload()
    points = events.Scalars("epoch/val_loss")
    assert [point.value for point in points] == pytest.approx([float(row["val_loss"]) for row in results(run)])


def test_the_result_is_what_the_files_say(data: Path, tmp_path: Path) -> None:
    found = train(config(data, tmp_path / "run", epochs=1))
    assert found.output == tmp_path / "run"
    assert found.model == "bn_inception"
    assert found.metrics.n == 12
    assert found.top1 == found.metrics.top1
    assert found.peak_memory > 1e7
    assert json.loads(json.dumps(found.to_dict()))["top1"] == found.top1


# Every option acts


@pytest.mark.parametrize(
    "option",
    [
        {"seed": 1}, {"lr": 0.03}, {"opt": "nesterov"}, {"opt": "adamw"}, {"opt": "rmsproptf"}, {"momentum": 0.5},
        {"weight_decay": 0.3}, {"weight_decay": 0.3, "decay_all": True}, {"sched": "constant"}, {"warmup_epochs": 0.5},
        {"smoothing": 0.2}, {"mixup": 1.0}, {"cutmix": 1.0}, {"clip_grad": 0.01}, {"grad_accum_steps": 2},
        {"drop_rate": 0.5}, {"class_weights": "balanced"}, {"balanced_sampler": True}, {"amp": True},
        {"amp": True, "amp_dtype": "float16"},
        {"model_ema": True}, {"crop": "inception"}, {"crop": "pad"}, {"crop": "inception", "scale": (0.5, 0.6)},
        {"crop": "inception", "ratio": (0.5, 0.5)}, {"flip": False}, {"color_jitter": 0.5}, {"hue": 0.5},
        {"trivial": True}, {"reprob": 1.0}, {"batch_size": 4}, {"width": 0.06}, {"img_size": 40}, {"in_channels": 1},
        {"options": {"norm_momentum": 0.5}},
    ],
    ids=lambda option: "-".join(f"{k}={v}" for k, v in option.items()),
)  # fmt: skip
def test_an_option_changes_the_weights(few: Path, tmp_path: Path, base: bytes, option: dict[str, Any]) -> None:
    train(config(few, tmp_path / "run", **({"epochs": 1} | option)))
    assert (tmp_path / "run" / "model" / "model.safetensors").read_bytes() != base


@pytest.fixture(scope="module")
def base(few: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The weights that the options are compared with."""
    output = tmp_path_factory.mktemp("base") / "run"
    train(config(few, output, epochs=1))
    return (output / "model" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("option", [{"workers": 2}, {"checkpoint_every": 0.0}, {"resume": True}], ids=str)
def test_an_option_of_the_machine_changes_no_bit(
    few: Path, tmp_path: Path, base: bytes, option: dict[str, Any]
) -> None:
    train(config(few, tmp_path / "run", **({"epochs": 1} | option)))
    assert (tmp_path / "run" / "model" / "model.safetensors").read_bytes() == base


def test_channels_last_changes_the_order_of_memory_only(few: Path, tmp_path: Path, base: bytes) -> None:
    (tmp_path / "base.safetensors").write_bytes(base)
    plain = load_file(tmp_path / "base.safetensors")
    train(config(few, tmp_path / "run", epochs=1, channels_last=True))
    assert all(torch.allclose(tensor, plain[name], atol=1e-3) for name, tensor in weights(tmp_path / "run").items())


def test_a_deterministic_run_uses_deterministic_algorithms_only(
    few: Path, tmp_path: Path, base: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")  # restored afterwards
    try:
        train(config(few, tmp_path / "run", epochs=1, deterministic=True))
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
    assert (tmp_path / "run" / "model" / "model.safetensors").read_bytes() == base


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # its compiler uses what torch itself deprecates
def test_compiling_takes_the_whole_step_as_one_graph(
    few: Path, tmp_path: Path, base: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, compiler = [], torch.compile

    def traced(module: nn.Module) -> Any:  # without the minutes that its C++ takes
        given.append(type(module).__name__)
        return compiler(module, backend="eager", fullgraph=True)

    monkeypatch.setattr(torch, "compile", traced)
    train(config(few, tmp_path / "run", epochs=1, compile=True))
    assert given == ["WithLoss"]
    assert (tmp_path / "run" / "model" / "model.safetensors").read_bytes() == base


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
def test_compiling_changes_the_speed_only(few: Path, tmp_path: Path, base: bytes) -> None:
    (tmp_path / "base.safetensors").write_bytes(base)
    plain = load_file(tmp_path / "base.safetensors")
    train(config(few, tmp_path / "run", epochs=1, compile=True))
    assert all(torch.allclose(tensor, plain[name], atol=1e-2) for name, tensor in weights(tmp_path / "run").items())


def test_auxiliary_heads_are_trained_and_weighted(few: Path, tmp_path: Path) -> None:
    saved = []
    for weight in (None, 0.0001, 3.0):
        output = tmp_path / f"run{weight}"
        settings = {"model": "googlenet", "options": {"norm": "batch"}, "aux": True, "aux_weight": weight, "depth": 1.0}
        train(config(few, output, epochs=1, **settings))
        saved.append(weights(output))
    assert any(name.startswith("aux.") for name in saved[0])
    stem = next(name for name in saved[0] if name.startswith("body") and name.endswith("conv.weight"))
    assert not torch.equal(saved[0][stem], saved[1][stem])
    assert not torch.equal(saved[1][stem], saved[2][stem])


def test_automatic_batch_size_and_workers_are_decided_once_and_stored(few: Path, tmp_path: Path) -> None:
    train(config(few, tmp_path / "run", epochs=1, batch_size="auto", workers=None))
    stored = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert stored["batch_size"] == 32
    assert stored["workers"] == 0


def test_patience_ends_a_run_that_no_longer_improves(data: Path, tmp_path: Path) -> None:
    train(config(data, tmp_path / "run", epochs=9, patience=2, lr=1e-12))  # the running statistics still move
    rows = results(tmp_path / "run")
    best = min(range(len(rows)), key=lambda i: float(rows[i]["val_loss"]))
    assert len(rows) == min(9, best + 1 + 2)


def test_the_time_limit_ends_within_an_epoch_and_resuming_goes_on(data: Path, tmp_path: Path, run: Path) -> None:
    settings = config(data, tmp_path / "run", epochs=4)
    found = train(settings.replace(max_time="0.001s"))
    assert found.metrics.n == 12
    assert [row["step"] for row in results(tmp_path / "run")] == ["1"]
    train(settings.replace(resume=True))
    assert weights(run).keys() == weights(tmp_path / "run").keys()
    assert results(tmp_path / "run") == results(run)


# Images that make trouble


def test_a_last_batch_of_one_is_left_out(tmp_path: Path) -> None:
    data = write_images(tmp_path / "data", train=3, val=1)  # nine images
    train(config(data, tmp_path / "run", epochs=1, batch_size=8))
    (row,) = results(tmp_path / "run")
    assert row["step"] == "1"


def test_two_images_are_needed(tmp_path: Path) -> None:
    from inceptions.training.resolve import batch_count

    with pytest.raises(ValueError, match="at least two"):
        batch_count(1, config(tmp_path, tmp_path))


def test_unreadable_images_are_named_and_counted_and_stop_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = write_images(tmp_path / "data", train=3, val=2)
    for name in ("train/c0/0.png", "train/c1/1.png", "val/c2/0.png"):
        (data / name).write_bytes(b"no image")
    with caplog.at_level(logging.WARNING):
        found = train(config(data, tmp_path / "run", epochs=1, batch_size=2))
    named = json.loads((tmp_path / "run" / "unreadable.json").read_text())
    assert sorted(named) == ["train/c0/0.png", "train/c1/1.png", "val/c2/0.png"]
    assert "train/c0/0.png" in caplog.text
    assert results(tmp_path / "run")[0]["skipped"] == "3"
    assert (found.metrics.n, found.metrics.skipped) == (5, 1)


def test_gray_images_train_a_network_of_one_channel(few: Path, tmp_path: Path) -> None:
    train(config(few, tmp_path / "run", epochs=1, in_channels=1))
    net = artifact.load(tmp_path / "run")
    assert net.in_channels == 1
    assert net.preprocess.mode == "L"


# At the door


def test_a_folder_that_holds_files_is_refused_and_left_alone(few: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"notes\.txt"):
        train(config(few, tmp_path))
    with pytest.raises(FileExistsError, match="no run"):
        train(config(few, tmp_path, resume=True))
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"img_size": 1}, "needs at least"),
        ({"model": "resnet"}, "no network"),
        ({"device": "cuda:7"}, "cannot be used"),
        ({"options": {"color": 1}}, "no option"),
        ({"data": "nowhere"}, "no such"),
        ({"tune": "last:99", "weights": "RUN"}, "has .* stages"),
        ({"class_weights": "nowhere.json"}, "nowhere"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(
    few: Path, tmp_path: Path, run: Path, wrong: dict[str, Any], message: str
) -> None:
    wrong = {name: str(run) if value == "RUN" else value for name, value in wrong.items()}
    data = wrong.pop("data", few)
    with pytest.raises((ValueError, OSError), match=message):
        train(config(data, tmp_path / "run", **wrong))
    assert not (tmp_path / "run").exists()


def test_several_processes_are_refused_for_one_run_is_one_folder(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")  # as torchrun does
    with pytest.raises(ValueError, match="one process"):
        train(config(few, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


# Stopping


def _after(monkeypatch: pytest.MonkeyPatch, steps: int, event: Any) -> None:
    """Lets `event(training)` happen after that many optimizer steps."""
    update = Training.update

    def updated(self: Training, rate: float) -> None:
        update(self, rate)
        if self.state.step == steps:
            event(self)

    monkeypatch.setattr(Training, "update", updated)


@pytest.mark.parametrize(("number", "error"), [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)])
def test_a_signal_finishes_the_step_saves_and_leaves_and_resuming_changes_no_bit(
    data: Path, tmp_path: Path, run: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, error: type
) -> None:
    before = signal.getsignal(number)
    settings = config(data, tmp_path / "run", epochs=4)
    with monkeypatch.context() as patch:
        _after(patch, 8, lambda _: os.kill(os.getpid(), number))
        with pytest.raises(error) as caught:
            train(settings)
    assert getattr(caught.value, "code", 143) == 143
    assert signal.getsignal(number) is before
    found = checkpoint.load(tmp_path / "run" / "checkpoints")
    assert found is not None
    assert (found[1]["state"]["step"], found[1]["state"]["batch"]) == (8, 2)
    train(settings.replace(resume=True))
    assert results(tmp_path / "run") == results(run)
    assert all(torch.equal(tensor, weights(run)[name]) for name, tensor in weights(tmp_path / "run").items())


def test_a_signal_during_validation_is_saved_before_it(
    data: Path, tmp_path: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, batches = config(data, tmp_path / "run", epochs=4), Training._val_batches

    def interrupted(self: Training) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        yield from batches(self)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "_val_batches", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(settings)
    train(settings.replace(resume=True))
    assert results(tmp_path / "run") == results(run)


def test_a_signal_after_the_last_step_still_ends_the_program_as_the_signal_would(
    data: Path, tmp_path: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, end = config(data, tmp_path / "run", epochs=4), Training._end_epoch

    def ended(self: Training, metrics: Any) -> None:
        end(self, metrics)
        if self.state.epoch == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "_end_epoch", ended)
        with pytest.raises(SystemExit):
            train(settings)
    train(settings.replace(resume=True))
    assert (tmp_path / "run" / "predictions.csv").read_bytes() == (run / "predictions.csv").read_bytes()


def _broken(training: Training) -> None:
    with torch.no_grad():
        training.net.head.linear.weight.fill_(math.nan)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (8, r"loss is not finite in step 9 \(epoch 2, batch 3\), learning rate 0\.015;"),
        (6, r"validation are not finite after step 6 \(epoch 1, batch 6\), learning rate 0\.01793;"),
    ],
)
def test_a_run_whose_numbers_fail_says_where_and_goes_on_from_the_last_good_checkpoint(
    data: Path, tmp_path: Path, run: Path, monkeypatch: pytest.MonkeyPatch, step: int, message: str
) -> None:
    settings = config(data, tmp_path / "run", epochs=4, checkpoint_every=0.0)
    with monkeypatch.context() as patch:
        _after(patch, step, _broken)
        with pytest.raises(DivergenceError, match=message) as caught:
            train(settings)
    good = checkpoint.newest(tmp_path / "run" / "checkpoints")
    assert good is not None
    assert good.name.startswith(f"{step - 1:09d}")  # that of `step` was written, and is broken
    assert str(good) in str(caught.value)
    train(settings.replace(resume=True))
    assert results(tmp_path / "run") == results(run)


def test_an_infinite_loss_is_found_among_gathered_batches(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _after(monkeypatch, 4, _broken)
    with pytest.raises(DivergenceError, match=r"step 5 \(epoch 2, batch 3\)"):
        train(config(data, tmp_path / "run", epochs=2, grad_accum_steps=2))


def test_a_rate_that_is_far_too_high_ends_the_run(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DivergenceError, match=r"learning rate 1e\+20; the last good checkpoint is none"):
        train(config(data, tmp_path / "run", lr=1e20, sched="constant", checkpoint_every=0.0))


def test_a_full_disk_is_said_and_the_run_can_go_on(
    data: Path, tmp_path: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, sync = config(data, tmp_path / "run", epochs=4, checkpoint_every=0.0), os.fsync

    def full(descriptor: int) -> None:
        if len(list((tmp_path / "run" / "checkpoints").glob("*.safetensors"))) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            train(settings)
    train(settings.replace(resume=True))
    assert results(tmp_path / "run") == results(run)


def test_a_dead_worker_ends_the_run_and_resuming_changes_no_bit(
    data: Path, tmp_path: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(data, tmp_path / "run", epochs=4, workers=2)
    with monkeypatch.context() as patch:
        _after(patch, 7, lambda _: [os.kill(worker, signal.SIGKILL) for worker in workers_alive()])
        with pytest.raises(ChildProcessError, match="was killed by SIGKILL"):
            train(settings)
    train(settings.replace(resume=True))
    assert results(tmp_path / "run") == results(run)
    assert (tmp_path / "run" / "split.json").read_bytes() == (run / "split.json").read_bytes()


# Resuming


@pytest.fixture
def half(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Settings of a run that was interrupted in its second epoch."""
    settings = config(data, tmp_path / "half", epochs=4)
    with monkeypatch.context() as patch:
        _after(patch, 8, lambda _: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            train(settings)
    return settings.replace(resume=True)


def test_a_damaged_newest_checkpoint_costs_time_only(half: Any, run: Path, caplog: pytest.LogCaptureFixture) -> None:
    newest = checkpoint.newest(half.output / "checkpoints")
    assert newest is not None
    newest.write_bytes(newest.read_bytes()[:-1] + b"x")
    with caplog.at_level(logging.WARNING):
        train(half)
    assert "is damaged" in caplog.text
    assert results(half.output) == results(run)


def test_changed_settings_are_named_and_refused_unless_overridden(half: Any) -> None:
    with pytest.raises(ValueError, match=r"lr 0\.02 -> 0\.01, smoothing 0\.0 -> 0\.1"):
        train(half.replace(lr=0.01, smoothing=0.1))
    train(half.replace(lr=0.01, smoothing=0.1, override=True))
    rows = results(half.output)
    assert len(rows) == 4
    assert yaml.safe_load((half.output / "config.yaml").read_text())["lr"] == 0.01


def test_a_changed_batch_size_begins_the_epoch_anew(half: Any) -> None:
    train(half.replace(batch_size=6, override=True))
    assert [row["step"] for row in results(half.output)] == ["6", "15", "22", "29"]


def test_another_network_cannot_continue_and_nothing_of_the_run_is_lost_to_the_attempt(half: Any, run: Path) -> None:
    with pytest.raises(ValueError, match=r"another network.*size mismatch") as refused:
        train(half.replace(width=0.1, override=True))
    assert "\n" not in str(refused.value)
    train(half)
    assert results(half.output) == results(run)


def test_resuming_writes_rows_that_were_lost_and_says_what_cannot_be_brought_back(half: Any, run: Path) -> None:
    (half.output / "results.csv").unlink()
    train(half)
    assert results(half.output) == results(run)
    (half.output / "results.csv").unlink()
    train(half)  # nothing is left to train
    assert results(half.output) == results(run)
    shutil.rmtree(half.output / "model")
    with pytest.raises(DataError, match=r"model of epoch \d, is missing: restore it"):
        train(half)


def test_a_damaged_record_of_sessions_stops_no_resume(half: Any, caplog: pytest.LogCaptureFixture) -> None:
    file = half.output / "environment.json"
    file.write_bytes(file.read_bytes()[:50])
    with caplog.at_level(logging.WARNING):
        train(half)
    assert "environment.json is damaged" in caplog.text
    assert len(json.loads(file.read_text())) == 1


def test_every_epoch_has_a_gradient_however_short_it_is(run: Path) -> None:
    rows = results(run)
    assert len(rows) > 1
    assert all(float(row[name]) > 0 for row in rows for name in row if name.startswith("gradient"))


def test_settings_that_do_nothing_are_named(
    few: Path, tmp_path: Path, run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        train(config(few, tmp_path / "a", epochs=1, aux_weight=0.3, opt_decay=0.5, warmup_lr=0.01))
    assert "opt_decay: without effect, for opt is sgd" in caplog.text
    assert "aux_weight: without effect, for aux is False" in caplog.text
    with caplog.at_level(logging.WARNING):
        train(config(few, tmp_path / "b", weights=str(run), tune="head", mixup=0.4, patience=3))
    assert re.search(r"mixup.*patience: without effect, for a head is fitted", caplog.text)


def test_a_run_whose_settings_all_act_is_not_warned_of(run: Path) -> None:
    stored = TrainConfig.from_dict(yaml.safe_load((run / "config.yaml").read_text()))
    assert idle(stored) == {}
    assert not any(idle(configure(name, "data", weights="w")) for name in RECIPES if name != "head")


def test_changed_images_are_refused_unless_overridden(data: Path, tmp_path: Path, run: Path) -> None:
    mine = write_images(tmp_path / "data")
    settings = config(mine, tmp_path / "run", epochs=1)
    train(settings)
    image = mine / "train" / "c0" / "3.png"
    image.write_bytes((mine / "train" / "c1" / "3.png").read_bytes())
    with pytest.raises(DataError, match=r"train/c0/3\.png"):
        train(settings.replace(resume=True))
    train(settings.replace(resume=True, override=True))


def test_resuming_a_finished_run_changes_nothing(data: Path, tmp_path: Path) -> None:
    settings = config(data, tmp_path / "run", epochs=1)
    first = train(settings)
    before = {name: (tmp_path / "run" / name).read_bytes() for name in ("results.csv", "split.json", "predictions.csv")}
    (tmp_path / "run" / ".7-ab.tmp").write_text("what a kill left half writ")
    again = train(settings.replace(resume=True))
    assert not (tmp_path / "run" / ".7-ab.tmp").exists()
    assert again.metrics.to_dict() == first.metrics.to_dict()
    assert before == {name: (tmp_path / "run" / name).read_bytes() for name in before}


def test_a_run_killed_before_anything_was_saved_starts_anew_and_says_so(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = config(data, tmp_path / "run", epochs=1, resume=True)
    with caplog.at_level(logging.INFO):
        train(settings)
    assert "holds no run yet" in caplog.text
    for file in (tmp_path / "run" / "checkpoints").iterdir():
        file.unlink()
    caplog.clear()
    with caplog.at_level(logging.INFO):
        train(settings)
    assert "starting over" in caplog.text


# Tuning a part


def test_frozen_stages_keep_every_tensor_and_the_others_learn(run: Path, few: Path, tmp_path: Path) -> None:
    train(config(few, tmp_path / "run", epochs=1, weights=str(run), tune="last:2", model_ema=True))
    old, new = weights(run), weights(tmp_path / "run")
    net = artifact.load(run)
    trained = (*(f"body.{name}." for name in net.stages[-2:]), "head.")
    for name in old:
        assert torch.equal(old[name], new[name]) != name.startswith(trained), name


def test_frozen_norms_keep_their_statistics_and_all_else_learns(run: Path, few: Path, tmp_path: Path) -> None:
    train(config(few, tmp_path / "run", epochs=1, weights=str(run), tune="all", freeze_norm=True, weight_decay=0.1))
    old, new = weights(run), weights(tmp_path / "run")
    for name in old:
        assert torch.equal(old[name], new[name]) == (".running_" in name or name.endswith("num_batches_tracked")), name


def test_the_default_with_weights_on_a_cpu_is_the_head(run: Path, few: Path, tmp_path: Path) -> None:
    found = train(config(few, tmp_path / "run", weights=str(run)))
    assert found.best_epoch == 0
    old, new = weights(run), weights(tmp_path / "run")
    assert {name for name in old if not torch.equal(old[name], new[name])} == {"head.linear.weight", "head.linear.bias"}


def test_a_starving_first_stage_is_noticed() -> None:
    modules = [nn.Linear(2, 2, bias=False), nn.Linear(2, 50, bias=False)]
    assert starved(modules, [1e-5, 1.0])
    assert not starved(modules, [1e-2, 1.0])  # a weight of the small one still gets a twentieth
    modules[0].requires_grad_(False)
    assert not starved(modules, [0.0, 1.0])


def test_the_parts_whose_gradients_are_measured_have_weights() -> None:
    names = list(parts(build("googlenet", width=0.05, aux=True)))
    assert names[-2:] == ["head", "aux"]
    assert not any("pool" in name for name in names)
