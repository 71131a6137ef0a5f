"""Answers that are not finite: an error wherever they appear, which names the images and the likely cause."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from inceptions.engines.export_folder import Export
from inceptions.errors import DataError, some
from inceptions.zoo import Network

_NAMED = 3  # images, and tensors, that a message names


class NotFiniteError(DataError):
    """An answer holds NaN or an infinity; `rows` are its places in the batch."""

    def __init__(self, message: str, rows: tuple[int, ...]) -> None:
        super().__init__(message)
        self.rows = rows


def finite(values: Tensor) -> Tensor:
    """The same answers (N, ...).

    Raises:
        NotFiniteError: one of them is not finite.
    """
    if not values.isfinite().all():
        rows = (~values.isfinite()).flatten(1).any(1).nonzero().flatten().tolist()
        raise NotFiniteError(
            "the model answered with numbers that are not finite; its weights are damaged, or a number overflowed",
            tuple(rows),
        )
    return values


@contextmanager
def blaming(net: Network | Export, name: str | Callable[[int], str | None]) -> Iterator[None]:
    """Has `NotFiniteError` say which images it is about, and what of `net` is the likely cause.

    Args:
        net: what answers.
        name: of the one image, or the name of each by its row in the batch.
    """
    try:
        yield
    except NotFiniteError as error:
        every = [name] if isinstance(name, str) else [name(row) for row in error.rows]
        names = [called for called in every if called is not None]
        about = f" about {some(names, _NAMED)}" if names else ""
        raise NotFiniteError(f"what {net.name} answers{about} is not finite: {_cause(net)}", error.rows) from error


def refuse_damaged(net: Network) -> None:
    """Raises `NotFiniteError` for weights that are not finite: a rectifier makes zero of an infinity, and in some
    runtimes of NaN, and so an answer that looks like one and means nothing."""
    if _damage(net):
        raise NotFiniteError(f"{net.name} cannot answer: {_cause(net)}", ())


def _cause(net: Network | Export) -> str:
    if isinstance(net, Export):
        return f"the exported file in {net.folder} is damaged, or a number overflows in its precision; export it again"
    if found := _damage(net):
        return (
            f"its weights are damaged, not finite are {some(found, _NAMED)}; "
            "take them from where they came from again, or from an earlier checkpoint"
        )
    return "its weights are finite, so a number overflowed on the way: are the preprocessing and the precision right?"


def _damage(net: Network) -> list[str]:
    """The tensors that hold what is not finite, with how much of them; auxiliary heads answer nothing."""
    found = []
    for name, tensor in net.state_dict().items():
        if name.startswith("aux."):
            continue
        if tensor.is_floating_point() and not tensor.is_meta and not (good := tensor.isfinite()).all():
            bad = int(torch.numel(tensor) - good.sum())
            found.append(f"{name} ({bad:,} of {tensor.numel():,} numbers)")
    return found
