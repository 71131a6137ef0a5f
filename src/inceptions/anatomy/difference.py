"""Two checkpoints of one network: which tensors differ and by how much, and what that does to answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from inceptions.engines import blaming, open_engine
from inceptions.image import UnreadableImage
from inceptions.models import Model, as_model
from inceptions.zoo import Network, preprocess_of


@dataclass(frozen=True, kw_only=True)
class TensorDifference:
    """One tensor in both checkpoints."""

    name: str
    shapes: tuple[tuple[int, ...] | None, tuple[int, ...] | None]
    """In the first and in the second; None where it is missing."""
    largest: float | None
    """The largest difference of two values; None where the shapes differ."""
    relative: float | None
    """Length of the difference over the length of the first: 0 for equal tensors; infinite where the first is zero."""
    cosine: float | None
    """Cosine of the angle between the two; None where one is zero."""

    @property
    def equal(self) -> bool:
        """Whether both hold the same values."""
        return self.largest == 0.0


@dataclass(frozen=True, kw_only=True)
class AnswerDifference:
    """The answers of both to one image."""

    file: str
    labels: tuple[str, str] | None
    """The most probable class of each; None where the image cannot be read."""
    probabilities: tuple[float, float] | None
    distance: float | None
    """Half the sum of the differences of all probabilities: 0 for equal answers, 1 for nothing in common."""
    error: str | None = None
    """Why the image could not be read."""

    @property
    def agree(self) -> bool:
        """Whether both name the same class."""
        return self.labels is not None and self.labels[0] == self.labels[1]


def tensor_differences(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> tuple[TensorDifference, ...]:
    """Every tensor of either checkpoint, in the order of the first; those only in the second come last."""
    return tuple(_difference(name, first.get(name), second.get(name)) for name in dict.fromkeys([*first, *second]))


def _difference(name: str, one: Tensor | None, other: Tensor | None) -> TensorDifference:
    shapes = (None if one is None else tuple(one.shape), None if other is None else tuple(other.shape))
    if one is None or other is None or shapes[0] != shapes[1]:
        return TensorDifference(name=name, shapes=shapes, largest=None, relative=None, cosine=None)
    a, b = one.double().flatten(), other.double().flatten()
    apart, lengths = (a - b).norm().item(), (a.norm().item(), b.norm().item())
    return TensorDifference(
        name=name,
        shapes=shapes,
        largest=(a - b).abs().max().item() if len(a) else 0.0,
        relative=apart / lengths[0] if lengths[0] else float("inf") if apart else 0.0,
        cosine=(a @ b).item() / (lengths[0] * lengths[1]) if min(lengths) else None,
    )


def answer_differences(
    first: Network | Model, second: Network | Model, files: Sequence[str | Path]
) -> Iterator[AnswerDifference]:
    """What both networks say of each image, each with its own preprocessing; classes are matched by name.

    Raises:
        ValueError: a network without `preprocess` or `classes`.
    """
    models = [as_model(given) for given in (first, second)]
    for model in models:
        if model.preprocess is None or model.classes is None:
            raise ValueError(f"{model.name} comes without preprocessing and class names: it cannot take images")
    engines = [(model, open_engine(model.answering, engine="torch", batch_size=1)) for model in models]
    for file in files:
        answers: list[dict[str, float]] = []
        try:
            for model, engine in engines:
                image = torch.from_numpy(preprocess_of(model).image(Path(file)))
                with blaming(model.answering, str(file)):
                    shares = engine(image[None])[0].softmax(0).tolist()
                answers.append(dict(zip(model.classes or (), shares, strict=True)))
        except UnreadableImage as error:
            yield AnswerDifference(file=str(file), labels=None, probabilities=None, distance=None, error=error.reason)
            continue
        one, other = answers
        best = max(one, key=one.__getitem__), max(other, key=other.__getitem__)
        yield AnswerDifference(
            file=str(file),
            labels=best,
            probabilities=(one[best[0]], other[best[1]]),
            distance=sum(abs(one.get(label, 0.0) - other.get(label, 0.0)) for label in {*one, *other}) / 2,
        )
