"""The accuracies that the README states: ordinary runs of `inceptions train`, and what they came to.

    python bench/accuracy.py --runs FOLDER --data DATA --weights XCEPTION.keras [NAME ...]

DATA holds flowers, hymenoptera and cifar10; XCEPTION.keras an ImageNet Xception of Keras. A run that is in FOLDER
already is not repeated, one that was stopped goes on. The result of each is kept in bench/results/accuracy.json.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from turns import RESULTS, write

HEAD = "--weights WEIGHTS --tune head"
SMALL = (
    "--stem small --img-size 32 --width 0.25 --depth 0.5 --crop pad --epochs 2 --batch-size 64 --opt nesterov "
    "--lr 0.05 --warmup-epochs 0.5 --channels-last --workers 0"
)
RUNS = {
    "hymenoptera-head": f"hymenoptera {HEAD}",
    "flowers-head": f"flowers {HEAD}",
    "flowers-finetuned": "flowers --weights WEIGHTS --recipe finetune --tune last:3 --epochs 2 --amp --channels-last",
    **{
        f"cifar10-{name}": f"cifar10 --model {name} {SMALL}"
        for name in ("googlenet", "bn_inception", "inception_v3", "inception_resnet_v2", "xception")
    },
    "flowers-googlenet-aux": (
        "flowers --model googlenet --options.norm batch --aux --img-size 128 --epochs 15 --opt nesterov --lr 0.05 "
        "--warmup-epochs 1 --amp --channels-last"
    ),
}
"""name -> what follows `inceptions train`."""


def trained(name: str, options: argparse.Namespace) -> Path:
    """The folder of the run, which is made, or finished, if need be."""
    output: Path = options.runs / name
    words = shlex.split(RUNS[name])
    if not (output / "predictions.csv").exists():
        given = [str(options.data / words[0]), *(str(options.weights) if w == "WEIGHTS" else w for w in words[1:])]
        more = ["--resume"] if output.exists() else []
        command = [sys.executable, "-m", "inceptions", "train", *given, "--output", str(output), *more]
        subprocess.run(command, check=True)
    return output


def result(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """What the run's artifact says of `test`, or of `val` where there is no such part."""
    output = trained(name, options)
    config = json.loads((output / "model" / "config.json").read_text())
    block = config["inceptions"]
    part = "test" if "test" in block["metrics"] else "val"
    metrics = block["metrics"][part]
    return {
        "command": f"inceptions train {RUNS[name]}",
        "model": config["architecture"],
        "part": part,
        "top1": metrics["top1"],
        "top1_interval": metrics["top1_interval"],
        "n": metrics["n"],
        "seed": block["training"]["settings"]["seed"],
        "epochs": block["training"]["settings"]["epochs"] if block["training"]["step"] else 0,
    }


def main() -> None:
    """Run, print, add to bench/results/accuracy.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(RUNS))
    for flag in ("--runs", "--data", "--weights"):
        parser.add_argument(flag, type=Path, required=True)
    options = parser.parse_args()
    if unknown := set(options.names) - set(RUNS):
        parser.error(f"unknown {', '.join(sorted(unknown))}; there are {', '.join(RUNS)}")
    kept = RESULTS / "accuracy.json"
    for name in options.names or RUNS:
        found = result(name, options)
        print(name, json.dumps(found), flush=True)
        results = (json.loads(kept.read_text())["results"] if kept.exists() else {}) | {name: found}
        write("accuracy", {"results": {key: results[key] for key in RUNS if key in results}})


if __name__ == "__main__":
    main()
