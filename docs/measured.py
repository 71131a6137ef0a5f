"""What was measured, for the READMEs: accuracies, and speeds beside others', all from bench/results."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kept
from words import Say

INFERENCE = ("googlenet", "googlenet,norm=batch", "inception_v3", "inception_v4", "inception_resnet_v2", "xception")
TRAINING = ("train-inception_v3", "train-inception_v3-compiled")
RESULTS = Path(__file__).parents[1] / "bench" / "results"


def read(name: str) -> dict[str, Any]:
    """A script's result."""
    return kept.read(RESULTS / f"{name}.json", f"python bench/{name.split('-')[0]}.py")


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


def exits(say: Say) -> str:
    """What bench/early_exit.py found: a row for the plain network and for each threshold."""
    measured = read("early_exit")
    rows, machine = measured["exits"], measured["machine"]
    facts = say("On the {:,} images of `{}`, {}, {} cores, {}:")
    commands = [f"    {measured[command]}" for command in ("train", "val")]
    heads = [say("a head is sure from"), *(say("left at {}").format(stage) for stage in rows[0]["left"])]
    heads += [say("top-1"), say("images/s"), say("times as fast")]
    lines = [
        facts.format(measured["n"], measured["split"], machine["processor"], machine["cores"], machine["date"]),
        *("", *commands, "", "| " + " | ".join(heads) + " |", "|---|" + "--:|" * (len(heads) - 1)),
    ]
    for row in rows:
        cells = [say("plain network") if row["threshold"] is None else f"{row['threshold']:g}"]
        cells += [f"{share:.1%}".replace("%", " %") for share in (*row["left"].values(), row["top1"])]
        lines.append("| " + " | ".join([*cells, f"{row['images_per_second']:,.0f}", f"{row['ratio']:.2f}"]) + " |")
    return "\n".join(lines)


def speeds(say: Say) -> str:
    """How fast, and how many times as fast as others in the same run."""
    heads = ("what", "ours", "beside, in the same run", "share of the measured peak", "command")
    rows = [row for name in TRAINING for row in _training(say, name)]
    rows += [*_reading(say), *_heads(say)]
    rows += [row for name in INFERENCE for row in _inference(say, name)]
    lines = ["| " + " | ".join(map(say, heads)) + " |", "|---|--:|---|--:|---|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def _beside(competitors: dict[str, Any], ours: str) -> str:
    """ "timm x 3.1, Keras x 2.0": everybody whom `ours` was compared with."""
    ratios = {name: found.get("ours_is_faster", {}).get(ours) for name, found in competitors.items()}
    return ", ".join(f"{name} x {ratio:.2f}" for name, ratio in ratios.items() if ratio)


def _training(say: Say, name: str) -> Iterator[tuple[str, ...]]:
    measured = read(name)
    competitors = measured["competitors"]
    for ours, found in competitors.items():
        if beside := _beside(competitors, ours):
            what = say("training step, `{}`, batch {}").format(measured["model"], measured["batch"])
            rate = say("{:.1f} images/s").format(found["images_per_second"])
            share = f"{100 * found['share_of_peak']:.0f} %" if "share_of_peak" in found else ""
            yield f"{what}, {say(ours)}", rate, beside, share, f"`{measured['command']}`"


def _reading(say: Say) -> Iterator[tuple[str, ...]]:
    measured = read("data")
    competitors = measured["competitors"]
    kilobytes = measured["bytes_per_image"] / 1e3
    what = say("JPEG of {:.0f} kB to an augmented image of {} px").format(kilobytes, measured["size"])
    for ours, found in competitors.items():
        if beside := _beside(competitors, ours):
            spent = say("{:.2f} ms a core").format(found["ms_per_image"])
            yield f"{what}, {say(ours)}", spent, beside, "", f"`{measured['command']}`"


def _heads(say: Say) -> Iterator[tuple[str, ...]]:
    measured = read("head")
    for data, found in measured.items():
        if data in ("command", "machine"):
            continue
        yield (
            say("`--tune head`, {}, the whole command").format(data),
            say("{:.0f} s; again {:.0f} s").format(found["seconds"], found["seconds_again"]),
            say("its engine alone needs 1 / {:.2f} of that").format(found["over_engine"]),
            "",
            f"`{measured['command']}`",
        )


def _inference(say: Say, name: str) -> Iterator[tuple[str, ...]]:
    measured = read(f"inference-{name}")
    for kind, found in measured["alone"].items():
        if "share_of_peak" not in found:
            continue
        beside = [f"timm x {found['over_timm']:.1f}"] if "over_timm" in found else []
        beside += [f"benchmark_app x {found['over_benchmark_app']:.2f}"] if "over_benchmark_app" in found else []
        yield (
            f"`{name}`, {kind}, {say('batch')} {measured['batch']}",
            say("{:.0f} images/s").format(found["images_per_second"]),
            ", ".join(beside),
            f"{100 * found['share_of_peak']:.0f} %",
            f"`{measured['command']}`",
        )
    for kind, found in measured.get("end_to_end", {}).items():
        if kind != "timm":
            share = say("{:.0f} % of the network alone").format(100 * found["share_of_alone"])
            yield (
                f"`{name}`, {kind}, {say('files to CSV')}, n {measured['images']:,}",
                say("{:.0f} images/s").format(found["images_per_second"]),
                f"timm x {found['over_timm']:.1f}; {share}",
                "",
                f"`{measured['command']}`",
            )
