"""Weights that were divided into several files, with an index that says in which one each tensor lies."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from inceptions.errors import DataError
from inceptions.weights.checkpoint import Checkpoint, some_of

_LARGEST = 16 << 20  # bytes of an index


def is_index(path: Path) -> bool:
    """Whether `path` is called as the Hugging Face hub calls such an index."""
    return path.name.endswith((".safetensors.index.json", ".bin.index.json"))


def read_shards(index: Path, read: Callable[[Path], Checkpoint]) -> Checkpoint:
    """The tensors of all files that an index names, which lie beside it.

    Args:
        index: `model.safetensors.index.json` or `pytorch_model.bin.index.json`.
        read: reads one file.

    Raises:
        DataError: the index is damaged, a file is missing or lacks a tensor, or names a place elsewhere.
    """
    try:
        if index.stat().st_size > _LARGEST:
            raise ValueError(f"{index.stat().st_size:,} bytes; at most {_LARGEST:,} are read")
        content = json.loads(index.read_text(encoding="utf-8"))
        listed = content.get("weight_map") if isinstance(content, dict) else None
        if not isinstance(listed, dict) or not listed or not all(isinstance(name, str) for name in listed.values()):
            raise ValueError("it has no weight_map of names and files")
    except (ValueError, RecursionError) as error:
        raise DataError(f"{index}: not readable as an index of weights ({error})") from error
    names = dict.fromkeys(listed.values())
    if outside := [name for name in names if Path(name).name != name or is_index(Path(name))]:
        raise DataError(f"{index}: names {some_of(outside)}; the files must lie next to it")
    if missing := [name for name in names if not (index.parent / name).is_file()]:
        raise DataError(f"{index}: parts of the weights are missing next to it: {some_of(missing)}")
    tensors: dict[str, Tensor] = {}
    unreadable: dict[str, str] = {}
    for name in names:
        part = read(index.parent / name)
        if part.dialect != "torch":
            raise DataError(f"{index}: {name} is not a file of PyTorch tensors")
        if twice := tensors.keys() & part.tensors.keys():
            raise DataError(f"{index}: several files hold {some_of(sorted(twice))}")
        tensors |= part.tensors
        unreadable |= part.unreadable
    if absent := [name for name in listed if name not in tensors and name not in unreadable]:
        raise DataError(f"{index}: the files lack {some_of(absent)}")
    return Checkpoint(source=str(index), dialect="torch", tensors=tensors, unreadable=unreadable)
