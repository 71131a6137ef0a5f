"""`train`: everything a run does, in its order, and what comes of it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from inceptions.data import Dataset, load, write_split
from inceptions.data.batches import reading_workers
from inceptions.data.contents import Copies
from inceptions.engines import Runtime
from inceptions.errors import DataError
from inceptions.evaluation import Metrics, Outcome, Protocol, judge
from inceptions.evaluation.csv_files import write_predictions
from inceptions.models import Model, open_model
from inceptions.progress import log
from inceptions.system import peak_memory
from inceptions.training import checkpoint
from inceptions.training import folder as run_folder
from inceptions.training.config import NOT_COMPARED, TrainConfig, changes
from inceptions.training.head import facts, fit_head, outcomes
from inceptions.training.logs import Logs
from inceptions.training.loop import Training
from inceptions.training.recorded import learned_before, look, recorded, relocated, unlearned
from inceptions.training.resolve import (
    batch_size,
    choose_algorithms,
    decide,
    default_output,
    network,
    network_of,
    refuse_impossible,
    warn_of_idle,
)
from inceptions.weights import artifact
from inceptions.zoo import Network, preprocess_of


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """The result of a run."""

    output: Path
    """The run folder; `output / "model"` is the artifact."""
    model: str
    top1: float
    """Share of right answers on the validation part, by the saved model in float32."""
    seconds: float
    """Of this call."""
    metrics: Metrics
    """Of the validation part."""
    test: Metrics | None
    """Of the test part, where the data has one; nothing was chosen by it."""
    best_epoch: int
    """The epoch whose weights were saved, from 1; 0: the fitted head, before any epoch."""
    peak_memory: int
    """Bytes: the device's, or the process's on a CPU."""
    shared: dict[str, int] = field(default_factory=dict)
    """"val", "test" -> how many of its images are training images too, byte for byte; empty where none are."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able summary."""
        return {
            "output": str(self.output),
            "model": self.model,
            "top1": self.top1,
            "top1_interval": list(self.metrics.top1_interval),
            "top5": self.metrics.top5,
            "loss": self.metrics.loss,
            "n": self.metrics.n,
            "test_top1": self.test.top1 if self.test else None,
            "best_epoch": self.best_epoch,
            "seconds": self.seconds,
            "peak_memory": self.peak_memory,
            "shared": self.shared,
        }


def run(config: TrainConfig) -> RunResult:
    """See `inceptions.training.train`."""
    started = time.monotonic()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError("one process trains a run, several would write to one folder: run without torchrun")
    if config.output is None:
        config = config.replace(model=network_of(config))
    output = config.output or default_output(config.data, network_of(config))
    stored = run_folder.stored_settings(output, resume=config.resume)
    stored, moved = relocated(config, stored, output / "split.json")
    config = _settle(config, stored).replace(output=output)
    choose_algorithms(config)
    warn_of_idle(config)
    known = moved or recorded(config, stored, output / "split.json")
    config, data, net = assemble(config, known)
    whole, held = look(data)
    found = checkpoint.load(output / "checkpoints") if stored and config.tune != "head" else None
    before = learned_before(config, output / "split.json", resumed=found is not None)
    data = unlearned(whole, before)
    training = None
    if found:
        training = Training(config, data, net, output)
        training.restore(*found)  # before anything is written: it may refuse
        _refuse_lost(output, training)
        log.info("resuming in epoch %d after batch %d", training.state.epoch + 1, training.state.batch)
    elif stored:
        nothing = "this run was stopped before anything was saved: starting over"
        log.info("fitting the head again" if config.tune == "head" else nothing)
    run_folder.write_config(output, config)
    run_folder.write_environment(output, torch.device(config.device))
    if known is None or moved is not None:
        train = whole.splits["train"]
        write_split(whole, output / "split.json", learned=before - {train.hash(i) for i in range(len(train))})
    judged = None
    if config.weights and found is None:
        judged = _fit_head(net, data, config, output)
    if config.tune != "head":
        if training is None:
            training = Training(config, data, net, output)
            training.state.refused.update(data.refused)
        training.fit()
        judged = None
    return _finish(output, config, data, held, started, judged)


def _refuse_lost(output: Path, training: Training) -> None:
    """Raises `DataError` where the best epoch so far is over and its model is gone: no checkpoint brings it back."""
    if training.state.best_epoch and not artifact.is_artifact(output):
        raise DataError(
            f"{output}/model, the model of epoch {training.state.best_epoch}, is missing: restore it, or train anew "
            "with another --output"
        )


