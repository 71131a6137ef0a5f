"""From a configuration to a run: decides what it leaves open, builds network and augmentation."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from inceptions.data import Dataset
from inceptions.data.text import refuse_names
from inceptions.files import to_json
from inceptions.image import Preprocess
from inceptions.progress import log
from inceptions.system import keep_freed_memory
from inceptions.training.config import DEFAULT_MODEL, TrainConfig, idle
from inceptions.training.losses import class_weights
from inceptions.training.step import freeze
from inceptions.weights import artifact, create_model, network_in
from inceptions.zoo import Network, resolve

SMALL = 96  # px; up to here images are small ones (digits, CIFAR), which are not cropped for evaluation


def decide(config: TrainConfig) -> TrainConfig:
    """Fills in network, device and tune; what needs data or network follows (`workers`, `batch_size`).

    Raises:
        ValueError: unknown device or network; an option the network does not have.
    """
    device = config.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {config.device} cannot be used: {str(error).splitlines()[0]}") from error
    tune = config.tune or ("head" if config.weights and device == "cpu" else "all")
    return config.replace(model=network_of(config), device=device, tune=tune)


def network_of(config: TrainConfig) -> str:
    """The network to train: the one named, else the one that the weights are for.

    Raises:
        ValueError, OSError: the name is unknown; the weights cannot be read.
    """
    if config.model is not None:
        return resolve(config.model)
    if config.weights in (None, "none"):
        return DEFAULT_MODEL
    return network_in(config.weights, config.weights_part)


def choose_algorithms(config: TrainConfig) -> None:
    """On a GPU: the same bits each time (`deterministic`), or the fastest algorithms for these shapes. On a CPU: memory
    that stays ours from one step to the next."""
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic with it only
    torch.use_deterministic_algorithms(config.deterministic)
    torch.backends.cudnn.benchmark = not config.deterministic
    if config.device == "cpu":
        keep_freed_memory()


def warn_of_idle(config: TrainConfig) -> None:
    """Warns of settings that were given but have no effect: whoever gave them expects one."""
    reasons: dict[str, list[str]] = {}
    for name, why in idle(config).items():
        reasons.setdefault(why, []).append(name)
    for why, names in reasons.items():
        log.warning("%s: without effect, for %s", ", ".join(names), why)


def default_output(data: str, model: str) -> Path:
    """runs/DATA-MODEL."""
    stem = (
        Path(data).resolve().stem.encode("utf-8", "surrogateescape").decode("utf-8", "replace").replace("\ufffd", "_")
    )
    return Path("runs") / f"{stem}-{model}"


def network(config: TrainConfig, data: Dataset) -> Network:
    """The network to train, with its preprocessing and the data's classes; weights from (seed) or from a file.

    Weights of the same classes keep their heads and the order of their classes; otherwise every head is new.

    Raises:
        ValueError: options or weights do not fit, or the images would be too small for the network.
    """
    torch.manual_seed(config.seed)
    net = create_model(
        network_of(config),
        num_classes=len(data.classes),
        weights=config.weights,
        weights_part=config.weights_part,
        **_options(config),
    )
    if config.weights is None:
        _scale_convolutions(net, config.init_scale)
    if net.classes != data.classes:
        net.reset_classifier(len(data.classes))
        net.classes = data.classes
    if net.preprocess is None:
        raise ValueError(f"{config.model} reads images of {net.in_channels} channels; image files have 1 or 3")
    net.preprocess = preprocess(config, net)
    if min(net.preprocess.size) < net.min_size:
        raise ValueError(
            f"img_size {min(net.preprocess.size)} is too small: {net.name} needs at least {net.min_size} px"
            + ("" if config.stem == "small" else "; --stem small is made for images of 32 to 96 px")
        )
    return net


def preprocess(config: TrainConfig, net: Network) -> Preprocess:
    """The weights' preprocessing (without weights: values in [-1, 1], center crop), with what `config` changes."""
    start = net.preprocess
    size = config.img_size or (min(start.size) if config.weights or config.stem == "small" else net.input_size)
    changes: dict[str, Any] = {}
    if config.img_size or not config.weights:
        changes["size"] = (size, size)
    if not config.weights:
        changes["crop_pct"] = 1.0 if size <= SMALL else 0.875
    if config.crop_pct:
        changes["crop_pct"] = config.crop_pct
    if config.interpolation:
        changes["interpolation"] = config.interpolation
    changed: Preprocess = dataclasses.replace(start, **changes)
    return changed


