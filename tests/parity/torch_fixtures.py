"""Writes tests/golden/weights/torch.json.gz: what PyTorch's publishers call their tensors, and what their networks say.

    make fixtures                                                    all four programs
    .parity/bin/python tests/parity/torch_fixtures.py [FOLDER]       this one

Each library builds its own network; every layer is then cut to the channels that `width=0.01` has here, mostly 8, so
that the ordinary tests can make the same file (names, shapes, values by the recipe), load it and compare logits.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))
from inceptions.layers import scale_width
from parity.prove import PEERS
from parity.recipe import images, tensor
from parity.rows import ROWS
from parity.torch_peers import PLANS, Plan

GOLDEN = Path(__file__).parents[1] / "golden" / "weights"
WIDTH, GAIN = 0.01, 1.45


@dataclass(frozen=True, kw_only=True)
class Fixture:
    """One publisher's file."""

    network: str
    peer: str
    rows: int = 1000
    """Classes of the published file's head."""
    sums: Mapping[int, int] = field(default_factory=dict)
    """Channels of the residual sums (`conv2d` of a block) -> those of the cut network, where a branch has 8."""
    sizes: tuple[tuple[int, int], tuple[int, int]] = ((107, 131), (128, 96))

    @property
    def name(self) -> str:
        return f"{self.network}/{self.peer}"


FIXTURES = (
    Fixture(network="googlenet", peer="torchvision"),
    Fixture(network="bn_inception", peer="cadene", sizes=((96, 160), (128, 96))),  # its pools need even grids
    Fixture(network="inception_v3", peer="torchvision"),
    Fixture(network="inception_v3", peer="timm", sizes=((299, 299), (299, 320))),  # runs its auxiliary head always
    Fixture(network="inception_v3", peer="fid", rows=1008),
    Fixture(network="inception_v4", peer="timm"),
    Fixture(network="inception_v4", peer="cadene", rows=1001),
    Fixture(network="inception_resnet_v1", peer="facenet", rows=8631, sums={256: 8, 896: 24, 1792: 48}),
    Fixture(network="inception_resnet_v2", peer="timm", sums={320: 32, 1088: 48, 2080: 72}),
    Fixture(network="inception_resnet_v2", peer="cadene", rows=1001, sums={320: 32, 1088: 48, 2080: 72}),
    Fixture(network="xception", peer="timm"),
    Fixture(network="xception", peer="cadene"),
    Fixture(network="xception41", peer="timm"),
    Fixture(network="xception65", peer="timm"),
    Fixture(network="xception71", peer="timm"),
)


def cut(plan: Plan, fixture: Fixture) -> None:
    """Cuts every layer of a model to few channels; what a layer receives shows when an image passes through."""

    def trim(module: nn.Module, inputs: tuple[Tensor]) -> None:
        arriving = inputs[0].shape[1]
        if isinstance(module, nn.Conv2d):
            depthwise = module.groups > 1
            residual = names[module].endswith(".conv2d")
            leaving = fixture.sums[module.out_channels] if residual else scale_width(module.out_channels, WIDTH)
            leaving = arriving if depthwise else leaving
            module.weight = nn.Parameter(module.weight[:leaving, : 1 if depthwise else arriving].clone())
            module.groups = arriving if depthwise else 1
            if module.bias is not None:
                module.bias = nn.Parameter(module.bias[:leaving].clone())
        elif isinstance(module, nn.BatchNorm2d):
            for name in ("weight", "bias"):
                setattr(module, name, nn.Parameter(getattr(module, name)[:arriving].clone()))
            for name in ("running_mean", "running_var"):
                setattr(module, name, getattr(module, name)[:arriving].clone())
        elif isinstance(module, nn.Linear):
            leaving = fixture.rows if module.out_features == plan_classes else module.out_features
            module.weight = nn.Parameter(torch.zeros(leaving, arriving))
            if module.bias is not None:
                module.bias = nn.Parameter(torch.zeros(leaving))

    plan_classes = [module for module in plan.model.modules() if isinstance(module, nn.Linear)][-1].out_features
    names = {module: name for name, module in plan.model.named_modules()}
    layers = [m for m in plan.model.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d | nn.Linear)]
    hooks = [layer.register_forward_pre_hook(trim) for layer in layers]
    with torch.no_grad():
        plan.model.train()  # torchvision and timm run their auxiliary heads only then
        plan.model(torch.zeros(2, 3, 320, 320))
    for hook in hooks:
        hook.remove()


def say(model: nn.Module, size: tuple[int, int]) -> list[list[float]]:
    """The first and last four logits of each image, and their sum against alternating signs."""
    with torch.no_grad():
        logits = model(torch.from_numpy(images(*size)).double())
    logits = logits[0] if isinstance(logits, tuple) else logits
    signs = torch.tensor([1.0, -1.0]).repeat(logits.shape[1])[: logits.shape[1]]
    return [[*row[:4].tolist(), *row[-4:].tolist(), float(row @ signs.double())] for row in logits]


def record(fixture: Fixture) -> dict[str, Any]:
    """The names and shapes of a publisher's file, and the logits of its network with the recipe's values in it."""
    row = next(row for row in ROWS if (row.network, row.peer) == (fixture.network, fixture.peer))
    plan = PLANS[fixture.network, fixture.peer](row)
    cut(plan, fixture)
    state = plan.model.state_dict()
    for name, value in state.items():
        if not name.endswith("num_batches_tracked"):
            value.copy_(torch.from_numpy(tensor(name, tuple(value.shape), GAIN, scale=True).copy()))
    model = plan.model.double().eval()
    package = PEERS[fixture.peer][2]
    return {
        "peer": f"{package} {version(package)}",
        "tensors": {name: list(value.shape) for name, value in state.items()},
        "logits": {f"{height}x{width}": say(model, (height, width)) for height, width in fixture.sizes},
    }


def main(folder: Path = GOLDEN) -> None:
    """Writes the file."""
    torch.manual_seed(0)
    content = json.dumps({fixture.name: record(fixture) for fixture in FIXTURES}, indent=0).encode()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "torch.json.gz").write_bytes(gzip.compress(content, mtime=0))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
