"""A paper's ablation on your own data and budget: ordinary runs, several seeds, and what they can and cannot tell."""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from inceptions import zoo
from inceptions.anatomy.cost import cost
from inceptions.files import write_atomically
from inceptions.progress import log
from inceptions.studies.claims import STUDIES, Arm, Study
from inceptions.studies.significance import Difference, Estimate, estimate, holm, paired_difference
from inceptions.training import TrainConfig, train
from inceptions.weights import artifact

SEEDS = 3
DIVERGED = "diverged.txt"
"""In the folder of a run whose loss became NaN: its message."""


@dataclass(frozen=True, kw_only=True)
class ArmResult:
    """What the runs of one arm came to."""

    name: str
    curves: dict[int, tuple[float, ...]]
    """seed -> validation top-1 after each epoch, of the runs that came through."""
    diverged: dict[int, str]
    """seed -> the message of a run whose loss became NaN."""
    parameters: int | None
    multiply_adds: int | None
    """None where no run came through."""
    seconds: float
    """Of training, the mean of its runs."""
    final: Estimate | None
    """Validation top-1 after the last epoch."""
    difference: Difference | None
    """To the first arm, over the seeds that came through in both; None for the first arm itself."""
    adjusted_p: float | None
    """`difference.p`, adjusted for the number of comparisons (Holm)."""

    @property
    def epochs(self) -> tuple[Estimate, ...]:
        """Validation top-1 after each epoch, over the runs."""
        return tuple(estimate(values) for values in zip(*self.curves.values(), strict=True))

    @property
    def significant(self) -> bool:
        """Whether the difference to the first arm is more than chance would make of as many runs."""
        return self.adjusted_p is not None and self.adjusted_p < 0.05


@dataclass(frozen=True, kw_only=True)
class StudyResult:
    """What a study found."""

    name: str
    study: Study
    base: TrainConfig
    seeds: int
    arms: tuple[ArmResult, ...]
    n: int
    """Validation images."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able summary."""
        return {
            "study": self.name,
            "claim": self.study.claim,
            "source": self.study.source,
            "model": self.base.model,
            "data": self.base.data,
            "epochs": self.base.epochs,
            "seeds": self.seeds,
            "n": self.n,
            "arms": [
                {
                    "name": arm.name,
                    "top1": arm.final.mean if arm.final else None,
                    "top1_interval": [arm.final.low, arm.final.high] if arm.final else None,
                    "runs": len(arm.curves),
                    "diverged": len(arm.diverged),
                    "difference": arm.difference.mean if arm.difference else None,
                    "difference_interval": [arm.difference.low, arm.difference.high] if arm.difference else None,
                    "p": arm.adjusted_p,
                    "significant": arm.significant,
                    "parameters": arm.parameters,
                    "multiply_adds": arm.multiply_adds,
                    "seconds": arm.seconds,
                }
                for arm in self.arms
            ],
        }


def resolve(name: str) -> Study:
    """A study by name. Raises `ValueError` saying which there are."""
    if name not in STUDIES:
        raise ValueError(f"unknown study {name!r}; there are: {', '.join(STUDIES)}")
    return STUDIES[name]


def conduct(
    name: str, base: TrainConfig, output: Path, *, seeds: int = SEEDS, study: Study | None = None
) -> StudyResult:
    """Run every arm of a study with every seed, and compare.

    Runs are ordinary ones, in `output/ARM/seed-N`, an arm at a time of each seed; those that are there already are not
    repeated, and one that was stopped is resumed: call again after an interruption. Arms of one seed share the split,
    the order of the images and, as far as their layers are the same, their initial weights: they are compared in
    pairs.

    Args:
        name: one of `STUDIES`, or what `study` is called.
        base: settings of every run; its `model` is kept, its seed is the first one.
        output: folder of the study.
        seeds: runs of each arm; from 2 on differences have intervals, and 3 is little.
        study: one of your own, see `own_study`.

    Raises:
        ValueError: unknown study, no seed, settings and data that do not fit, or `output` holds runs of other settings.
    """
    study = study or resolve(name)
    if seeds < 1:
        raise ValueError(f"seeds is {seeds}; at least 1 is needed")
    if seeds < SEEDS:
        log.warning("seeds is %d: with fewer than %d runs of each arm the interval is meaningless", seeds, SEEDS)
    model = zoo.resolve(base.model or study.model)
    base = base.replace(model=model)
    for arm in study.arms:  # the last must not refuse what the first have been trained for
        with torch.device("meta"):
            zoo.build(model, **arm_config(base, arm, base.seed, output).options)
    for seed in range(base.seed, base.seed + seeds):
        for arm in study.arms:
            _run(arm_config(base, arm, seed, output))
    return summary(name, base, output, seeds=seeds, study=study)


