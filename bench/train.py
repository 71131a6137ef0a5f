"""A full training step beside timm's, torchvision's and Keras's, in one run, by turns.

    python bench/train.py [--model inception_v3] [--batch 16] [--rounds 5] [--seconds 5] [--compiled] [--profile]
                          [--only NAME ...]

Needs the competitors' environment (`make parity`). Ours is the step of `inceptions train --amp --channels-last`, from
uint8 images; theirs (bench/peers.py says which) get tensors that are normalized already. A step is forward, loss,
backward, update. torchvision's network has an auxiliary head; "ours with aux" is the same work. The limit is that of
`inceptions benchmark` in bf16 (float32 where the processor has none); three times the multiply-adds of `inceptions
inspect` are taken for what a step needs. With a GPU, everybody but Keras on TensorFlow runs on it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from typing import Any

import torch
from peers import NAMES
from turns import HERE, PEERS, Competitor, device, highest, limits, medians, ratio, write

from inceptions.anatomy import cost
from inceptions.deploy.original import original
from inceptions.engines import fast_bf16
from inceptions.models import open_model

EVERYBODY = {
    "ours": "train",
    "ours with aux": "train-aux",
    "ours float32": "train-float32",
    "timm": "timm-train",
    "timm best flags": "timm-train-best",
    "torchvision": "torchvision-train",
    "keras on torch": "keras-torch-train",
    "keras on tensorflow": "keras-tensorflow-train",
}
COMPILED = {
    "ours compiled": "train-compiled",
    "timm best flags compiled": "timm-train-compiled",
    "ours": "train",
    "timm": "timm-train",
}
"""Whose step is measured -> the work of bench/ours.py or bench/peers.py."""
COUNTERPART = {"torchvision": "ours with aux", "timm best flags compiled": "ours compiled"}
"""What a competitor is compared with, where that is not "ours"."""


def competitors(model: str, batch: int, names: list[str], *, compiled: bool) -> dict[str, Competitor]:
    """Those of `names` (empty: everybody) that have the network, started."""
    started = {}
    for name, kind in (COMPILED if compiled else EVERYBODY).items():
        library = "torchvision" if kind == "train-aux" else kind.split("-")[0]
        if (not names or name in names) and model in NAMES.get(library, (model,)):
            python, script = (sys.executable, "ours.py") if name.startswith("ours") else (PEERS, "peers.py")
            started[name] = Competitor(name, python, script, kind, model, str(batch))
    return started


def main() -> None:
    """Measure, print, write bench/results/train-MODEL[-compiled].json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="inception_v3")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of one turn")
    parser.add_argument("--compiled", action="store_true", help="with torch.compile on both sides, and without")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="only these, by the names printed")
    parser.add_argument("--profile", action="store_true", help="print what our step is spent on")
    options = parser.parse_args()
    everybody = competitors(options.model, options.batch, options.only, compiled=options.compiled)
    precision = "bf16" if fast_bf16(torch.device(device())) else "float32"
    before = limits([precision], device())
    found = medians([*everybody.values()], rounds=options.rounds, seconds=options.seconds)
    peak = highest(before, limits([precision], device()))[precision]
    limit = peak["gops"] * 1e9
    net = original(open_model(options.model, fresh=True)).in_pytorch()
    needed = 3 * 2 * cost(net, net.preprocess.size[0]).multiply_adds  # forward, and backward to inputs and to weights
    result: dict[str, Any] = {}
    for name, competitor in everybody.items():
        rate = options.batch / found[name]
        result[name] = {
            "images_per_second": rate,
            "peak_memory": competitor.peak_memory,
            "versions": competitor.facts,
        }
        line = f"{name:26} {rate:7.2f} images/s {competitor.peak_memory / 1e9:6.2f} GB"
        if name in ("ours", "ours compiled"):
            result[name]["share_of_peak"] = rate * needed / limit
            line += f"   {rate * needed / limit:.0%} of the {limit / 1e9:.0f} GOP/s of {peak['by']} in {precision}"
        mine = COUNTERPART.get(name, "ours")
        if not name.startswith("ours") and mine in everybody:
            result[name]["ours_is_faster"] = {mine: ratio(competitor, everybody[mine])}
            line += f"   {mine} is {ratio(competitor, everybody[mine]):5.2f} x as fast"
        print(line)
    for competitor in everybody.values():
        competitor.close()
    facts: dict[str, Any] = {"model": options.model, "batch": options.batch, "rounds": options.rounds}
    facts |= {"peak_gops": peak["gops"], "peak_by": peak["by"], "register_gops": peak["register_gops"]}
    facts |= {"peak_precision": precision, "competitors": result}
    if options.profile:
        profile = [sys.executable, str(HERE / "ours.py"), "profile", options.model, str(options.batch)]
        done = subprocess.run(profile, check=True, stdout=subprocess.PIPE, text=True)
        spent = json.loads(done.stdout.splitlines()[-1])
        for part, milliseconds in spent.items():
            print(f"our step: {part:28} {milliseconds:7.1f} ms {milliseconds / sum(spent.values()):5.1%}")
        facts["milliseconds_of_our_step"] = spent
    print("written:", write(f"train-{options.model}{'-compiled' * options.compiled}", facts))


if __name__ == "__main__":
    main()
