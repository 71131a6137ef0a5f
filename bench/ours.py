"""Our side of the benchmarks, in a process of its own.

python bench/ours.py train inception_v3 16                    (then turns.py's JSON lines)
python bench/ours.py inference inception_v3 16 openvino int8 graph.xml
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from turns import serve

from inceptions.data import Batch, load
from inceptions.deploy.benchmark import Case, _product
from inceptions.deploy.original import open_original
from inceptions.engines import open_engine
from inceptions.train import TrainConfig
from inceptions.train.loop import Training
from inceptions.train.settings import decide, network


def training(model: str, batch: int, *, compiled: bool = False, amp: bool = True) -> Callable[[], object]:
    """One step of `inceptions train --channels-last --amp`, as its loop takes it, from uint8 pictures."""
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
            weight_decay=2e-5, amp=amp, channels_last=True, compile=compiled, output=folder / "run",
        )
    )  # fmt: skip
    data = load(folder)
    net = network(config, data)
    net.reset_classifier(1000)
    run = Training(config, data, net, folder / "run")
    run.batches = 10**6
    size = net.preprocess.size
    pictures = Batch(
        pictures=torch.randint(0, 256, (batch, 3, *size), dtype=torch.uint8),
        targets=torch.randint(0, 1000, (batch,)),
        indices=torch.arange(batch),
    )
    net.train()

    def step() -> None:
        run._backward(pictures)
        run._update()

    return step


def inference(model: str, batch: int, engine: str, precision: str, file: str = "") -> Callable[[], object]:
    """Answers to uint8 pictures in memory; OpenVINO's graph is written to `file`, for others to run the same."""
    net = open_original(model)
    pictures = torch.randint(0, 256, (max(batch, 8), *net.preprocess.shape), dtype=torch.uint8)
    calibration = [pictures[:8]] if precision == "int8" else None
    ready = open_engine(
        net, engine=engine, precision=precision, batch_size=batch, device="cpu", calibration=calibration
    )
    pictures = pictures[:batch]
    ready(pictures)
    if file:
        import openvino

        (streams,) = ready._graphs.values()
        openvino.save_model(streams.graph, file, compress_to_fp16=False)
    return lambda: ready(pictures)


def product(model: str, batch: int, engine: str, precision: str) -> Callable[[], object]:
    """The large matrix product that `inceptions benchmark` takes for the machine's limit."""
    return _product(Case(model=model, engine=engine, precision=precision, batch=batch, threads=torch.get_num_threads()))


WORK: dict[str, Callable[..., Callable[[], object]]] = {
    "inference": inference,
    "product": product,
    "train": training,
    "train-float32": lambda model, batch: training(model, batch, amp=False),
    "train-compiled": lambda model, batch: training(model, batch, compiled=True),
}


def profile(model: str, batch: int) -> None:
    """Print which operations a step is spent on."""
    step = training(model, batch)
    step()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as recorded:
        for _ in range(3):
            step()
    print(recorded.key_averages().table(sort_by="self_cpu_time_total", row_limit=12, max_name_column_width=50))


if __name__ == "__main__":
    kind, model, batch = sys.argv[1], sys.argv[2], int(sys.argv[3])
    torch.manual_seed(0)
    if kind == "profile":
        profile(model, batch)
    else:
        serve(WORK[kind](model, batch, *sys.argv[4:]), torch=torch.__version__)
