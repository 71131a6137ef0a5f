"""Checkpoints that survive a kill at any moment: one file of tensors and JSON, written whole, proven by its name.

A checkpoint is `checkpoints/STEP-SHA256.safetensors`: the tensors, and in the header's metadata one JSON text of
everything else. Nothing is pickled. It is written to a temporary name, flushed and renamed, so a file with such a name
is complete unless the disk failed - which the SHA-256 in its name would reveal.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as read_tensors
from safetensors.torch import save as to_bytes
from torch import Tensor
from torch.optim import Optimizer

from inceptions.errors import DataError
from inceptions.files import write_atomically
from inceptions.progress import log

KEPT = 2
_NAME = re.compile(r"(\d{9})-([0-9a-f]{64})\.safetensors")


def save(folder: Path, step: int, tensors: dict[str, Tensor], facts: dict[str, Any]) -> Path:
    """Writes a checkpoint and deletes all but the newest two.

    Args:
        folder: the run's `checkpoints`, made where missing.
        step: orders the checkpoints; the newest has the highest.
        tensors: on any device.
        facts: what JSON can hold.

    Raises:
        OSError: not written (a full disk); earlier checkpoints are untouched.
    """
    content = to_bytes({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, {"facts": json.dumps(facts)})
    path = folder / f"{step:09d}-{hashlib.sha256(content).hexdigest()}.safetensors"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        write_atomically(path, content)
    except OSError as error:
        kept = newest(folder)
        saved = f"the last good one is {kept}" if kept else "no earlier one exists"
        raise OSError(
            error.errno,
            f"the checkpoint of step {step} ({len(content) / 1e6:.1f} MB) was not written: {error.strerror}; {saved}. "
            "Make room and continue with --resume",
            str(path),
        ) from error
    for old in _sorted(folder)[:-KEPT]:
        old.unlink()
    return path


def load(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """(tensors on the CPU, facts) of the newest whole checkpoint, or None where none was ever written.

    A damaged one is named in the log and the one before it is used. Temporary files of interrupted writes are deleted.

    Raises:
        DataError: there are some, all damaged: only the user may discard the run.
    """
    for leftover in folder.glob(".*.tmp"):
        leftover.unlink()
    found = _sorted(folder)
    for path in reversed(found):
        content = path.read_bytes()
        match = _NAME.fullmatch(path.name)
        if match and hashlib.sha256(content).hexdigest() == match[2]:
            try:
                return read_tensors(content), json.loads(_metadata(content)["facts"])
            except (SafetensorError, KeyError, ValueError) as error:  # whole, but not ours
                log.warning("the checkpoint %s cannot be read (%s)", path, error)
                continue
        log.warning("the checkpoint %s is damaged: its SHA-256 is not the one in its name; using the one before", path)
    if found:
        raise DataError(f"every checkpoint in {folder} is damaged: delete them to start this run anew")
    return None


def newest(folder: Path) -> Path | None:
    """The newest checkpoint's file, unchecked."""
    found = _sorted(folder)
    return found[-1] if found else None


def drop_from(folder: Path, step: int) -> Path | None:
    """Deletes the checkpoints of this step and later ones; returns the newest that is left."""
    for path in _sorted(folder):
        if int(path.name[:9]) >= step:
            path.unlink()
    return newest(folder)


def _sorted(folder: Path) -> list[Path]:
    """By step; of several with one step (an epoch's last batch, and its end) by the position they are of."""
    found = [path for path in folder.glob("*.safetensors") if _NAME.fullmatch(path.name)]
    return sorted(found, key=lambda path: (path.name[:9], _position(path), path.stat().st_mtime_ns))


def _position(path: Path) -> tuple[int, int]:
    """(epoch, batch) of a checkpoint; (-1, -1) for one that cannot be read."""
    with path.open("rb") as file:
        start = file.read(8)
        head = start + file.read(min(int.from_bytes(start, "little"), path.stat().st_size))
    try:
        state = json.loads(_metadata(head)["facts"])["state"]
        return state["epoch"], state["batch"]
    except (KeyError, ValueError, TypeError):
        return -1, -1


def _metadata(content: bytes) -> dict[str, str]:
    """The text part of a safetensors header (the loader for bytes leaves it out): 8 bytes of length, then JSON."""
    length = int.from_bytes(content[:8], "little")
    return dict(json.loads(content[8 : 8 + length])["__metadata__"])


def optimizer_state(optimizer: Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimizer's state as tensors named `INDEX.NAME` and the rest, for a checkpoint; learning rates left out."""
    state = optimizer.state_dict()["state"]
    tensors = {f"{i}.{k}": v for i, slots in state.items() for k, v in slots.items() if isinstance(v, Tensor)}
    others = {f"{i}.{k}": v for i, slots in state.items() for k, v in slots.items() if not isinstance(v, Tensor)}
    return tensors, others


def restore_optimizer(optimizer: Optimizer, tensors: dict[str, Tensor], others: dict[str, Any]) -> None:
    """The inverse of `optimizer_state`, into an optimizer over the same parameters."""
    state: dict[int, dict[str, Any]] = {}
    for name, value in (tensors | others).items():
        index, slot = name.split(".", 1)
        state.setdefault(int(index), {})[slot] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def section(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `name.`, without that beginning."""
    return {key.removeprefix(name + "."): value for key, value in tensors.items() if key.startswith(name + ".")}


def named(name: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with `name.` before their names; empty ones included."""
    return {f"{name}.{key}": value for key, value in tensors.items()}
