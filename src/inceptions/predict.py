"""`Classifier`: images in, named probabilities out, over any engine."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inceptions.data import Split, batches
from inceptions.data.batches import reading_workers
from inceptions.data.dataset import natural
from inceptions.data.readers.walk import Walk, say_skipped
from inceptions.engines import ANY, Engine, Runtime, blaming, open_engine
from inceptions.engines.probabilities import rank, tempered
from inceptions.errors import DataError
from inceptions.image import Preprocess, Source, UnreadableImage
from inceptions.models import Model, as_model, open_model
from inceptions.progress import log
from inceptions.weights import artifact
from inceptions.zoo import Network


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a classifier says about one image; with an `error` it says nothing else."""

    file: str | None
    """The path as it was given; None for images that are not files."""
    top_k: tuple[tuple[str, float], ...] = ()
    """(label, probability), the most probable first."""
    error: str | None = None
    """Why the image could not be read."""

    @property
    def label(self) -> str | None:
        """The most probable class."""
        return self.top_k[0][0] if self.top_k else None

    @property
    def probability(self) -> float | None:
        """Its probability."""
        return self.top_k[0][1] if self.top_k else None

    def to_dict(self) -> dict[str, Any]:
        """JSON-able: `file`, `label`, `probability`, `top_k`; or `file`, `error`."""
        if self.error is not None:
            return {"file": self.file, "error": self.error}
        best = [{"label": label, "probability": probability} for label, probability in self.top_k]
        return {"file": self.file, "label": self.label, "probability": self.probability, "top_k": best}


class Classifier:
    """A model with its preprocessing and class names, ready to answer.

    Args:
        net: a network or a model, with `preprocess` and `classes`.
        runtime: how it is run.
        calibration: batches of un-normalized images that int8 measures its ranges on.
        temperature: divides the logits; None: what was fitted on validation images, if anything was.
        changes: fields of `runtime` by name, as `engine="torch"`; `engine` may be an open one too.

    Raises:
        ValueError: the model has no preprocessing, no class names or one class only, or the engine is unknown.
    """

    def __init__(
        self,
        net: Network | Model,
        runtime: Runtime = ANY,
        *,
        calibration: Iterable[Tensor] | None = None,
        temperature: float | None = None,
        **changes: Any,
    ) -> None:
        model = as_model(net)
        if model.preprocess is None or model.classes is None:
            missing = "preprocess" if model.preprocess is None else "classes"
            raise ValueError(f"{model.name} has no {missing}: set net.{missing}, a classifier needs to know")
        if model.shapes.num_classes < 2:
            raise ValueError(artifact.one_output(model.name))
        self.model = model
        self.classes: tuple[str, ...] = model.classes
        self.preprocess: Preprocess = model.preprocess
        self.temperature = model.temperature if temperature is None else temperature
        self._engine = changes.pop("engine") if isinstance(changes.get("engine"), Engine) else None
        self._runtime, self._calibration = replace(runtime, **changes), calibration

    @property
    def net(self) -> Network:
        """The network in PyTorch. Raises `ValueError`: an export has none."""
        return self.model.in_pytorch()

    def engine(self, expected: int | None = None) -> Engine:
        """What runs the network; opened at the first use, when it is known how many images are `expected`."""
        if self._engine is None:
            self._engine = open_engine(
                self.model.answering, self._runtime, expected=expected, calibration=self._calibration
            )
        return self._engine

    def predict(self, images: Source | Sequence[Source], top_k: int = 5) -> list[Prediction]:
        """Classify images; one that cannot be read carries an `error` and stops nothing.

        Args:
            images: one image or several: paths, encoded bytes, open binary files, PIL images, arrays (H, W[, C])
                uint8; an array (N, H, W, C) is N images.
            top_k: how many classes to name; no more than there are.

        Returns:
            A prediction for each image, in order.

        Raises:
            ValueError: `top_k` below 1.
        """
        several = isinstance(images, (list, tuple)) or (isinstance(images, np.ndarray) and images.ndim == 4)
        sources: list[Any] = list(images) if several else [images]  # type: ignore[arg-type]  # `several` says it can
        if all(isinstance(source, (str, os.PathLike)) for source in sources):
            return list(self.stream(sources, top_k=top_k))
        _check(top_k)
        engine = self.engine(len(sources))
        parts = [sources[at : at + engine.at_once] for at in range(0, len(sources), engine.at_once)]
        return [prediction for part in parts for prediction in self._of_sources(part, top_k)]

    def stream(
        self, files: Sequence[str | os.PathLike[str]], *, top_k: int = 5, workers: int | None = None
    ) -> Iterator[Prediction]:
        """Classify any number of files in constant memory.

        Args:
            files: paths.
            top_k: how many classes to name; no more than there are.
            workers: processes that decode ahead; None: what the number of files is worth; 0: none.

        Yields:
            A prediction for each file, in order.

        Raises:
            ValueError: `top_k` below 1.
        """
        _check(top_k)
        split = unlabeled(files, self.classes)
        count = reading_workers(len(split), self.preprocess) if workers is None else workers
        first = 0
        for batch in batches(split, self.preprocess, batch_size=self.engine(len(split)).at_once, workers=count):
            with blaming(self.model.answering, split.names(batch.indices)):
                answers = dict(zip(batch.indices.tolist(), self._ranked(batch.images, top_k), strict=True))
            reasons = dict(batch.refused)
            end = first + len(batch) + len(batch.refused)
            for index in range(first, end):
                file = split.name(index)
                if index in answers:
                    yield Prediction(file=file, top_k=answers[index])
                else:
                    yield Prediction(file=file, error=reasons[file])
            first = end

    def save(self, folder: str | Path) -> None:
        """Write the network with all a prediction needs, see `inceptions.weights.artifact.save`."""
        facts = self.model.facts
        artifact.save(
            self.net,
            folder,
            training=facts.training,
            metrics=facts.metrics,
            provenance=facts.provenance,
            temperature=None if self.temperature == 1 else self.temperature,
        )

    def _of_sources(self, sources: Sequence[Any], top_k: int) -> list[Prediction]:
        images, reasons = [], {}
        for place, source in enumerate(sources):
            try:
                images.append(torch.from_numpy(self.preprocess.image(source)))
            except UnreadableImage as error:
                reasons[place] = error.reason
        names = [os.fspath(source) if isinstance(source, (str, os.PathLike)) else None for source in sources]
        read = [place for place in range(len(sources)) if place not in reasons]
        with blaming(self.model.answering, lambda row: names[read[row]] or f"image {read[row] + 1}"):
            answers = iter(self._ranked(torch.stack(images), top_k) if images else [])
        return [
            Prediction(file=name, error=reasons[place])
            if place in reasons
            else Prediction(file=name, top_k=next(answers))
            for place, name in enumerate(names)
        ]

    def _ranked(self, images: Tensor, top_k: int) -> list[tuple[tuple[str, float], ...]]:
        if not len(images):
            return []
        order, probabilities = rank(tempered(self.engine(), self.temperature)(images), top_k)
        return [
            tuple((self.classes[place], float(value)) for place, value in zip(places, values, strict=True))
            for places, values in zip(order, probabilities, strict=True)
        ]


