"""What a study found, for the pages: a table, a sentence and curves, all from docs/studies/NAME.json."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import kept
from words import Say

from inceptions.report.charts import Series, chart
from inceptions.studies.claims import STUDIES

RESULTS = Path(__file__).parent / "studies"

STYLE = """<style>
svg {
  --line-0: #2563b8; --line-1: #c8641b; --line-2: #2f8a57; --line-3: #8a4fb5; --line-4: #a8821a; --line-5: #b0386e;
}
text { font: 12.5px system-ui, sans-serif; fill: #555 } .grid { stroke: #ddd; fill: none }
.line { fill: none; stroke-width: 2 } .band { opacity: .16 }
@media (prefers-color-scheme: dark) {
  svg {
    --line-0: #6ea8f5; --line-1: #f0985a; --line-2: #68c492; --line-3: #bd8ee6; --line-4: #d9b650; --line-5: #ea7fb0;
  }
  text { fill: #aaa } .grid { stroke: #444 }
}
</style>"""


def read(name: str) -> dict[str, Any]:
    """What was found."""
    return kept.read(RESULTS / f"{name}.json", f"python docs/studies.py --data ... --output ... {name}")


def table(found: dict[str, Any], say: Say) -> str:
    """The arms, and what the difference of each to the first is worth."""
    heads = ("arm", "top-1", "difference, points", "p (Holm)", "verdict", "parameters", "multiply-adds")
    lines = ["| " + " | ".join(map(say, heads)) + " |", "|---|--:|--:|--:|---|--:|--:|"]
    for number, arm in enumerate(found["arms"]):
        cells = (
            say(arm["name"]),
            _interval(say("{:.1f} % ({:.1f} to {:.1f})"), arm["top1"], arm["top1_interval"]),
            _interval(say("{:+.1f} ({:+.1f} to {:+.1f})"), arm["difference"], arm["difference_interval"]),
            "" if arm["p"] is None else "< 0.001" if arm["p"] < 0.0005 else f"{arm['p']:.3f}",
            verdict(arm, found["seeds"], say) if number else say("reference"),
            *("" if arm[key] is None else f"{arm[key]:,}" for key in ("parameters", "multiply_adds")),
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def overview(names: Iterable[str], say: Say) -> str:
    """Every comparison of these studies, a line each."""
    heads = ("study", "arm", "reference", "difference, points", "verdict")
    lines = ["| " + " | ".join(map(say, heads)) + " |", "|---|---|---|--:|---|"]
    for name in names:
        found = read(name)
        first, *others = found["arms"]
        for number, arm in enumerate(others):
            cells = (
                "" if number else say(STUDIES[name].title),
                say(arm["name"]),
                say(first["name"]),
                _interval(say("{:+.1f} ({:+.1f} to {:+.1f})"), arm["difference"], arm["difference_interval"]),
                verdict(arm, found["seeds"], say),
            )
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def verdict(arm: dict[str, Any], seeds: int, say: Say) -> str:
    """The difference in words that the numbers bear."""
    if not arm["runs"]:
        return say("every run diverged")
    if arm["difference"] is None:
        return say("nothing to compare with")
    significant = "better" if arm["difference"] > 0 else "worse"
    lost = say(" ({} of {} runs diverged)").format(arm["diverged"], seeds) if arm["diverged"] else ""
    return say(significant if arm["significant"] else "not significant at this budget") + lost


def _interval(words: str, mean: float | None, ends: list[float | None] | None) -> str:
    """In per cent; without its ends where a single run has none."""
    if mean is None or ends is None:
        return ""
    if None in ends:
        return re.split(" ?[(（]", words)[0].format(100 * mean)
    return words.format(100 * mean, *(100 * end for end in ends if end is not None))


def sentence(found: dict[str, Any], say: Say) -> str:
    """Of what, with what budget, how, and the command."""
    machine = found["machine"]
    budget = say(
        "`{model}` from nothing, {epochs} epochs of the {images:,} training images of `{data}`, on {date} with "
        "PyTorch {torch} on {device} ({processor}, {threads}). "
    )
    judged = say(
        "Means of {seeds} runs with their 95 % intervals (Student's t), on n = {n:,} validation images; differences "
        "are paired by seed, p allows for the number of comparisons:"
    )
    return (budget + judged).format(
        **{key: found[key] for key in ("seeds", "n", "model", "images", "data", "epochs", "date")},
        torch=machine["versions"]["torch"],
        device=machine["device"],
        processor=machine["processor"],
        threads=say("one thread") if machine["threads"] == 1 else say("{} threads").format(machine["threads"]),
    )


def curves(found: dict[str, Any], say: Say) -> str:
    """Validation accuracy by epoch with its intervals, as SVG that follows the reader's light or dark theme."""
    series = []
    for arm in found["arms"]:
        if (curve := arm["curve"]) is None:
            continue
        several = None not in curve["low"]
        series.append(
            Series(
                name=say(arm["name"]),
                x=list(range(1, len(curve["mean"]) + 1)),
                y=curve["mean"],
                # beyond the possible there is nothing to draw
                low=[max(0.0, value) for value in curve["low"]] if several else None,
                high=[min(1.0, value) for value in curve["high"]] if several else None,
            )
        )
    drawn = str(chart(series, x_title=say("epoch"), y_title=say("validation top-1"), percent=True))
    opening, rest = drawn.split(">", 1)
    box = opening.split('viewBox="')[1].split('"')[0].split()
    size = f'xmlns="http://www.w3.org/2000/svg" width="{box[2]}" height="{box[3]}"'
    return f"{opening.replace('<svg', f'<svg {size}')}>{STYLE}{rest}\n"
