"""Tensors out of Keras's files, without Keras: legacy `.h5`, and Keras 3's `.weights.h5` and `.keras`.

Tensors are called by container, layer and variable ("xception/block1_conv1/kernel"). Nothing in a file is executed,
nothing outside of it is followed (HDF5 can point to other files), and no more is allocated than the file holds.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor

from inceptions.progress import DataError
from inceptions.weights.checkpoint import Checkpoint, refuse_large
from inceptions.weights.keras_graph import KerasModel, read_model

_WEIGHTS, _CONFIG = "model.weights.h5", "config.json"
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_LARGEST_CONFIG = 64 << 20  # bytes of JSON; the largest model of the family needs one
_MOST_OBJECTS = 100_000  # groups and data sets of a file; Inception-ResNet v2 has 3,000
_DEEPEST = 32  # groups in groups
_EXPANSION = 4  # how far weights in an archive may be compressed; floating-point numbers hardly are
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
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return {_WEIGHTS, _CONFIG} <= set(archive.namelist())


def is_hdf5(path: Path) -> bool:
    """Whether `path` begins with HDF5's signature."""
    with path.open("rb") as file:
        return file.read(len(_SIGNATURE)) == _SIGNATURE


def read_keras(path: Path) -> Checkpoint:
    """Reads a Keras file of any of the three kinds.

    Raises:
        DataError: damaged, pointing outside of itself, larger than it can be, with code in it, or of another kind.
    """
    try:
        if is_archive(path):
            config, weights = _unpack(path)
            with h5py.File(io.BytesIO(weights), "r") as file:
                return _read(file, len(weights), str(path), config)
        with h5py.File(path, "r") as file:
            return _read(file, path.stat().st_size, str(path), None)
    except DataError:
        raise
    except Exception as error:  # libhdf5 and zipfile meet arbitrary bytes and answer with any kind of error
        text = str(error).split("\n")[0] or type(error).__name__
        raise DataError(f"{path}: not readable as Keras weights ({text})") from error


def _unpack(path: Path) -> tuple[Any, bytes]:
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.filename.startswith(("/", "\\")) or ".." in Path(entry.filename.replace("\\", "/")).parts:
                raise DataError(f"{path}: entry {entry.filename!r:.120} points outside of the archive")
        config, weights = archive.getinfo(_CONFIG), archive.getinfo(_WEIGHTS)
        if config.file_size > _LARGEST_CONFIG:
            raise DataError(f"{path}: {_CONFIG} claims {config.file_size:,} bytes; at most {_LARGEST_CONFIG:,} is read")
        if weights.file_size > _EXPANSION * weights.compress_size or weights.compress_size > path.stat().st_size:
            raise DataError(
                f"{path}: {_WEIGHTS} claims {weights.file_size:,} bytes, stored are {weights.compress_size:,}"
            )
        return _json(archive.read(config), str(path)), archive.read(weights)