def loss_weights(config: TrainConfig, data: Dataset) -> Tensor | None:
    """(classes,) weights of the classes in the loss; None: all alike.

    Raises:
        ValueError: the file of the weights does not fit the classes.
        OSError: it cannot be read.
    """
    if config.class_weights is None:
        return None
    return class_weights(config.class_weights, data.splits["train"].targets, data.classes)


def refuse_impossible(config: TrainConfig, data: Dataset, net: Network) -> None:
    """Raises at once what training would raise when minutes have passed and files have been written.

    Raises:
        ValueError, OSError: too few images, class weights that do not fit, more stages to tune than there are, names
            or settings that the model's files cannot hold.
    """
    refuse_names(config.data, data.classes)
    to_json(artifact.facts(net, {"settings": config.to_dict()}))
    batch_count(len(data.splits["train"]), config)
    loss_weights(config, data)
    freeze(net, config.tuned_stages)


def batch_count(images: int, config: TrainConfig) -> int:
    """Batches an epoch. A last batch of one image is left out, for batch norm cannot learn from it; the order
    differs each epoch, so it is another image each time.

    Raises:
        ValueError: fewer than two images.
    """
    if images < 2:
        raise ValueError(f"{images} training images: batch norm needs at least two")
    assert isinstance(config.batch_size, int)
    whole, rest = divmod(images, config.batch_size)
    return whole + (rest >= 2)


def batch_size(config: TrainConfig, net: Network) -> int:
    """What `auto` means: the largest power of two (up to 1024) whose training step fits the device's memory.

    On a CPU 32: memory is not what bounds it there.
    """
    if config.device.split(":")[0] != "cuda":
        return 32
    best = 2
    while best < 1024 and _fits(config, net, 2 * best):
        best *= 2
    log.info("batch size %d fits the device", best)
    return best


def _fits(config: TrainConfig, net: Network, size: int) -> bool:
    """Whether one training step of `size` images leaves a tenth of the device's memory free."""
    import copy

    from inceptions.training.optim import optimizer
    from inceptions.training.step import WithLoss

    device = torch.device(config.device)
    torch.cuda.reset_peak_memory_stats(device)
    trial: Network | None = None
    images = targets = loss = None
    try:
        trial = copy.deepcopy(net).to(device).train()
        images = torch.zeros(size, net.in_channels, *net.preprocess.size, device=device)
        targets = torch.full((size, net.num_classes), 1 / net.num_classes, device=device)
        with torch.autocast("cuda", getattr(torch, config.amp_dtype), enabled=config.amp):
            loss, _ = WithLoss(trial)(images, targets)
        loss.backward()
        optimizer(trial, config).step()
        return torch.cuda.max_memory_allocated(device) < 0.9 * torch.cuda.get_device_properties(device).total_memory
    except torch.OutOfMemoryError:
        return False
    finally:
        trial = images = targets = loss = None
        torch.cuda.empty_cache()


def _scale_convolutions(net: Network, factor: float) -> None:
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.mul_(factor)


def _options(config: TrainConfig) -> dict[str, Any]:
    """The network's options that were requested; the others are the weights' or the network's own."""
    asked = {"width": config.width, "depth": config.depth, "aux": config.aux, "stem": config.stem}
    asked["in_channels"] = config.in_channels
    defaults = {field.name: field.default for field in dataclasses.fields(TrainConfig)}
    changed = {name: value for name, value in asked.items() if value != defaults[name]}
    if config.drop_rate is not None:
        changed["drop_rate"] = config.drop_rate
    return changed | config.options