def load(path_or_name: str | Path, *, weights_part: str | None = None, **options: Any) -> Classifier:
    """A classifier from a model's folder, a run's folder, an export's folder, or published weights.

    Args:
        path_or_name: a folder that `inceptions train` or `Classifier.save` wrote, or whatever
            `inceptions.create_model` takes as `weights`.
        weights_part: as of `inceptions.create_model`.
        options: of `Classifier`: engine, precision, ...

    Raises:
        FileNotFoundError: the model does not exist.
        DataError: it is damaged.
        ValueError: it has no class names.
    """
    return Classifier(open_model(path_or_name, weights_part=weights_part), **options)


def unlabeled(files: Sequence[str | os.PathLike[str]], classes: tuple[str, ...] = ()) -> Split:
    """Files whose classes are unknown, as a split."""
    return Split(
        root=Path(),
        files=np.array([os.fsencode(file) for file in files], dtype=np.bytes_),
        targets=np.full(len(files), -1, np.int64),
        classes=classes,
    )


def images_in(paths: Iterable[str | os.PathLike[str]]) -> list[str]:
    """The images that `paths` name: files as they are, folders with everything below them.

    Folders are walked as for training (`data.readers.walk`), and what is left out is reported in one line. Names sort
    naturally (`2.jpg` before `10.jpg`); the order of `paths` is kept. A path that does not exist, or leads nowhere,
    stays in the list: whoever reads it will say so.
    """
    found: list[str] = []
    for given in paths:
        path = os.fspath(given)
        if not os.path.isdir(path):
            found.append(path)
            continue
        walk = Walk(os.fsencode(path), order=lambda name: natural(os.fsdecode(name)))
        for folder, listing in walk.below(b""):
            names = [os.fsdecode(name) for name in (*listing.images, *(name for name, _ in listing.broken))]
            place = os.fsdecode(os.path.join(walk.top, folder))
            found += [os.path.join(place, name) for name in sorted(names, key=natural)]
        for problem in walk.problems:
            log.warning("%s", problem)
        say_skipped(path, walk.skipped)
    return found


def some_images(paths: Sequence[str | os.PathLike[str]]) -> list[str]:
    """The same, of which there must be one.

    Raises:
        DataError: there is none.
    """
    found = images_in(paths)
    if not found:
        where = ", ".join(os.fspath(path) for path in paths)
        raise DataError(f"there are no images in {where}: no image file that can be read lies there or below")
    return found


def _check(top_k: int) -> None:
    if top_k < 1:
        raise ValueError(f"top_k is {top_k}; it must be at least 1")
