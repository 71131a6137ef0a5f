"""A data set and settings so small that a training run takes a second, and what a run leaves."""

from __future__ import annotations

import csv
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from inceptions.training import TrainConfig
from inceptions.weights import artifact
from inceptions.zoo import Network

TIME_COLUMNS = {"seconds", "waiting", "images_per_second"}


def write_images(folder: Path, *, train: int = 14, val: int = 4, classes: int = 3, size: int = 32) -> Path:
    """train|val / c0, c1, ... / N.png: noise around a gray or color of each class."""
    random = np.random.default_rng(7)
    for split, count in (("train", train), ("val", val)):
        for label in range(classes):
            (folder / split / f"c{label}").mkdir(parents=True, exist_ok=True)
            for number in range(count):
                pixels = random.normal(60 + 70 * label, 25, (size, size, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / split / f"c{label}" / f"{number}.png")
    return folder


def saved_again(data: Path, folder: Path) -> Path:
    """The same pixels under the same names in files of other bytes: to a run, these are other images."""
    for file in sorted(data.rglob("*.png")):
        (folder / file.relative_to(data)).parent.mkdir(parents=True, exist_ok=True)
        with Image.open(file) as image:
            image.save(folder / file.relative_to(data), compress_level=1)
        assert (folder / file.relative_to(data)).read_bytes() != file.read_bytes()
    return folder


def config(data: Path, output: Path, **settings: Any) -> TrainConfig:
    """Settings of a tiny network for `write_images`' data; any setting may be given."""
    tiny = {
        "model": "bn_inception", "width": 0.05, "depth": 0.2, "stem": "small", "img_size": 32, "epochs": 2,
        "batch_size": 8, "workers": 0, "device": "cpu", "lr": 0.02, "crop": "none",
    }  # fmt: skip
    return TrainConfig(str(data), output=output, **(tiny | settings))


def results(run: Path) -> list[dict[str, str]]:
    """The rows of results.csv without its time columns, as text."""
    with (run / "results.csv").open() as file:
        return [{k: v for k, v in row.items() if k not in TIME_COLUMNS} for row in csv.DictReader(file)]


def workers_alive() -> list[int]:
    """Our children that run the data worker's module."""
    found = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(os.getpid())], capture_output=True, text=True)
    return [int(line.split()[0]) for line in found.stdout.splitlines() if "inceptions.data.worker_process" in line]


def exported(net: Network, folder: Path) -> Path:
    """A folder that looks like an export: its description, and a file in the place of the graph."""
    artifact.save(net, folder)
    facts = {"format": "onnx", "precision": "float32", "with_preprocessing": False, "dynamic_batch": True, "sha256": ""}
    config = json.loads((folder / "config.json").read_text())
    config["inceptions"]["export"] = facts
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").unlink()
    (folder / "model.onnx").write_bytes(b"")
    return folder
