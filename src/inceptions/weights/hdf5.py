"""What an HDF5 file holds, read by a process of its own (`hdf5_child`): what crashes there is an error here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from inceptions.errors import DataError

_CHILD = Path(__file__).with_name("hdf5_child.py")
_REFUSED = 3  # the child's exit code for what it says on stdout
_LONGEST = 600  # seconds


@dataclass(frozen=True, kw_only=True)
class Content:
    """The numeric data sets of a file, and the attributes that Keras's files are understood by."""

    tensors: Mapping[str, Tensor]
    """By path in the file."""
    model_config: str | None
    """The file's attribute of that name."""
    training_config: str | None
    """The file's attribute of that name."""
    names: Mapping[str, str]
    """The attribute `name` of groups, by path."""


def read_hdf5(path: Path, source: str) -> Content:
    """Reads an HDF5 file.

    Args:
        path: the file.
        source: how messages call it.

    Raises:
        DataError: damaged, pointing outside of itself, or claiming more than it holds.
    """
    with tempfile.TemporaryDirectory(prefix="inceptions-") as folder:
        copy = Path(folder) / "content.safetensors"
        try:
            # -P: this folder's modules bear names of libraries (keras.py); one thread: each would reserve memory
            done = subprocess.run(
                [sys.executable, "-P", str(_CHILD), str(path), str(copy)],
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=_LONGEST,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise DataError(f"{source}: not readable as HDF5 (it takes more than {_LONGEST} s)") from error
        if done.returncode == _REFUSED:
            raise DataError(f"{source}: {done.stdout.decode(errors='replace').strip()}")
        if done.returncode != 0:
            raise DataError(f"{source}: not readable as HDF5 (its library fails on it, exit code {done.returncode})")
        with safe_open(copy, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (no mapping)
    return Content(
        tensors=tensors,
        model_config=metadata.get("model_config"),
        training_config=metadata.get("training_config"),
        names=json.loads(metadata.get("names", "{}")),
    )
