"""The run folder: what a run was, what it read, how it went. Facts only; `report` makes the page."""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import torch
import yaml

from inceptions.data import Refused
from inceptions.data.text import read_text
from inceptions.errors import DataError
from inceptions.files import text_path, to_json, write_atomically
from inceptions.progress import log
from inceptions.training.config import TrainConfig

_VERSIONS = ("inceptions", "torch", "numpy", "pillow", "safetensors")


def stored_settings(folder: Path, *, resume: bool) -> TrainConfig | None:
    """The settings of the run that `folder` holds; None where it holds no run yet.

    Raises:
        FileExistsError: it holds files, and resume was not requested; or they are not a run's.
        DataError: the stored settings cannot be read; the folder's name is not text.
    """
    text_path(folder)
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; --output must name a folder")
    held = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    if held and not resume:
        some = ", ".join(held[:4]) + (", ..." if len(held) > 4 else "")
        raise FileExistsError(f"{folder} is not empty ({some}): choose another --output, or --resume this run")
    settings = folder / "config.yaml"
    if not settings.exists():
        if any(not name.startswith(".") for name in held):  # temporary files of an interrupted write begin with a dot
            raise FileExistsError(f"{folder} holds files but no run (no config.yaml): choose another --output")
        if resume:
            log.info("%s holds no run yet: starting over", folder)
        return None
    try:
        return TrainConfig.from_dict(yaml.safe_load(read_text(settings)))
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise DataError(f"{settings} cannot be read ({error}); restore it or choose another --output") from error


def write_config(folder: Path, config: TrainConfig) -> None:
    """config.yaml: every setting, decided; `resume` and `override` are requests, not settings.

    Deletes temporary files left by an interrupted write.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(".*.tmp"):
        leftover.unlink()
    record = config.replace(resume=False, override=False).to_dict()
    write_atomically(folder / "config.yaml", yaml.safe_dump(record, sort_keys=False, allow_unicode=True))


def write_environment(folder: Path, device: torch.device) -> None:
    """environment.json: a record for each time the run was started or resumed."""
    path = folder / "environment.json"
    try:
        sessions = json.loads(read_text(path))
    except FileNotFoundError:
        sessions = []
    except ValueError as error:  # nothing depends on it
        log.warning("%s is damaged (%s): its record of earlier sessions is lost", path, error)
        sessions = []
    sessions.append(
        {
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": shlex.join(sys.argv),
            "versions": {name: _version(name) for name in _VERSIONS} | {"python": platform.python_version()},
            "system": platform.platform(),
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        }
    )
    if len({session.get("threads") for session in sessions}) > 1:
        log.warning("this run was started with another number of threads: its results can differ in the last bits")
    write_atomically(path, json.dumps(sessions, indent=1) + "\n")


def add_unreadable(folder: Path, images: Iterable[Refused]) -> None:
    """unreadable.json: file -> why it was left out; those that are there already stay."""
    path = folder / "unreadable.json"
    known = json.loads(read_text(path, any_bytes=True)) if path.exists() else {}
    if listed := known | dict(images):
        write_atomically(path, to_json(listed, indent=1) + "\n")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
