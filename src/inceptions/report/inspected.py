"""The page of `inceptions inspect`: stages, their layers, and the principles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from inceptions.report.page import render


def inspected_page(
    facts: Mapping[str, Any], stages: Sequence[Mapping[str, Any]], findings: Sequence[Mapping[str, Any]]
) -> str:
    """The page.

    Args:
        facts: of the network, as `inceptions inspect --json` has them.
        stages: of each stage, as with `--stage`.
        findings: as with `--principles`.
    """
    return render("inspected.html", facts=facts, stages=stages, findings=findings)
