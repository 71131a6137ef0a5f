"""The network alone, and `inceptions predict` from files to CSV, beside timm's scripts and OpenVINO's own benchmark.

    python bench/inference.py [--models inception_v3 xception] [--engines openvino] [--precisions bf16 int8]
                              [--batch 16] [--rounds 7] [--seconds 3] [--images 1000] [--file-rounds 3]

A model may have options: googlenet,norm=batch is GoogLeNet as torchvision publishes it, without response normalization.
Needs the competitors' environment (`make parity`). Every competitor has its own process; they take turns. Ours and
timm's answer images ready in memory; `benchmark_app` runs the very file that our OpenVINO engine runs, in the better
of its modes (latency and throughput are tried in the first round). The limit is that of `inceptions
benchmark`; precisions that the processor lacks are left out. timm has no GoogLeNet and no BN-Inception.
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
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from data import images
from peers import NAMES
from turns import HERE, PEERS, Competitor, device, highest, limits, medians, member, ratio, write

from inceptions.anatomy import cost
from inceptions.deploy.original import original
from inceptions.engines import ENGINES, PRECISIONS, available, support
from inceptions.engines.openvino import hint
from inceptions.models import open_model

APPLICATION = """
import sys
sys.modules["openvino_telemetry"] = None
from openvino.tools.benchmark.main import main
sys.exit(main())
"""


def place_of(engine: str) -> str:
    """Where an engine runs: PyTorch's on a GPU where there is one."""
    return device() if engine.startswith("torch") else "cpu"


class BenchmarkApp(Competitor):
    """OpenVINO's `benchmark_app` on a file, in its better mode; started anew for every turn."""

    def __init__(self, file: Path, precision: str, shape: tuple[int, ...]) -> None:
        self.name = f"benchmark_app {precision}"
        self.command = [sys.executable, "-c", APPLICATION, "-m", str(file)]
        self.command += ["-infer_precision", hint(precision), "-shape", json.dumps([1, *shape])]
        self.facts = {"openvino": version("openvino")}
        self.medians, self.fastest = [], []

    def turn(self, seconds: float) -> None:
        """Seconds an image."""
        hints = [self.facts["hint"]] if "hint" in self.facts else ["latency", "throughput"]
        rates = {hint: self.rate(hint, seconds) for hint in hints}
        self.facts["hint"] = max(rates, key=lambda hint: rates[hint])
        self.medians.append(1 / rates[self.facts["hint"]])

    def rate(self, hint: str, seconds: float) -> float:
        """Images per second."""
        done = subprocess.run(
            [*self.command, "-hint", hint, "-t", str(round(seconds) or 1)], check=True, capture_output=True, text=True
        )
        rate = re.search(r"Throughput: +([0-9.]+) FPS", done.stdout)
        assert rate, done.stdout
        return float(rate[1])

    def close(self) -> None:
        """There is nothing to end."""