def arm_config(base: TrainConfig, arm: Arm, seed: int, output: Path) -> TrainConfig:
    """The settings of one run."""
    settings: dict[str, Any] = dict(arm.settings)
    settings["options"] = {**base.options, **settings.get("options", {})}
    folder = output / re.sub(r"[^a-z0-9.]+", "-", arm.name.lower()).strip("-") / f"seed-{seed}"
    return base.replace(**settings, lr=base.lr * arm.lr_factor, seed=seed, output=folder)


def _run(config: TrainConfig) -> None:
    """One run, unless it has been done; one that diverged has been done, too."""
    from inceptions.training.config import changes
    from inceptions.training.folder import stored_settings
    from inceptions.training.loop import DivergenceError

    folder = config.output
    assert folder is not None
    stored = stored_settings(folder, resume=True) if folder.exists() else None
    if stored is not None and (different := changes(stored, config)):
        said = ", ".join(f"{name} {old} -> {new}" for name, (old, new) in different.items())
        raise ValueError(f"{folder} holds a run with other settings ({said}): choose another --output for this study")
    if (folder / DIVERGED).exists() or (folder / "predictions.csv").exists():
        log.info("%s is there already", folder)
        return
    log.info("running %s", folder)
    try:
        train(config.replace(resume=folder.exists()))
    except DivergenceError as error:
        log.warning("%s: %s", folder, error)
        write_atomically(folder / DIVERGED, f"{error}\n")
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def summary(
    name: str, base: TrainConfig, output: Path, *, seeds: int = SEEDS, study: Study | None = None
) -> StudyResult:
    """Compare the runs that are in `output`. Raises `FileNotFoundError` where one has not finished."""
    study = study or resolve(name)
    chosen = range(base.seed, base.seed + seeds)
    runs = {arm.name: {seed: arm_config(base, arm, seed, output).output for seed in chosen} for arm in study.arms}
    curves: dict[str, dict[int, tuple[float, ...]]] = {}
    diverged: dict[str, dict[int, str]] = {}
    seconds: dict[str, list[float]] = {}
    for arm, folders in runs.items():
        curves[arm], diverged[arm], seconds[arm] = {}, {}, []
        for seed, folder in folders.items():
            assert folder is not None
            if (folder / DIVERGED).exists():
                diverged[arm][seed] = (folder / DIVERGED).read_text(encoding="utf-8").strip()
                continue
            rows = _rows(folder)
            curves[arm][seed] = tuple(row["val_top1"] for row in rows)
            seconds[arm].append(sum(row["seconds"] for row in rows))
    sizes = {
        arm: _size([folder for seed, folder in runs[arm].items() if folder and seed in curves[arm]]) for arm in runs
    }
    images = max((n for _, _, n in sizes.values()), default=0)
    differences = _differences(curves, images)
    adjusted = holm({arm: found.p for arm, found in differences.items()})
    return StudyResult(
        name=name,
        study=study,
        base=base,
        seeds=seeds,
        n=images,
        arms=tuple(
            ArmResult(
                name=arm,
                curves=curves[arm],
                diverged=diverged[arm],
                parameters=sizes[arm][0],
                multiply_adds=sizes[arm][1],
                seconds=fmean(seconds[arm]) if seconds[arm] else 0.0,
                final=estimate([curve[-1] for curve in curves[arm].values()]) if curves[arm] else None,
                difference=differences.get(arm),
                adjusted_p=adjusted.get(arm),
            )
            for arm in runs
        ),
    )


def _rows(folder: Path) -> list[dict[str, float]]:
    if not (folder / "predictions.csv").exists():
        raise FileNotFoundError(f"{folder} has not finished; run the study again, and it continues there")
    with (folder / "results.csv").open(newline="", encoding="utf-8") as file:
        return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]


def _differences(curves: Mapping[str, Mapping[int, tuple[float, ...]]], images: int) -> dict[str, Difference]:
    """Of each arm to the first, over the seeds that came through in both; shares of so many `images`."""
    (_, reference), *others = curves.items()
    found = {}
    for arm, runs in others:
        both = sorted(runs.keys() & reference.keys())
        if both:
            last, first = ([curve[seed][-1] for seed in both] for curve in (runs, reference))
            found[arm] = paired_difference(last, first, images=images)
    return found


def _size(folders: list[Path]) -> tuple[int | None, int | None, int]:
    """Parameters, multiply-adds, and images that were judged."""
    if not folders:
        return None, None, 0
    net = artifact.describe(folders[0] / "model")
    assert net.preprocess is not None
    counted = cost(net, net.preprocess.size)
    return counted.parameters, counted.multiply_adds, net.artifact["metrics"]["val"]["n"]
