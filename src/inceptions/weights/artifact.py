"""The artifact: a trained network as a folder of plain tensors and JSON, loadable without any of the code that made it.

    model.safetensors     the tensors of the plain module
    config.json           timm's and the Hugging Face hub's keys, and the block `inceptions`
    README.md             a model card written from the same facts

The block `inceptions` holds `format_version`, `network` (every option of the network), `preprocess`, `class_to_index`,
`training`, `metrics`, `provenance` and `temperature`.
"""

from __future__ import annotations

import glob
import json
import os
import secrets
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from inceptions.checks import Rule, above, kind
from inceptions.errors import DataError, some
from inceptions.files import text_path, to_json
from inceptions.image import Preprocess
from inceptions.system import flush
from inceptions.weights.card import model_card
from inceptions.weights.convert import materialize
from inceptions.zoo import MEMBERS, Network, build

FORMAT_VERSION = 1
TENSORS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"

_LARGEST_CONFIG = 16 << 20  # bytes; 20,000 long class names and a long training history stay far below
_LONGEST_SAVE = 3600  # seconds
_POSITIVE = kind(Annotated[float, above(0)])
_LABEL = kind(Annotated[str, Rule(str.strip)])


def save(
    net: Network,
    folder: str | Path,
    *,
    training: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
    temperature: float | None = None,
) -> None:
    """Writes `net` with its preprocessing and its classes to `folder`.

    The new folder is completed under another name, flushed, and only then renamed into place: whatever happens, `load`
    finds either the old artifact or the new one, whole.

    Args:
        net: a network whose `preprocess` and `classes` are set.
        folder: where to write; an artifact that is already there is replaced, any other content is refused.
        training: how it was trained (JSON).
        metrics: what it reached, and on what (JSON).
        provenance: where the weights came from (JSON).
        temperature: divides the logits before softmax (fitted calibration); None for 1.

    Raises:
        ValueError: `net` lacks preprocessing or classes, a fact is no JSON, or `folder` holds something else.
        OSError: disk full, no permission; what was there before is still there.
    """
    folder = text_path(Path(os.path.abspath(folder)))
    config = facts(net, training, metrics, provenance, temperature)
    text = _to_json(config)
    _restore(folder)
    _refuse_foreign(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(folder)
    new = folder.with_name(f".{folder.name}.{secrets.token_hex(8)}.new")
    new.mkdir()
    try:
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()}
        (new / CONFIG).write_text(text, encoding="utf-8")
        (new / CARD).write_text(model_card(config), encoding="utf-8", errors="backslashreplace")
        save_file(tensors, new / TENSORS, metadata={"format": "pt"})  # the metadata other readers ask for
        shutil.copymode(new / CONFIG, new / TENSORS)  # 0600 would hide the model from the account that serves it
        for path in (*new.iterdir(), new):
            flush(path)
        _swap(new, folder)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise


def load(folder: str | Path) -> Network:
    """Reads the artifact in `folder` (or in its `model/`, if it is a run's folder).

    Returns:
        The network in evaluation mode with `preprocess`, `classes` and `artifact` (the config's block `inceptions`).

    Raises:
        FileNotFoundError: there is no artifact.
        DataError: it is damaged, from a newer version, or not what it claims to be.
    """
    folder = _find(Path(folder))
    net = describe(folder)  # shapes first: nothing is allocated until the file is known to hold them
    materialize(net, _read_tensors(folder / TENSORS, net.name, net.state_dict()))
    return net.eval()


def describe(folder: str | Path) -> Network:
    """The network that the config in `folder` speaks of, without its weights: every tensor is on the device `meta`.

    `preprocess`, `classes` and `artifact` are set, so whoever brings the weights in another form has all the rest.

    Raises:
        FileNotFoundError: there is no artifact.
        DataError: the config is damaged, from a newer version, or not what it claims to be.
    """
    folder = _find(Path(folder))
    config = _read_config(folder / CONFIG)
    where = str(folder / CONFIG)
    block = _get(config, "inceptions", dict, where)
    version = _get(block, "format_version", int, where)
    if version != FORMAT_VERSION:
        raise DataError(
            f"{where}: format_version {version}, but this version of inceptions reads {FORMAT_VERSION}; "
            "update inceptions, or convert the model with the version that wrote it"
        )
    net = _network(config, block, where)
    classes = _classes(config, block, net.num_classes, where)
    preprocess = _preprocess(block, where)
    temperature = block.get("temperature")
    if temperature is not None and not (_POSITIVE.fits(temperature)):
        raise DataError(f"{where}: temperature is {temperature!r}, it must be a positive number or null")
    for key in ("training", "metrics", "provenance"):
        if not isinstance(block.get(key), dict | None):
            raise DataError(f"{where}: {key} is {_came(block[key])}, it must be an object or null")
    if problem := _unfit(net, preprocess):
        raise DataError(f"{where}: {problem}")
    net.preprocess, net.classes, net.artifact = preprocess, classes, block
    return net.eval()


