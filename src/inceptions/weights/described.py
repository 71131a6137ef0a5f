"""What is known of a model beside its weights, from an artifact's config or from anybody's weight file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from inceptions.image import Preprocess
from inceptions.zoo import Network


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """Facts that a model carries along; those of the second half are JSON as it was written."""

    name: str
    """Of the network: one of `list_models()`, or what a network around a table of your own is called."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of the network, all of them."""
    temperature: float | None = None
    """Divides the logits before softmax; None: never fitted."""
    training: Mapping[str, Any] | None = None
    """How it was trained."""
    metrics: Mapping[str, Any] | None = None
    """What it reached, by the name of the part it was judged on: `val`, `test`."""
    provenance: Mapping[str, Any] | None = None
    """Where the weights came from."""

    @classmethod
    def of(cls, net: Network) -> ModelFacts:
        """What a network says of itself."""
        return cls(name=net.name, options=net.options, temperature=None if net.temperature == 1 else net.temperature)


@dataclass(frozen=True, kw_only=True)
class Described:
    """What the config of an artifact, or of an export, says."""

    facts: ModelFacts
    preprocess: Preprocess
    classes: tuple[str, ...]
    shapes: Network
    """The network without memory (on the device `meta`): to count with, and to be filled with weights."""
    export: Mapping[str, Any] | None
    """The block `export`, which is an export's alone; as it was written."""


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A network out of a weight file, and how it came about."""

    net: Network
    provenance: Mapping[str, Any]
    """The source, its SHA-256 and its layout, for the artifact."""
    facts: ModelFacts
    """What an artifact says of itself; of others' files the network and the provenance alone."""
    new_head: bool
    """The classifier is fresh: the file's did not fit, or it has none."""
    assumed: tuple[str, ...] = ()
    """Preprocessing fields that were assumed (not stored in the file), as published with the network."""
    scales_pixels: bool = False
    """The file's own layers scale the pixels (Keras's Rescaling); the preprocessing does the same instead of them."""
