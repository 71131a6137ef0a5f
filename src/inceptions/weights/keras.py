"""Tensors out of Keras's files, without Keras: legacy `.h5`, and Keras 3's `.weights.h5` and `.keras`.

Tensors are called by container, layer and variable ("xception/block1_conv1/kernel"). Nothing in a file is executed,
nothing outside of it is followed (HDF5 can point to other files), and no more is allocated than the file holds.
"""

from __future__ import annotations

import json
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inceptions.errors import DataError
from inceptions.weights.checkpoint import Checkpoint, zip_names
from inceptions.weights.hdf5 import Content, read_hdf5
from inceptions.weights.keras_graph import KerasModel, read_model

_WEIGHTS, _CONFIG = "model.weights.h5", "config.json"
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_LARGEST_CONFIG = 8 << 20  # bytes of JSON, which take twenty times as many in memory; a model of the family needs one
_EXPANSION = 4  # how far weights in an archive may be compressed; floating-point numbers hardly are
_DTYPES = (torch.float32, torch.float64, torch.float16, torch.int64, torch.int32)
_VARIABLES: Mapping[tuple[str, int], tuple[str, ...]] = {
    ("conv2d", 1): ("kernel",),
    ("conv2d", 2): ("kernel", "bias"),
    ("depthwise_conv2d", 1): ("kernel",),
    ("separable_conv2d", 2): ("depthwise_kernel", "pointwise_kernel"),
    ("separable_conv2d", 3): ("depthwise_kernel", "pointwise_kernel", "bias"),
    ("batch_normalization", 3): ("beta", "moving_mean", "moving_variance"),
    ("batch_normalization", 4): ("gamma", "beta", "moving_mean", "moving_variance"),
    ("dense", 1): ("kernel",),
    ("dense", 2): ("kernel", "bias"),
}
"""What the numbered variables of a Keras 3 layer are, by its class and how many it has."""


def is_archive(path: Path) -> bool:
    """Whether `path` is a `.keras` file: a zip archive with a configuration and weights."""
    return {_WEIGHTS, _CONFIG} <= zip_names(path)


def is_hdf5(path: Path) -> bool:
    """Whether `path` begins with HDF5's signature."""
    with path.open("rb") as file:
        return file.read(len(_SIGNATURE)) == _SIGNATURE


def read_keras(path: Path) -> Checkpoint:
    """Reads a Keras file of any of the three kinds.

    Raises:
        DataError: damaged, pointing outside of itself, larger than it can be, with code in it, or of another kind.
    """
    source = str(path)
    if not is_archive(path):
        content = read_hdf5(path, source)
        config = None if content.model_config is None else _json(content.model_config, source)
        return _checkpoint(content, source, config)
    with tempfile.TemporaryDirectory(prefix="inceptions-") as folder:
        weights = Path(folder) / _WEIGHTS
        config = _unpack(path, weights)
        return _checkpoint(read_hdf5(weights, source), source, config)


def _unpack(path: Path, weights: Path) -> Any:
    """Writes an archive's HDF5 file to `weights` and returns its model's configuration."""
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if entry.filename.startswith(("/", "\\")) or ".." in Path(entry.filename.replace("\\", "/")).parts:
                    raise DataError(f"{path}: entry {entry.filename!r:.120} points outside of the archive")
            config, inside = archive.getinfo(_CONFIG), archive.getinfo(_WEIGHTS)
            if config.file_size > _LARGEST_CONFIG:
                raise DataError(f"{path}: {_CONFIG} claims {config.file_size:,} bytes; {_LARGEST_CONFIG:,} are allowed")
            if inside.file_size > _EXPANSION * inside.compress_size or inside.compress_size > path.stat().st_size:
                claim = f"{inside.file_size:,} bytes, stored are {inside.compress_size:,}"
                raise DataError(f"{path}: {_WEIGHTS} claims {claim}")
            weights.write_bytes(archive.read(inside))
            return _json(archive.read(config), str(path))
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, struct.error) as error:
        raise DataError(f"{path}: a damaged zip archive ({error})") from error


