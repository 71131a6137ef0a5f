"""What the loss of a step is: the sum of all losses over the sum of all weights, however the step was gathered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from inceptions.training.loop import Training
from inceptions.training.losses import cross_entropy, loss_weight, soft_targets
from inceptions.training.lr_finder import find_rate
from inceptions.training.mixup import mix
from inceptions.training.resolve import decide
from inceptions.training.run import assemble
from inceptions.training.state import State
from tiny import config, write_images


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten images of unequal classes: 5, 3 and 2."""
    folder = write_images(tmp_path_factory.mktemp("images"), train=5, val=2)
    for place in ("c1/3", "c1/4", "c2/2", "c2/3", "c2/4"):
        (folder / "train" / f"{place}.png").unlink()
    return folder


def training(data: Path, **settings: Any) -> Training:
    """In float64, without batch norm and dropout, which see the batches."""
    plain = {"model": "googlenet", "width": 0.1, "depth": 0.3, "drop_rate": 0.0, "options": {"norm": "lrn"}}
    settled, dataset, net = assemble(decide(config(data, data, **(plain | settings))))
    found = Training(settled, dataset, net, data)
    net.double().train()
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    images = found._images
    found._images = lambda pixels: images(pixels).double()  # type: ignore[method-assign]
    return found


def gradient(data: Path, **settings: Any) -> Tensor:
    """What the first step's optimizer sees."""
    found = training(data, **settings)
    for batch in found.train_batches():
        found.backward(batch)
        if found.step_ends:
            break
    return torch.cat([weight.grad.flatten() for weight in found.net.parameters() if weight.grad is not None])


def apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm())


@pytest.mark.parametrize(("size", "steps"), [(4, 3), (3, 3), (6, 2), (2, 5)])
@pytest.mark.parametrize(
    "settings",
    [{}, {"class_weights": "balanced"}, {"class_weights": "balanced", "smoothing": 0.2, "aux": True}],
    ids=str,
)
def test_a_step_is_that_of_one_batch_however_it_was_gathered(
    data: Path, size: int, steps: int, settings: dict[str, Any]
) -> None:
    images = 9 if size == 3 else 10  # a last batch of one is left out
    whole = gradient(data, batch_size=images, **settings)
    assert apart(gradient(data, batch_size=size, grad_accum_steps=steps, **settings), whole) < 1e-6


@pytest.mark.parametrize(
    "gone", [("c0/0",), ("c0/0", "c0/1", "c2/0"), ("c0/0", "c0/1", "c0/2", "c1/0", "c1/1")], ids=len
)
def test_unreadable_images_leave_a_gathered_step_that_of_the_others(tmp_path: Path, gone: tuple[str, ...]) -> None:
    folder = write_images(tmp_path, train=4, val=1, classes=3)
    for place in gone:
        (folder / "train" / f"{place}.png").write_bytes(f"no image {place}".encode())
    settings = {"class_weights": "balanced"}
    whole = gradient(folder, batch_size=12, **settings)
    assert apart(gradient(folder, batch_size=3, grad_accum_steps=4, **settings), whole) < 1e-6


def test_the_last_step_of_an_epoch_is_that_of_its_own_images(data: Path) -> None:
    found = training(data, batch_size=3, grad_accum_steps=2)  # 3 + 3, then 3 and one left out
    norms = []
    for batch in found.train_batches():
        found.backward(batch)
        if found.step_ends:
            norms.append(torch.cat([w.grad.flatten() for w in found.net.parameters() if w.grad is not None]))
            found.net.zero_grad()
    alone = training(data, batch_size=3)
    for batch in alone.train_batches():
        alone.net.zero_grad()
        alone.backward(batch)
    last = torch.cat([w.grad.flatten() for w in alone.net.parameters() if w.grad is not None])
    assert torch.equal(norms[-1], last)


def test_a_step_without_a_readable_image_changes_nothing(tmp_path: Path) -> None:
    folder = write_images(tmp_path, train=2, val=1, classes=2)
    for file in (folder / "train").rglob("*.png"):
        file.write_bytes(b"no image " + file.parent.name.encode() + file.name.encode())
    found = training(folder, batch_size=2, grad_accum_steps=2)
    before = [weight.clone() for weight in found.net.parameters()]
    for batch in found.train_batches():
        found.backward(batch)
    found.update(1.0)
    assert all(torch.equal(*pair) for pair in zip(before, found.net.parameters(), strict=True))


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize(
    "mixing", [{"mixup": 0.0, "cutmix": 0.0}, {"mixup": 0.5, "cutmix": 0.0}, {"mixup": 0.0, "cutmix": 1.0}]
)
def test_the_weight_of_a_batch_is_what_its_loss_was_divided_by(smoothing: float, mixing: dict[str, float]) -> None:
    random = torch.Generator().manual_seed(3)
    labels, weights = torch.tensor([0, 1, 2, 2, 0]), torch.tensor([0.5, 1.0, 4.0])
    logits = torch.randn(5, 3, generator=random)
    import numpy as np

    _, targets = mix(
        torch.rand(5, 3, 8, 8), soft_targets(labels, 3, smoothing), random=np.random.default_rng(1), **mixing
    )
    summed = -(targets * weights * logits.log_softmax(1)).sum()
    weight = loss_weight(labels, weights.double(), smoothing)
    assert float(cross_entropy(logits, targets, weights)) * weight == pytest.approx(float(summed), rel=1e-5)
    assert loss_weight(labels, None, smoothing) == 5


def test_the_loss_of_an_epoch_is_over_the_sum_of_the_weights(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "weights.json"
    file.write_text(json.dumps({"c0": 1, "c1": 7, "c2": 30}))
    one, several = (training(data, batch_size=size, class_weights=str(file)) for size in (10, 5))
    for found in (one, several):
        for batch in found.train_batches():
            found.backward(batch)
    assert several.state.averages()[0] == pytest.approx(one.state.averages()[0], rel=1e-6)


def test_a_checkpoint_from_before_the_weights_were_summed_goes_on() -> None:
    state = State.new(2, torch.device("cpu"))
    state.load({"sums": torch.tensor([6.0, 2.0, 4.0]), "norms": torch.zeros(3)}, {})
    assert state.averages() == (1.5, 0.5)


def test_the_finder_takes_whole_steps_over_the_end_of_an_epoch(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    update = Training.update

    def counted(self: Training, rate: float) -> None:
        seen.append(len(self.weights))
        update(self, rate)

    monkeypatch.setattr(Training, "update", counted)
    find_rate(config(data, data, batch_size=2, grad_accum_steps=2), steps=10, highest=1e-3)  # 5 batches an epoch
    assert seen[:6] == [2, 2, 1, 2, 2, 1]
