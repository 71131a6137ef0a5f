"""Optimizers, schedules, losses, mixing and averages: each compared with algebra or with another library."""

from __future__ import annotations

import json
import math
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from inceptions.training.config import TrainConfig, changes, seconds
from inceptions.training.ema import Average
from inceptions.training.losses import class_weights, cross_entropy, soft_targets
from inceptions.training.mixup import cut_box, mix
from inceptions.training.optim import RMSPropTF, decay_groups, learning_rate, optimizer

# Settings


def test_all_problems_of_a_configuration_are_named_at_once() -> None:
    with pytest.raises(ValueError, match="lr must be > 0") as caught:
        TrainConfig("d", lr=-1, epochs=0, smoothing=1.0, scale=(0.5, 0.2), tune="last:0", max_time="soon")
    for word in ("epochs", "smoothing", "scale", "last:N", "max_time"):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_size": 1},
        {"lr": math.nan},
        {"lr": math.inf},
        {"val_fraction": 1.0},
        {"crop_pct": 0.0},
        {"ratio": (2.0, 1.0)},
        {"color_jitter": 1.5},
        {"min_lr": 1.0},
        {"warmup_epochs": 30},
        {"tune": "head"},  # without weights
        {"freeze_norm": True},  # without weights
        {"override": True},  # without resume
        {"data": ""},
        {"epochs": 0.5},
        {"seed": True},
        {"flip": "no"},
        {"opt": "lion"},
        {"smoothing": math.nan},
    ],
)
def test_a_setting_out_of_range_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong)).split("_")[0]):
        TrainConfig(**{"data": "d"} | wrong)  # type: ignore[arg-type]


def test_a_configuration_survives_json() -> None:
    config = TrainConfig("d", output=Path("runs/x"), scale=(0.3, 1.0), options={"residual": False}, lr=1 / 3)
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_an_unknown_stored_setting_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown settings color"):
        TrainConfig.from_dict({"data": "d", "color": 1})


def test_changes_are_what_was_asked_for_and_differs() -> None:
    stored = TrainConfig("d", batch_size=16, device="cpu", workers=2, lr=0.1)
    given = TrainConfig("d", batch_size="auto", lr=0.2, workers=0, resume=True, max_time="3m")
    assert changes(stored, given) == {"lr": (0.1, 0.2)}


@pytest.mark.parametrize(("text", "expected"), [("90", 90), ("90s", 90), ("1.5m", 90), ("2h", 7200)])
def test_a_time_limit_reads_as_seconds(text: str, expected: float) -> None:
    assert seconds(text) == expected


# Optimizers


def test_rmsproptf_follows_the_hand_calculation() -> None:
    weight = nn.Parameter(torch.tensor([2.0]))
    opt = RMSPropTF([weight], lr=0.1, rho=0.9, momentum=0.5, eps=1.0, weight_decay=0.25)
    value, square, velocity = 2.0, 1.0, 0.0  # the mean square starts at one
    for gradient, lr in ((3.0, 0.1), (-1.0, 0.01), (0.5, 0.01)):
        opt.param_groups[0]["lr"] = lr
        weight.grad = torch.tensor([gradient])
        opt.step()
        full = gradient + 0.25 * value
        square = 0.9 * square + 0.1 * full**2
        velocity = 0.5 * velocity + lr * full / math.sqrt(square + 1.0)  # epsilon inside, rate in the buffer
        value -= velocity
        assert weight.item() == pytest.approx(value, abs=1e-6)


def test_rmsproptf_is_not_torchs_rmsprop_with_the_papers_epsilon() -> None:
    ours, theirs = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    for weight, opt in (
        (ours, RMSPropTF([ours], lr=0.1)),
        (theirs, torch.optim.RMSprop([theirs], lr=0.1, alpha=0.9, eps=1.0, momentum=0.9)),
    ):
        weight.grad = torch.ones(1)
        opt.step()
    assert abs(ours.item() - theirs.item()) > 0.003


@pytest.mark.parametrize("name", ["sgd", "nesterov", "adam", "adamw", "rmsproptf"])
def test_each_optimizer_descends_and_moves_differently(name: str) -> None:
    def path(kind: str) -> float:
        layer = nn.Linear(1, 1, bias=False)
        nn.init.ones_(layer.weight)
        opt = optimizer(layer, TrainConfig("d", opt=kind, lr=0.1, weight_decay=0.0))  # type: ignore[arg-type]
        for _ in range(3):
            opt.zero_grad()
            layer(torch.ones(1, 1)).square().sum().backward()
            opt.step()
        return layer.weight.item()

    assert 0 < path(name) < 1 or name == "nesterov"
    others = {"sgd", "nesterov", "rmsproptf"} - {name}
    assert all(abs(path(name) - path(other)) > 1e-4 for other in others)


