"""Weights that a file keeps in parts: pruning's masks, weight norm's lengths, spectral norm's vectors.

`torch.nn.utils` replaces a layer's `weight` by what it computes the weight from, and a state dict holds the parts. What
they come to when a model answers is the same for every layer, so it is put back in here, before anybody looks for a
network.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

_PARAMETRIZED = ".parametrizations."


def folded(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, with one weight in the place of its parts; parts of which no weight can be made stay as they are."""
    found: dict[str, tuple[Tensor, set[str]]] = {}
    for name in tensors:
        for called, parts in _candidates(name):
            values = [tensors[part] for part in parts if part in tensors]
            if called in tensors or called in found or len(values) != len(parts):
                continue
            if (weight := _weight(name, [value.float() for value in values])) is not None:
                found[called] = weight, set(parts)
    gone = {part for _, parts in found.values() for part in parts}
    return {name: tensor for name, tensor in tensors.items() if name not in gone} | {
        name: weight for name, (weight, _) in found.items()
    }


def _candidates(name: str) -> Iterable[tuple[str, tuple[str, ...]]]:
    """(name of the weight, names of its parts) of what may begin with the part `name`."""
    place, _, tensor = name.partition(_PARAMETRIZED)
    if tensor.endswith(".original0"):  # torch.nn.utils.parametrizations.weight_norm
        yield f"{place}.{tensor.removesuffix('.original0')}", (name, f"{name[:-1]}1")
    elif tensor.endswith(".original"):  # torch.nn.utils.parametrizations.spectral_norm
        whole = name.removesuffix("original")
        yield f"{place}.{tensor.removesuffix('.original')}", (name, f"{whole}0._u", f"{whole}0._v")
    elif name.endswith("_g"):  # torch.nn.utils.weight_norm
        yield name[:-2], (name, f"{name[:-2]}_v")
    elif name.endswith("_orig"):
        whole = name.removesuffix("_orig")
        yield whole, (name, f"{whole}_mask")  # torch.nn.utils.prune
        yield whole, (name, f"{whole}_u", f"{whole}_v")  # torch.nn.utils.spectral_norm


def _weight(name: str, parts: list[Tensor]) -> Tensor | None:
    """What the parts come to; None where their shapes do not go together."""
    first, second = parts[:2]
    if len(parts) == 3:
        matrix = first.flatten(1) if first.ndim > 1 else first[None]
        if parts[1].shape != matrix.shape[:1] or parts[2].shape != matrix.shape[1:]:
            return None
        return first / torch.dot(parts[1], matrix @ parts[2])
    if name.endswith("_orig"):
        return first * second if first.shape == second.shape else None
    if first.ndim not in (0, second.ndim):
        return None
    axes = [axis for axis in range(second.ndim) if first.ndim == 0 or first.shape[axis] == 1]
    norm = second.square().sum(axes, keepdim=True).sqrt()
    return second * (first / norm) if first.ndim == 0 or first.shape == norm.shape else None
