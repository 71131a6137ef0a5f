"""`Layout`: how one publisher calls the modules of a network, and what else its files decide."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from inceptions.image import Preprocess
from inceptions.weights.checkpoint import Dialect

HALF = (0.5, 0.5, 0.5)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A rule from the names in a publisher's files to ours.

    Both networks list their modules in the order of the network's table, branch after branch, so the rule is the list
    of *their* names in that order; a separable convolution that is one module there stands twice, for its depthwise and
    its pointwise part. Every tensor's shape is compared, and logits prove the rule in the tests.
    """

    name: str
    """The publisher: "torchvision", "timm", "Keras", ..."""
    network: str
    """Which member of the family."""
    dialect: Dialect
    """How the tensors of a module are called and how their axes are ordered."""
    body: tuple[str, ...]
    """The modules of the body, in the order of ours."""
    heads: tuple[str, ...]
    """What the classifier may be called."""
    aux: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Modules of each auxiliary head by the stage it taps."""
    bottleneck: tuple[str, ...] = ()
    """Modules between pooling and classifier (facenet)."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What these files decide about the network where it differs from the network's defaults."""
    preprocess: Preprocess
    """As published with the files."""
    labels: str | None = "imagenet"
    """What a head of the published size tells apart: "imagenet" in the order of its synsets, None for unknown names."""
    classes: int = 1000
    """Classes of the published head, the background class not counted."""

    def modules(self) -> Iterator[str]:
        """Every module that the files may hold."""
        yield from self.body
        yield from self.heads
        yield from self.bottleneck
        for names in self.aux.values():
            yield from names

    @property
    def title(self) -> str:
        """How messages call it."""
        return f"{self.name}'s {self.network}"


def published(
    size: int, crop_pct: float, interpolation: str, mean: tuple[float, ...] = HALF, std: tuple[float, ...] = HALF,
    **more: Any,
) -> Preprocess:  # fmt: skip
    """A square `Preprocess`; without statistics the family's own [-1, 1]."""
    facts = {"crop_pct": crop_pct, "interpolation": interpolation, "mean": mean, "std": std, **more}
    return Preprocess(size=(size, size), **facts)