def test_momentum_decay_and_epsilon_reach_the_optimizer() -> None:
    config = TrainConfig("d", opt="rmsproptf", momentum=0.8, opt_decay=0.7, opt_eps=0.1)
    group = optimizer(nn.Linear(1, 1), config).param_groups[0]
    assert (group["momentum"], group["rho"], group["eps"]) == (0.8, 0.7, 0.1)
    group = optimizer(nn.Linear(1, 1), config.replace(opt="adamw")).param_groups[0]
    assert (group["betas"], group["eps"]) == ((0.8, 0.7), 0.1)


def test_weight_decay_leaves_biases_and_batch_norms_alone() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 2))
    decayed, others = decay_groups(net, 0.1)
    assert [p.ndim for p in decayed["params"]] == [4, 2]
    assert [p.ndim for p in others["params"]] == [1, 1, 1, 1]
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
    (everything,) = decay_groups(net, 0.1, everything=True)
    assert len(everything["params"]) == 6


def test_frozen_parameters_are_not_optimized() -> None:
    net = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    net[0].requires_grad_(False)
    assert sum(len(group["params"]) for group in decay_groups(net, 0.1)) == 2


@pytest.mark.parametrize("name", ["sgd", "nesterov", "adam", "adamw"])
def test_the_one_pass_a_cpu_takes_moves_the_weights_as_torchs_plain_loop_does(name: str) -> None:
    layer, plain = nn.Linear(32, 8, bias=False), nn.Linear(32, 8, bias=False)
    plain.load_state_dict(layer.state_dict())
    ours = optimizer(layer, TrainConfig("d", lr=0.1, weight_decay=0.01).replace(opt=name))
    (group,) = ours.param_groups
    assert group["fused"]
    options = {
        key: group[key] for key in ("lr", "momentum", "nesterov", "betas", "eps", "weight_decay") if key in group
    }
    theirs = type(ours)(plain.parameters(), foreach=False, **options)
    for _ in range(5):
        layer.weight.grad = torch.randn(8, 32)
        plain.weight.grad = layer.weight.grad.clone()
        ours.step()
        theirs.step()
    if "momentum" in group:
        assert torch.equal(layer.weight, plain.weight)
    torch.testing.assert_close(layer.weight, plain.weight, rtol=1e-6, atol=1e-6)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries cannot be told to")