def _json(text: bytes | str, source: str) -> Any:
    if len(text) > _LARGEST_CONFIG:
        raise DataError(f"{source}: its model configuration has {len(text):,} bytes; {_LARGEST_CONFIG:,} are allowed")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{source}: its model configuration is not JSON ({error})") from error


def _checkpoint(content: Content, source: str, config: Any) -> Checkpoint:
    training = None if content.training_config is None else _json(content.training_config, source)
    model = None if config is None else read_model(config, source, training)
    if any("/vars/" in name for name in content.tensors):
        named = dict(_by_layer(content, model, source))
    else:
        named = {name: tensor for name, tensor in _by_path(content.tensors) if "optimizer_weights" not in name}
    for name, tensor in named.items():
        if tensor.dtype not in _DTYPES:
            raise DataError(f"{source}: {name} holds {tensor.dtype}; plain floating-point numbers are needed")
    if not named:
        raise DataError(f"{source}: holds no weights")
    return Checkpoint(source=source, dialect="keras", tensors=named, model=model)


def _by_path(names: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Legacy names: "[model_weights/] layer / [scope ... /] kernel:0" becomes "[container/] layer/kernel"."""
    scopes: dict[str, set[str]] = {}
    parts: dict[str, list[str]] = {}
    for name in names:
        parts[name] = name.removeprefix("model_weights/").split("/")
        scopes.setdefault(parts[name][0], set()).add("/".join(parts[name][1:-1]))
    for name, tensor in names.items():
        layer, *inside, variable = parts[name] if len(parts[name]) > 1 else ("", *parts[name])
        variable = variable.partition(":")[0]
        # a layer with variables under one scope is that layer, whatever the scope is called (block1_conv1_1)
        place = layer if len(scopes[layer or parts[name][0]]) == 1 else f"{layer}/{inside[-1] if inside else ''}"
        yield f"{place}/{variable}", tensor


def _by_layer(content: Content, model: KerasModel | None, source: str) -> Iterator[tuple[str, Tensor]]:
    """Keras 3 names: "layers/functional/layers/conv2d_2/vars/0" becomes "xception/conv2d/kernel"."""
    groups: dict[str, list[str]] = {}
    for name in content.tensors:
        place, vars_, number = name.rpartition("/vars/")
        if vars_ and number.isdigit() and not place.startswith("optimizer"):
            groups.setdefault(place, []).append(number)
    for place, numbers in groups.items():
        kind = place.rsplit("/", 1)[-1].rstrip("0123456789").rstrip("_")
        kind = kind if (kind, len(numbers)) in _VARIABLES else place.rsplit("/", 1)[-1].rpartition("_")[0]
        variables = _VARIABLES.get((kind, len(numbers)))
        if variables is None:
            continue  # counters of preprocessing layers, seeds of dropout; a layout misses what it needs by name
        called = _called(content, place, model, source)
        for number, variable in zip(sorted(numbers, key=int), variables, strict=True):
            yield f"{called}/{variable}", content.tensors[f"{place}/vars/{number}"]


def _called(content: Content, place: str, model: KerasModel | None, source: str) -> str:
    """The layer names along `place`: the attribute `name` of its variables, or the model's configuration."""
    steps = place.split("/layers/")
    path, called = "", []
    for index, step in enumerate(steps):
        path = f"{path}/layers/{step}" if index else step
        name = content.names.get(f"{path}/vars") or (model.names.get(path) if model else None)
        if name is None and index == len(steps) - 1:
            raise DataError(
                f"{source}: names no layers (older Keras 3 wrote such .weights.h5 files); "
                "save the whole model as .keras there, which names them"
            )
        called.append(name or step)
    return "/".join(called)
