"""What an early exit at the auxiliary heads is worth: how many images leave, what stays right, what time it saves.

    python bench/early_exit.py --runs FOLDER --data DATA

Trains the run of bench/accuracy.py that has auxiliary heads, if FOLDER lacks it, then lets `inceptions val` compare the
plain network with thresholds of the heads' probability on the validation images, in bf16 on OpenVINO.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from accuracy import RUNS, trained
from turns import write

RUN = "flowers-googlenet-aux"
FLAGS = "--early-exit 0.5,0.7,0.8,0.9,0.95,0.99 --engine openvino --precision bf16"


def main() -> None:
    """Train if need be, measure, print, write bench/results/early_exit.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for flag in ("--runs", "--data"):
        parser.add_argument(flag, type=Path, required=True)
    options = parser.parse_args()
    run = trained(RUN, options)
    command = [sys.executable, "-m", "inceptions", "val", str(run), *FLAGS.split(), "--json"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found = json.loads(done.stdout)
    for row in found["exits"]:
        print(row)
    facts = {"train": f"inceptions train {RUNS[RUN]}", "val": f"inceptions val RUN {FLAGS}"}
    print("written:", write("early_exit", {**facts, **{key: found[key] for key in ("split", "n", "exits")}}))


if __name__ == "__main__":
    main()
