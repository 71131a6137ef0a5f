"""`Model` and `open_model`: one record for whatever answers, and one way to open it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from inceptions.data import record_of
from inceptions.engines.export_folder import Export, described_export, is_export
from inceptions.image import Preprocess
from inceptions.progress import log
from inceptions.weights import ModelFacts, artifact, create_model, load_weights
from inceptions.weights.described import Described
from inceptions.zoo import ALIASES, MEMBERS, Network, build
from inceptions.zoo.options import nearest


@dataclass(frozen=True, kw_only=True)
class Model:
    """A network or an export, with all that is known of it."""

    source: str
    """What it was opened from."""
    network: Network | None = None
    """The network with its weights, in evaluation mode; None: an export, or weights that were not asked for."""
    export: Export | None = None
    """The export that answers in place of a network."""
    shapes: Network
    """The network without its weights, to look at and to count with; `network` itself where there is one."""
    preprocess: Preprocess | None
    """What images go through; None: it is not known."""
    classes: tuple[str, ...] | None
    """Names of the logits, in order; None: they are not known."""
    facts: ModelFacts
    folder: Path | None = None
    """The run's, artifact's or export's folder; None: a weight file, or a name."""
    fresh: bool = False
    """Its weights were drawn: it answers at random."""

    @property
    def name(self) -> str:
        """Of the network."""
        return self.facts.name

    @property
    def temperature(self) -> float:
        """What divides the logits before softmax: fitted by `inceptions val --calibrate`, else 1."""
        return self.facts.temperature or 1.0

    @property
    def min_size(self) -> int:
        """Smallest side of images, px."""
        return self.shapes.min_size

    @property
    def precision(self) -> str:
        """What it answers in where nothing else is asked for."""
        return "float32" if self.export is None else self.export.precision

    @property
    def answering(self) -> Network | Export:
        """What answers: `inceptions.engines.open_engine` runs it."""
        return self.export if self.export is not None else self.in_pytorch()

    def in_pytorch(self) -> Network:
        """The network with its weights.

        Raises:
            ValueError: an export has none.
        """
        if self.export is not None:
            raise self.export.refusal()
        if self.network is None:
            raise ValueError(f"{self.source} was opened without its weights")
        return self.network

    def resized(self, img_size: int | None) -> Model:
        """The same model (its weights are shared) for square images of another size; None: of its own.

        Raises:
            ValueError: below the network's minimum; a model without preprocessing.
        """
        if img_size is None:
            return self
        if img_size < self.min_size:
            raise ValueError(f"--img-size {img_size}: {self.name} needs images of at least {self.min_size} px")
        if self.preprocess is None:
            raise ValueError(f"{self.source} carries no preprocessing: there is no size to change")
        return self.with_preprocess(replace(self.preprocess, size=(img_size, img_size)))

    def with_preprocess(self, preprocess: Preprocess) -> Model:
        """The same model (its weights are shared) behind another preprocessing."""
        shapes = copy.copy(self.shapes)
        shapes.preprocess = preprocess
        return replace(
            self,
            network=None if self.network is None else shapes,
            export=None if self.export is None else replace(self.export, preprocess=preprocess),
            shapes=shapes,
            preprocess=preprocess,
        )

    def with_classes(self) -> Model:
        """The same model; classes that nobody named are numbered."""
        if self.classes is not None:
            return self
        shapes = copy.copy(self.shapes)
        shapes.classes = tuple(f"class{index}" for index in range(shapes.num_classes))
        return replace(self, network=None if self.network is None else shapes, shapes=shapes, classes=shapes.classes)

    def record(self) -> Path:
        """The split.json of the run that the model comes from, as far as it can be found; it need not exist.

        A copy of a run's model and an export lie elsewhere, but say where their run was; that it still is that run, its
        own model says. Where it is gone, a warning says that the images it learned from cannot be known.
        """
        file = record_of(self.source)
        training = self.facts.training or {}
        settings = training.get("settings")
        output = settings.get("output") if isinstance(settings, dict) else None
        if file.is_file() or not isinstance(output, str):
            return file
        try:
            same = artifact.describe(output).facts.training == training
        except (OSError, ValueError) as error:
            log.debug("%s: %s", output, error)
            same = False
        if same and (Path(output) / file.name).is_file():
            return Path(output) / file.name
        log.warning(
            "%s: the run it comes from (%s) is not there, so images that it was trained on cannot be known, and are "
            "judged like any others; name the run itself, wherever it is now",
            *(self.source, output),
        )
        return file


def as_model(given: Network | Model) -> Model:
    """A network as a model that is known by what the network itself says."""
    if isinstance(given, Model):
        return given
    return Model(
        source=given.name,
        network=given,
        shapes=given,
        preprocess=given.preprocess,
        classes=given.classes,
        facts=ModelFacts.of(given),
    )


def open_model(
    source: str | Path,
    *,
    weights_part: str | None = None,
    options: Mapping[str, Any] | None = None,
    img_size: int | None = None,
    weights: bool = True,
    fresh: bool = False,
) -> Model:
    """Open a run, an artifact, an export, a weight file, or a name: of published weights, or of the family.

    Args:
        source: a folder that `inceptions train`, `export` or `Classifier.save` wrote, or whatever
            `inceptions.create_model` takes as `weights`.
        weights_part: as of `create_model`.
        options: of the network, only with a name of the family.
        img_size: side of the images, px; None: the model's own.
        weights: False: a description is enough, where there is one; the model then answers nothing.
        fresh: a name of the family is a network with weights drawn from a fixed seed. Without it such a name is
            refused, unless `weights` is False: it would answer at random.

    Raises:
        FileNotFoundError: there is no such model.
        DataError: it is damaged.
        ValueError: options for a network that has its own already; a size below its minimum.
    """
    text, folder = str(source), Path(source)
    if text in (*MEMBERS, *ALIASES) and (fresh or not weights) and not folder.exists():
        return _of_the_family(text, options or {}, weights=weights).resized(img_size)
    if options:
        raise ValueError(f"{text} has its options already; give options with a name of `inceptions models`")
    if weights_part in (None, "model"):
        if is_export(folder):
            found = artifact.describe(folder)
            return _described(text, found, export=described_export(folder, found)).resized(img_size)
        if artifact.is_artifact(folder):
            net, found = artifact.read(folder) if weights else (None, artifact.describe(folder))
            return _described(text, found, network=net).resized(img_size)
    try:
        loaded = load_weights(source, part=weights_part)
    except FileNotFoundError as error:
        if not fresh and weights:
            raise
        raise FileNotFoundError(f"{error}, nor a network's name{nearest(text, [*MEMBERS, *ALIASES])}") from error
    stored = loaded.facts.training is not None or loaded.facts.metrics is not None
    model = replace(as_model(loaded.net), source=text, facts=loaded.facts, folder=folder if stored else None)
    return model.resized(img_size)


def _described(source: str, found: Described, *, network: Network | None = None, export: Export | None = None) -> Model:
    return Model(
        source=source,
        network=network,
        export=export,
        shapes=found.shapes,
        preprocess=found.preprocess,
        classes=found.classes,
        facts=found.facts,
        folder=Path(source),
    )


def _of_the_family(name: str, options: Mapping[str, Any], *, weights: bool) -> Model:
    if weights:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return replace(as_model(create_model(name, **options).eval()), fresh=True)
    with torch.device("meta"):
        net = build(name, **options).eval()
    return replace(as_model(net), network=None)
