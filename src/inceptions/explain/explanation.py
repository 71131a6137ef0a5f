"""`explain`: one image, its answer, and what the answer rested on."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from inceptions.engines import blaming, finite, refuse_damaged
from inceptions.engines.probabilities import rank
from inceptions.explain.attribution import Method, attribute, grid_stage
from inceptions.explain.drawing import shown
from inceptions.explain.inside import BranchAnswer, branch_answers
from inceptions.explain.inside import feature_maps as maps_of
from inceptions.image import Preprocess, Source
from inceptions.models import Model, as_model
from inceptions.zoo import Network


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Why one image got its answer."""

    image: Image.Image
    """What the network saw."""
    whole: Image.Image | None
    """The upright original, where asked for."""
    seen: tuple[float, float, float, float]
    """(left, top, right, bottom): the part of the original that the network saw, as shares of its sides."""
    answers: tuple[tuple[str, float], ...]
    """The most probable classes with their probabilities."""
    target: str
    """The class that is explained."""
    map: Tensor
    """(H, W) as of `attribute`."""
    stage: str
    """Whose output Grad-CAM, the branches and the feature maps are of."""
    branches: tuple[BranchAnswer, ...]
    """Where asked for."""
    feature_maps: Tensor | None
    """(C, h, w) where asked for, the most active first."""


def explain(
    model: Network | Model,
    source: Source,
    *,
    target: str | None = None,
    method: Method = "grad_cam",
    stage: str | None = None,
    top_k: int = 3,
    branches: bool = False,
    feature_maps: bool = False,
    whole: bool = False,
) -> Explanation:
    """Explain the answer to one image.

    Args:
        model: with `preprocess` and `classes`; its network is put in evaluation mode.
        source: a path, encoded bytes, an open file, a PIL image or an array.
        target: the class to explain; None: the answer.
        method: see `attribute`.
        stage: where to look; None: `grid_stage`'s.
        top_k: how many of the most probable classes to name.
        branches: also share the logit out among the stage's branches.
        feature_maps: also return the stage's channels.
        whole: also return the upright original, of which the network may see a part only.

    Raises:
        ValueError: a network without weights, preprocessing or class names; an unknown class, method or stage; `top_k`
            below 1.
        UnreadableImage: the image cannot be decoded.
        NotFiniteError: the answer, or what it rests on, is not finite.
    """
    model = as_model(model)
    net = model.in_pytorch()
    preprocess, classes = _known(model, target, top_k)
    refuse_damaged(net)
    where = stage or grid_stage(net, preprocess.size)
    original = preprocess.decode(source)
    pixels = preprocess.image(original)
    left, top, right, bottom = preprocess.seen(*original.size)
    wide, high = original.size
    image = preprocess.normalize(torch.from_numpy(pixels)[None])
    called = os.fspath(source) if isinstance(source, (str, os.PathLike)) else "the image"
    with torch.inference_mode(), blaming(net, called):
        places, probabilities = rank(net.eval()(image) / model.temperature, top_k)
    answers = tuple((classes[place], float(value)) for place, value in zip(places[0], probabilities[0], strict=True))
    wanted = answers[0][0] if target is None else target
    index = classes.index(wanted)
    with blaming(net, called):
        spoke = finite(attribute(net, image, [index], method=method, stage=where if method == "grad_cam" else None))
    return Explanation(
        image=shown(pixels, preprocess),
        whole=original if whole else None,
        seen=(left / wide, top / high, right / wide, bottom / high),
        answers=answers,
        target=wanted,
        map=spoke[0],
        stage=where,
        branches=branch_answers(net, image, index, where) if branches else (),
        feature_maps=maps_of(net, image, where) if feature_maps else None,
    )


def _known(model: Model, target: str | None, top_k: int) -> tuple[Preprocess, tuple[str, ...]]:
    """The preprocessing and the classes, where everything requested is possible; else `ValueError`."""
    if top_k < 1:
        raise ValueError(f"top_k is {top_k}; it must be at least 1")
    if model.preprocess is None or model.classes is None:
        raise ValueError(f"{model.name} comes without preprocessing and class names: it cannot take images")
    if target is not None and target not in model.classes:
        some = ", ".join(model.classes[:20]) + (", ..." if len(model.classes) > 20 else "")
        raise ValueError(f"no class is called {target!r}; there are: {some}")
    return model.preprocess, model.classes
