"""Which images an export is proven on: the run's own, the user's, or, for a bare network, made-up ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from inceptions.data import Dataset, Split, evaluation_split, learned_part, read_split
from inceptions.data.judged import LearnedError
from inceptions.progress import log

MADE_UP = 64


@dataclass(frozen=True, kw_only=True)
class Images:
    """What an export is checked on, and calibrated with."""

    check: Split
    name: str
    """What they are, for `parity.json`."""
    labeled: bool = True
    calibration: Split | None = None
    """int8: images to measure ranges on; never those of `check`, where there are others."""


@contextmanager
def find_images(
    classes: tuple[str, ...], *, data: str | None, recorded: Path | None, most: int | None
) -> Iterator[Images]:
    """The images to prove an export on.

    Args:
        classes: of the network.
        data: a data set the user names; None: the run's own.
        recorded: the run's split.json, if the network comes from a run.
        most: how many to check on, spread evenly over the split; None: all.

    Raises:
        DataError: `data` cannot be used, or the model was trained on all of it.
    """
    if data is None and (recorded is None or not recorded.is_file()):
        with TemporaryDirectory() as folder:
            log.warning("no images are known for this network (use --data): parity is checked on generated ones")
            yield Images(check=made_up(Path(folder), classes), name="made-up images", labeled=False)
        return
    part, dataset = _to_check(classes, data, recorded)
    split = dataset.splits[part].known()
    if most is not None and len(split) > most:
        split = split.subset(np.linspace(0, len(split) - 1, most).astype(np.int64))
    own = recorded is not None and recorded.is_file()
    training = learned_part(recorded, dataset) if own and recorded else dataset.splits.get("train")
    if own and training is None and most is None:
        log.warning("the run's training images are gone: int8 measures its ranges on the images it is checked on")
    name = f"{part} of {dataset.source}"
    yield Images(check=split, name=name, calibration=training)


def _to_check(classes: tuple[str, ...], data: str | None, recorded: Path | None) -> tuple[str, Dataset]:
    """What `val` would judge. A run whose own validation part is copies of training images is exported all the same:
    that two networks answer alike shows on any image."""
    try:
        return evaluation_split(data, classes=classes, recorded=recorded, hint="--data")
    except LearnedError as error:
        if data is not None or recorded is None:
            raise
        log.warning("%s; the export is checked on them", error)
        return "val", read_split(recorded, classes=classes)


def made_up(folder: Path, classes: tuple[str, ...]) -> Split:
    """JPEG files of smooth random colors with noise: seeded, so the same everywhere."""
    generator = np.random.default_rng(0)
    names = []
    for index in range(MADE_UP):
        coarse = generator.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((480, 360), Image.Resampling.BICUBIC)).astype(np.int16)
        noisy = np.clip(smooth + generator.integers(-20, 21, smooth.shape), 0, 255).astype(np.uint8)
        names.append(f"{index}.jpg")
        Image.fromarray(noisy).save(folder / names[-1], quality=92)
    return Split(
        root=folder,
        files=np.array(names, dtype=np.bytes_),
        targets=np.zeros(len(names), np.int64),
        classes=classes,
    )
