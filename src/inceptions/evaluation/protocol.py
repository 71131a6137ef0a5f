"""`judge`: one or several networks on a split, under a protocol, in one or several processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inceptions.data import Split, batches, read_split, shard
from inceptions.data.batches import reading_workers
from inceptions.engines import ANY, Engine, Runtime, open_engine
from inceptions.engines.probabilities import tempered
from inceptions.errors import DataError
from inceptions.evaluation.answers import Answer, answers, mean, over_crops
from inceptions.evaluation.outcome import Outcome, collect
from inceptions.image import with_crops
from inceptions.models import Model, as_model
from inceptions.progress import track
from inceptions.zoo import Network, preprocess_of

_INT8 = "`inceptions export RUN --format openvino --precision int8 --data FOLDER` measures the ranges there"


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How to evaluate."""

    batch_size: int = 32
    """Images decoded together. Changes no count."""
    workers: int | None = None
    """Processes that decode; None: what the number of images is worth."""
    runtime: Runtime = ANY
    """How the networks are run."""
    calibration: Path | Split | None = None
    """int8 measures its ranges on these training images; a run's split.json: on those in it."""
    crops: int = 1
    """1, 10, 12 or 144 crops of each image, their probabilities averaged (see `inceptions.image.Crops`)."""
    img_size: int | None = None
    """Side of the images, px; None: as the network was trained."""
    temperature: float | None = None
    """Divides the logits; None: the network's own, fitted one."""


def judge(
    models: Sequence[Model | Network],
    split: Split,
    protocol: Protocol,
    *,
    engines: Sequence[Engine] | None = None,
    keep_logits: bool = False,
) -> Outcome:
    """Evaluate a network, or an ensemble of several, on every image of `split`.

    Under `torch.distributed` each process takes its share, and all of them return the whole outcome.

    Args:
        models: with their `preprocess` and `classes`; several must have the same classes, in any order.
        split: its targets numbered as in the first model's classes.
        protocol: how.
        engines: what runs the models, where it is open already.
        keep_logits: keep them in the outcome, to fit a temperature.

    Raises:
        ValueError: models of different classes; no image that could be judged; an impossible protocol.
    """
    judged = [as_model(model) for model in models]
    classes = _classes(judged[0])
    orders = [_order(classes, model) for model in judged]
    joined = torch.distributed.is_available() and torch.distributed.is_initialized()
    rank, world = (torch.distributed.get_rank(), torch.distributed.get_world_size()) if joined else (0, 1)
    mine = shard(np.arange(len(split)), rank=rank, world_size=world)
    ready = engines or [opened(model, protocol, len(mine)) for model in judged]
    streams = [_stream(model, engine, split, mine, protocol) for model, engine in zip(judged, ready, strict=True)]
    stream = streams[0] if len(streams) == 1 else mean(streams, orders)
    seen = track(stream, description="evaluating", total=len(mine), amount=lambda a: len(a.targets) + a.skipped)
    outcome = collect(seen, classes, keep_logits=keep_logits).gathered()
    return replace(outcome, ran=tuple(f"{engine.name}, {engine.computes}" for engine in ready))


def opened(model: Model, protocol: Protocol, images: int) -> Engine:
    """The engine that runs `model` for so many `images` as `protocol` says."""
    model = model.resized(protocol.img_size)
    return open_engine(
        model.answering,
        protocol.runtime,
        expected=images * protocol.crops,
        calibration=None if protocol.calibration is None else ranges(protocol.calibration, model),
    )


def _stream(
    model: Model, engine: Engine, split: Split, order: NDArray[np.int64], protocol: Protocol
) -> Iterator[Answer]:
    preprocess = with_crops(preprocess_of(model.resized(protocol.img_size)), protocol.crops)
    answer = tempered(engine, protocol.temperature or model.temperature)
    feed = batches(
        split,
        preprocess,
        batch_size=max(1, protocol.batch_size // protocol.crops),  # the memory of one batch stays as requested
        workers=reading_workers(len(order), preprocess) if protocol.workers is None else protocol.workers,
        order=order,
    )
    asked = answer if protocol.crops == 1 else over_crops(answer)
    return answers(asked, feed, net=model.answering, split=split)


def ranges(training: Path | Split, model: Model, *, images: int = 300) -> list[Tensor]:
    """Batches of a run's training images, evenly chosen, for int8 to measure its ranges on.

    Args:
        training: the images, or the run's split.json.
        model: its preprocessing is used.
        images: how many at most.

    Raises:
        ValueError: the record of the run does not exist.
        DataError: its images are gone.
    """
    if isinstance(training, Path) and not training.is_file():
        raise ValueError(f"int8 measures its ranges on training images, but {training} does not exist")
    train = training if isinstance(training, Split) else read_split(training, hint=_INT8).splits["train"]
    chosen = np.unique(np.linspace(0, len(train) - 1, images).round().astype(np.int64))
    feed = batches(train, preprocess_of(model), batch_size=16, order=chosen)
    found = [batch.images for batch in feed if len(batch)]
    if not found:
        raise DataError(f"int8 measures its ranges on training images, and none in {train.root} can be read: {_INT8}")
    return found


def _classes(model: Model) -> tuple[str, ...]:
    if model.classes is None:
        raise ValueError(
            f"{model.name} has no class names, so its answers cannot be compared with labels: set net.classes"
        )
    return model.classes


def _order(classes: tuple[str, ...], model: Model) -> list[int]:
    """Where `model` keeps each of `classes`."""
    own = {name: index for index, name in enumerate(_classes(model))}
    different = sorted(set(own) ^ set(classes))
    if different:
        raise ValueError(f"the members of an ensemble need the same classes; {', '.join(different[:10])} differ")
    return [own[name] for name in classes]