def _json(text: bytes | str, source: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{source}: its model configuration is no JSON ({error})") from error


def _read(file: h5py.File, size: int, source: str, config: Any) -> Checkpoint:
    if config is None and "model_config" in file.attrs:
        config = _json(_text(file, "model_config", size), source)
    model = None if config is None else read_model(config, source)
    names = _DataSets(source).walk(file)
    refuse_large(((name, data.size * data.dtype.itemsize) for name, data in names.items()), size, source)
    if _is_keras3(names):
        named = dict(_by_layer(file, names, model, source))
    else:
        named = {name: data for name, data in _by_path(names) if "optimizer_weights" not in name}
    tensors = {name: _tensor(data, name, source) for name, data in named.items()}
    if not tensors:
        raise DataError(f"{source}: holds no weights")
    return Checkpoint(source=source, dialect="keras", tensors=tensors, model=model)


def _text(file: h5py.File, name: str, size: int) -> bytes | str:
    attribute = file.attrs.get_id(name)
    if attribute.shape not in ((), (1,)) or attribute.get_storage_size() > size:
        raise DataError(f"attribute {name} claims {attribute.get_storage_size():,} bytes in {attribute.shape}")
    value = file.attrs[name]
    return value if isinstance(value, bytes | str) else bytes(value)


class _DataSets:
    """All data sets of a file, found without following a link that leaves it or a group twice."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._seen: set[object] = set()

    def walk(self, group: h5py.Group, path: str = "", depth: int = 0) -> dict[str, h5py.Dataset]:
        found: dict[str, h5py.Dataset] = {}
        if depth > _DEEPEST:
            raise DataError(f"{self._source}: groups stand deeper than {_DEEPEST} in each other")
        for name in group:
            where = f"{path}/{name}" if path else name
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise DataError(f"{self._source}: {where} is a link ({type(link).__name__}), which is not followed")
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            if address in self._seen or len(self._seen) > _MOST_OBJECTS:
                raise DataError(
                    f"{self._source}: {where} is stored twice, or the file holds over {_MOST_OBJECTS:,} objects"
                )
            self._seen.add(address)
            if isinstance(item, h5py.Group):
                found |= self.walk(item, where, depth + 1)
            elif isinstance(item, h5py.Dataset):
                if item.external or item.is_virtual:
                    raise DataError(f"{self._source}: {where} lies in another file, which is not followed")
                found[where] = item
        return found


def _is_keras3(names: Mapping[str, h5py.Dataset]) -> bool:
    return any("/vars/" in name for name in names)


def _by_path(names: Mapping[str, h5py.Dataset]) -> Iterator[tuple[str, h5py.Dataset]]:
    """Legacy names: "[model_weights/] layer / [scope ... /] kernel:0" becomes "[container/] layer/kernel"."""
    scopes: dict[str, set[str]] = {}
    parts: dict[str, list[str]] = {}
    for name in names:
        parts[name] = name.removeprefix("model_weights/").split("/")
        scopes.setdefault(parts[name][0], set()).add("/".join(parts[name][1:-1]))
    for name, data in names.items():
        layer, *inside, variable = parts[name] if len(parts[name]) > 1 else ("", *parts[name])
        variable = variable.partition(":")[0]
        # a layer with variables under one scope is that layer, whatever the scope is called (block1_conv1_1)
        place = layer if len(scopes[layer or parts[name][0]]) == 1 else f"{layer}/{inside[-1] if inside else ''}"
        yield f"{place}/{variable}", data


def _by_layer(
    file: h5py.File, names: Mapping[str, h5py.Dataset], model: KerasModel | None, source: str
) -> Iterator[tuple[str, h5py.Dataset]]:
    """Keras 3 names: "layers/functional/layers/conv2d_2/vars/0" becomes "xception/conv2d/kernel"."""
    groups: dict[str, list[str]] = {}
    for name in names:
        place, vars_, number = name.rpartition("/vars/")
        if vars_ and number.isdigit() and not place.startswith("optimizer"):
            groups.setdefault(place, []).append(number)
    for place, numbers in groups.items():
        kind = place.rsplit("/", 1)[-1].rstrip("0123456789").rstrip("_")
        kind = kind if (kind, len(numbers)) in _VARIABLES else place.rsplit("/", 1)[-1].rpartition("_")[0]
        variables = _VARIABLES.get((kind, len(numbers)))
        if variables is None:
            continue  # counters of preprocessing layers, seeds of dropout; a layout misses what it needs by name
        called = _called(file, place, model, source)
        for number, variable in zip(sorted(numbers, key=int), variables, strict=True):
            yield f"{called}/{variable}", names[f"{place}/vars/{number}"]


def _called(file: h5py.File, place: str, model: KerasModel | None, source: str) -> str:
    """The layer names along `place`: the attribute `name` of its variables, or the model's configuration."""
    steps = place.split("/layers/")
    path, called = "", []
    for index, step in enumerate(steps):
        path = f"{path}/layers/{step}" if index else step
        variables = file.get(f"{path}/vars")
        name = variables.attrs.get("name") if isinstance(variables, h5py.Group) else None
        if isinstance(name, bytes):
            name = name.decode()
        if not isinstance(name, str):
            name = model.names.get(path) if model else None
        if name is None and index == len(steps) - 1:
            raise DataError(
                f"{source}: names no layers (older Keras 3 wrote such .weights.h5 files); "
                "save the whole model as .keras there, which names them"
            )
        called.append(name or step)
    return "/".join(called)


def _tensor(data: h5py.Dataset, name: str, source: str) -> Tensor:
    if data.dtype not in (np.float32, np.float64, np.float16, np.int64, np.int32):
        raise DataError(f"{source}: {name} holds {data.dtype}; plain floating-point numbers are needed")
    return torch.from_numpy(np.asarray(data[()]))
