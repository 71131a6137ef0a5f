"""A run and its split.json: written when it starts, trusted when it continues, found again where its data was moved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from inceptions.data import Dataset, read_split
from inceptions.data.contents import Copies, copies, hashed, learned_from, named
from inceptions.data.split_file import changed, read_record
from inceptions.errors import DataError
from inceptions.models import open_model
from inceptions.progress import log
from inceptions.training.config import DIVIDING, TrainConfig, changes
from inceptions.weights import artifact


def relocated(config: TrainConfig, stored: TrainConfig | None, file: Path) -> tuple[TrainConfig | None, Dataset | None]:
    """The stored settings, and the stored run's data set, where `config` only says that its data lies elsewhere now.

    It is the same data if every image of `file` is in it, by content: under other names, or in another format.

    Raises:
        DataError: the stored record is damaged.
    """
    if stored is None or not config.data or config.data == stored.data or not file.exists():
        return stored, None
    record = read_record(file)
    try:
        data = read_split(file, root=config.data)
        different = [image.file for split in data.splits.values() for image in changed(split)]
    except DataError as error:
        log.debug("%s is not the data of this run: %s", config.data, error)
        return stored, None
    if different:
        log.warning(
            "%s does not hold %d of the %d images this run was started on (%s)",
            *(config.data, len(different), len(record.entries), named(different)),
        )
        return stored, None
    log.info("the images of this run lie in %s now: every one was found by its content", config.data)
    return stored.replace(data=config.data), data


def recorded(config: TrainConfig, stored: TrainConfig | None, file: Path) -> Dataset | None:
    """The data set as the stored run's split.json has it, whatever was added since; None: read it anew.

    Raises:
        DataError: recorded images have changed or are gone, and nothing is overridden.
    """
    if stored is None or not file.exists() or DIVIDING & changes(stored, config).keys():
        return None
    data = read_split(file, hint=f"inceptions train FOLDER --output {file.parent} --resume")
    different = [image for split in data.splits.values() for image in changed(split)]
    if not different:
        return data
    some = "; ".join(f"{image.file}: {image.reason}" for image in different[:3])
    if not config.override:
        raise DataError(
            f"{len(different)} images are not what this run was started on ({some}); --override accepts that"
        )
    log.warning("overriding: %d images are not what this run was started on (%s)", len(different), some)
    return None


def learned_before(config: TrainConfig, file: Path, *, resumed: bool) -> frozenset[str]:
    """Hashes of the images that the network learned from before this run trains it.

    Args:
        config: its weights may come from a run, which learned from images of its own.
        file: split.json; where a run continues with other images, the old one is there still.
        resumed: whether the network continues from a checkpoint.
    """
    before = frozenset[str]()
    if resumed and file.exists():
        before |= read_record(file).learned
    if config.weights and (weights := _run_of(config.weights)) is not None:
        before |= read_record(weights).learned
    return before


def look(data: Dataset) -> tuple[Dataset, Copies]:
    """`data` with every hash, and its copies; says which there are."""
    whole = {part: hashed(split, description=f"hashing {part}")[0] for part, split in data.splits.items()}
    data = replace(data, splits=whole)
    found = copies(data)
    found.tell()
    return data, found


def unlearned(data: Dataset, before: frozenset[str]) -> Dataset:
    """`data` without the images for validation and test that are learned from; says what is left of them.

    So a run is judged on what `inceptions val` would judge it on, also where the user divided the data.

    Args:
        data: with its hashes.
        before: see `learned_before`.

    Raises:
        DataError: no image is left to judge on.
    """
    splits = dict(data.splits)
    train = frozenset(_digests(data, "train"))
    for part in [part for part in ("val", "test") if part in splits]:
        split, title = splits[part], {"val": "validation"}.get(part, part)
        known = learned_from(split, train | before)
        if len(known) and known.all():
            raise DataError(
                f"{data.source}: the network was or is trained on all {len(known)} {title} images, which say "
                "nothing then: give other images; without any, some training images are held out (--val-fraction)"
            )
        if again := int(learned_from(split, before - train).sum()):
            log.warning(
                "%d of the %d %s images were trained on before and are left out of it", again, len(split), title
            )
        splits[part] = split.subset(np.flatnonzero(~known))
    for name, split in splits.items():
        held = set(split.targets.tolist())
        missing = [name for index, name in enumerate(data.classes) if index not in held]
        if missing and data.divided:  # for our own division `load` reports it
            log.warning(
                "no %s images of class %s: its results will be unknown",
                *({"val": "validation", "train": "training"}.get(name, name), named(missing)),
            )
    return replace(data, splits=splits)


def _digests(data: Dataset, part: str) -> list[str]:
    hashes = data.splits[part].hashes
    return [] if hashes is None else [digest.decode("ascii") for digest in hashes.tolist()]


def _run_of(weights: str) -> Path | None:
    """The split.json of the run that `weights` are of."""
    try:
        if not artifact.is_artifact(Path(weights)):
            return None
        file = open_model(weights, weights=False).record()
    except (OSError, ValueError) as error:  # loading them reports it
        log.debug("%s: %s", weights, error)
        return None
    return file if file.is_file() else None
