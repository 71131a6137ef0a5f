"""Recipes: named settings of `inceptions train`, each with its source and with what it gave when we measured it.

A recipe changes the defaults; what is given in addition (flags, keywords) changes the recipe. The papers trained on
ImageNet with dozens of machines, so their recipes state the paper's result; what we measured is smaller and says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inceptions.training.config import TrainConfig
from inceptions.zoo.options import nearest


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Settings with their reasons."""

    title: str
    """What it is for."""
    source: str
    """Where the settings come from, and which of them the source does not state."""
    published: str
    """What the source reports for it; empty for our own."""
    settings: Mapping[str, Any]
    """What differs from the defaults of `TrainConfig`."""
    command: str
    """What was run when it was measured."""
    measured: str
    """What that gave, with n, seed and hardware."""


_FLOWERS = "TensorFlow's flowers (2,934 images of 5 classes to learn from)"
_INSECTS = "the ants and bees of PyTorch's tutorial (244 to learn from), WEIGHTS ImageNet's Xception in a Keras file"
_CORE = "of one core (AMD EPYC, torch 2.13.0, no GPU), seed 0"

_TF = {"opt": "rmsproptf", "momentum": 0.9, "opt_decay": 0.9, "opt_eps": 1.0}
_EVERY_TWO_EPOCHS = {"sched": "step", "decay_rate": 0.94, "decay_epochs": 2.0}

