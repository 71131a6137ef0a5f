"""The network alone, and `inceptions predict` from files to CSV, beside timm's scripts and OpenVINO's own benchmark.

    python bench/inference.py [--models inception_v3 xception] [--engines openvino] [--precisions bf16 int8]
                              [--batch 16] [--rounds 7] [--seconds 3] [--pictures 1000]

Needs the competitors' environment (`make parity`). Every competitor has its own process; they take turns. Ours and
timm's answer pictures ready in memory; `benchmark_app` runs the very file that our OpenVINO engine runs, once for
latency and once for throughput, and its better mode counts. The limit is the matrix product of `inceptions benchmark`.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from data import pictures
from turns import HERE, PEERS, Competitor, medians, write

from inceptions.anatomy import cost
from inceptions.deploy.benchmark import OPERATIONS
from inceptions.deploy.original import open_original
from inceptions.engines import ENGINES, available

PRECISIONS = {"float32": "f32", "bf16": "bf16", "int8": "f32"}  # int8: what was left unquantised is float32, as ours
APPLICATION = """
import sys
sys.modules["openvino_telemetry"] = None
from openvino.tools.benchmark.main import main
sys.exit(main())
"""


class BenchmarkApp(Competitor):
    """OpenVINO's `benchmark_app` on a file, in one mode; started anew for every turn."""

    def __init__(self, hint: str, file: Path, precision: str, shape: tuple[int, ...]) -> None:
        self.name = f"benchmark_app {hint} {precision}"
        self.command = [sys.executable, "-c", APPLICATION, "-m", str(file), "-hint", hint]
        self.command += ["-infer_precision", PRECISIONS[precision], "-shape", json.dumps([1, *shape])]
        self.facts = {"openvino": version("openvino")}
        self.medians, self.fastest = [], []

    def turn(self, seconds: float) -> None:
        """Seconds a picture."""
        done = subprocess.run(
            [*self.command, "-t", str(round(seconds) or 1)], check=True, capture_output=True, text=True
        )
        rate = re.search(r"Throughput: +([0-9.]+) FPS", done.stdout)
        assert rate, done.stdout
        self.medians.append(1 / float(rate[1]))

    def close(self) -> None:
        """There is nothing to end."""


