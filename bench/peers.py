"""The competitors, each in a process of its own, in the environment that `make parity` builds (PARITY/bin/python).

.parity/bin/python bench/peers.py timm-train inception_v3 16         (then turns.py's JSON lines)
.parity/bin/python bench/peers.py torchvision-data FOLDER 299
.parity/bin/python bench/peers.py timm-predict inception_v3 FOLDER OUTPUT.csv

The scripts that train with timm and torchvision are not part of their packages: their steps are restated here.
"""

from __future__ import annotations

import csv
import os
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from importlib.metadata import version
from typing import Any

from turns import device, one_core, serve, synchronize

NAMES = {
    "timm": {
        "inception_v3": "inception_v3",
        "inception_v4": "inception_v4",
        "inception_resnet_v2": "inception_resnet_v2",
        "xception": "legacy_xception",
        "xception41": "xception41",
        "xception65": "xception65",
        "xception71": "xception71",
    },
    "torchvision": {"googlenet": "googlenet", "inception_v3": "inception_v3"},
    "keras": {"inception_v3": "InceptionV3", "inception_resnet_v2": "InceptionResNetV2", "xception": "Xception"},
}
"""Library -> our name of a network -> its own; they have no others of the family."""

AUX_WEIGHT = {"googlenet": 0.3, "inception_v3": 0.4}


def import_torch() -> Any:
    """torch, such that a torchvision beside a CPU build of it can be imported: its compiled operators are missing, and
    not needed."""
    import torch

    register_fake = torch.library.register_fake

    def ignore_torchvision(operator: Any, *arguments: Any, **options: Any) -> Any:
        if isinstance(operator, str) and operator.startswith("torchvision::"):
            return lambda function: function
        return register_fake(operator, *arguments, **options)

    torch.library.register_fake = ignore_torchvision
    torch.manual_seed(0)
    return torch


# ---- networks that answer -------------------------------------------------------------------------------------------


def timm_inference(model: str, batch: int, *, best: bool = False) -> Callable[[], object]:
    """timm's `inference.py` as it runs a model without flags (eager, float32, contiguous), or with its best ones
    (--channels-last --amp --amp-dtype bfloat16); on a GPU where there is one, as it does."""
    torch = import_torch()
    import timm

    net = timm.create_model(NAMES["timm"][model]).eval().to(device())
    images = torch.randn(batch, *net.default_cfg["input_size"], device=device())
    if best:
        net, images = net.to(memory_format=torch.channels_last), images.contiguous(memory_format=torch.channels_last)

    def run() -> None:
        with torch.inference_mode(), torch.autocast(device(), torch.bfloat16, enabled=best):
            net(images)
        synchronize()

    return run


def timm_predict(model: str, folder: str, output: str) -> None:
    """timm's `inference.py` with its defaults (batches of 256, two workers, top 1): a folder of images to CSV."""
    torch = import_torch()
    import timm
    from timm.data import create_dataset, create_loader, resolve_data_config

    net = timm.create_model(NAMES["timm"][model]).eval()
    config = resolve_data_config({}, model=net)
    dataset = create_dataset(name="", root=folder)
    loader = create_loader(
        dataset, batch_size=256, use_prefetcher=True, num_workers=2, device=torch.device("cpu"), **config
    )
    found = []
    with torch.inference_mode():
        for images, _ in loader:
            found.append(net(images).softmax(-1).topk(1))
    with open(output, "w", newline="") as file:
        writer = csv.writer(file)
        names = dataset.filenames(basename=True)
        values = torch.cat([top.values for top in found]).tolist()
        indices = torch.cat([top.indices for top in found]).tolist()
        writer.writerows([name, *index, *value] for name, index, value in zip(names, indices, values, strict=True))


# ---- networks that learn --------------------------------------------------------------------------------------------


