"""The run folder: what a run was, what it read, how it went. Facts only; `report` makes the page."""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
import yaml

from inceptions.data import Dataset
from inceptions.progress import DataError, log, track, write_atomically
from inceptions.train.config import TrainConfig

_VERSIONS = ("inceptions", "torch", "numpy", "pillow", "safetensors")


def open_run(folder: Path, *, resume: bool) -> TrainConfig | None:
    """Makes the run folder, or finds the settings of the run that it holds.

    Returns:
        None for a new run (or one killed before its settings were written), else the run's stored settings.

    Raises:
        FileExistsError: there are files, and no resume was asked for.
        DataError: the stored settings cannot be read.
    """
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; --output must name a folder")
    held = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    if held and not resume:
        some = ", ".join(held[:4]) + (", ..." if len(held) > 4 else "")
        raise FileExistsError(f"{folder} holds files already ({some}): choose another --output, or --resume this run")
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / "config.yaml"
    if not settings.exists():
        foreign = [name for name in held if not name.startswith(".")]
        if foreign:
            raise FileExistsError(f"{folder} holds files but no run (no config.yaml): choose another --output")
        if resume:
            log.info("%s holds no run yet: starting anew", folder)
        return None
    try:
        return TrainConfig.from_dict(yaml.safe_load(settings.read_text()))
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise DataError(f"{settings} cannot be read ({error}); restore it or choose another --output") from error


def write_config(folder: Path, config: TrainConfig) -> None:
    """config.yaml: every setting, decided; `resume` and `override` are requests, not settings."""
    record = config.replace(resume=False, override=False).to_dict()
    write_atomically(folder / "config.yaml", yaml.safe_dump(record, sort_keys=False, allow_unicode=True))


def write_environment(folder: Path, device: torch.device) -> None:
    """environment.json: a record for each time the run was started or resumed."""
    path = folder / "environment.json"
    try:
        sessions = json.loads(path.read_text())
    except FileNotFoundError:
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
            "processes": int(os.environ.get("WORLD_SIZE", "1")),
        }
    )
    if len({session["threads"] for session in sessions}) > 1:
        log.warning("this run was started with another number of threads: its results can differ in the last bits")
    write_atomically(path, json.dumps(sessions, indent=1) + "\n")


def write_split(folder: Path, data: Dataset, *, override: bool) -> None:
    """split.json: every file with its split, class and SHA-256, and the refused ones with their reasons.

    Raises:
        DataError: the run was started on other files, and `override` does not accept that.
    """
    files = [
        {
            "file": str(split.path(i)),
            "split": name,
            "label": _label(split.classes, int(split.targets[i])),
            "sha256": sha,
        }
        for name, split in data.splits.items()
        for i, sha in enumerate(
            split.hash(i) for i in track(range(len(split)), description=f"fingerprints of {name}", total=len(split))
        )
    ]
    record = {
        "classes": list(data.classes),
        "files": files,
        "refused": [{"file": str(refused.file), "reason": refused.reason} for refused in data.refused],
    }
    path = folder / "split.json"
    text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    if path.exists() and not override:
        stored = {entry["file"]: entry for entry in json.loads(path.read_text())["files"]}
        found = {entry["file"]: entry for entry in files}
        if different := sorted(name for name in stored | found if stored.get(name) != found.get(name)):
            raise DataError(
                f"the data is not what this run was started on: {len(different)} files were added, removed or changed "
                f"({', '.join(different[:3])}{', ...' if len(different) > 3 else ''}); put them back, or --override"
            )
    write_atomically(path, text)


def _label(classes: Sequence[str], target: int) -> str:
    return classes[target]


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
