"""SavedModels and Keras's TensorFlow checkpoints give the network that the same weights give in Keras's own files."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from inceptions import create_model
from inceptions.errors import DataError
from inceptions.weights.keras import read_keras
from inceptions.zoo import Network
from tensorflow_writer import END, bundle, saved_model
from test_weights_keras import fixture, image

FILE = "xception_hidden.h5"
Layer = dict[str, Any]


def variables(folder: Path) -> dict[str, Any]:
    """The file's tensors under the names that TensorFlow's variables have: without the container in front."""
    tensors = read_keras(fixture(FILE, folder)).tensors
    return {"/".join(name.split("/")[-2:]): tensor.numpy() for name, tensor in tensors.items()}


def keys(tensors: dict[str, Any]) -> dict[str, str]:
    """Full name by the key of an object path."""
    layers = list(dict.fromkeys(name.rpartition("/")[0] for name in tensors))
    places = {name: layers.index(name.rpartition("/")[0]) for name in tensors}
    return {f"layer_with_weights-{places[name]}/{name.rpartition('/')[2]}{END}": name for name in tensors}


def written(prefix: Path, tensors: dict[str, Any], more: dict[str, str] | None = None) -> Path:
    """A bundle as Keras writes it; `more`: variables that copy others, full name by key."""
    names = keys(tensors)
    arrays = {key: tensors[name] for key, name in names.items()}
    for key in more or {}:
        arrays[key] = np.full_like(next(iter(tensors.values())), 7)
    bundle(prefix, arrays, {**names, **(more or {})})
    return prefix.with_name(f"{prefix.name}.index")


def config(folder: Path) -> Layer:
    with h5py.File(fixture(FILE, folder)) as file:
        read: Layer = json.loads(file.attrs["model_config"])
    return read


def read(path: Path, **options: Any) -> Network:
    return create_model("xception", weights=path, width=0.01, **options)


@pytest.mark.parametrize("given", ["folder", "program", "index", "prefix", "checkpoints", "archive"])
def test_every_way_to_name_a_checkpoint_of_keras_gives_its_network(given: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    if given in ("folder", "program", "index", "archive"):
        index = written(folder / "variables" / "variables", variables(tmp_path))
        saved_model(folder, json.dumps(config(tmp_path)))
    else:
        index = written(folder / "cp.ckpt", variables(tmp_path))
        written(folder / "older.ckpt", {"dense/kernel": np.zeros((2, 2), np.float32)})
        (folder / "checkpoint").write_text('model_checkpoint_path: "cp.ckpt"\nall_model_checkpoint_paths: "cp.ckpt"\n')
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as archive:
        archive.add(folder, "model")
    path = {
        "program": folder / "saved_model.pb", "index": index, "prefix": folder / "cp.ckpt",
        "archive": tmp_path / "model.tar.gz",
    }.get(given, folder)  # fmt: skip
    assert torch.equal(read(path)(image()), read(fixture(FILE, tmp_path))(image()))


def test_what_keras_wrote_beside_the_variables_tells_what_the_head_means(tmp_path: Path) -> None:
    written(tmp_path / "M" / "variables" / "variables", variables(tmp_path))
    model = config(tmp_path)
    layers = model["config"]["layers"]
    layers[0]["config"]["batch_shape"] = {"class_name": "__tuple__", "items": [None, 96, 80, 3]}
    saved_model(tmp_path / "M", json.dumps(model))
    preprocess = read(tmp_path / "M").preprocess
    assert preprocess is not None
    assert preprocess.size == (96, 80)
    layers[-1]["config"]["activation"] = "sigmoid"
    saved_model(tmp_path / "M", json.dumps(model))
    with pytest.raises(ValueError, match="several labels"):
        read(tmp_path / "M")
    layers.append({"class_name": "Lambda", "config": {"name": "evil"}})
    saved_model(tmp_path / "M", json.dumps(model))
    with pytest.raises(DataError, match="'evil' is a Lambda"):
        read(tmp_path / "M", num_classes=3)


def test_a_model_of_somebodys_own_class_is_read_by_its_variables(tmp_path: Path) -> None:
    written(tmp_path / "M" / "variables" / "variables", variables(tmp_path))
    saved_model(tmp_path / "M", json.dumps({"class_name": "Mine", "config": {}}))
    assert torch.equal(read(tmp_path / "M")(image()), read(fixture(FILE, tmp_path))(image()))


@pytest.mark.parametrize("metadata", [b"\xff\xff", b"\x0a\x02\x1a\xff", b"\x0a\x0b\x1a\x04root\x2a\x03{[}"])
def test_damaged_metadata_is_an_error_that_names_the_file(metadata: bytes, tmp_path: Path) -> None:
    written(tmp_path / "M" / "variables" / "variables", variables(tmp_path))
    (tmp_path / "M" / "keras_metadata.pb").write_bytes(metadata)
    with pytest.raises(DataError, match=r"keras_metadata\.pb"):
        read(tmp_path / "M")


def test_what_an_optimizer_keeps_under_the_same_names_is_left(tmp_path: Path) -> None:
    tensors = variables(tmp_path)
    moments = {f"optimizer/_variables/{number}{END}": f"Adam/m/{name}" for number, name in enumerate(tensors)}
    slots = {f"layer_with_weights-0/k/.OPTIMIZER_SLOT/optimizer/v{END}": "block1_conv1/kernel/v/kernel"}
    index = written(tmp_path / "cp.ckpt", tensors, {**moments, **slots})
    assert torch.equal(read(index)(image()), read(fixture(FILE, tmp_path))(image()))


def test_variables_without_their_layers_names_are_refused_with_what_to_save(tmp_path: Path) -> None:
    """Keras 3 calls every kernel "kernel"."""
    tensors = variables(tmp_path)
    names = keys(tensors)
    bare = {key: name.rpartition("/")[2] for key, name in names.items()}
    bundle(tmp_path / "cp.ckpt", {key: tensors[name] for key, name in names.items()}, bare)
    with pytest.raises(DataError, match=r"not called by their layers' names.*model\.save\('model\.keras'\)"):
        read(tmp_path / "cp.ckpt")


def test_a_saved_model_without_its_variables_is_named(tmp_path: Path) -> None:
    (tmp_path / "M").mkdir()
    saved_model(tmp_path / "M")
    for path in (tmp_path / "M", tmp_path / "M" / "saved_model.pb"):
        with pytest.raises(DataError, match=r"is a SavedModel, but its variables.variables\.index is missing"):
            read(path)


def test_an_empty_folder_holds_no_weights(tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "M", ignore_errors=True)
    (tmp_path / "M").mkdir()
    with pytest.raises(FileNotFoundError, match="nor a SavedModel"):
        read(tmp_path / "M")