def is_artifact(folder: Path) -> bool:
    """Whether `folder`, or the `model/` in it, claims to be an artifact; whether it is sound, `load` finds out."""
    try:
        with (_find(folder) / CONFIG).open("rb") as file:
            return b'"inceptions"' in file.read(_LARGEST_CONFIG)
    except FileNotFoundError:
        return False


def facts(
    net: Network,
    training: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
    temperature: float | None = None,
) -> dict[str, Any]:
    """What `config.json` holds; arguments and errors as for `save`."""
    if net.preprocess is None or net.classes is None:
        missing = "preprocess" if net.preprocess is None else "classes"
        raise ValueError(
            f"{net.name} has no {missing}: set net.{missing} first, an artifact holds what a prediction needs"
        )
    classes = list(net.classes)
    if problem := _unfit(net, net.preprocess):
        raise ValueError(problem)
    if len(classes) != net.num_classes or len(set(classes)) != len(classes) or not all(map(_LABEL.fits, classes)):
        raise ValueError(
            f"net.classes must be {net.num_classes} different names that are not empty, one for each output; "
            f"it holds {len(classes)}, {len(set(classes))} different"
        )
    if temperature is not None and not (_POSITIVE.fits(temperature)):
        raise ValueError(f"temperature is {temperature!r}, it must be a positive number")
    return {
        "architecture": net.name,
        "num_classes": net.num_classes,
        "num_features": net.num_features,
        "label_names": classes,
        "pretrained_cfg": net.preprocess.timm(),
        "inceptions": {
            "format_version": FORMAT_VERSION,
            "network": dict(net.options),
            "preprocess": net.preprocess.to_dict(),
            "class_to_index": {name: index for index, name in enumerate(classes)},
            "training": training,
            "metrics": metrics,
            "provenance": provenance,
            "temperature": temperature,
        },
    }


def _unfit(net: Network, preprocess: Preprocess) -> str | None:
    """Why `net` is no classifier of what `preprocess` makes: what is not read is not written either."""
    if net.num_classes < 2:
        return one_output(net.name)
    if preprocess.channels == net.in_channels and min(preprocess.size) >= net.min_size:
        return None
    return (
        f"preprocess makes {preprocess.channels} channels, {preprocess.size[0]}x{preprocess.size[1]} px, "
        f"but the network takes {net.in_channels} channels of at least {net.min_size} px"
    )


def one_output(name: str) -> str:
    """What to do with a network of one class."""
    return (
        f"{name} has one class, which every image would be with 100 %: a classifier needs two. Weights with one output "
        "are read as two classes by its sigmoid: load or convert the original file again"
    )


def _to_json(config: Mapping[str, Any]) -> str:
    try:
        return to_json(config, indent=2) + "\n"
    except (TypeError, ValueError) as error:
        raise ValueError(f"an artifact's facts must be JSON (text, finite numbers, lists, objects): {error}") from error


def _aside(folder: Path) -> Path:
    """Where the old artifact waits between the two renames (no system renames over a folder that holds files)."""
    return folder.parent / f".{folder.name}.previous"


def _swap(new: Path, folder: Path) -> None:
    previous = _aside(folder)
    shutil.rmtree(previous, ignore_errors=True)  # left over where `folder` itself is whole
    if folder.exists():
        folder.rename(previous)
    try:
        new.rename(folder)
    except BaseException:
        if previous.exists():
            previous.rename(folder)
        raise
    flush(folder.parent)
    shutil.rmtree(previous, ignore_errors=True)


def _restore(folder: Path) -> None:
    """Undoes a swap that was killed between its two renames."""
    if not folder.exists() and _aside(folder).exists():
        _aside(folder).rename(folder)


def _remove_leftovers(folder: Path) -> None:
    """Removes what killed writers left; younger ones may belong to somebody who is writing now."""
    for leftover in folder.parent.glob(f".{glob.escape(folder.name)}.*.new"):
        if time.time() - leftover.stat().st_mtime > _LONGEST_SAVE:
            shutil.rmtree(leftover, ignore_errors=True)