RECIPES: Mapping[str, Recipe] = {
    "googlenet": Recipe(
        title="GoogLeNet as published (v1)",
        source="1409.4842, sections 5 and 6: SGD with momentum 0.9, learning rate -4 % every 8 epochs, auxiliary "
        "losses weighted 0.3, crops of 8-100 % of the area, aspect 3/4-4/3, photometric distortion, Polyak average. "
        "Not stated there: batch, rate and weight decay; these are those of Caffe's solver for it (BVLC).",
        published="10.07 % top-5 error on ImageNet, one model, one crop",
        settings={
            "model": "googlenet", "aux": True, "epochs": 250, "batch_size": 32, "opt": "sgd", "lr": 0.01,
            "weight_decay": 2e-4, "sched": "step", "decay_rate": 0.96, "decay_epochs": 8.0, "color_jitter": 0.4,
            "model_ema": True, "model_ema_decay": 0.9999,
        },
        command="inceptions train DATA --recipe googlenet --img-size 64 --width 0.25 --epochs 12",
        measured=f"65.1 % top-1 (95 %: 61.6 to 68.4, n=736) on {_FLOWERS}; 125 s {_CORE}",
    ),
    "bn_inception": Recipe(
        title="BN-Inception, the setting BN-x5 (v2)",
        source="1502.03167, section 4.2: mini-batch 32, learning rate 5 x 0.0015, decayed 6 times faster than v1 (here "
        "-4 % every 8/6 epochs), no dropout, L2 weight a fifth of v1's, less photometric distortion.",
        published="73.0 % top-1 on ImageNet, one crop (BN-x30: 74.8 %)",
        settings={
            "model": "bn_inception", "epochs": 60, "batch_size": 32, "opt": "sgd", "lr": 0.0075, "weight_decay": 4e-5,
            "sched": "step", "decay_rate": 0.96, "decay_epochs": 8 / 6, "drop_rate": 0.0, "color_jitter": 0.1,
        },
        command="inceptions train DATA --recipe bn_inception --img-size 64 --width 0.25 --epochs 12",
        measured=f"67.5 % top-1 (95 %: 64.1 to 70.8, n=736) on {_FLOWERS}; 123 s {_CORE}",
    ),
    "inception_v3": Recipe(
        title="Inception v3 as published",
        source="1512.00567, sections 7 and 8: RMSProp with decay 0.9 and epsilon 1.0 in TensorFlow's sense, learning "
        "rate 0.045 x 0.94 every two epochs, gradients clipped at 2.0, label smoothing 0.1, averaged weights, 100 "
        "epochs of batches of 32. From its released code: auxiliary weight 0.4, weight decay 4e-5 without batch "
        "norms and biases, average 0.9999, dropout 0.2.",
        published="21.2 % top-1, 5.6 % top-5 error on ImageNet (48,238 images), one crop",
        settings={
            "model": "inception_v3", "aux": True, "epochs": 100, "batch_size": 32, "lr": 0.045, "weight_decay": 4e-5,
            "clip_grad": 2.0, "smoothing": 0.1, "drop_rate": 0.2, "color_jitter": 0.4, "model_ema": True,
            "model_ema_decay": 0.9999, **_TF, **_EVERY_TWO_EPOCHS,
        },
        command="inceptions train DATA --recipe inception_v3 --img-size 80 --width 0.25 --epochs 12",
        measured=f"60.7 % top-1 (95 %: 57.2 to 64.2, n=736) on {_FLOWERS}; 158 s {_CORE}",
    ),
    "inception_v4": Recipe(
        title="Inception v4 and Inception-ResNet as published",
        source="1602.07261, section 4: RMSProp with decay 0.9 and epsilon 1.0, learning rate 0.045 x 0.94 every two "
        "epochs, averaged weights. Not stated there, from TF-slim: momentum 0.9, weight decay 4e-5, dropout 0.2, label "
        "smoothing 0.1, clipping 2.0. The paper scales residuals by 0.1-0.3 instead of warming up.",
        published="20.0 % top-1, 5.0 % top-5 error on ImageNet (48,238 images), one crop",
        settings={
            "model": "inception_v4", "epochs": 100, "batch_size": 32, "lr": 0.045, "weight_decay": 4e-5,
            "clip_grad": 2.0, "smoothing": 0.1, "drop_rate": 0.2, "color_jitter": 0.4, "model_ema": True,
            "model_ema_decay": 0.9999, **_TF, **_EVERY_TWO_EPOCHS,
        },
        command="inceptions train DATA --recipe inception_v4 --model inception_resnet_v2 --img-size 80 --width 0.25 "
        "--depth 0.5 --epochs 8",
        measured=f"64.1 % top-1 (95 %: 60.6 to 67.5, n=736) on {_FLOWERS}; 2 minutes {_CORE}. Inception v4 itself, at "
        "its full depth, reached 34.1 % (30.8 to 37.6) in the same eight epochs.",
    ),
    "xception": Recipe(
        title="Xception as published",
        source="1610.02357, section 4: SGD with momentum 0.9, learning rate 0.045 x 0.94 every two epochs, weight "
        "decay 1e-5, dropout 0.5, Polyak averaging, no auxiliary head. The batch is not stated.",
        published="79.0 % top-1, 94.5 % top-5 on ImageNet, one crop",
        settings={
            "model": "xception", "epochs": 100, "batch_size": 32, "opt": "sgd", "lr": 0.045, "weight_decay": 1e-5,
            "drop_rate": 0.5, "model_ema": True, "model_ema_decay": 0.9999, **_EVERY_TWO_EPOCHS,
        },
        command="inceptions train DATA --recipe xception --img-size 64 --width 0.25 --epochs 12",
        measured=f"69.7 % top-1 (95 %: 66.3 to 72.9, n=736) on {_FLOWERS}; 201 s {_CORE}",
    ),
    "finetune": Recipe(
        title="All weights of a published network, adapted to your images",
        source="ours: the head is fitted first; then a small rate with warm-up and cosine, gentle crops, the batch "
        "norms' own statistics, and an average of the weights, so that little of what the weights know is lost.",
        published="",
        settings={
            "tune": "all", "freeze_norm": True, "epochs": 10, "opt": "nesterov", "lr": 0.002, "weight_decay": 1e-4,
            "warmup_epochs": 1.0, "scale": (0.35, 1.0), "smoothing": 0.1, "model_ema": True, "model_ema_decay": 0.999,
            "clip_grad": 2.0,
        },
        command="inceptions train DATA --recipe finetune --weights WEIGHTS --img-size 160 --epochs 2",
        measured=f"92.2 % top-1 (95 %: 86.8 to 95.5, n=153) on {_INSECTS}; 91 s {_CORE}. Two epochs are few: the head "
        "alone gives 92.8 % at this size. Without --freeze-norm it was 87.6 %.",
    ),
    "head": Recipe(
        title="A new classifier on the pooled features of a published network: minutes on a laptop",
        source="ours: features computed once, logistic regression fitted to convergence (`training.head`).",
        published="",
        settings={"tune": "head"},
        command="inceptions train DATA --recipe head --weights WEIGHTS",
        measured=f"100 % top-1 (95 %: 97.6 to 100, n=153) on {_INSECTS}; 42 s {_CORE}",
    ),
    "modern": Recipe(
        title="Modern recipe for training from scratch",
        source="2110.00476 (ResNet strikes back) and torchvision's new recipe, shortened: cosine with warm-up, "
        "Nesterov, averaged weights, TrivialAugment (2103.10158), mixup (1710.09412), cutmix (1905.04899), smoothing.",
        published="",
        settings={
            "epochs": 100, "batch_size": 64, "opt": "nesterov", "lr": 0.1, "weight_decay": 5e-5, "warmup_epochs": 5.0,
            "scale": (0.25, 1.0), "smoothing": 0.1, "trivial": True, "mixup": 0.2, "cutmix": 1.0, "reprob": 0.1,
            "model_ema": True, "clip_grad": 2.0,
        },
        command="inceptions train DATA --recipe modern --img-size 64 --width 0.25 --epochs 12",
        measured=f"64.8 % top-1 (95 %: 61.3 to 68.2, n=736) on {_FLOWERS}; 199 s {_CORE}",
    ),
}  # fmt: skip
"""Every recipe by its name."""


def configure(recipe: str | None, data: str, **given: Any) -> TrainConfig:
    """Settings for training on `data`: the defaults, changed by the recipe, changed by what is `given`.

    Raises:
        ValueError: unknown recipe; settings out of range.
    """
    return TrainConfig(data, **{**settings(recipe), **given})


def settings(recipe: str | None) -> dict[str, Any]:
    """What a recipe changes of the defaults; None: nothing. Raises `ValueError` for an unknown recipe."""
    if recipe is None:
        return {}
    if recipe not in RECIPES:
        raise ValueError(f"unknown recipe {recipe!r}{nearest(recipe, RECIPES)}; there are: {', '.join(RECIPES)}")
    return dict(RECIPES[recipe].settings)