def alone(model: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The network alone: pictures per second of everybody, ratios, and shares of the machine's limit."""
    net = open_original(model)
    work = (model, str(options.batch))
    pairs = [
        (engine, precision)
        for engine in available()
        for precision in ENGINES[engine]
        if engine in options.engines and precision in options.precisions
    ]
    timm = Competitor("timm eager", PEERS, "peers.py", "timm-inference", *work)
    ours, products, apps = {}, {}, {}
    for pair in pairs:
        engine, precision = pair
        file = folder / f"{model}-{precision}.xml"
        graph = [str(file)] if engine == "openvino" else []
        name = f"{engine} {precision}"
        ours[pair] = Competitor(name, sys.executable, "ours.py", "inference", *work, *pair, *graph)
        products[pair] = Competitor(f"product {name}", sys.executable, "ours.py", "product", *work, *pair)
        if engine == "openvino":
            apps[pair] = [
                BenchmarkApp(hint, file, precision, net.preprocess.shape) for hint in ("latency", "throughput")
            ]
    everybody = [timm, *ours.values(), *products.values(), *(app for both in apps.values() for app in both)]
    medians(everybody, rounds=options.rounds, seconds=options.seconds)
    peer = options.batch / statistics.median(timm.medians)
    operations = 2 * cost(net, net.preprocess.size[0]).multiply_adds
    result: dict[str, Any] = {"timm eager": {"pictures_per_second": peer}}
    for pair, mine in ours.items():
        rate = options.batch / statistics.median(mine.medians)
        limit = OPERATIONS / statistics.median(products[pair].fastest)
        found = {
            "pictures_per_second": rate,
            "over_timm": ratio(timm, mine),
            "share_of_peak": rate * operations / limit,
        }
        for app in apps.get(pair, ()):
            found[app.name] = 1 / statistics.median(app.medians)
        if pair in apps:
            best = min(apps[pair], key=lambda app: statistics.median(app.medians))
            found["over_benchmark_app"] = ratio(best, mine, batch=options.batch)
        result[mine.name] = found
        print(model, mine.name, {name: round(value, 3) for name, value in found.items()}, flush=True)
    print(model, "timm eager", round(peer, 2))
    for competitor in everybody:
        competitor.close()
    return {"alone": result, "versions": {one.name: one.facts for one in everybody}}


def ratio(theirs: Competitor, mine: Competitor, *, batch: int = 1) -> float:
    """How many times as fast we are: the median over the rounds of the ratio in a round.

    Args:
        batch: how many of their calls one of ours is.
    """
    return statistics.median(batch * a / b for a, b in zip(theirs.medians, mine.medians, strict=True))


def end_to_end(model: str, options: argparse.Namespace, folder: Path, rates: dict[str, Any]) -> dict[str, Any]:
    """A folder of JPEG files of about 110 kB to CSV: seconds of the whole command, and of the pictures alone.

    Ours predicts with an export, as one does who predicts often. What a command needs before the first picture is known
    from a folder of a few pictures; the share compares the rest with the network alone.
    """
    many, few = folder / "many", folder / "few"
    for place, count in ((many, options.pictures), (few, 16)):
        if not place.exists():
            place.mkdir()
            pictures(place, None, (500, 375), count)
    result: dict[str, Any] = {}
    times: dict[str, tuple[float, float]] = {}
    commands = {"timm": [str(PEERS), str(HERE / "peers.py"), "timm-predict", model]}
    for precision in options.precisions:
        export = folder / f"{model}-{precision}-export"
        inceptions = [sys.executable, "-m", "inceptions"]
        flags = ["--format", "openvino", "--with-preprocessing", "--precision", precision, "--output", str(export)]
        subprocess.run([*inceptions, "export", model, *flags], check=True)
        commands[f"openvino {precision}"] = [*inceptions, "predict", str(export)]
    for name, command in commands.items():
        for place in (few, many):
            output = folder / "predictions.csv"
            tail = [str(place), str(output)] if name == "timm" else [str(place), "--output", str(output)]
            begin = time.perf_counter()
            subprocess.run([*command, *tail], check=True)
            times[name] = (*times.get(name, ()), time.perf_counter() - begin)  # type: ignore[assignment]
        before, seconds = times[name]
        result[name] = {
            "seconds": seconds,
            "over_timm": times["timm"][1] / seconds,
            "pictures_per_second": (options.pictures - 16) / (seconds - before),
        }
        if name in rates:
            result[name]["share_of_alone"] = result[name]["pictures_per_second"] / rates[name]["pictures_per_second"]
        print(model, "files to CSV:", name, {key: round(value, 3) for key, value in result[name].items()}, flush=True)
    return {"pictures": options.pictures, "end_to_end": result}


def main() -> None:
    """Measure, print, write bench/results/inference-MODEL.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["inception_v3", "xception"])
    parser.add_argument("--engines", nargs="+", default=list(ENGINES), choices=list(ENGINES))
    parser.add_argument("--precisions", nargs="+", default=list(PRECISIONS), choices=list(PRECISIONS))
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3.0, help="of one turn")
    parser.add_argument("--pictures", type=int, default=1000, help="files from end to end; 0: only the network alone")
    options = parser.parse_args()
    for model in options.models:
        with tempfile.TemporaryDirectory() as folder:
            found = alone(model, options, Path(folder))
            if options.pictures:
                found |= end_to_end(model, options, Path(folder), found["alone"])
        facts = {"model": model, "batch": options.batch, "rounds": options.rounds}
        print("written:", write(f"inference-{model}", {**facts, **found}))


if __name__ == "__main__":
    main()