def timm_train(model: str, batch: int, *, best: bool = False, compiled: bool = False) -> Callable[[], object]:
    """One step of timm's `train.py`: SGD with Nesterov momentum, cross entropy; its defaults (float32, contiguous), or
    its best flags for a CPU (--channels-last --amp --amp-dtype bfloat16 [--torchcompile])."""
    torch = import_torch()
    import timm
    from timm.optim import create_optimizer_v2

    net = timm.create_model(NAMES["timm"][model]).train().to(device())
    images = torch.randn(batch, *net.default_cfg["input_size"], device=device())
    targets = torch.randint(0, 1000, (batch,), device=device())
    if best:
        net, images = net.to(memory_format=torch.channels_last), images.contiguous(memory_format=torch.channels_last)
    optimizer = create_optimizer_v2(net, opt="sgd", lr=0.01, momentum=0.9, weight_decay=2e-5)
    forward = torch.compile(net) if compiled else net
    loss_function = torch.nn.CrossEntropyLoss()

    def step() -> None:
        with torch.autocast(device(), torch.bfloat16, enabled=best):
            loss = loss_function(forward(images), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()  # train.py averages the loss of every step

    return step


def torchvision_train(model: str, batch: int) -> Callable[[], object]:
    """One step of torchvision's references/classification/train.py with its defaults: SGD with momentum, cross entropy,
    float32, the network as `get_model` builds it (auxiliary heads; no transform_input without weights).

    The script itself stops at the tuple that such a network returns; the auxiliary losses are added with the papers'
    weights, as torchvision's fine-tuning tutorial does.
    """
    torch = import_torch()
    from torchvision.models import get_model

    net = get_model(NAMES["torchvision"][model], weights=None, num_classes=1000, init_weights=True).train()
    size = 299 if model == "inception_v3" else 224
    net.to(device())
    images = torch.randn(batch, 3, size, size, device=device())
    targets = torch.randint(0, 1000, (batch,), device=device())
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    criterion = torch.nn.CrossEntropyLoss()

    def step() -> None:
        logits, *others = net(images)
        loss = criterion(logits, targets)
        for other in others:
            loss = loss + AUX_WEIGHT[model] * criterion(other, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        logits.topk(5)  # the accuracies it logs
        loss.item()

    return step


def keras_train(model: str, batch: int, *, backend: str) -> Callable[[], object]:
    """`train_on_batch` of a network of `keras.applications`, compiled with Keras's defaults (RMSProp, float32)."""
    os.environ["KERAS_BACKEND"] = backend
    import keras
    import numpy as np

    net = getattr(keras.applications, NAMES["keras"][model])(weights=None)
    net.compile(loss="sparse_categorical_crossentropy")
    random = np.random.default_rng(0)
    images = random.standard_normal((batch, *net.input_shape[1:]), np.float32)
    targets = random.integers(0, 1000, batch)
    return lambda: net.train_on_batch(images, targets)


# ---- input pipelines: one pass over FOLDER / CLASS / image in this process, in batches of 32 -----------------------


def passes(loader: Iterable[object]) -> Callable[[], object]:
    """A call goes through the loader once."""

    def run() -> None:
        for _ in loader:
            pass

    return run


def torchvision_data(folder: str, size: int) -> Callable[[], object]:
    """The transforms of torchvision's references/classification with their defaults (Pillow, bilinear), to normalized
    float32."""
    torch = import_torch()
    torch.set_num_threads(1)
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    steps = [
        transforms.RandomResizedCrop(size, interpolation=transforms.InterpolationMode.BILINEAR, antialias=True),
        transforms.RandomHorizontalFlip(),
        transforms.PILToTensor(),
        transforms.ConvertImageDtype(torch.float),
        transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ]
    dataset = ImageFolder(folder, transforms.Compose(steps))
    return passes(torch.utils.data.DataLoader(dataset, batch_size=32, shuffle=True))


def timm_data(folder: str, size: int, *, color_jitter: float) -> Callable[[], object]:
    """What timm's `train.py` reads with by default: random interpolation, color jitter of 0.4, to uint8 (what its
    prefetcher does on the device is left out, as it is for ours)."""
    torch = import_torch()
    torch.set_num_threads(1)
    from timm.data import create_dataset, create_loader

    loader = create_loader(
        create_dataset(name="", root=folder), input_size=(3, size, size), batch_size=32, is_training=True,
        interpolation="random", color_jitter=color_jitter, num_workers=0, persistent_workers=False,
        device=torch.device("cpu"),
    )  # fmt: skip
    return passes(loader.loader)


def keras_data(folder: str, size: int) -> Callable[[], object]:
    """`image_dataset_from_directory` (TensorFlow decodes and squeezes every image to the evaluation's size), then the
    layers RandomCrop, RandomFlip and Rescaling on each batch, for the torch backend."""
    os.environ["KERAS_BACKEND"] = "torch"
    import keras
    from tensorflow.data import AUTOTUNE

    layers = keras.layers
    augment = layers.Pipeline(
        [layers.RandomCrop(size, size), layers.RandomFlip("horizontal"), layers.Rescaling(1 / 127.5, offset=-1)]
    )
    side = round(size / 0.875)
    dataset = keras.utils.image_dataset_from_directory(folder, image_size=(side, side), batch_size=32, verbose=False)
    return passes(dataset.map(lambda images, labels: (augment(images), labels), AUTOTUNE).prefetch(AUTOTUNE))


WORK: dict[str, Callable[[str, int], Callable[[], object]]] = {
    "timm-inference": timm_inference,
    "timm-inference-best": partial(timm_inference, best=True),
    "timm-train": timm_train,
    "timm-train-best": partial(timm_train, best=True),
    "timm-train-compiled": partial(timm_train, best=True, compiled=True),
    "torchvision-train": torchvision_train,
    "keras-torch-train": partial(keras_train, backend="torch"),
    "keras-tensorflow-train": partial(keras_train, backend="tensorflow"),
    "torchvision-data": torchvision_data,
    "timm-data": partial(timm_data, color_jitter=0.4),
    "timm-plain-data": partial(timm_data, color_jitter=0.0),
    "keras-data": keras_data,
}


if __name__ == "__main__":
    if sys.argv[1] == "timm-predict":
        timm_predict(*sys.argv[2:])
    else:
        kind, subject, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
        reads = kind.endswith("-data")
        if reads:
            one_core()
        packages = {"keras": ("keras", "torch", "tensorflow"), "timm": ("timm", "torch", "pillow")}
        used = packages.get(kind.split("-")[0], ("torchvision", "torch", "pillow"))
        clock = time.process_time if reads else time.perf_counter
        serve(WORK[kind](subject, number), clock=clock, **{name: version(name) for name in used})
