"""The page of `inceptions study`: curves with intervals, and what the difference is worth."""

from __future__ import annotations

from markupsafe import Markup

from inceptions.report.charts import Series, chart
from inceptions.report.page import render
from inceptions.studies.study import ArmResult, StudyResult


def study_page(result: StudyResult, command: str) -> str:
    """The page; `command` is what was called."""
    return render(
        "study.html",
        result=result,
        command=command,
        curves=_curves(result),
        verdicts=[verdict(result, arm) for arm in result.arms[1:]],
    )


def verdict(result: StudyResult, arm: ArmResult) -> str:
    """What was found of one arm against the first, in words that the numbers support."""
    first = result.arms[0]
    if arm.diverged and not arm.curves:
        return f"{arm.name}: every run diverged ({next(iter(arm.diverged.values()))})."
    if arm.difference is None:
        return f"{arm.name}: no run of {first.name} to compare it with."
    points, low, high = (100 * value for value in (arm.difference.mean, arm.difference.low, arm.difference.high))
    found = f"{arm.name} against {first.name}: {points:+.2f} points of top-1"
    if arm.difference.n == 1:
        return f"{found} in one run each: one run says nothing about chance; use more seeds."
    interval = f"{found} (95 %: {low:+.2f} to {high:+.2f}, {arm.difference.n} pairs of runs, p {arm.adjusted_p:.3f})"
    lost = f" {len(arm.diverged)} of {result.seeds} runs diverged." if arm.diverged else ""
    if arm.significant:
        return f"{interval}: significant at this budget.{lost}"
    if high - low < 0.01:  # two digits show no interval
        return (
            f"{found} ({arm.difference.n} pairs of runs, p {arm.adjusted_p:.3f}): not significant at this budget.{lost}"
        )
    return (
        f"{interval}: not significant at this budget; a true difference anywhere in that interval would look like "
        f"this.{lost}"
    )


def _curves(result: StudyResult) -> Markup | None:
    series = []
    for arm in result.arms:
        epochs = arm.epochs
        if epochs:
            several = len(arm.curves) > 1
            series.append(
                Series(
                    name=arm.name,
                    x=list(range(1, len(epochs) + 1)),
                    y=[epoch.mean for epoch in epochs],
                    # beyond the possible there is nothing to draw
                    low=[max(0.0, epoch.low) for epoch in epochs] if several else None,
                    high=[min(1.0, epoch.high) for epoch in epochs] if several else None,
                )
            )
    return chart(series, x_title="epoch", y_title="validation top-1", percent=True) if series else None
