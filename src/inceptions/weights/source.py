"""SOURCE: what a user may give where weights are asked for.

An existing path (a file, an artifact, a run), `https://...#sha256:HEX`, a name of the catalogue, `owner/name` on the
Hugging Face hub, or `none`. Only the last three that are not on this machine yet cause network access.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inceptions.image import Preprocess
from inceptions.progress import DataError, log
from inceptions.weights import archive, bundle, caffe, keras, pytorch, saved_model, tensorflow
from inceptions.weights.checkpoint import Checkpoint
from inceptions.zoo.options import nearest

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_HUB_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_HUB_CONFIG = "config.json"
_LARGEST_CONFIG = 16 << 20  # bytes


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What stands beside a weight file about its tensors (a hub's config.json, a catalogue's record)."""

    preprocess: Preprocess | None = None
    classes: tuple[str, ...] | None = None


def is_none(source: str | Path | None) -> bool:
    """Whether `source` asks for no weights."""
    return source is None or source == "none"


def locate(source: str | Path) -> Path:
    """The file or folder on this machine that `source` means; fetched first where it is not here.

    Raises:
        FileNotFoundError: nothing like it exists; the message lists what SOURCE may be.
        ValueError: a download that names no SHA-256, or another one than arrived.
        OSError: it cannot be fetched.
    """
    path = Path(source).expanduser()
    if path.exists():
        return path
    if (index := bundle.index_of(path)) is not None:  # a checkpoint of TensorFlow's goes by what its files share
        return index
    text = str(source)
    if text.startswith(("https://", "http://")):
        from inceptions.weights.download import fetch_url

        return fetch_url(text)
    from inceptions.weights.catalogue import RECORDS
    from inceptions.weights.download import fetch

    if text in RECORDS:
        hub = RECORDS[text].hub
        return fetch(RECORDS[text]) if hub is None else _from_hub(hub)
    if isinstance(source, str) and _HUB_NAME.fullmatch(text):
        return _from_hub(text)
    raise FileNotFoundError(
        f"{text!r} is no weights: neither a path that exists, nor https://...#sha256:HEX, nor a name of the catalogue"
        f"{nearest(text, RECORDS)} (see `inceptions weights list`), nor owner/name on the Hugging Face hub, nor none"
    )


def read(path: Path) -> Checkpoint:
    """Reads a weight file of any kind; which one is told by its first bytes, not by its name.

    Raises:
        DataError: damaged, hostile, or of no known kind.
    """
    if not path.is_file():  # a pipe would make its reader wait for ever
        raise DataError(f"{path} is no regular file")
    if keras.is_hdf5(path) or keras.is_archive(path):
        return keras.read_keras(path)
    if pytorch.is_safetensors(path):
        return pytorch.read_safetensors(path)
    if pytorch.is_pickle(path):
        return pytorch.read_pickle(path)
    if tensorflow.is_tensorflow(path):
        return tensorflow.read_tensorflow(path)
    if archive.is_archive(path):
        return archive.read_archive(path)
    if caffe.is_caffe(path):
        return caffe.read_caffe(path)
    raise DataError(
        f"{path}: of no kind that is read: PyTorch (.pth, .pt, .bin), safetensors, Keras (.h5, .weights.h5, .keras), "
        "TensorFlow (.ckpt, .index, .pb, and their .tar.gz), Caffe (.caffemodel), or a folder written by inceptions or "
        "by the Hugging Face hub"
    )


def hub_file(folder: Path) -> Path:
    """The weight file in a folder of the hub's form, or of TensorFlow's.

    Raises:
        FileNotFoundError: there is none.
        DataError: a SavedModel without its variables.
    """
    for name in _HUB_WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    if (index := saved_model.checkpoint_in(folder)) is not None:
        return index
    raise FileNotFoundError(
        f"{folder} holds no weights: neither {_HUB_CONFIG} of inceptions nor {' nor '.join(_HUB_WEIGHTS)} nor a "
        "SavedModel or a checkpoint of TensorFlow"
    )


def catalogue_facts(source: str | Path) -> Facts:
    """What the catalogue says about the file that it calls `source`; nothing where it is no name of the catalogue."""
    if not isinstance(source, str) or "." not in source or Path(source).exists():
        return Facts()
    from inceptions.weights.catalogue import RECORDS

    return Facts(preprocess=RECORDS[source].preprocess) if source in RECORDS else Facts()


def hub_facts(folder: Path) -> Facts:
    """What timm's config.json beside the weights says: `pretrained_cfg` and `label_names`.

    Raises:
        DataError: it is no JSON, or contradicts itself.
    """
    path = folder / _HUB_CONFIG
    if not path.is_file():
        return Facts()
    try:
        if path.stat().st_size > _LARGEST_CONFIG:
            raise ValueError(f"{path.stat().st_size:,} bytes; at most {_LARGEST_CONFIG:,} are read")
        config = json.loads(path.read_text(encoding="utf-8"))
        published = config.get("pretrained_cfg") or {}
        preprocess = _timm_preprocess(published)
        labels = config.get("label_names") or published.get("label_names")
        if labels is not None and not (isinstance(labels, list) and all(isinstance(name, str) for name in labels)):
            raise ValueError("label_names is no list of names")
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise DataError(f"{path}: {error}") from error
    return Facts(preprocess=preprocess, classes=tuple(labels) if labels else None)


def _timm_preprocess(config: Mapping[str, Any]) -> Preprocess | None:
    if "input_size" not in config:
        return None
    channels, height, width = config["input_size"]
    if channels not in (1, 3):
        raise ValueError(f"input_size is {config['input_size']!r:.80}; 1 or 3 channels come first")
    return Preprocess(
        size=(height, width),
        resize="stretch" if config.get("crop_mode") == "squash" else "short",
        crop_pct=config.get("crop_pct") or 0.875,
        interpolation=config.get("interpolation") or "bicubic",
        mean=tuple(config.get("mean") or (0.5,) * channels),
        std=tuple(config.get("std") or (0.5,) * channels),
    )


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    wanted = [_HUB_CONFIG, *_HUB_WEIGHTS]
    try:
        cached = Path(snapshot_download(name, allow_patterns=wanted, local_files_only=True))
        hub_file(cached)
        return cached  # without any request
    except FileNotFoundError:
        log.debug("%s is not in the hub's cache", name)
    try:
        return Path(snapshot_download(name, allow_patterns=wanted))
    except (HfHubHTTPError, LocalEntryNotFoundError) as error:
        raise OSError(
            f"{name} is no path that exists here (is it spelt right?), and cannot be fetched from the Hugging Face hub "
            f"(where HF_HUB_OFFLINE is set, it forbids that; else download its files yourself): {error}"
        ) from error
