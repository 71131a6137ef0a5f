"""SOURCE: what a user may give as weights.

An existing path (a file, an artifact, a run), `https://...#sha256:HEX`, a name of the catalogue, `owner/name` on the
Hugging Face hub (also as `hf-hub:owner/name` or the address of its page), or `none`. Only addresses and names cause
network access, and only for what is not on this machine yet.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from inceptions.errors import DataError
from inceptions.files import foreign_kind
from inceptions.image import Preprocess
from inceptions.progress import log
from inceptions.weights import archive, bundle, caffe, keras, pytorch, saved_model, shards, tensorflow
from inceptions.weights.checkpoint import Checkpoint, some_of
from inceptions.weights.labels import labels_in
from inceptions.zoo.options import nearest

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_HUB_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_HUB_PARTS = tuple(f"{name}.index.json" for name in _HUB_WEIGHTS)
_HUB_DIVIDED = ("model-*-of-*.safetensors", "pytorch_model-*-of-*.bin")
"""What lists the files that large weights are divided into, and these files."""
_OF_THE_HUB = re.compile(r"(?:hf[-_]hub|hf|huggingface):(?://)?", re.IGNORECASE)
_OF_A_FOLDER = re.compile(r"(?:local[-_]dir|file):(?://(?=/))?", re.IGNORECASE)
"""How timm, the hub's own tools and file systems write where a name leads; without it means the same."""
_HUB_PAGE = re.compile(
    r"https?://(?:www\.)?(?:huggingface\.co|hf\.co)/([^/?#]+/[^/?#]+)"
    r"(?:/(?:tree|blob|resolve|raw)/([^/?#]+)(?:/([^?#]+))?)?/?(?:\?[^#]*)?"
)
"""A page of a network on the hub, or of a file in it."""
_HUB_CONFIG = "config.json"
_ENDINGS = (".pth", ".pt", ".ckpt", ".safetensors", ".pth.tar", ".bin", ".h5", ".keras", ".pb", ".caffemodel")
"""What weight files are usually called."""
_MOST_NAMED = 50  # files that are looked at to name some
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
    text = str(source)
    if isinstance(source, str) and (page := _HUB_PAGE.fullmatch(text)) is not None:
        name, revision, file = page.groups()
        return _from_hub(name, revision, unquote(file) if file else None)
    if isinstance(source, str) and (scheme := _OF_THE_HUB.match(text)) is not None and not Path(text).exists():
        name, _, revision = text[scheme.end() :].strip("/").partition("@")
        if not _HUB_NAME.fullmatch(name):
            raise ValueError(f"{text!r} names nothing on the Hugging Face hub; write owner/name behind {scheme[0]}")
        return _from_hub(name, revision or None)
    path = Path(os.path.expanduser(_OF_A_FOLDER.sub("", text, count=1) if not Path(text).exists() else text))
    if path.exists():
        return path
    if (index := bundle.index_of(path)) is not None:  # a checkpoint of TensorFlow's goes by what its files share
        return index
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
        f"{text!r} names no weights: neither a path that exists, nor https://...#sha256:HEX, nor a name of the "
        f"catalogue{nearest(text, RECORDS)} (see `inceptions weights list`), nor owner/name on the Hugging Face "
        "hub, nor none"
    )


def read(path: Path) -> Checkpoint:
    """Reads a weight file of any kind; which one is told by its first bytes, not by its name.

    Raises:
        DataError: damaged, hostile, or of no known kind.
    """
    if not path.is_file():  # a pipe would make its reader wait for ever
        raise DataError(f"{path} is not a regular file")
    if shards.is_index(path):
        return shards.read_shards(path, read)
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
    with path.open("rb") as file:
        other = foreign_kind(file.read(512))
    came = f"{other}; it is " if other else ""
    raise DataError(
        f"{path}: {came}of no kind that is read: PyTorch (.pth, .pt, .bin), safetensors, Keras (.h5, .weights.h5, "
        ".keras), TensorFlow (.ckpt, .index, .pb, and their .tar.gz), Caffe (.caffemodel), or a folder written by "
        "inceptions or by the Hugging Face hub"
    )


def hub_file(folder: Path) -> Path:
    """The weight file in a folder of the hub's form, or of TensorFlow's.

    Raises:
        FileNotFoundError: there is none.
        DataError: a SavedModel without its variables.
    """
    for name in (*_HUB_WEIGHTS, *_HUB_PARTS):
        if (folder / name).is_file():
            return folder / name
    if (index := saved_model.checkpoint_in(folder)) is not None:
        return index
    files = sorted(str(file.relative_to(folder)) for ending in _ENDINGS for file in _below(folder, ending))
    hint = f"; there is {some_of(files)}: give the file that is meant" if files else ""
    raise FileNotFoundError(
        f"{folder} holds no weights: neither {_HUB_CONFIG} of inceptions nor {' nor '.join(_HUB_WEIGHTS)} nor a "
        f"SavedModel or a checkpoint of TensorFlow{hint}"
    )


def _below(folder: Path, ending: str) -> Iterator[Path]:
    """The files in a folder, and in the folders in it, whose names end so."""
    for pattern in (f"*{ending}", f"*/*{ending}"):
        yield from (file for file in islice(folder.glob(pattern), _MOST_NAMED) if file.is_file())


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
            raise ValueError("label_names is not a list of names")
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise DataError(f"{path}: {error}") from error
    named = labels_in(config)
    return Facts(preprocess=preprocess, classes=tuple(labels) if labels else named[0] if len(named) == 1 else None)


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


def _from_hub(name: str, revision: str | None = None, file: str | None = None) -> Path:
    """The folder of a network on the hub, or one file of it."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    given: dict[str, Any] = {} if revision is None else {"revision": revision}
    whole, divided = [_HUB_CONFIG, *_HUB_WEIGHTS], [*_HUB_PARTS, *_HUB_DIVIDED]

    def fetched(wanted: list[str], *, here: bool) -> Path:
        return Path(snapshot_download(name, allow_patterns=wanted, local_files_only=here, **given))

    try:
        return _held(fetched([*whole, *divided], here=True), file)  # without any request
    except FileNotFoundError:
        log.debug("%s is not in the hub's cache", name)
    try:
        folder = fetched(whole if file is None else [file], here=False)
        if file is None and not any((folder / one).is_file() for one in _HUB_WEIGHTS):
            folder = fetched(divided, here=False)
        return _held(folder, file)
    except (HfHubHTTPError, LocalEntryNotFoundError) as error:
        raise OSError(
            f"{name} does not exist here (check the spelling), and cannot be fetched from the Hugging Face hub "
            f"(where HF_HUB_OFFLINE is set, it forbids that; else download its files yourself): {error}"
        ) from error


def _held(folder: Path, file: str | None) -> Path:
    """The folder of the hub, which holds weights, or the one file that is wanted of it. Raises `FileNotFoundError`."""
    if file is None:
        hub_file(folder)
        return folder
    if not (folder / file).is_file():
        raise FileNotFoundError(f"{folder} of the Hugging Face hub has no file {file}")
    return folder / file
