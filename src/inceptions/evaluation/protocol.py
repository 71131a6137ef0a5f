"""`judge`: one or several networks on a split, under a protocol, in one or several processes."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inceptions.data import Split, batches, read_split, record_of, shard
from inceptions.data.batches import reading_workers
from inceptions.engines import Engine, open_engine
from inceptions.engines.probabilities import temperature_of, tempered
from inceptions.errors import DataError
from inceptions.evaluation.answers import Answer, answers, mean, over_crops
from inceptions.evaluation.outcome import Outcome, collect
from inceptions.image import with_crops
from inceptions.progress import track
from inceptions.weights import artifact
from inceptions.zoo import Network

_INT8 = "`inceptions export RUN --format openvino --precision int8 --data FOLDER` measures the ranges there"


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How to evaluate."""

    batch_size: int = 32
    """Images decoded together. Changes no count."""
    workers: int | None = None
    """Processes that decode; None: what the number of images is worth."""
    engine: str = "auto"
    """See `open_engine`."""
    precision: str | None = None
    """None: float32, and of an export its own."""
    device: str | None = None
    """Where torch runs."""
    calibration: Path | Split | None = None
    """int8 measures its ranges on these training images; a run's split.json: on those in it."""
    crops: int = 1
    """1, 10, 12 or 144 crops of each image, their probabilities averaged (see `inceptions.image.Crops`)."""
    img_size: int | None = None
    """Side of the images, px; None: as the network was trained."""
    temperature: float | None = None
    """Divides the logits; None: the network's own, fitted one."""
    early_exit: float | None = None
    """The probability from which on an auxiliary head's answer is taken."""


def judge(
    networks: Sequence[Network],
    split: Split,
    protocol: Protocol,
    *,
    engines: Sequence[Engine] | None = None,
    keep_logits: bool = False,
) -> Outcome:
    """Evaluate a network, or an ensemble of several, on every image of `split`.

    Under `torch.distributed` each process takes its share, and all of them return the whole outcome.

    Args:
        networks: with their `preprocess` and `classes`; several must have the same classes, in any order.
        split: its targets numbered as in the first network's classes.
        protocol: how.
        engines: what runs the networks, where it is open already.
        keep_logits: keep them in the outcome, to fit a temperature.

    Raises:
        ValueError: networks of different classes; no image that could be judged; an impossible protocol.
    """
    classes = _classes(networks[0])
    orders = [_order(classes, net) for net in networks]
    joined = torch.distributed.is_available() and torch.distributed.is_initialized()
    rank, world = (torch.distributed.get_rank(), torch.distributed.get_world_size()) if joined else (0, 1)
    mine = shard(np.arange(len(split)), rank=rank, world_size=world)
    ready = engines or [opened(net, protocol, len(mine)) for net in networks]
    streams = [_stream(net, engine, split, mine, protocol) for net, engine in zip(networks, ready, strict=True)]
    stream = streams[0] if len(streams) == 1 else mean(streams, orders)
    seen = track(stream, description="evaluating", total=len(mine), amount=lambda a: len(a.targets) + a.skipped)
    outcome = collect(seen, classes, keep_logits=keep_logits).gathered()
    return replace(outcome, ran=tuple(f"{engine.name}, {engine.computes}" for engine in ready))


def opened(net: Network, protocol: Protocol, images: int) -> Engine:
    """The engine that runs `net` for so many `images` as `protocol` says."""
    net = sized(net, protocol)
    return open_engine(
        net,
        engine=protocol.engine,
        precision=protocol.precision,
        device=protocol.device,
        expected=images * protocol.crops,
        calibration=None if protocol.calibration is None else ranges(protocol.calibration, net),
        early_exit=protocol.early_exit,
    )


def _stream(
    net: Network, engine: Engine, split: Split, order: NDArray[np.int64], protocol: Protocol
) -> Iterator[Answer]:
    preprocess = with_crops(sized(net, protocol).preprocess, protocol.crops)
    model = tempered(engine, protocol.temperature or temperature_of(net))
    feed = batches(
        split,
        preprocess,
        batch_size=max(1, protocol.batch_size // protocol.crops),  # the memory of one batch stays as requested
        workers=reading_workers(len(order), preprocess) if protocol.workers is None else protocol.workers,
        order=order,
    )
    return answers(model if protocol.crops == 1 else over_crops(model), feed, net=net, split=split)


def sized(net: Network, protocol: Protocol) -> Network:
    """`net` for images of the size that `protocol` asks for."""
    return net if protocol.img_size is None else resized(net, protocol.img_size)


def resized(net: Network, img_size: int) -> Network:
    """`net` (its weights are shared) for square images of another size.

    Raises:
        ValueError: below the network's minimum.
    """
    if img_size < net.min_size:
        raise ValueError(f"--img-size {img_size}: {net.name} needs images of at least {net.min_size} px")
    other = copy.copy(net)
    other.preprocess = replace(net.preprocess, size=(img_size, img_size))
    return other


def ranges(training: Path | Split, net: Network, *, images: int = 300) -> list[Tensor]:
    """Batches of a run's training images, evenly chosen, for int8 to measure its ranges on.

    Args:
        training: the images, or the run's split.json.
        net: its preprocessing is used.
        images: how many at most.

    Raises:
        ValueError: the record of the run does not exist.
        DataError: its images are gone.
    """
    if isinstance(training, Path) and not training.is_file():
        raise ValueError(f"int8 measures its ranges on training images, but {training} does not exist")
    train = training if isinstance(training, Split) else read_split(training, hint=_INT8).splits["train"]
    chosen = np.unique(np.linspace(0, len(train) - 1, images).round().astype(np.int64))
    feed = batches(train, net.preprocess, batch_size=16, order=chosen)
    found = [batch.images for batch in feed if len(batch)]
    if not found:
        raise DataError(f"int8 measures its ranges on training images, and none in {train.root} can be read: {_INT8}")
    return found


def trained_in(model: str | Path, net: Network) -> Path:
    """The split.json of the run that `net` comes from, as far as it can be found; it need not exist.

    A copy of a run's model and an export lie elsewhere, but say where their run was; that it still is that run, its own
    model says.

    Args:
        model: what the user named: a run, the model in it, a copy of that or an export.
        net: what was read there.
    """
    file = record_of(model)
    training = (net.artifact or {}).get("training") or {}
    settings = training.get("settings") if isinstance(training, dict) else None
    output = settings.get("output") if isinstance(settings, dict) else None
    if file.is_file() or not isinstance(output, str):
        return file
    try:
        same = artifact.describe(output).artifact.get("training") == training
    except (OSError, ValueError):
        return file
    return Path(output) / file.name if same else file


def _classes(net: Network) -> tuple[str, ...]:
    if net.classes is None:
        raise ValueError(
            f"{net.name} has no class names, so its answers cannot be compared with labels: set net.classes"
        )
    return net.classes


def _order(classes: tuple[str, ...], net: Network) -> list[int]:
    """Where `net` keeps each of `classes`."""
    own = {name: index for index, name in enumerate(_classes(net))}
    different = sorted(set(own) ^ set(classes))
    if different:
        raise ValueError(f"the members of an ensemble need the same classes; {', '.join(different[:10])} differ")
    return [own[name] for name in classes]
