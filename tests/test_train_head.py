"""The fitted head: converged, its penalty chosen by images it did not see, the same for a second run."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from inceptions.errors import DataError
from inceptions.features import Features
from inceptions.training import train
from inceptions.training.head import CONVERGED, _held_out, choose
from inceptions.weights import artifact
from tiny import config, results, write_images


def seen(
    n: int = 120, classes: int = 3, size: int = 8, *, noise: float = 2.0, views: int = 1, seed: int = 0
) -> Features:
    """Overlapping clouds of features, one a class, of very different scale and place; views differ a little."""
    random = np.random.default_rng(seed)
    targets = random.integers(0, classes, n)
    centers = random.normal(size=(classes, 1, size)) * 2
    values = centers[targets] + random.normal(size=(n, 1, size)) * noise + random.normal(size=(n, views, size)) * 0.1
    return Features(
        values=torch.from_numpy(values * 30 + 500).float(),
        indices=np.arange(n),
        targets=torch.from_numpy(targets),
        hashes=("",) * n,
        refused=(),
        computed=n,
        precision="float32",
    )


def _objective(features: Features, weight: torch.Tensor, bias: torch.Tensor, penalty: float) -> torch.Tensor:
    """What the fit minimizes, written down once more: on the features scaled to unit variance."""
    values = features.values.double()
    scale = values.std()
    logits = values.flatten(0, 1) @ weight.T + bias
    targets = features.targets.repeat_interleave(values.shape[1])
    return torch.nn.functional.cross_entropy(logits, targets) + penalty / 2 * (weight * scale).square().sum()


def test_the_fit_is_converged() -> None:
    features = seen(views=2)
    fit = choose(features, 3)
    weight, bias = fit.weight.double().requires_grad_(True), fit.bias.double().requires_grad_(True)
    _objective(features, weight, bias, fit.penalty).backward()
    assert weight.grad is not None
    assert bias.grad is not None
    scale = float(features.values.double().std())
    center = features.values.double().mean((0, 1))
    # the gradient in the scaled and centerd coordinates in which it was solved
    gradient = (weight.grad - bias.grad[:, None] * center) / scale
    assert float(gradient.abs().max()) < 10 * CONVERGED
    assert float(bias.grad.abs().max()) < 10 * CONVERGED


def test_the_fit_is_scikit_learns_logistic_regression() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is not installed")
    features = seen()
    fit = choose(features, 3)
    values = features.values[:, 0].double().numpy()
    scaled = (values - values.mean(0)) / values.std(ddof=1)
    theirs = linear_model.LogisticRegression(C=1 / (fit.penalty * len(values)), tol=1e-10, max_iter=10_000)
    theirs.fit(scaled, features.targets.numpy())
    ours = fit(features.values[:, 0]).softmax(dim=1).numpy()
    assert np.abs(ours - theirs.predict_proba(scaled)).max() < 2e-3


def test_noisy_features_get_a_stronger_penalty() -> None:
    assert choose(seen(noise=6.0), 3).penalty > choose(seen(noise=0.3), 3).penalty


def test_the_penalty_is_the_best_on_images_that_were_held_out() -> None:
    """Many features, few images: without a penalty the training part would be learnt by heart."""
    features = seen(60, size=200, noise=8.0)
    fit = choose(features, 3)
    own = torch.nn.functional.cross_entropy(fit(features.values[:, 0]), features.targets)
    assert float(own) < fit.held_out_loss
    assert fit.held_out_loss < np.log(3) * 1.05  # no worse than knowing nothing


def test_class_weights_move_the_answers_towards_the_heavy_class() -> None:
    features = seen(noise=5.0)
    plain = choose(features, 3)(features.values[:, 0]).argmax(dim=1)
    heavy = choose(features, 3, weights=torch.tensor([20.0, 1.0, 1.0]))(features.values[:, 0]).argmax(dim=1)
    assert (heavy == 0).sum() > (plain == 0).sum() + 10


def test_label_smoothing_makes_the_answers_less_sure() -> None:
    features = seen(noise=0.3)
    sure = [choose(features, 3, smoothing=e)(features.values[:, 0]).softmax(1).max(1).values.mean() for e in (0.0, 0.2)]
    assert sure[1] < sure[0] - 0.05


def test_the_held_out_parts_are_disjoint_fifths_of_every_class() -> None:
    targets = torch.tensor([0] * 50 + [1] * 10 + [2] * 15)
    held = _held_out(targets, parts=5, seed=3)
    assert held.sum(dim=0).tolist() == [1] * 75
    for part in held:
        assert torch.bincount(targets[part]).tolist() == [10, 2, 3]
    assert not torch.equal(held, _held_out(targets, parts=5, seed=4))


def test_without_a_readable_image_there_is_nothing_to_fit() -> None:
    with pytest.raises(DataError, match="none of the training images"):
        choose(seen(0), 3)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INCEPTIONS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def base(tmp_path: Path) -> tuple[Path, Path]:
    """(data, a run on it)."""
    data = write_images(tmp_path / "data", train=8, val=4)
    train(config(data, tmp_path / "base", epochs=3, lr=0.05))
    return data, tmp_path / "base"


@pytest.mark.usefixtures("cache")
def test_a_second_run_computes_nothing_and_gives_the_same_head(
    base: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data, weights = base
    saved = []
    for name in ("one", "two"):
        caplog.clear()
        with caplog.at_level(logging.INFO):
            found = train(config(data, tmp_path / name, weights=str(weights), tune="head"))
        saved.append((tmp_path / name / "model" / "model.safetensors").read_bytes())
        assert [row["epoch"] for row in results(tmp_path / name)] == ["0"]
        assert len(list((tmp_path / name / "tensorboard").iterdir())) == 1
        assert (tmp_path / name / "predictions.csv").read_text().count("\n") == found.metrics.n + 1
    assert "features of 24 images: 0 computed, 24 known" in caplog.text
    assert "features of 12 images: 0 computed, 12 known" in caplog.text
    assert saved[0] == saved[1]


@pytest.mark.usefixtures("cache")
def test_resuming_a_fitted_head_fits_the_same_again(
    base: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data, weights = base
    settings = config(data, tmp_path / "run", weights=str(weights), tune="head")
    train(settings)
    before = (tmp_path / "run" / "model" / "model.safetensors").read_bytes()
    with caplog.at_level(logging.INFO):
        train(settings.replace(resume=True))
    assert "fitting the head again" in caplog.text
    assert "before anything was saved" not in caplog.text  # it had been
    assert (tmp_path / "run" / "model" / "model.safetensors").read_bytes() == before


@pytest.mark.usefixtures("cache")
def test_the_artifact_says_how_the_head_was_fitted(base: tuple[Path, Path], tmp_path: Path) -> None:
    data, weights = base
    train(config(data, tmp_path / "run", weights=str(weights), tune="head"))
    facts = artifact.load(tmp_path / "run").artifact["training"]["head"]
    assert facts["views"] == 2  # few images: mirror images too
    assert facts["penalty"] > 0


@pytest.mark.usefixtures("cache")
def test_tuning_everything_starts_from_the_fitted_head(base: tuple[Path, Path], tmp_path: Path) -> None:
    """Without learning (the smallest rate) the loop keeps what the fit gave."""
    data, weights = base
    fitted = train(config(data, tmp_path / "head", weights=str(weights), tune="head"))
    settings = {"weights": str(weights), "tune": "all", "epochs": 1, "lr": 1e-12}
    train(config(data, tmp_path / "all", **settings, model_ema=True, model_ema_decay=0.0))
    one, other = artifact.load(tmp_path / "head"), artifact.load(tmp_path / "all")
    assert torch.allclose(one.head.linear.weight, other.head.linear.weight, atol=1e-6)
    assert fitted.best_epoch == 0
