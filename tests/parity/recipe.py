"""Weights and images that everybody can make again: a seeded recipe, independent of any library's generator.

One pool of SplitMix64 numbers; a tensor is a window into it that begins where the tensor's *name* says, so that neither
the order of tensors nor the number of them matters. Batch norms get means far from 0 and variances far from 1: at their
initial values a wrong epsilon or a swapped statistic would hide.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from inceptions.zoo import Network, build

Array = npt.NDArray[np.float64]
POOL = 1_000_003
"""Length of the pool: a prime, so that in a tensor longer than the pool no axis falls into step with it."""


def splitmix(count: int, seed: int) -> Array:
    """Uniform numbers in [0, 1) of the 64-bit SplitMix generator: states seed + k * golden ratio, k = 1, 2, ..."""
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return (z >> np.uint64(11)).astype(np.float64) / 2.0**53


@cache
def _pools() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """The pool twice over (a window never ends early): uniform with variance 1, and normal (twelve uniforms less 6)."""
    uniform = (2 * splitmix(POOL, 2014) - 1) * math.sqrt(3)
    normal = splitmix(12 * POOL, 2015).reshape(12, POOL).sum(0) - 6
    return np.tile(uniform.astype(np.float32), 2), np.tile(normal.astype(np.float32), 2)


def numbers(name: str, shape: tuple[int, ...], normal: bool = False) -> npt.NDArray[np.float32]:
    """Numbers of mean 0 and variance 1 for a tensor of this name."""
    pool = _pools()[normal]
    count = math.prod(shape)
    start = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % POOL
    window = pool[start : start + count] if count <= POOL else np.resize(pool[start : start + POOL], count)
    return window.reshape(shape)


def tensor(name: str, shape: tuple[int, ...], gain: float, scale: bool) -> npt.NDArray[np.float32]:
    """The tensor of this name: kernels of variance gain / fan-in (depthwise ones 1 / fan-in), random batch norms.

    Means are normal, variances uniform in [0.05, 1.5), gammas in [0.5, 1) (1 where `scale` is False), betas and biases
    have standard deviation 0.3.
    """
    drawn = numbers(name, shape, normal=name.endswith("running_mean"))
    uniform = drawn / np.float32(math.sqrt(12)) + np.float32(0.5)
    if len(shape) > 1:
        fan_in = math.prod(shape[1:])
        depthwise = len(shape) == 4 and shape[1] == 1
        return drawn * np.float32(math.sqrt((1.0 if depthwise else gain) / fan_in))
    if name.endswith("running_mean"):
        return drawn
    if name.endswith("running_var"):
        return np.float32(0.05) + np.float32(1.45) * uniform
    if name.endswith("weight"):
        return np.float32(0.5) + np.float32(0.5) * uniform if scale else np.ones(shape, np.float32)
    return np.float32(0.3) * drawn


def tensors(network: Network, gain: float) -> dict[str, npt.NDArray[np.float32]]:
    """Every tensor of a network by name and in order: the body's, the head's, those of the auxiliary heads."""
    scale = bool(network.options.get("norm_scale", True))
    return {
        name: tensor(name, tuple(value.shape), gain, scale)
        for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }


def filled(name: str, options: Mapping[str, object], gain: float) -> Network:
    """The network, in evaluation mode, with the recipe's weights in float32."""
    with torch.device("meta"):
        network = build(name, **options)
    weights = {key: torch.from_numpy(value.copy()) for key, value in tensors(network, gain).items()}
    counters = {key: torch.tensor(0) for key in network.state_dict() if key.endswith("num_batches_tracked")}
    network.load_state_dict({**weights, **counters}, assign=True)
    return network.eval()


