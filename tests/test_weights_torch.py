"""Files of PyTorch's publishers give those publishers' networks: their names and shapes, their logits (by their own code,
see tests/parity/torch_fixtures.py)."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from inceptions import create_model
from parity.recipe import pictures, tensor

GOLDEN = Path(__file__).parent / "golden" / "weights"
NARROW: dict[str, Any] = {"width": 0.01}


@cache
def fixtures() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(gzip.decompress((GOLDEN / "torch.json.gz").read_bytes()))
    return content


def state_dict(name: str) -> dict[str, torch.Tensor]:
    """The file of a publisher: its names and shapes, the recipe's values."""
    return {
        key: torch.zeros((), dtype=torch.int64)
        if key.endswith("num_batches_tracked")
        else torch.from_numpy(tensor(key, tuple(shape), 1.45, scale=True).copy())
        for key, shape in fixtures()[name]["tensors"].items()
    }


def written(name: str, folder: Path) -> Path:
    path = folder / "weights.pth"
    torch.save(state_dict(name), path)
    return path


def shown(logits: torch.Tensor) -> list[list[float]]:
    signs = torch.tensor([1.0, -1.0]).repeat(logits.shape[1])[: logits.shape[1]].double()
    return [[*row[:4].tolist(), *row[-4:].tolist(), float(row @ signs)] for row in logits]


@pytest.mark.parametrize("name", fixtures())
def test_a_publishers_file_gives_the_publishers_logits(name: str, tmp_path: Path) -> None:
    network = name.partition("/")[0]
    net = create_model(network, weights=written(name, tmp_path), **NARROW).double()
    for size, expected in fixtures()[name]["logits"].items():
        height, width = map(int, size.split("x"))
        with torch.no_grad():
            logits = net(torch.from_numpy(pictures(height, width)).double())
        torch.testing.assert_close(
            torch.tensor(shown(logits)), torch.tensor(expected), rtol=1e-6, atol=1e-6 * logits.abs().max().item()
        )