def _refuse_foreign(folder: Path) -> None:
    """Replacing a folder deletes what is in it, so only an artifact or an empty folder may be replaced."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ValueError(f"{folder} is a file; an artifact is a folder")
    foreign = sorted(path.name for path in folder.iterdir() if path.name not in (TENSORS, CONFIG, CARD))
    if foreign or (any(folder.iterdir()) and not (folder / CONFIG).exists()):
        raise ValueError(
            f"{folder} holds files that do not belong to a model and would be lost ({', '.join(foreign[:5]) or CARD}); "
            "choose a new folder or empty this one"
        )


def _find(folder: Path) -> Path:
    for candidate in (Path(os.path.abspath(folder)), folder / "model"):
        for place in (candidate, _aside(candidate)):  # the second: a swap was killed between its two renames
            if (place / CONFIG).is_file():
                return place
    raise FileNotFoundError(f"{folder} holds no model: neither {CONFIG} nor model/{CONFIG} is there")


def _read_config(path: Path) -> dict[str, Any]:
    size = path.stat().st_size
    if size > _LARGEST_CONFIG:
        raise DataError(f"{path}: {size:,} bytes; a config has at most {_LARGEST_CONFIG:,}")

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    try:
        config = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(config, dict):
        raise DataError(f"{path}: {_came(config)}, it must be an object")
    return config


def _network(config: dict[str, Any], block: dict[str, Any], where: str) -> Network:
    """The network that the config names, without memory; `build` judges its options."""
    name, options = _get(config, "architecture", str, where), _get(block, "network", dict, where)
    if name not in MEMBERS:
        raise DataError(f"{where}: architecture {name!r:.80} is unknown; one of {', '.join(MEMBERS)}")
    try:
        with torch.device("meta"):
            net = build(name, **options)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{where}: {name} cannot be built with these options: {error}") from error
    if net.num_classes != config.get("num_classes"):
        came = f"{config.get('num_classes')!r:.80} above, {net.num_classes} in the network's options"
        raise DataError(f"{where}: num_classes is {came}")
    return net


def _classes(config: dict[str, Any], block: dict[str, Any], count: int, where: str) -> tuple[str, ...]:
    names = _get(config, "label_names", list, where)
    if not all(map(_LABEL.fits, names)):
        raise DataError(f"{where}: label_names must hold names (text that is not empty), nothing else")
    if len(names) != count or len(set(names)) != count:
        raise DataError(
            f"{where}: {len(names)} label_names ({len(set(names))} different) for {count} outputs; each needs its own"
        )
    if _get(block, "class_to_index", dict, where) != {name: index for index, name in enumerate(names)}:
        raise DataError(f"{where}: class_to_index and the order of label_names contradict each other")
    return tuple(names)


def _preprocess(block: dict[str, Any], where: str) -> Preprocess:
    facts = _get(block, "preprocess", dict, where)
    try:
        return Preprocess.from_dict(facts)
    except (TypeError, ValueError, KeyError) as error:
        raise DataError(f"{where}: preprocess: {error}") from error


def _read_tensors(path: Path, name: str, wanted: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors of `path`, allocated only after their names and shapes were found to be exactly the network's."""
    try:
        with safe_open(text_path(path), framework="pt") as file:
            problems = [f"{key} is missing" for key in wanted if key not in file.keys()]  # noqa: SIM118 (no mapping)
            for key in file.keys():  # noqa: SIM118
                shape, dtype = tuple(file.get_slice(key).get_shape()), file.get_slice(key).get_dtype()
                if key not in wanted:
                    problems.append(f"{key} {shape} is not part of this network")
                elif shape != tuple(wanted[key].shape):
                    problems.append(f"{key} has shape {shape}, the network's is {tuple(wanted[key].shape)}")
                elif dtype not in _DTYPES:
                    problems.append(f"{key} holds {dtype}, one of {', '.join(_DTYPES)} is allowed")
            if problems:
                raise DataError(f"{path} does not fit {name}: {some(problems, 8, '; ')}")
            return {key: file.get_tensor(key).to(wanted[key].dtype) for key in wanted}
    except FileNotFoundError:
        raise DataError(f"{path} is missing") from None
    except (SafetensorError, UnicodeDecodeError, MemoryError) as error:
        raise DataError(f"{path}: not readable as safetensors ({error})") from error


_DTYPES = ("F64", "F32", "F16", "BF16", "I64")


def _get(mapping: Mapping[str, Any], key: str, hint: type, where: str) -> Any:
    value, allowed = mapping.get(key), kind(hint)
    if not allowed.fits(value):
        came = f"is {_came(value)}" if key in mapping else "is missing"
        raise DataError(f"{where}: {key} {came}, it must be {allowed.words}")
    return value


def _came(value: object) -> str:
    return "null" if value is None else kind(type(value)).words
