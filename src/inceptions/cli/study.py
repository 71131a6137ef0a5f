"""`inceptions study`: a paper's ablation on your own images."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from inceptions.cli.terminal import print_json, table
from inceptions.cli.train import Given
from inceptions.progress import log


def study(
    name: str | None = None,
    config: Annotated[Given, Parameter(name="*")] = Given(),  # noqa: B008 - frozen
    *,
    seeds: int = 3,
    recipe: str | None = None,
    rewrite: str | None = None,
    json: bool = False,
) -> None:
    """Repeat a paper's ablation on your images: several seeds, curves with intervals, significance.

    Every arm is trained with every seed by ordinary runs in OUTPUT/ARM/seed-N; study.html says what was found, and
    whether it is significant at this budget. After an interruption the same command continues. Without a name, the
    studies are listed.

    Args:
        name: which study.
        seeds: runs of each arm, from --seed on; with fewer than 3 the interval is meaningless.
        recipe: settings to start from, as for `inceptions train`.
        rewrite: for `inceptions study rewrite DATA`: MODULE:FUNCTION of your own, which takes a published table and
            returns another; the two are compared.
        json: end with one JSON object: study, arms with top1, difference, p, significant.
    """
    if name is None:
        _list()
        return
    from inceptions.files import write_atomically
    from inceptions.report.study import study_page, verdict
    from inceptions.studies.own import own_study
    from inceptions.studies.study import conduct, resolve

    if (name == "rewrite") != (rewrite is not None):
        raise ValueError("a study of your own is `inceptions study rewrite DATA --rewrite MODULE:FUNCTION`")
    study = own_study(rewrite, config.model or "xception") if rewrite else resolve(name)
    base = config.settle(recipe, model=study.model)
    output = base.output or Path("runs") / f"study-{name}-{Path(base.data).resolve().stem}"
    result = conduct(name, base, output, seeds=seeds, study=study)
    write_atomically(output / "study.html", study_page(result, shlex.join(sys.argv)))
    log.info("the page is %s", output / "study.html")
    if json:
        print_json(result.to_dict())
        return
    for arm in result.arms[1:]:
        print(verdict(result, arm))


def _list() -> None:
    from inceptions.studies.claims import STUDIES

    rows = [(name, one.title, one.model, "; ".join(arm.name for arm in one.arms)) for name, one in STUDIES.items()]
    table(rows, ("study", "question", "network", "arms"))
