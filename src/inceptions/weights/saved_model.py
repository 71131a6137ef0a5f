"""Folders of TensorFlow's: a SavedModel and a folder of checkpoints, and what Keras wrote about a model into the first.

A SavedModel is `saved_model.pb`, a program, which is never executed, and `variables/`, a tensor bundle. Keras 2 put
`keras_metadata.pb` beside them: the configuration of the model as JSON.

Sources: keras/protobuf/saved_metadata.proto; tensorflow/python/training/checkpoint_state.proto.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inceptions.errors import DataError
from inceptions.weights.keras_graph import CONTAINERS, KerasModel, read_model
from inceptions.weights.wire import as_bytes, as_text, fields

PROGRAM = "saved_model.pb"
_VARIABLES = Path("variables") / "variables.index"
METADATA = "keras_metadata.pb"
_STATE = "checkpoint"
_LARGEST = 64 << 20  # bytes; a model of the family needs 5 MB
_LARGEST_STATE = 1 << 20
_LARGEST_CONFIG = 8 << 20  # as of Keras's own files


def is_saved_model(path: Path) -> bool:
    """Whether `path` is the program of a SavedModel: it begins with a version, where a graph begins with a node."""
    with path.open("rb") as file:
        return path.suffix == ".pb" and file.read(1) == b"\x08"


def checkpoint_in(folder: Path) -> Path | None:
    """The index of the bundle that a folder holds: a SavedModel's variables, or the newest of its checkpoints.

    Raises:
        DataError: the folder is a SavedModel without its variables.
    """
    if (folder / _VARIABLES).is_file():
        return folder / _VARIABLES
    if (folder / PROGRAM).is_file():
        raise DataError(
            f"{folder} is a SavedModel, but its {_VARIABLES} is missing: copy the whole folder, variables/ too. (A "
            "program without variables is not read; where Keras is installed, save it again: model.save('model.keras'))"
        )
    state = folder / _STATE
    if state.is_file() and state.stat().st_size <= _LARGEST_STATE:
        named = re.search(r'^model_checkpoint_path: "([^"\n]+)"', state.read_text(errors="replace"), re.MULTILINE)
        index = None if named is None else folder / f"{named[1].replace(chr(92), '/').rsplit('/', 1)[-1]}.index"
        if index is not None and index.is_file():
            return index
    found = sorted(folder.glob("*.index"))
    return found[0] if len(found) == 1 else None


def keras_model(index: Path) -> KerasModel | None:
    """What Keras wrote about the model whose variables lie in `index`; None where it wrote nothing that is read.

    Raises:
        DataError: it is damaged, or holds a Lambda layer (code).
    """
    path = (index.parent.parent if index.parent.name == "variables" else index.parent) / METADATA
    if not path.is_file():
        return None
    if path.stat().st_size > _LARGEST:
        raise DataError(f"{path}: {path.stat().st_size:,} bytes; at most {_LARGEST:,} are read")
    try:
        root = _root(memoryview(path.read_bytes()))
        config = None if root is None else _plain(json.loads(root))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not Keras's metadata, or damaged: {error}") from error
    if not isinstance(config, dict) or config.get("class_name") not in CONTAINERS:
        return None  # a class of somebody's own: only its variables are known
    return read_model(config, str(path), config.get("training_config"))


def _root(metadata: memoryview) -> str | None:
    """The JSON of the model itself among that of its parts."""
    for number, node in fields(metadata):
        if number != 1:
            continue
        texts = {n: value for n, value in fields(as_bytes(node, what="an object")) if n in (3, 5)}
        if 5 in texts and 3 in texts and as_text(texts[3], what="a path") == "root":
            text = as_text(texts[5], what="a configuration")
            if len(text) > _LARGEST_CONFIG:
                raise ValueError(f"the model's configuration has {len(text):,} letters")
            return text
    return None


def _plain(value: Any) -> Any:
    """JSON with the tuples and shapes that Keras writes as objects turned to lists."""
    if isinstance(value, Mapping):
        if value.get("class_name") in ("__tuple__", "TensorShape") and isinstance(value.get("items"), list):
            return [_plain(item) for item in value["items"]]
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value