def test_a_run_on_a_cpu_asks_the_system_for_its_memory_once() -> None:
    program = """
import resource, torch
from inceptions.training.config import TrainConfig
from inceptions.training.resolve import choose_algorithms

choose_algorithms(TrainConfig("d", device="cpu"))
for step in range(10):
    first = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    tensors = [torch.ones(3_000_000 * size) for size in range(1, 5)]  # 29,000 pages
    del tensors
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - first)
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert int(done.stdout) < 1000  # of the last step; else about 26,000


# Learning rates


def test_the_cosine_goes_from_the_rate_to_the_smallest() -> None:
    config = TrainConfig("d", lr=1.0, min_lr=0.1, epochs=10)
    assert learning_rate(config, 0) == 1.0
    assert learning_rate(config, 5) == pytest.approx(0.55)
    assert learning_rate(config, 10) == pytest.approx(0.1)


def test_the_warm_up_is_linear_and_the_cosine_begins_at_its_end() -> None:
    config = TrainConfig("d", lr=1.0, epochs=10, warmup_epochs=2, warmup_lr=0.2)
    assert [learning_rate(config, t) for t in (0, 1, 2, 6, 10)] == pytest.approx([0.2, 0.6, 1.0, 0.5, 0.0])


def test_the_papers_staircase_falls_every_second_epoch() -> None:
    config = TrainConfig("d", lr=0.045, sched="step", decay_rate=0.94, decay_epochs=2)
    rates = [learning_rate(config, t) for t in (0, 1.99, 2, 3.99, 4)]
    assert rates == pytest.approx([0.045, 0.045, 0.0423, 0.0423, 0.039762])


def test_a_fifth_of_an_epoch_five_times_is_an_epoch() -> None:
    config = TrainConfig("d", lr=1.0, sched="step", decay_rate=0.5, decay_epochs=0.2)
    assert learning_rate(config, 1 / 5 + 2 / 5) == pytest.approx(0.125)


def test_the_staircase_ends_at_the_smallest_rate_and_constant_stays() -> None:
    assert learning_rate(TrainConfig("d", lr=1.0, sched="step", min_lr=0.5), 29) == 0.5
    assert learning_rate(TrainConfig("d", lr=0.7, sched="constant"), 29) == 0.7


# Targets and losses


def test_smoothed_targets_are_the_formula() -> None:
    soft = soft_targets(torch.tensor([2]), 4, 0.1)
    assert soft.tolist() == [pytest.approx([0.025, 0.025, 0.925, 0.025])]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_torchs_cross_entropy(smoothing: float) -> None:
    logits, targets = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 2, 1, 1, 0])
    ours = cross_entropy(logits, soft_targets(targets, 3, smoothing))
    theirs = nn.functional.cross_entropy(logits, targets, label_smoothing=smoothing)
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-6)


def test_the_weighted_loss_is_torchs_weighted_cross_entropy() -> None:
    logits, targets = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 2, 1, 1, 0])
    weights = torch.tensor([0.2, 1.0, 3.0])
    ours = cross_entropy(logits, soft_targets(targets, 3), weights)
    theirs = nn.functional.cross_entropy(logits, targets, weight=weights)
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-6)


def test_half_precision_logits_lose_nothing_in_the_loss() -> None:
    logits = torch.tensor([[60.0, 0.0]], dtype=torch.float16)
    assert cross_entropy(logits, torch.tensor([[0.0, 1.0]])).dtype == torch.float32


def _images() -> tuple[torch.Tensor, torch.Tensor]:
    """Four images, each of one value that is its number; hard targets of four classes."""
    return torch.arange(4.0)[:, None, None, None].expand(4, 1, 40, 40).clone(), torch.eye(4)


def test_mixup_blends_images_and_targets_by_the_same_lambda() -> None:
    images, targets = _images()
    mixed, soft = mix(images, targets, mixup=0.4, cutmix=0.0, random=np.random.default_rng(1))
    keep = soft[0, 0].item()
    assert 0 < keep < 1
    assert keep == pytest.approx(np.random.default_rng(1).beta(0.4, 0.4), abs=1e-6)
    assert soft[0].tolist() == pytest.approx([keep, 0, 0, 1 - keep])
    assert mixed[0].unique().tolist() == pytest.approx([(1 - keep) * 3], abs=1e-5)
    assert soft.sum(dim=1).tolist() == pytest.approx([1] * 4)


def test_cutmix_weighs_targets_by_the_pixels_that_are_really_there() -> None:
    images, targets = _images()
    for seed in range(20):
        mixed, soft = mix(images, targets, mixup=0.0, cutmix=1.0, random=np.random.default_rng(seed))
        assert set(mixed[0].unique().tolist()) <= {0.0, 3.0}
        share = (mixed[0] == 0).float().mean().item()
        assert soft[0].tolist() == pytest.approx([share, 0, 0, 1 - share], abs=1e-6)
    assert images[0].unique().tolist() == [0.0]  # what was given is not changed


def test_the_cut_box_covers_what_lambda_leaves_unless_the_border_cuts_it() -> None:
    areas = []
    for seed in range(300):
        top, bottom, left, right = cut_box(100, 200, 0.75, np.random.default_rng(seed))
        assert 0 <= top <= bottom <= 100
        assert 0 <= left <= right <= 200
        areas.append((bottom - top) * (right - left) / 20_000)
    assert max(areas) == pytest.approx(0.25)
    assert min(areas) < 0.2


def test_with_both_alphas_each_is_taken_about_half_of_the_time() -> None:
    images, targets = _images()
    boxed = 0
    for seed in range(200):
        mixed, _ = mix(images, targets, mixup=1.0, cutmix=1.0, random=np.random.default_rng(seed))
        boxed += set(mixed[0].unique().tolist()) <= {0.0, 3.0}
    assert 70 < boxed < 130


def test_without_alphas_nothing_is_mixed() -> None:
    images, targets = _images()
    mixed, soft = mix(images, targets, mixup=0.0, cutmix=0.0, random=np.random.default_rng(0))
    assert mixed is images
    assert soft is targets


# Classes of unequal size


def test_balanced_weights_make_every_class_count_the_same() -> None:
    targets = np.array([0, 0, 0, 1])
    weights = class_weights("balanced", targets, ("a", "b"))
    assert (weights * torch.tensor([3.0, 1.0])).tolist() == pytest.approx([2.0, 2.0])


def test_class_weights_are_read_by_name(tmp_path: Path) -> None:
    file = tmp_path / "weights.json"
    file.write_text('{"b": 2, "a": 0.5}')
    assert class_weights(str(file), np.array([0, 1]), ("a", "b")).tolist() == [0.5, 2.0]


@pytest.mark.parametrize("text", ['{"a": 1}', '{"a": 1, "b": 2, "c": 3}', '{"a": 1, "b": 0}', "[1, 2]", "no json"])
def test_unfit_class_weights_are_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "weights.json"
    file.write_text(text)
    with pytest.raises(ValueError, match="class weights"):
        class_weights(str(file), np.array([0, 1]), ("a", "b"))


# The average of the weights


def test_the_average_follows_the_weights_with_a_growing_memory() -> None:
    net = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(net.weight)
    average = Average(net, decay=0.5)
    expected = 0.0
    for step in range(12):
        nn.init.constant_(net.weight, step + 1.0)
        average.update(net, step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * (step + 1)
    assert average.net.weight.item() == pytest.approx(expected, rel=1e-6)


def test_the_average_includes_batch_norm_statistics_and_copies_counters() -> None:
    net = nn.BatchNorm1d(1)
    average = Average(net, decay=0.9)
    net(torch.tensor([[1.0], [3.0]]))
    average.update(net, 0)
    assert average.net.num_batches_tracked.item() == 1
    assert average.net.running_mean.item() == pytest.approx(0.9 * 0.2)  # 0.1 of the old; torch moved 0.1 towards 2
