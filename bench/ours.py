"""Our side of the benchmarks, in a process of its own.

python bench/ours.py train inception_v3 16                    (then turns.py's JSON lines)
python bench/ours.py inference inception_v3 16 openvino int8 graph.xml
python bench/ours.py data FOLDER 299
python bench/ours.py profile inception_v3 16                  (one JSON object)
python bench/ours.py limit cpu 0 float32 int8                 (one JSON object)
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from itertools import count
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from turns import device, member, one_core, serve, synchronize

from inceptions.data import Augment, Batch, batches, load
from inceptions.deploy.original import original
from inceptions.deploy.peak import Limit
from inceptions.engines import open_engine
from inceptions.image import Preprocess
from inceptions.models import open_model
from inceptions.training import TrainConfig
from inceptions.training.loop import Training
from inceptions.training.resolve import choose_algorithms, decide, network


def place_of(engine: str) -> str:
    """Where an engine runs: PyTorch's on a GPU where there is one."""
    return device() if engine.startswith("torch") else "cpu"


def training(
    model: str, batch: int, *, compiled: bool = False, amp: bool = True, aux: bool = False
) -> Callable[[], object]:
    """One step of `inceptions train --channels-last --amp`, as its loop takes it, from uint8 images."""
    folder = Path(tempfile.mkdtemp())
    for part in ("train", "val"):
        for label in ("a", "b"):
            (folder / part / label).mkdir(parents=True)
            for index in range(batch):
                pixels = np.random.default_rng(index).integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / part / label / f"{index}.png")
    config = decide(
        TrainConfig(
            str(folder), model=model, batch_size=batch, workers=0, epochs=10**6, opt="nesterov", lr=0.01,
            weight_decay=2e-5, amp=amp, channels_last=True, compile=compiled, aux=aux, output=folder / "run",
        )
    )  # fmt: skip
    choose_algorithms(config)
    data = load(folder)
    net = network(config, data)
    net.reset_classifier(1000)
    run = Training(config, data, net, folder / "run")
    run.batches = 10**6
    size = net.preprocess.size
    images = Batch(
        images=torch.randint(0, 256, (batch, 3, *size), dtype=torch.uint8),
        targets=torch.randint(0, 1000, (batch,)),
        indices=torch.arange(batch),
    )
    net.train()

    def step() -> None:
        run.backward(images)
        run.update(config.lr)
        synchronize()

    return step


def inference(model: str, batch: int, engine: str, precision: str, file: str = "") -> Callable[[], object]:
    """Answers to uint8 images in memory; OpenVINO's graph is written to `file`, for others to run the same."""
    name, options = member(model)
    net = original(open_model(name, options=options, fresh=True)).in_pytorch()
    images = torch.randint(0, 256, (max(batch, 8), *net.preprocess.shape), dtype=torch.uint8)
    calibration = [images[:8]] if precision == "int8" else None
    place = place_of(engine)
    ready = open_engine(
        net, engine=engine, precision=precision, device=place, batch_size=batch if place == "cuda" else None,
        calibration=calibration,
    )  # fmt: skip
    images = images[:batch]
    ready.tune(images[0], most=batch)
    ready(images)
    if file:
        import openvino

        (streams,) = ready._graphs.values()
        openvino.save_model(streams.graph, file, compress_to_fp16=False)
    return lambda: ready(images)


def reading(folder: str, size: int, *, color_jitter: float = 0.0, workers: int = 0) -> Callable[[], object]:
    """One pass over FOLDER / CLASS / image as `inceptions train` reads them, to uint8 batches of 32; with workers,
    eight passes in one."""
    data = load(folder, val_fraction=0).splits["train"]
    preprocess = Preprocess(size=(size, size), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    augment = Augment(brightness=color_jitter, contrast=color_jitter, saturation=color_jitter)
    order, epochs = np.tile(np.arange(len(data)), 8 if workers else 1), count()
    if not workers:
        torch.set_num_threads(1)

    def epoch() -> None:
        options = {"batch_size": 32, "workers": workers, "augment": augment, "order": order, "epoch": next(epochs)}
        for _ in batches(data, preprocess, **options):
            pass

    return epoch


def limit(place: str, precisions: Sequence[str]) -> dict[str, dict[str, object]]:
    """Precision -> what this machine can do at most in it."""
    found = {precision: Limit(precision, place, torch.get_num_threads()) for precision in precisions}
    return {precision: asdict(one.turn(3.0)) for precision, one in found.items()}


WORK: dict[str, Callable[..., Callable[[], object]]] = {
    "inference": inference,
    "train": training,
    "train-float32": partial(training, amp=False),
    "train-aux": partial(training, aux=True),
    "train-compiled": partial(training, compiled=True),
    "data": reading,
    "data-jitter": partial(reading, color_jitter=0.4),
    "data-workers": partial(reading, workers=os.cpu_count()),
}


PARTS = {
    "convolutions": ("convolution",),
    "batch norms": ("batch_norm", "batchnorm"),
    "pools": ("pool",),
    "ReLU": ("relu", "threshold", "clamp_min"),
    "optimizer": ("fused", "optimizer"),
    "casts and copies": ("copy",),
    "joins and sums of branches": ("cat", "::add"),
    "clearing memory": ("fill", "zero"),
}
"""What a step is spent on -> parts of the names of its operations, in lower case; the first that fits."""


def profile(model: str, batch: int) -> dict[str, float]:
    """Milliseconds of a step by what they are spent on, the most first."""
    step, spent, steps = training(model, batch), dict.fromkeys([*PARTS, "all other"], 0.0), 5
    for _ in range(3):
        step()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as recorded:
        for _ in range(steps):
            step()
    for event in recorded.key_averages():
        fits = (part for part, names in PARTS.items() if any(name in event.key.lower() for name in names))
        spent[next(fits, "all other")] += event.self_cpu_time_total / 1e3 / steps
    return dict(sorted(spent.items(), key=lambda item: -item[1]))


if __name__ == "__main__":
    kind, subject, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
    torch.manual_seed(0)
    alone = kind in ("data", "data-jitter")  # their workers would have the other cores
    if alone:
        one_core()
    if kind == "limit":
        print(json.dumps(limit(subject, sys.argv[4:])))
    elif kind == "profile":
        print(json.dumps(profile(subject, number)))
    else:
        work = WORK[kind](subject, number, *sys.argv[4:])
        clock = time.process_time if alone else time.perf_counter
        serve(work, clock=clock, torch=torch.__version__, pillow=version("pillow"))
