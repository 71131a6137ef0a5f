"""What was measured, for the READMEs: accuracies, and speeds beside others', all from bench/results."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from words import Say

INFERENCE = ("googlenet", "inception_v3", "xception")
RESULTS = Path(__file__).parents[1] / "bench" / "results"


def read(name: str) -> dict[str, Any]:
    """A script's result. Raises `FileNotFoundError` saying which script writes it."""
    file = RESULTS / f"{name}.json"
    if not file.exists():
        raise FileNotFoundError(f"{file} is not there: run `python bench/{name.split('-')[0]}.py`")
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def accuracies(say: Say) -> str:
    """Every run of bench/accuracy.py."""
    heads = ("data, network", "top-1 (95 % interval)", "n", "seed", "command")
    lines = ["| " + " | ".join(map(say, heads)) + " |", "|---|--:|--:|--:|---|"]
    for run in read("accuracy")["results"].values():
        data, *_ = run["command"].removeprefix("inceptions train ").split()
        low, high = run["top1_interval"]
        top1 = say("{:.1f} % ({:.1f} to {:.1f})").format(100 * run["top1"], 100 * low, 100 * high)
        lines.append(f"| {data}, `{run['model']}` | {top1} | {run['n']:,} | {run['seed']} | `{run['command']}` |")
    return "\n".join(lines)


def speeds(say: Say) -> str:
    """How fast, and how many times as fast as others in the same run."""
    heads = ("what", "ours", "beside, in the same run", "share of the measured peak", "command")
    rows = [row for name in INFERENCE for row in _inference(say, name)]
    lines = ["| " + " | ".join(map(say, heads)) + " |", "|---|--:|---|--:|---|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def _inference(say: Say, name: str) -> Iterator[tuple[str, ...]]:
    measured = read(f"inference-{name}")
    for kind, found in measured["alone"].items():
        if "share_of_peak" not in found:
            continue
        beside = [f"timm x {found['over_timm']:.1f}"] if "over_timm" in found else []
        beside += [f"benchmark_app x {found['over_benchmark_app']:.2f}"] if "over_benchmark_app" in found else []
        yield (
            f"`{name}`, {kind}, {say('batch')} {measured['batch']}",
            say("{:.0f} pictures/s").format(found["pictures_per_second"]),
            ", ".join(beside),
            f"{100 * found['share_of_peak']:.0f} %",
            "`python bench/inference.py`",
        )
    for kind, found in measured.get("end_to_end", {}).items():
        if kind != "timm":
            share = say("{:.0f} % of the network alone").format(100 * found["share_of_alone"])
            yield (
                f"`{name}`, {kind}, {say('files to CSV')}, n {measured['pictures']:,}",
                say("{:.0f} pictures/s").format(found["pictures_per_second"]),
                f"timm x {found['over_timm']:.1f}; {share}",
                "",
                "`python bench/inference.py`",
            )
