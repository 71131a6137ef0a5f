"""`inceptions train --tune head` beside what its engine needs for the same images alone, in one run.

    python bench/head.py DATA [DATA ...] --weights FILE [--rounds 3]

A round runs the command with an empty cache, in a process of its own; then the same engine, opened and warm, on as many
images in memory, in another; and the command again, which finds every feature in the cache. Medians count.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from turns import Competitor, serve, write


def engine(data: str, weights: str) -> Callable[[], object]:
    """What `--tune head` computes for the images of DATA, without files: features, by the engine it would take."""
    import torch

    from inceptions.engines import open_engine
    from inceptions.features import READ_AT_ONCE
    from inceptions.training import TrainConfig
    from inceptions.training.head import views_of
    from inceptions.training.resolve import decide
    from inceptions.training.run import assemble

    _, found, net = assemble(decide(TrainConfig(data, weights=weights, tune="head")))
    parts = found.splits
    views = views_of(parts["train"]) * len(parts["train"]) + sum(len(parts[n]) for n in parts if n != "train")
    ready = open_engine(net, precision="auto", expected=views)
    images = torch.randint(0, 256, (READ_AT_ONCE, *net.preprocess.shape), dtype=torch.uint8)

    def work() -> None:
        for start in range(0, views, READ_AT_ONCE):
            ready.features(images[: views - start])

    return work


def command(data: str, weights: str, cache: str, output: Path) -> tuple[float, dict[str, Any]]:
    """Seconds of the whole command, and what it says at the end."""
    words = [sys.executable, "-m", "inceptions", "train", data, "--weights", weights, "--tune", "head", "--json"]
    begin = time.perf_counter()
    done = subprocess.run(
        [*words, "--output", str(output)],
        env=os.environ | {"INCEPTIONS_CACHE": cache}, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return time.perf_counter() - begin, json.loads(done.stdout)


def measure(data: str, weights: str, rounds: int) -> dict[str, Any]:
    """Medians over the rounds, and the accuracy."""
    alone = Competitor("engine", sys.executable, "head.py", "--serve", data, weights)
    first, second, engines = [], [], []
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            seconds, found = command(data, weights, folder, Path(folder) / "run")
            first.append(seconds)
            alone.turn(0)
            engines.append(alone.medians[-1])
            second.append(command(data, weights, folder, Path(folder) / "again")[0])
        print(data, number + 1, round(first[-1], 1), round(engines[-1], 1), round(second[-1], 1), flush=True)
    alone.close()
    return {
        **{key: found[key] for key in ("top1", "top1_interval", "n", "peak_memory")},
        "seconds": statistics.median(first),
        "engine_seconds": statistics.median(engines),
        "over_engine": statistics.median(a / b for a, b in zip(first, engines, strict=True)),
        "seconds_again": statistics.median(second),
    }


def main() -> None:
    """Measure, print, write bench/results/head.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    found = {Path(data).name: measure(data, options.weights, options.rounds) for data in options.data}
    print(json.dumps(found, indent=2))
    print("written:", write("head", found))


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        serve(engine(*sys.argv[2:]))
    else:
        main()
