"""What is known of a model beside its weights: `ModelFacts`, and all that an artifact's config describes."""

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
