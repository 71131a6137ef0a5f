"""The competitors, each in a process of its own, in the environment that `make parity` builds (PARITY/bin/python).

.parity/bin/python bench/peers.py timm-inference inception_v3 16      (then turns.py's JSON lines)
.parity/bin/python bench/peers.py timm-predict inception_v3 FOLDER OUTPUT.csv
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from typing import Any

import torch
from turns import serve

_register_fake = torch.library.register_fake


def _ignore_torchvision(operator: Any, *arguments: Any, **options: Any) -> Any:
    """torchvision beside a CPU build of torch: its compiled operators are missing, and not needed."""
    if isinstance(operator, str) and operator.startswith("torchvision::"):
        return lambda function: function
    return _register_fake(operator, *arguments, **options)


torch.library.register_fake = _ignore_torchvision
import timm  # noqa: E402 - after the patch above
from timm.data import create_dataset, create_loader, resolve_data_config  # noqa: E402
from timm.optim import create_optimizer_v2  # noqa: E402

NAMES = {"xception": "legacy_xception"}  # ours -> timm's


def timm_inference(model: str, batch: int) -> Callable[[], object]:
    """timm's `inference.py` as it runs a model without flags: eager, float32, contiguous."""
    net = timm.create_model(NAMES.get(model, model)).eval()
    images = torch.randn(batch, *net.default_cfg["input_size"])

    def run() -> None:
        with torch.inference_mode():
            net(images)

    return run


def timm_predict(model: str, folder: str, output: str) -> None:
    """timm's `inference.py` with its defaults (batches of 256, two workers, top 1): a folder of pictures to CSV."""
    net = timm.create_model(NAMES.get(model, model)).eval()
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


def timm_train(model: str, batch: int, *, best: bool = False, compiled: bool = False) -> Callable[[], object]:
    """One step of timm's `train.py`: SGD with Nesterov momentum, cross entropy; its defaults (float32, contiguous), or
    its best flags for a CPU (--channels-last --amp --amp-dtype bfloat16 [--torchcompile])."""
    net = timm.create_model(NAMES.get(model, model)).train()
    images, targets = torch.randn(batch, *net.default_cfg["input_size"]), torch.randint(0, 1000, (batch,))
    if best:
        net, images = net.to(memory_format=torch.channels_last), images.contiguous(memory_format=torch.channels_last)
    optimizer = create_optimizer_v2(net, opt="sgd", lr=0.01, momentum=0.9, weight_decay=2e-5)
    forward = torch.compile(net) if compiled else net
    loss_function = torch.nn.CrossEntropyLoss()

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=best):
            loss = loss_function(forward(images), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()  # train.py reads the loss of every step that it logs

    return step


WORK: dict[str, Callable[[str, int], Callable[[], object]]] = {
    "timm-inference": timm_inference,
    "timm-train": timm_train,
    "timm-train-best": lambda model, batch: timm_train(model, batch, best=True),
    "timm-train-compiled": lambda model, batch: timm_train(model, batch, best=True, compiled=True),
}


if __name__ == "__main__":
    torch.manual_seed(0)
    if sys.argv[1] == "timm-predict":
        timm_predict(*sys.argv[2:])
    else:
        kind, model, batch = sys.argv[1], sys.argv[2], int(sys.argv[3])
        serve(WORK[kind](model, batch), torch=torch.__version__, timm=timm.__version__)
