"""A few images with the original's answers, next to an export: whether it answers on this processor as it was proven.

An int8 export that is right where four products are added in 32 bits can be wrong where pairs saturate in 16. Where an
export is opened on another instruction set than it was proven on, the probe runs first, once a machine.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inceptions.engines.processor import processor
from inceptions.errors import DataError
from inceptions.files import open_atomically, write_atomically
from inceptions.progress import log

PROBE = "probe.npz"
IMAGES = 8  # together under a second, and a few megabytes
INT8_FACTOR = 2.5
"""int8: how much larger than where it was proven the difference may be. Measured on Xception and 184 flowers, 23 probes
of 8 images: the same network on kernels that add in another way passed all, one whose sums saturate failed all; with 2
two of the right ones failed, with 3 two of the wrong ones passed."""

Run = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What the graph takes, and what it must give.

    Attributes:
        inputs: (K, C, H, W), as the graph takes them.
        outputs: (K, classes), the original's.
        tolerance: largest allowed `difference`.
    """

    inputs: Tensor
    outputs: Tensor
    tolerance: float

    def difference(self, run: Run) -> float:
        """Root mean square of the differences of the outputs of `run`, which is given the images singly; infinite: no
        numbers."""
        found = torch.cat([run(self.inputs[index : index + 1]) for index in range(len(self.inputs))])
        if found.shape != self.outputs.shape or not bool(found.isfinite().all()):
            return float("inf")
        return float((found - self.outputs).square().mean().sqrt())


def write_probe(folder: Path, probe: Probe) -> None:
    """Write probe.npz, which NumPy alone reads."""
    with open_atomically(folder / PROBE) as file:
        np.savez_compressed(
            file,
            inputs=probe.inputs.numpy(),
            outputs=probe.outputs.numpy(),
            tolerance=np.float32(probe.tolerance),
        )


def read_probe(folder: Path) -> Probe | None:
    """The probe in `folder`; None: there is none.

    Raises:
        DataError: it is damaged.
    """
    file = folder / PROBE
    if not file.is_file():
        return None
    try:
        # opened here: NumPy leaves a damaged archive open
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            inputs, outputs = torch.from_numpy(arrays["inputs"]), torch.from_numpy(arrays["outputs"])
            tolerance = float(arrays["tolerance"])
    except Exception as error:  # zip, zlib and NumPy's headers each fail in their own ways
        raise DataError(f"{file}: no probe can be read from it ({type(error).__name__}: {error})") from error
    if inputs.ndim != 4 or outputs.ndim != 2 or not 0 < len(inputs) == len(outputs) or not tolerance >= 0:
        raise DataError(f"{file}: inputs {tuple(inputs.shape)} and outputs {tuple(outputs.shape)} are not a probe")
    return Probe(inputs=inputs, outputs=outputs, tolerance=tolerance)


def refuse_elsewhere(folder: Path, run: Run, parity: Mapping[str, Any], *, precision: str, runtime: str) -> None:
    """Run the probe where the processor is not the proof's, unless it passed on this machine before.

    Args:
        folder: of the export.
        run: its graph.
        parity: what parity.json says.
        precision: of the export.
        runtime: the package that runs it.

    Raises:
        DataError: it answers differently here.
    """
    proven = parity.get("processor")
    here = processor().instruction_set
    there = proven.get("instruction_set") if isinstance(proven, dict) else None
    if there == here:
        return
    probe = read_probe(folder)
    if probe is None:
        if precision == "int8":
            log.warning(
                "%s: int8 that was proven on %s carries no probe, so whether it answers the same on %s is unknown; "
                "`inceptions export ORIGINAL --output FOLDER --check` finds out",
                folder,
                there or "a processor that was not recorded",
                here,
            )
        return
    key = f"{parity.get('sha256')} {here} {runtime} {version(runtime)}"
    if (memory := _memory(key)) is not None and memory.is_file():
        return
    difference = probe.difference(run)
    if difference > probe.tolerance:
        raise DataError(
            f"{folder}: proven on {there}, it answers differently on this processor ({here}): the outputs of its probe "
            f"differ by {difference:.3g}, {probe.tolerance:.3g} allowed; export it again here, or with --target any"
        )
    log.debug("%s: proven on %s, its probe holds on %s (difference %.3g)", folder, there, here, difference)
    if memory is not None:
        _remember(memory, {"difference": difference, "processor": here})


def _memory(key: str) -> Path | None:
    """Where it is remembered that a probe held; None: nowhere, the user has no home."""
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "inceptions"
    except RuntimeError:
        home = None
    if own := os.environ.get("INCEPTIONS_CACHE"):
        home = Path(own)
    name = hashlib.sha256(key.encode()).hexdigest()
    return None if home is None else home / "probes" / f"{name}.json"


def _remember(memory: Path, facts: Mapping[str, object]) -> None:
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(memory, json.dumps(facts) + "\n")
    except OSError as error:
        log.debug("%s cannot be written (%s): the probe runs again next time", memory, error)
