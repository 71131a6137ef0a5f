"""Means and deviations of colors that a file keeps beside its network, because the network's wrapper subtracts them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

Statistics = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation of each color."""

_MEAN = re.compile(r"(?:.*_)?(mean)(?:_.*)?")
_COLORS = 3


def statistics(tensors: Mapping[str, Tensor], names: Iterable[str]) -> Statistics | None:
    """What a wrapper subtracts from an image and divides it by; None where the file does not say, or says several.

    Args:
        tensors: of the file.
        names: of those that may be meant: beside the network, and no other program's.
    """
    found: set[Statistics] = set()
    for name in names:
        place, _, last = name.rpartition(".")
        if (match := _MEAN.fullmatch(last)) is None or last.startswith("running_"):
            continue
        other = f"{place}.".lstrip(".") + last[: match.start(1)] + "std" + last[match.end(1) :]
        mean, std = tensors[name], tensors.get(other)
        if std is not None and mean.numel() == std.numel() == _COLORS:
            values = _values(mean), _values(std)
            if all(0 <= value <= 255 for value in values[0]) and all(0 < value <= 255 for value in values[1]):
                found.add(values)
    return found.pop() if len(found) == 1 else None


def _values(tensor: Tensor) -> tuple[float, ...]:
    """The numbers as somebody wrote them, before they became float32."""
    return tuple(float(f"{value:.6g}") for value in tensor.double().flatten().tolist())


def white(values: Statistics) -> float:
    """What white is in the units of the statistics: 1, or 255."""
    return 1.0 if max(max(part) for part in values) <= 1 else 255.0
