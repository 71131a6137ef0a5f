"""Runs the studies of the tour, each on one small budget, and keeps what they found in docs/studies for `make docs`.

    python docs/studies.py --data FLOWERS --output RUNS [NAME ...]

FLOWERS is the folder train|val / CLASS / image of TensorFlow's flowers set; RUNS lies outside of the repository. The
runs are those of `inceptions study`: after an interruption the same call goes on where it stopped, and several
processes may take some of the names each. Results depend on the number of threads in the last bits: OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shlex
import shutil
import sys
from datetime import date
from pathlib import Path
from typing import Any

from PIL import Image

from inceptions.data import load
from inceptions.files import write_atomically
from inceptions.studies.study import ArmResult, StudyResult, conduct, resolve
from inceptions.training import TrainConfig

RESULTS = Path(__file__).parent / "studies"
SEEDS = 3
SIDE = 96
"""Shorter side of the images that are trained on, px: to decode the originals would take as long as the training."""

COMMON: dict[str, Any] = {
    "epochs": 5, "batch_size": 32, "lr": 0.02, "scale": (0.35, 1.0), "channels_last": True,
    "img_size": 48, "width": 0.25, "depth": 0.5,
}  # fmt: skip
"""Settings of every study: networks of a quarter of the width, with half of the blocks."""

_LARGER = {"img_size": 75, "epochs": 8}  # what the stems of v3 and later need, and as they learn more slowly
_PAPER = {"lr": 0.0015}  # of which the second paper's x5 and x30 are multiples

OWN: dict[str, dict[str, Any]] = {
    "reduction": {},
    "auxiliary": {},
    "batch_norm": _PAPER,
    "sigmoid": {},
    "initial_weights": {},
    "pooling": _LARGER,
    "factorisation": _LARGER,
    "smoothing": _LARGER,
    "residual": _LARGER,
    "separable": {"width": 0.125},  # regular convolutions have eight times the weights
    "order": {},
    "middle_activation": {},
}
"""The studies of the tour, with what differs from `COMMON`."""


def base(name: str, data: str) -> TrainConfig:
    """The settings that the arms of a study share."""
    return TrainConfig(data, model=resolve(name).model, workers=0, **{**COMMON, **OWN[name]})


def command(name: str, data: str) -> str:
    """The same study from the command line."""
    words = ["inceptions", "study", name, data, "--seeds", str(SEEDS)]
    for setting, value in {**COMMON, **OWN[name]}.items():
        words.append("--" + setting.replace("_", "-"))
        if value is not True:
            words += map(str, value) if isinstance(value, tuple) else [str(value)]
    return shlex.join(words)


def shrunk(images: Path, folder: Path) -> Path:
    """A copy of the data set with images whose shorter side is `SIDE` px."""
    done = folder / f"{images.resolve().name}-{SIDE}px"
    if not done.exists():
        making = folder / f".{done.name}-{os.getpid()}"
        for file in sorted(images.glob("*/*/*.jpg")):
            with Image.open(file) as image:
                factor = SIDE / min(image.size)
                small = image.convert("RGB").resize([round(side * factor) for side in image.size], reducing_gap=3)
            place = making / file.relative_to(images)
            place.parent.mkdir(parents=True, exist_ok=True)
            small.save(place, quality=95)
        try:
            making.rename(done)
        except OSError:  # another process was faster
            shutil.rmtree(making)
    return done


def record(result: StudyResult, runs: Path) -> dict[str, Any]:
    """What is kept of a study: what was found, its curves, and what they were measured with."""
    data = Path(result.base.data)
    found = result.to_dict() | {"data": data.name, "images": len(load(data).splits["train"])}
    for arm, kept in zip(result.arms, found["arms"], strict=True):
        kept["curve"] = curve(arm)
        del kept["seconds"]  # the runs shared their machine with others, and were paused
    sessions = json.loads(next(runs.glob("*/seed-*/environment.json")).read_text(encoding="utf-8"))
    machine = {key: sessions[-1][key] for key in ("versions", "system", "processor", "cores", "threads", "device")}
    facts = {"date": date.today().isoformat(), "command": command(result.name, data.name), "machine": machine}
    rounded: dict[str, Any] = _rounded({**found, **facts})
    return rounded


def curve(arm: ArmResult) -> dict[str, list[float]] | None:
    """Validation top-1 after each epoch, with the ends of its 95 % interval, over the runs that came through."""
    if not arm.curves:
        return None
    return {key: [getattr(epoch, key) for epoch in arm.epochs] for key in ("mean", "low", "high")}


def _rounded(value: Any) -> Any:
    """Numbers to six digits; what is not finite is None, as JSON has no word for it."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def main() -> int:
    """Run the studies and keep what they found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="studies to run; none: " + ", ".join(OWN))
    parser.add_argument("--data", type=Path, required=True, help="the flowers")
    parser.add_argument("--output", type=Path, required=True, help="folder of the runs")
    given = parser.parse_args()
    if unknown := [name for name in given.names if name not in OWN]:
        parser.error(f"the tour has no study {', '.join(unknown)}; it has: {', '.join(OWN)}")
    small = shrunk(given.data, given.output)
    RESULTS.mkdir(exist_ok=True)
    for name in given.names or OWN:
        runs = given.output / name
        result = conduct(name, base(name, str(small)), runs, seeds=SEEDS)
        text = json.dumps(record(result, runs), indent=1, ensure_ascii=False)
        write_atomically(RESULTS / f"{name}.json", text + "\n")
        print(RESULTS / f"{name}.json", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