def _fit_head(net: Network, data: Dataset, config: TrainConfig, output: Path) -> dict[str, Outcome] | None:
    """Fits the head; where nothing else is trained, also writes the artifact and the one row, and judges the model."""
    fit, seen, extract = fit_head(net, data, config)
    if config.tune != "head":
        return None
    judged = outcomes(fit, data, extract)
    metrics = judged["val"].metrics
    training = {"settings": config.to_dict(), "epoch": 0, "step": 0, "head": facts(fit, seen)}
    artifact.save(net, output / "model", training=training, metrics={"val": metrics.to_dict()})
    row = {
        "epoch": 0,
        "step": 0,
        "train_top1": float((fit(seen.values[:, 0]).argmax(dim=1) == seen.targets).double().mean()),
        "held_out_loss": fit.held_out_loss,
        "val_loss": metrics.loss,
        "val_top1": metrics.top1,
        "val_top5": metrics.top5,
        "skipped": seen.skipped + metrics.skipped,
    }
    with Logs(output, purge_from=0) as logs:
        logs.epoch([row], dict(seen.refused))
    return judged


def assemble(config: TrainConfig, known: Dataset | None = None) -> tuple[TrainConfig, Dataset, Network]:
    """The data and the network of decided settings, and the settings with what these decide.

    Args:
        config: of `decide`.
        known: the data set, where it was read already.

    Raises:
        ValueError, OSError: something does not fit; nothing has been written.
    """
    data = known or load(
        config.data, split_seed=config.split_seed, val_fraction=config.val_fraction, label=config.label
    )
    if absent := {"train", "val"} - data.splits.keys():
        raise DataError(
            f"{config.data} has no images for {' and '.join(sorted(absent))}; add some of each class "
            "(copies of one image are one, and stay together)"
        )
    net = network(config, data)
    if config.batch_size == "auto":
        config = config.replace(batch_size=batch_size(config, net))
    if config.workers is None:
        config = config.replace(workers=reading_workers(len(data.splits["train"]), preprocess_of(net)))
    refuse_impossible(config, data, net)
    return config, data, net


def _settle(given: TrainConfig, stored: TrainConfig | None) -> TrainConfig:
    """The settings to run with: those given, or a stored run's with the changes that are allowed.

    Raises:
        ValueError: `given` differs from `stored` and does not override it.
    """
    if stored is None:
        return decide(given)
    different = changes(stored, given)
    if different and not given.override:
        listed = ", ".join(f"{name} {old} -> {new}" for name, (old, new) in different.items())
        raise ValueError(f"these settings differ from the run's: {listed}; leave them out, or --override")
    for name, (old, new) in different.items():
        log.warning("overriding %s: %s -> %s", name, old, new)
    asked = {name: getattr(given, name) for name in (*different, *NOT_COMPARED)}
    kept = {name: value for name, value in asked.items() if value is not None}
    return decide(stored.replace(**{**kept, "max_time": given.max_time}))  # a limit is of one call


def _finish(
    output: Path,
    config: TrainConfig,
    data: Dataset,
    held: Copies,
    started: float,
    judged: dict[str, Outcome] | None,
) -> RunResult:
    """Writes predictions.csv and the artifact's metrics: `judged`, else what the saved model answers in float32."""
    model = open_model(output / "model")
    outcome = judged or _judge(model, data, config)
    write_predictions(output / "predictions.csv", outcome["val"].rows(data.splits["val"]))
    run_folder.add_unreadable(output, [*data.refused, *(one for part in outcome.values() for one in part.refused)])
    training = model.facts.training or {}
    artifact.save(
        model.in_pytorch(),
        output / "model",
        training=training,
        metrics={name: part.metrics.to_dict() for name, part in outcome.items()},
        provenance=model.facts.provenance,
        temperature=model.facts.temperature,
    )
    result = RunResult(
        output=output,
        model=model.name,
        top1=outcome["val"].metrics.top1,
        seconds=time.monotonic() - started,
        metrics=outcome["val"].metrics,
        test=outcome["test"].metrics if "test" in outcome else None,
        best_epoch=training["epoch"],
        peak_memory=_peak_memory(config.device),
        shared={part: len(pairs) for part, pairs in held.learned.items()},
    )
    low, high = result.metrics.top1_interval
    log.info(
        "%s: accuracy %.2f %% (95 %%: %.2f to %.2f, n %d) on the validation part; peak memory %.2f GB; %.0f s",
        *(output, 100 * result.top1, 100 * low, 100 * high, result.metrics.n, result.peak_memory / 1e9, result.seconds),
    )
    return result


def _judge(model: Model, data: Dataset, config: TrainConfig) -> dict[str, Outcome]:
    """What `inceptions val` would find on the validation part, and on the test part where there is one."""
    assert isinstance(config.batch_size, int)
    runtime = Runtime(engine="torch", precision="float32", device=config.device)
    protocol = Protocol(batch_size=config.batch_size, workers=config.workers, runtime=runtime)
    return {name: judge([model], data.splits[name], protocol) for name in ("val", "test") if name in data.splits}


def _peak_memory(device: str) -> int:
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device)
    return peak_memory()
