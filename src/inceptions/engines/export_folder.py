"""An export's folder: what its config says of it, and whether what lies in it is what was proven."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inceptions.engines.probe import PROBE
from inceptions.errors import DataError
from inceptions.image import Preprocess
from inceptions.weights import artifact
from inceptions.weights.described import Described

FILES = {"onnx": "model.onnx", "openvino": "model.xml", "pt2": "model.pt2"}
"""format -> the file that is opened; OpenVINO's has its weights in `model.bin` beside it."""
RUNTIMES = {"onnx": "onnxruntime", "openvino": "openvino", "pt2": "torch"}
PARITY = "parity.json"


@dataclass(frozen=True, kw_only=True)
class Export:
    """A folder that `inceptions export` wrote, as its config describes it; `ExportedEngine` runs the file in it."""

    folder: Path
    name: str
    """Of the network."""
    preprocess: Preprocess
    classes: tuple[str, ...]
    temperature: float
    """Divides the logits before softmax."""
    min_size: int
    """Smallest side of images, px."""
    format: str
    """One of `FILES`."""
    precision: str
    with_preprocessing: bool
    """The graph takes uint8 RGB images and gives probabilities; else normalized images, and logits."""
    dynamic_batch: bool
    """Any number of images at once; else one."""
    dynamic_size: bool
    """Images of any size; else of the size of `preprocess`."""
    target: str | None
    """int8: "any" processor, or "this"; None: not said."""

    @property
    def file(self) -> Path:
        """The file that is opened."""
        return self.folder / FILES[self.format]

    def refusal(self) -> ValueError:
        """The error of all that needs the network itself: its weights, features or heads."""
        return ValueError(
            f"{self.folder} is an export, which has no weights in PyTorch: give the run or model it was made from"
        )


def is_export(folder: str | Path) -> bool:
    """Whether `folder` holds an exported file (not whether it is sound: `ExportedEngine` finds out)."""
    return any((Path(folder) / file).is_file() for file in FILES.values())


def read_export(folder: str | Path) -> Export:
    """The export in `folder`, as its config describes it.

    Raises:
        DataError: the folder holds no export, or one whose config is damaged.
    """
    return described_export(folder, artifact.describe(folder))


def described_export(folder: str | Path, found: Described) -> Export:
    """The same of a config that was read already."""
    folder, facts = Path(folder), found.export
    wanted = {"format": str, "precision": str, "with_preprocessing": bool, "dynamic_batch": bool}
    if not isinstance(facts, dict) or any(not isinstance(facts.get(key), kind) for key, kind in wanted.items()):
        raise DataError(f"{folder}/config.json: no block `export` with {', '.join(wanted)}; export the model again")
    if facts["format"] not in FILES:
        raise DataError(f"{folder}/config.json: export format {facts['format']!r}; one of {', '.join(FILES)} is known")
    if not (folder / FILES[facts["format"]]).is_file():
        raise DataError(f"{folder}: {FILES[facts['format']]} is missing; export the model again")
    return Export(
        folder=folder,
        name=found.facts.name,
        preprocess=found.preprocess,
        classes=found.classes,
        temperature=found.facts.temperature or 1.0,
        min_size=found.shapes.min_size,
        dynamic_size=bool(facts.get("dynamic_size")),
        target=facts.get("target"),
        **{key: facts[key] for key in wanted},
    )


def digest(export: Export) -> str:
    """SHA-256, in hex, over all that an answer depends on: the exported file (and OpenVINO's weights beside it),
    config.json, and, where it is there, the probe."""
    total = hashlib.sha256()
    probe = export.folder / PROBE
    for path in (*parts(export), export.folder / artifact.CONFIG, *([probe] if probe.is_file() else [])):
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def parts(export: Export) -> list[Path]:
    """The exported file, and OpenVINO's weights beside it."""
    return [path for path in (export.file, export.file.with_suffix(".bin")) if path.is_file()]


def proof(folder: Path) -> dict[str, Any]:
    """What parity.json says; nothing where it is missing or damaged."""
    try:
        parity = json.loads((folder / PARITY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return parity if isinstance(parity, dict) else {}


def refuse_unproven(export: Export) -> None:
    """Raises `DataError` where parity.json does not prove what lies in the folder now."""
    folder = export.folder
    parity, again = proof(folder), "`inceptions export ORIGINAL --output FOLDER --check` proves it"
    if parity.get("verdict") != "passed":
        raise DataError(f"{folder}: its parity with the original is not proven ({PARITY} does not say so); {again}")
    if parity.get("sha256") != digest(export):
        raise DataError(
            f"{folder}: {export.file.name}, {artifact.CONFIG} or {PROBE} was altered after the proof of parity; {again}"
        )