def alone(model: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The network alone: images per second of everybody, ratios, and shares of the machine's limit."""
    name, choices = member(model)
    net = original(open_model(name, options=choices, fresh=True)).in_pytorch()
    work = (model, str(options.batch))
    pairs = [
        (engine, precision)
        for engine in available()
        for precision in ENGINES[engine]
        if engine in options.engines and precision in options.precisions
        if support(engine, precision, torch.device(place_of(engine))).pays
    ]
    places = {place: sorted({one for engine, one in pairs if place_of(engine) == place}) for place in ("cpu", "cuda")}
    before = {place: limits(precisions, place) for place, precisions in places.items() if precisions}
    peers = {}
    if model in NAMES["timm"]:
        peers["over_timm"] = Competitor("timm eager", PEERS, "peers.py", "timm-inference", *work)
        peers["over_timm_best"] = Competitor("timm best flags", PEERS, "peers.py", "timm-inference-best", *work)
    ours, apps = {}, {}
    for pair in pairs:
        engine, precision = pair
        file = folder / f"{model}-{precision}.xml"
        graph = [str(file)] if engine == "openvino" else []
        name = f"{engine} {precision}"
        ours[pair] = Competitor(name, sys.executable, "ours.py", "inference", *work, *pair, *graph)
        if engine == "openvino":
            apps[pair] = BenchmarkApp(file, precision, net.preprocess.shape)
    everybody = [*peers.values(), *ours.values(), *apps.values()]
    medians(everybody, rounds=options.rounds, seconds=options.seconds)
    peaks = {place: highest(found, limits(list(found), place)) for place, found in before.items()}
    needed = 2 * cost(net, net.preprocess.size[0]).multiply_adds
    rates = {timm.name: options.batch / statistics.median(timm.medians) for timm in peers.values()}
    result: dict[str, Any] = {name: {"images_per_second": rate} for name, rate in rates.items()}
    for pair, mine in ours.items():
        rate = options.batch / statistics.median(mine.medians)
        peak = peaks[place_of(pair[0])][pair[1]]
        found: dict[str, Any] = {
            "images_per_second": rate,
            "peak_gops": peak["gops"],
            "peak_by": peak["by"],
            "register_gops": peak["register_gops"],
            "share_of_peak": rate * needed / peak["gops"] / 1e9,
        }
        found |= {key: ratio(timm, mine) for key, timm in peers.items()}
        if pair in apps:
            found["benchmark_app"] = 1 / statistics.median(apps[pair].medians)
            found["over_benchmark_app"] = ratio(apps[pair], mine, batch=options.batch)
            found["profile"] = profile(folder / f"{model}-{pair[1]}.xml", pair[1], net.preprocess.shape)
        result[mine.name] = found
        print(model, mine.name, json.dumps(found), flush=True)
    print(model, {name: round(rate, 2) for name, rate in rates.items()}, flush=True)
    for competitor in everybody:
        competitor.close()
    return {"alone": result, "versions": {one.name: one.facts for one in everybody}}


def profile(file: Path, precision: str, shape: tuple[int, ...]) -> dict[str, float]:
    """Which kernels one thread spends its time in on one image: "operator kernel" -> share, the largest six."""
    import openvino

    core = openvino.Core()
    graph = core.read_model(file)
    graph.reshape([1, *shape])
    options = {"INFERENCE_PRECISION_HINT": hint(precision), "INFERENCE_NUM_THREADS": 1, "PERF_COUNT": True}
    request = core.compile_model(graph, "CPU", options).create_infer_request()
    spent: Counter[str] = Counter()
    for _ in range(10):
        request.infer([np.zeros((1, *shape), np.uint8)])
        for node in request.profiling_info:
            spent[f"{node.node_type} {node.exec_type}"] += node.real_time.total_seconds()
    return {kind: seconds / spent.total() for kind, seconds in spent.most_common(6)}


def end_to_end(model: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """A folder of JPEG files of about 110 kB to CSV, beside timm's script and the network alone, by turns.

    Ours predicts with an export, as one does who predicts often. What a command needs before the first image is known
    from a folder of a few images; the share compares the rest with the network alone in the same round.
    """
    many, few = folder / "many", folder / "few"
    for place, count in ((many, options.images), (few, 16)):
        place.mkdir()
        images(place, None, (500, 375), count)
    commands = {"timm": [str(PEERS), str(HERE / "peers.py"), "timm-predict", model]}
    networks: dict[str, Competitor] = {}
    for precision in sorted({*options.precisions} - {"float32"}):
        name, export = f"openvino {precision}", folder / f"{model}-{precision}-export"
        inceptions = [sys.executable, "-m", "inceptions"]
        flags = ["--format", "openvino", "--with-preprocessing", "--precision", precision, "--output", str(export)]
        bare, choices = member(model)
        flags += [word for option, choice in choices.items() for word in (f"--options.{option}", choice)]
        subprocess.run([*inceptions, "export", bare, *flags], check=True)
        commands[name] = [*inceptions, "predict", str(export)]
        work = ("inference", model, str(options.batch), "openvino", precision)
        networks[name] = Competitor(name, sys.executable, "ours.py", *work)

    def seconds(name: str, place: Path) -> float:
        output = folder / "predictions.csv"
        tail = [str(place), str(output)] if name == "timm" else [str(place), "--output", str(output)]
        begin = time.perf_counter()
        subprocess.run([*commands[name], *tail], check=True)
        return time.perf_counter() - begin

    found: dict[str, list[dict[str, float]]] = {name: [] for name in commands}
    for _ in range(options.file_rounds):
        for name, rounds in found.items():
            before, whole = seconds(name, few), seconds(name, many)
            facts = {"seconds": whole, "images_per_second": (options.images - 16) / (whole - before)}
            if name in networks:
                networks[name].turn(2 * options.seconds)
                facts["share_of_alone"] = facts["images_per_second"] * networks[name].medians[-1] / options.batch
                facts["over_timm"] = found["timm"][-1]["seconds"] / whole
            rounds.append(facts)
    for network in networks.values():
        network.close()
    result = {
        name: {key: statistics.median(facts[key] for facts in rounds) for key in rounds[0]}
        for name, rounds in found.items()
    }
    for name, facts in result.items():
        print(model, "files to CSV:", name, {key: round(value, 3) for key, value in facts.items()}, flush=True)
    return {"images": options.images, "file_rounds": options.file_rounds, "end_to_end": result}


def main() -> None:
    """Measure, print, write bench/results/inference-MODEL.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["inception_v3", "xception"])
    parser.add_argument("--engines", nargs="+", default=list(ENGINES), choices=list(ENGINES))
    parser.add_argument("--precisions", nargs="+", default=list(PRECISIONS), choices=list(PRECISIONS))
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3.0, help="of one turn")
    parser.add_argument("--images", type=int, default=1000, help="files from end to end; 0: only the network alone")
    parser.add_argument("--file-rounds", type=int, default=3, help="rounds from end to end")
    options = parser.parse_args()
    for model in options.models:
        with tempfile.TemporaryDirectory() as folder:
            facts = {"model": model, "batch": options.batch, "rounds": options.rounds}
            facts |= alone(model, options, Path(folder))
            write(f"inference-{model}", facts)
            if options.images:
                facts |= end_to_end(model, options, Path(folder))
            print("written:", write(f"inference-{model}", facts))


if __name__ == "__main__":
    main()
