"""A full training step beside timm's, in one run: ours (bf16, channels-last), timm's defaults, timm's best flags.

    python bench/train.py [--model inception_v3] [--batch 16] [--rounds 5] [--compiled] [--profile]

Needs the competitors' environment (`make parity`). timm's scripts are not part of its package: their step is restated
in bench/peers.py. The step: forward, loss, backward, update; pictures ready in memory, for ours as uint8.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from turns import HERE, PEERS, Competitor, medians, write


def main() -> None:
    """Measure, print, write bench/results/train-MODEL.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="inception_v3")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--compiled", action="store_true", help="also with torch.compile on both sides")
    parser.add_argument("--profile", action="store_true", help="print what our step is spent on")
    options = parser.parse_args()
    work = (options.model, str(options.batch))
    competitors = [
        Competitor("ours", sys.executable, "ours.py", "train", *work),
        Competitor("timm, default", PEERS, "peers.py", "timm-train", *work),
        Competitor("timm, best flags", PEERS, "peers.py", "timm-train-best", *work),
    ]
    if options.compiled:
        competitors.append(Competitor("ours, compiled", sys.executable, "ours.py", "train-compiled", *work))
        competitors.append(Competitor("timm, best flags, compiled", PEERS, "peers.py", "timm-train-compiled", *work))
    found = medians(competitors, rounds=options.rounds, seconds=options.seconds)
    rates = {name: options.batch / seconds for name, seconds in found.items()}
    for name, rate in rates.items():
        print(f"{name:30} {rate:7.2f} pictures/s   ours is {rates['ours'] / rate:5.2f} x")
    facts = {competitor.name: competitor.facts for competitor in competitors}
    ratios = {name: rates["ours"] / rate for name, rate in rates.items()}
    result = {"model": options.model, "batch": options.batch, "pictures_per_second": rates, "ours_over": ratios}
    print("written:", write(f"train-{options.model}", {**result, "versions": facts}))
    for competitor in competitors:
        competitor.close()
    if options.profile:
        subprocess.run([sys.executable, str(HERE / "ours.py"), "profile", *work], check=True)


if __name__ == "__main__":
    main()