def images(height: int, width: int, amplitude: float = 1.0, batch: int = 2) -> npt.NDArray[np.float32]:
    """Images (N, 3, height, width) of this standard deviation: squares of 16 pixels and noise upon them."""
    name = f"pictures {height} x {width}"  # the seed of the stored numbers
    squares = numbers(f"{name}, squares", (batch, 3, -(-height // 16), -(-width // 16)))
    coarse = squares.repeat(16, axis=2).repeat(16, axis=3)[:, :, :height, :width]
    return (coarse + numbers(name, (batch, 3, height, width))) * np.float32(amplitude / math.sqrt(2))


def pixels(kind: str) -> npt.NDArray[np.uint8]:
    """An image (150, 150, 3) of whole numbers 0..255: "noise", or smooth waves."""
    if kind == "noise":
        return np.floor(splitmix(150 * 150 * 3, 7) * 256).reshape(150, 150, 3).astype(np.uint8)
    y, x = np.mgrid[:150, :150]
    planes = [127.5 + 127.5 * np.sin(x / (9 + 3 * c) + c) * np.cos(y / (13 - 2 * c)) for c in range(3)]
    return np.floor(np.stack(planes, -1)).astype(np.uint8)


@dataclass
class Answer:
    """What a network says: logits, those of auxiliary heads by tap, outputs of stages by our names."""

    logits: npt.NDArray[np.floating]
    aux: dict[str, npt.NDArray[np.floating]] = field(default_factory=dict)
    stages: dict[str, npt.NDArray[np.floating]] = field(default_factory=dict)


def answer(network: Network, images: npt.NDArray[np.float32]) -> Answer:
    """What our network says, in the precision of its weights."""
    pixels = torch.from_numpy(images.copy()).to(network.head.linear.weight.dtype)
    stages: dict[str, npt.NDArray[np.floating]] = {}

    def keep(stage: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        # Copied at once: a stage that works in place would change what the one before it said.
        return lambda _module, _inputs, output: stages.update({stage: output.numpy().copy()})

    hooks = [module.register_forward_hook(keep(stage)) for stage, module in network.body.named_children()]
    with torch.inference_mode():
        logits, aux = network.forward_with_aux(pixels)
    for hook in hooks:
        hook.remove()
    return Answer(logits.numpy(), {tap: value.numpy() for tap, value in aux.items()}, stages)


def signature(values: npt.NDArray[np.floating]) -> list[float]:
    """Two numbers for a tensor: root mean square, and the sum against random signs, on the scale of the former.

    A plain sum would not see exchanged channels or mirrored pixels; this one does.
    """
    flat = values.astype(np.float64).ravel()
    against = np.resize(_pools()[0][:POOL], flat.size).astype(np.float64)
    return [math.sqrt(float(np.mean(flat**2))), float(flat @ against) / math.sqrt(flat.size)]


def error(ours: npt.NDArray[np.floating], theirs: npt.NDArray[np.floating]) -> float:
    """Largest difference, relative to their largest value."""
    if ours.shape != theirs.shape:
        raise ValueError(f"shapes differ: {ours.shape} and {theirs.shape}")
    return float(np.max(np.abs(ours.astype(np.float64) - theirs))) / float(np.max(np.abs(theirs)))


# --- the original notes' listing has a recipe of its own ------------------------------------------------------------


@cache
def listing() -> dict[str, Any]:
    """What was measured with the listing: `tensors` (names, shapes) in order, `parameters`, `cases` (logits)."""
    path = Path(__file__).parents[1] / "golden" / "weights" / "xception_stride16.json.gz"
    content: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
    return content


def listing_tensors() -> dict[str, Tensor]:
    """The listing's tensors by its own names, float32: seeded by their position."""
    found = {}
    for position, (name, shape) in enumerate(listing()["tensors"], start=1):
        drawn = splitmix(math.prod(shape), 1000003 * position).reshape(shape)
        if len(shape) > 1:
            values = (2 * drawn - 1) * math.sqrt(3 / math.prod(shape[1:]))
        elif name.endswith("running_var"):
            values = 0.5 + drawn
        else:
            values = 0.4 + 0.4 * drawn if name.endswith("weight") else (drawn - 0.5) * 0.2
        found[name] = torch.from_numpy(values.astype(np.float32))
    return found


def listing_distance(network: Network, case: Mapping[str, Any]) -> float:
    """Largest difference from the listing's logits in one of its cases; `network` in float64."""
    size = case["input_size"]
    images = (2 * splitmix(2 * 3 * size * size, 7) - 1).astype(np.float32).reshape(2, 3, size, size)
    with torch.inference_mode():
        logits = network(torch.from_numpy(images).double()).numpy()
    return max(
        float(np.abs(logits[:, :8] - np.array(case["logits_first8"])).max()),
        abs(float(logits.mean()) - case["logits_mean"]),
        abs(float(logits.std(ddof=1)) - case["logits_std"]),
    )
