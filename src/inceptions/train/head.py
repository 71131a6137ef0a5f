"""A new classifier on frozen features: logistic regression to convergence, its penalty chosen on held-out pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inceptions.data import Dataset
from inceptions.evaluate import Answer, Outcome, collect
from inceptions.progress import log, track
from inceptions.train.config import TrainConfig
from inceptions.train.features import Extractor, Features
from inceptions.train.mix import class_weights, cross_entropy, soft_targets
from inceptions.zoo import Network

FEW = 1000  # pictures below which mirror images help, and several held-out parts are worth their time
PENALTIES = tuple(10.0**exponent for exponent in np.arange(0.0, -6.5, -0.5))  # strongest first: each warms the next
PATIENCE = 2  # weaker penalties that are tried after the best one


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A linear classifier of features, and how it was found."""

    weight: Tensor
    """(classes, F)"""
    bias: Tensor
    """(classes,)"""
    penalty: float
    """lambda of lambda / 2 * |weight|^2, beside the mean cross-entropy, for features of unit variance."""
    held_out_loss: float
    """Mean cross-entropy on the held-out parts, by which the penalty was chosen."""

    def __call__(self, values: Tensor) -> Tensor:
        """Logits (n, classes) of features (n, F)."""
        return values @ self.weight.T + self.bias


def fit_head(net: Network, data: Dataset, config: TrainConfig) -> tuple[Fit, Features, Extractor]:
    """Fits the classifier of `net` to the training pictures, in place.

    Returns:
        The fit, the training pictures' features (of evaluation's view, and below 1,000 pictures of the mirror image
        too), and what computed them.
    """
    split = data.splits["train"]
    views = 2 if len(split) < FEW else 1
    expected = views * len(split) + sum(len(part) for name, part in data.splits.items() if name != "train")
    extract = Extractor(net, expected=expected, device=config.device, workers=config.workers)
    seen = extract(split, views=views)
    spec = config.class_weights or ("balanced" if config.balanced_sampler else None)
    weights = class_weights(spec, split.targets, data.classes) if spec else None
    fit = choose(seen, len(data.classes), smoothing=config.smoothing, weights=weights, seed=config.seed)
    with torch.no_grad():
        net.head.linear.weight.copy_(fit.weight)
        net.head.linear.bias.copy_(fit.bias)
    log.info("head fitted: penalty %.3g, held-out loss %.4f", fit.penalty, fit.held_out_loss)
    return fit, seen, extract


def choose(
    seen: Features, num_classes: int, *, smoothing: float = 0.0, weights: Tensor | None = None, seed: int = 0
) -> Fit:
    """The classifier with the penalty that does best on held-out pictures, fitted to all of them.

    One picture in five is held out; below 1,000 pictures each in turn (the views of a picture stay together).

    Args:
        seen: the training pictures.
        num_classes: logits.
        smoothing: of the labels.
        weights: (classes,) of the loss.
        seed: chooses the held-out pictures.
    """
    values, targets = seen.values.double(), soft_targets(seen.targets, num_classes, smoothing).double()
    weights = None if weights is None else weights.double()
    mean, scale = values.mean((0, 1)), values.std().clamp_min(1e-12)
    values = (values - mean) / scale

    def path(chosen: Tensor) -> Iterator[tuple[float, Tensor]]:
        rows = values[chosen].flatten(0, 1)
        truth = targets[chosen].repeat_interleave(values.shape[1], dim=0)
        start = torch.zeros(num_classes, values.shape[2] + 1, dtype=torch.float64)
        for penalty in PENALTIES:
            start = _solve(rows, truth, penalty, weights, start)
            yield penalty, start

    parts = _folds(seen.targets, seed)
    parts = parts if len(values) < FEW else parts[:1]
    held_out = np.full((len(parts), len(PENALTIES)), np.inf)
    for number, part in enumerate(track(parts, description="choosing the penalty", unit="parts")):
        mask = torch.zeros(len(values), dtype=torch.bool)
        mask[part] = True
        for place, (_, solution) in enumerate(path(torch.nonzero(~mask)[:, 0])):
            logits = values[mask, 0] @ solution[:, :-1].T + solution[:, -1]
            held_out[number, place] = float(cross_entropy(logits, targets[mask], weights))
            if place - int(held_out[number].argmin()) >= PATIENCE:
                break
    losses = held_out.mean(axis=0)
    best = int(losses.argmin())
    every = torch.arange(len(values))
    solution = next(found for place, (_, found) in enumerate(path(every)) if place == best)
    weight = solution[:, :-1] / scale
    return Fit(
        weight=weight.float(),
        bias=(solution[:, -1] - weight @ mean).float(),
        penalty=PENALTIES[best],
        held_out_loss=float(losses[best]),
    )


def outcomes(fit: Fit, data: Dataset, extract: Extractor) -> dict[str, Outcome]:
    """The fitted model's answers to the validation and test pictures, from their features."""
    found: dict[str, Outcome] = {}
    for name in ("val", "test"):
        if name in data.splits:
            seen = extract(data.splits[name])
            answer = Answer(
                logits=fit(seen.values[:, 0]),
                targets=seen.targets,
                indices=torch.from_numpy(seen.indices),
                skipped=seen.skipped,
            )
            found[name] = collect([answer], data.classes)
    return found


def facts(fit: Fit, seen: Features) -> dict[str, Any]:
    """What the artifact says about the fit."""
    views = seen.values.shape[1]
    return {"penalty": fit.penalty, "held_out_loss": fit.held_out_loss, "views": views, "precision": seen.precision}


def _solve(rows: Tensor, targets: Tensor, penalty: float, weights: Tensor | None, start: Tensor) -> Tensor:
    """The minimum of mean cross-entropy + penalty / 2 * |weight|^2 as (classes, F + 1), the bias last, unpenalised."""
    solution = start.clone().requires_grad_(True)
    search = torch.optim.LBFGS(
        [solution],
        max_iter=1000,
        tolerance_grad=1e-7,
        tolerance_change=1e-10,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        search.zero_grad()
        logits = rows @ solution[:, :-1].T + solution[:, -1]
        value = cross_entropy(logits, targets, weights) + penalty / 2 * solution[:, :-1].square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    search.step(loss)  # type: ignore[no-untyped-call]
    return solution.detach()


def _folds(targets: Tensor, seed: int) -> list[Tensor]:
    """Five parts of the pictures, each with a fifth of every class."""
    random = np.random.default_rng(seed)
    shuffled = random.permutation(len(targets))
    by_class = shuffled[np.argsort(targets.numpy()[shuffled], kind="stable")]
    return [torch.from_numpy(by_class[start::5].copy()) for start in range(5)]
