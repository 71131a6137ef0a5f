"""A new classifier on frozen features: logistic regression to convergence, its penalty chosen on held-out images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inceptions.data import Dataset, Split
from inceptions.errors import DataError
from inceptions.evaluation import Answer, Outcome, collect
from inceptions.features import Extractor, Features
from inceptions.progress import log, track
from inceptions.training.config import TrainConfig
from inceptions.training.losses import soft_targets
from inceptions.training.resolve import loss_weights
from inceptions.zoo import Network

FEW = 1000  # images below which mirror images help, and several held-out parts are worth their time
PENALTIES = tuple(10.0**exponent for exponent in np.arange(0.0, -6.5, -0.5))  # strongest first: each warms the next
PATIENCE = 2  # weaker penalties that are tried after the best one
CLOSE, CONVERGED = 1e-4, 1e-6  # largest element of the gradient, while choosing and at the end


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A linear classifier of features, and how it was found."""

    weight: Tensor
    """(classes, F)"""
    bias: Tensor
    """(classes,)"""
    penalty: float
    """lambda of lambda / 2 * |weight|^2, added to the mean cross-entropy, for features of unit variance."""
    held_out_loss: float
    """Mean cross-entropy on the held-out parts, by which the penalty was chosen."""

    def __call__(self, values: Tensor) -> Tensor:
        """Logits (n, classes) of features (n, F)."""
        return values @ self.weight.T + self.bias


def fit_head(net: Network, data: Dataset, config: TrainConfig) -> tuple[Fit, Features, Extractor]:
    """Fits the classifier of `net` to the training images, in place.

    Returns:
        The fit, the training images' features (of evaluation's view, and below 1,000 images of the mirror image
        too), and what computed them.
    """
    split = data.splits["train"]
    views = views_of(split)
    expected = views * len(split) + sum(len(part) for name, part in data.splits.items() if name != "train")
    extract = Extractor(net, expected=expected, device=config.device, workers=config.workers)
    seen = extract(split, views=views)
    # to a fit that sees every image at once, drawing a class more often is weighing it
    weights = loss_weights(config.replace(class_weights="balanced") if config.balanced_sampler else config, data)
    fit = choose(seen, len(data.classes), smoothing=config.smoothing, weights=weights, seed=config.seed)
    with torch.no_grad():
        net.head.linear.weight.copy_(fit.weight)
        net.head.linear.bias.copy_(fit.bias)
    log.info("head fitted: penalty %.3g, held-out loss %.4f", fit.penalty, fit.held_out_loss)
    return fit, seen, extract


def views_of(split: Split) -> int:
    """How many views of a training image are used: mirror images help where there are few images."""
    return 2 if len(split) < FEW else 1


def choose(
    seen: Features, num_classes: int, *, smoothing: float = 0.0, weights: Tensor | None = None, seed: int = 0
) -> Fit:
    """The classifier with the penalty that does best on held-out images, fitted to all of them.

    One image in five is held out; below 1,000 images each in turn (the views of an image stay together).

    Args:
        seen: the training images.
        num_classes: logits.
        smoothing: of the labels.
        weights: (classes,) of the loss.
        seed: chooses the held-out images.

    Raises:
        DataError: no training image could be read.
    """
    if not len(seen.values):
        raise DataError("none of the training images can be read")
    values, targets = seen.values.double(), soft_targets(seen.targets, num_classes, smoothing).double()
    if weights is not None:
        targets = targets * weights.double()
    mean, scale = values.mean((0, 1)), values.std().clamp_min(1e-12)
    values = (values - mean) / scale
    held = _held_out(seen.targets, parts=5 if len(values) < FEW else 1, seed=seed)

    solution = torch.zeros(len(held), num_classes, values.shape[2] + 1, dtype=torch.float64)
    losses: list[float] = []
    for penalty in track(PENALTIES, description="choosing the penalty", unit="penalties"):
        solution = _solve(values, targets, ~held, penalty, solution, CLOSE)
        losses.append(float(_losses(values[:, :1], targets, held, solution).mean()))
        if len(losses) - losses.index(min(losses)) > PATIENCE:
            break
    best = losses.index(min(losses))
    every = torch.ones(1, len(values), dtype=torch.bool)
    found = _solve(values, targets, every, PENALTIES[best], solution.mean(0, keepdim=True), CONVERGED)[0]
    weight = found[:, :-1] / scale
    return Fit(
        weight=weight.float(),
        bias=(found[:, -1] - weight @ mean).float(),
        penalty=PENALTIES[best],
        held_out_loss=losses[best],
    )


def outcomes(fit: Fit, data: Dataset, extract: Extractor) -> dict[str, Outcome]:
    """The fitted model's answers to the validation and test images, from their features."""
    found: dict[str, Outcome] = {}
    for name in ("val", "test"):
        if name in data.splits:
            seen = extract(data.splits[name])
            answer = Answer(
                logits=fit(seen.values[:, 0]),
                targets=seen.targets,
                indices=torch.from_numpy(seen.indices),
                skipped=seen.skipped,
                refused=seen.refused,
            )
            found[name] = collect([answer], data.classes)
    return found


def facts(fit: Fit, seen: Features) -> dict[str, Any]:
    """What the artifact says about the fit."""
    views = seen.values.shape[1]
    return {"penalty": fit.penalty, "held_out_loss": fit.held_out_loss, "views": views, "precision": seen.precision}


def _solve(values: Tensor, targets: Tensor, used: Tensor, penalty: float, start: Tensor, tolerance: float) -> Tensor:
    """Minimizes mean cross-entropy + penalty / 2 * |weight|^2 for several selections of the images at once.

    The problems share the features, so that together they cost little more than one.

    Args:
        values: (n, views, F) features.
        targets: (n, C) soft targets, weighted by class.
        used: (problems, n) bool: the images of each problem.
        penalty: lambda.
        start: (problems, C, F + 1), the bias last (it is not penalized).
        tolerance: largest element of the gradient at the end.

    Returns:
        The solutions, of the shape of `start`.
    """
    solution = start.clone().requires_grad_(True)
    search = torch.optim.LBFGS(
        [solution],
        max_iter=2000,
        tolerance_grad=tolerance,
        tolerance_change=1e-12,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        search.zero_grad()
        value = _losses(values, targets, used, solution).sum() + penalty / 2 * solution[:, :, :-1].square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    search.step(loss)  # type: ignore[no-untyped-call]
    return solution.detach()


def _losses(values: Tensor, targets: Tensor, used: Tensor, solution: Tensor) -> Tensor:
    """(problems,) mean cross-entropy of each problem's solution on the images it uses; arguments as in `_solve`."""
    problems, classes = solution.shape[:2]
    logits = values @ solution[:, :, :-1].flatten(0, 1).T + solution[:, :, -1].flatten()
    logs = logits.view(*logits.shape[:2], problems, classes).log_softmax(dim=3).mean(dim=1)  # (n, problems, C)
    each = -(targets[:, None] * logs).sum(dim=2)
    counted: Tensor = (each * used.T).sum(dim=0) / (targets.sum(dim=1)[:, None] * used.T).sum(dim=0)
    return counted


def _held_out(targets: Tensor, *, parts: int, seed: int) -> Tensor:
    """(parts, n) bool: disjoint fifths of the images, each with a fifth of every class."""
    shuffled = np.random.default_rng(seed).permutation(len(targets))
    by_class = shuffled[np.argsort(targets.numpy()[shuffled], kind="stable")]
    held = torch.zeros(parts, len(targets), dtype=torch.bool)
    for part in range(parts):
        held[part, by_class[part::5]] = True
    return held
