"""The page of `inceptions inspect`: stages, their layers, and the principles."""

from __future__ import annotations

from inceptions.anatomy import RULES
from inceptions.anatomy.facts import Inspection, label
from inceptions.report.page import render


def inspected_page(name: str, found: Inspection) -> str:
    """The page; `name` is what the network is called."""
    findings = found.principles()["principles"]
    return render(
        "inspected.html",
        name=name,
        facts=found.whole(),
        stages=[found.stage(stage) for stage in found.stages],
        label=label,
        principles={
            principle: (rule, rows)
            for principle, rule in RULES.items()
            if (rows := [row for row in findings if row["principle"] == principle])
        },
    )
