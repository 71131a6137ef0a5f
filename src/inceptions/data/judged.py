"""Which images a model may be judged on: none that it learned from, wherever they lie now, under any name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from inceptions.data.contents import hashed, learned_from, named
from inceptions.data.dataset import Dataset, Split
from inceptions.data.read import load
from inceptions.data.split_file import NAME, Record, gone, read_record, read_split
from inceptions.errors import DataError
from inceptions.progress import log


class LearnedError(DataError):
    """Every image that could be judged was trained on."""


def record_of(model: str | Path) -> Path:
    """The split.json of the run that `model` is or lies in; it need not exist."""
    folder = Path(model)
    inside = folder.absolute().name == "model" and not (folder / NAME).is_file()
    return folder.parent / NAME if inside else folder / NAME


def evaluation_split(
    source: str | Path | None,
    *,
    classes: Sequence[str],
    recorded: Path | Sequence[Path] | None = None,
    label: str | None = None,
    hint: str | None = None,
) -> tuple[str, Dataset]:
    """What to evaluate a model on.

    Without `source`, or where `source` is what the run divided itself: the run's own validation images. Else the
    "val" part of `source`, or "test" if it has no other, or all of it if it is not divided. Images that a run learned
    from are left out: they are known by their content, wherever they lie now, under any name and in any format. So of a
    copy of what the run divided its validation part is left.

    Args:
        source: what `load` reads; None: the run's own data.
        classes: the model's classes: images are mapped to them by name.
        recorded: the run's split.json, if there is one; of several models, each one's, the first one's first.
        label: the label's column in a manifest or a table.
        hint: how the user says where the run's own images lie now.

    Returns:
        (the split's name, the data set): evaluate `dataset.splits[name]`; `dataset.unknown_classes` and
        `dataset.missing_classes` (of this split) say what could not be mapped, `dataset.trained_on` how many were left
        out, `dataset.changed` what is no longer as recorded. "all" is the name where nobody divided the images; its
        data set has those that were left out as "train".

    Raises:
        LearnedError: the model was trained on all of it.
        DataError: the data cannot be used, or there is neither data nor a split.json.
    """
    files = [recorded] if isinstance(recorded, Path) else list(recorded or ())
    run = read_record(files[0]) if files and files[0].is_file() else None
    records = [read_record(file) for file in files if file.is_file()]
    if run is not None and (source is None or (not run.divided and _same(source, run.source))):
        name, dataset = "val", read_split(run.file, classes=classes, hint=hint)
        if name not in dataset.splits:
            raise DataError(f"{run.file} has no validation images: say which data to evaluate on")
        held = dataset.splits[name]
        if held.content is None and not any(os.path.exists(held.path(index)) for index in range(len(held))):
            raise DataError(gone(run, hint))
    elif source is None:
        raise DataError("no data given, and the run has no split.json: say which data to evaluate on")
    else:
        name, dataset = _given(source, classes, label)
    if records:
        own = source is None or (run is not None and _same(source, run.source))
        name, dataset = _unlearned(name, dataset, run, records, own=own)
    return name, replace(dataset, missing_classes=_missing(dataset.splits[name]))


def learned_part(recorded: Path, found: Dataset) -> Split | None:
    """The images a run learned from, to measure ranges on: where they were, or where `found` holds them.

    Args:
        recorded: its split.json.
        found: of `evaluation_split`.
    """
    try:
        train = read_split(recorded, classes=found.classes).splits.get("train")
    except DataError as error:
        log.debug("%s", error)
        train = None
    if train is not None and (train.content or any(os.path.exists(train.path(index)) for index in range(len(train)))):
        return train
    return found.splits.get("train")


def _given(source: str | Path, classes: Sequence[str], label: str | None) -> tuple[str, Dataset]:
    dataset = load(source, classes=classes, val_fraction=0, label=label)
    for part in ("val", "test"):
        if dataset.divided and part in dataset.splits:
            return part, dataset
    return "all", replace(dataset, splits={"all": dataset.whole()})


def _unlearned(
    name: str, dataset: Dataset, run: Record | None, records: Sequence[Record], *, own: bool
) -> tuple[str, Dataset]:
    """`dataset` without the images of split `name` that were learned from; says how many these are."""
    split, _ = hashed(dataset.splits[name], description="looking for training images", fresh=True)
    assert split.hashes is not None
    digests = [digest.decode("ascii") for digest in split.hashes.tolist()]
    learned = frozenset[str]().union(*(record.learned for record in records))
    known = learned_from(split, learned)
    seen, kept = np.flatnonzero(known), np.flatnonzero(~known)
    rest = [digests[index] for index in kept]
    place = dataset.source
    if len(seen) and not any(rest):
        raise LearnedError(
            f"{place}: the model was trained on all {len(seen)} images of it and has memorized "
            "them, so its accuracy on them means nothing; name other images to evaluate on"
        )
    held = set[str]() if run is None or run.divided else run.contents("val") - learned
    found = set(filter(None, rest))
    if len(seen):
        log.warning(
            "%s: %d of %d images are left out, the model was trained on them (%s); the %d others are judged%s",
            *(place, len(seen), len(split), named(map(split.name, seen.tolist())), len(kept)),
            ", which the run held out itself" if found and found <= held else "",
        )
    judged = split.subset(kept)
    changed = () if run is None else _changed(judged, run, own or len(seen) * 2 >= len(split))
    if changed:
        log.warning(
            "%s: %d images are not what the run recorded under their names (%s); they are judged as they are now",
            *(place, len(changed), named(changed)),
        )
    splits = dict(dataset.splits)
    if name == "all":
        del splits[name]
        splits |= {"train": split.subset(seen)} if len(seen) else {}
        name = "val" if found and found == held else name  # whole, so `source` is what the run divided
    apart = len(splits.get("train", ())) if own and run is not None and not run.divided else 0
    return name, replace(dataset, splits={**splits, name: judged}, trained_on=len(seen) + apart, changed=changed)


def _changed(judged: Split, run: Record, own: bool) -> tuple[str, ...]:
    """Names of the run's images under which other content lies now; names alone do not make images the run's."""
    if not own:
        return ()
    assert judged.hashes is not None
    recorded = {os.fsencode(one["file"]): one["sha256"] for one in run.entries}
    contents = {one["sha256"] for one in run.entries}
    digests = [digest.decode("ascii") for digest in judged.hashes.tolist()]
    return tuple(
        judged.name(index)
        for index, digest in enumerate(digests)
        if digest and digest not in contents and recorded.get(bytes(judged.files[index]))
    )


def _missing(split: Split) -> tuple[str, ...]:
    """Classes of the model that no image of `split` has."""
    held = set(split.targets.tolist())
    return tuple(name for index, name in enumerate(split.classes) if index not in held)


def _same(source: str | Path, recorded: str) -> bool:
    if str(source) == recorded:
        return True
    try:
        return Path(source).resolve() == Path(recorded).resolve()
    except (OSError, RuntimeError) as error:  # a circle of links
        log.debug("%s: %s", source, error)
        return False
