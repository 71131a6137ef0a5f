"""Engines that open a file which `inceptions export` wrote, each with the runtime the file is for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inceptions.engines.engine import Engine
from inceptions.engines.openvino import PER_REQUEST, PER_THREAD, Streams, core
from inceptions.engines.probe import PROBE, refuse_elsewhere
from inceptions.engines.pt2 import open_pt2
from inceptions.errors import DataError
from inceptions.weights import artifact
from inceptions.zoo import Network

FILES = {"onnx": "model.onnx", "openvino": "model.xml", "pt2": "model.pt2"}
"""format -> the file that is opened; OpenVINO's has its weights in `model.bin` beside it."""
RUNTIMES = {"onnx": "onnxruntime", "openvino": "openvino", "pt2": "torch"}
PARITY = "parity.json"

Run = Callable[[Tensor], Tensor]


class ExportedEngine(Engine):
    """The network of an export folder, run from the file in it.

    Attributes:
        net: the network as the folder describes it (no weights): `preprocess`, `classes`, `artifact`.
        facts: the config's block `export`: `format`, `precision`, `with_preprocessing`, `dynamic_batch`; newer ones
            also `dynamic_size` and `target`.
    """

    def __init__(
        self, folder: str | Path, *, verified: bool = True, batch_size: int | None = None, threads: int | None = None
    ) -> None:
        """Open the export in `folder`.

        Args:
            verified: refuse an export whose parity with its original was not proven, or, where that was on another
                instruction set, whose probe fails on this one.
            batch_size: images that are run at once; None: what usually is fast; an export for single images runs
                them singly.
            threads: of the CPU; None: as many as PyTorch uses.

        Raises:
            DataError: the folder holds no export, a damaged one, or (with `verified`) one that failed its proof, was
                altered since, or answers differently on this processor.
        """
        self.folder = folder = Path(folder)
        self.net = describe(folder)
        self.facts = self.net.artifact["export"]
        form = self.facts["format"]
        self.name = RUNTIMES[form]
        usual = PER_REQUEST if form == "openvino" else 16
        size = (batch_size or usual) if self.facts["dynamic_batch"] else 1
        super().__init__(self.facts["precision"], size, f"the export is for {self.name}")
        if verified:
            refuse_unproven(folder, form)
        file = folder / FILES[form]
        self.threads = threads or torch.get_num_threads()
        openers: dict[str, Callable[[], Run]] = {
            "onnx": lambda: _open_onnx(file, self.threads),
            "openvino": lambda: self._open_openvino(file),
            "pt2": lambda: open_pt2(file),
        }
        try:
            self._logits = openers[form]()
        except DataError:
            raise
        except Exception as error:  # each runtime has its own kinds of error for a damaged file
            raise DataError(f"{file}: {self.name} cannot open it ({error})") from error
        if verified:
            refuse_elsewhere(folder, self.graph, proof(folder), precision=self.precision, runtime=self.name)

    def graph(self, inputs: Tensor) -> Tensor:
        """What the file itself answers to `inputs`, which are as it takes them: normalized, or with its preprocessing
        inside as images."""
        return self._logits(inputs)

    @property
    def at_once(self) -> int:
        """As the runtime's engine in memory needs."""
        return self.batch_size * PER_THREAD * self.threads if self.facts["format"] == "openvino" else self.batch_size

    def features(self, images: Tensor) -> Tensor:
        """Raises `ValueError`: the exported graph ends in the classifier."""
        raise ValueError("an export gives logits only; use the run or the model it was made from for features")

    def logits_and_features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N, classes), and no features: (N, 0)."""
        if images.ndim != 4 or not len(images):
            raise ValueError(f"an engine takes images (N, C, H, W) with N >= 1, not a tensor {tuple(images.shape)}")
        logits = torch.cat([self._run(part)[0] for part in self._parts(images)])
        return logits, torch.zeros(len(logits), 0)

    def file_size(self) -> int:
        """As in `Engine`."""
        return sum(file.stat().st_size for file in _files(self.folder, self.facts["format"]))

    def _parts(self, images: Tensor) -> Iterable[Tensor]:
        return (images,) if self.facts["format"] == "openvino" else super()._parts(images)

    def _open_openvino(self, file: Path) -> Run:
        streams = Streams(core().read_model(file), self.precision, self.threads)
        return lambda images: streams(images, self.batch_size)[0]

    def _run(self, images: Tensor) -> tuple[Tensor, Tensor]:
        preprocess = self.net.preprocess
        height, width = preprocess.size
        if self.facts.get("dynamic_size"):
            if min(images.shape[2:]) < self.net.min_size:
                raise ValueError(
                    f"this export takes images of at least {self.net.min_size} px a side, not {images.shape[2]} x "
                    f"{images.shape[3]}"
                )
        elif tuple(images.shape[2:]) != (height, width):
            raise ValueError(
                f"this export takes images of {height} x {width} px, not {images.shape[2]} x {images.shape[3]}; "
                "export the model at that size, or with --dynamic-size"
            )
        if self.facts["with_preprocessing"]:
            # The graph takes RGB whatever the network's order, and divides by the temperature itself.
            rgb = images.flip(1) if preprocess.channel_order == "bgr" else images
            temperature = self.net.artifact.get("temperature") or 1.0
            logits = torch.log(self._logits(rgb).clamp_min(torch.finfo(torch.float32).tiny)) * temperature
        else:
            logits = self._logits(preprocess.normalize(images))
        return logits, torch.zeros(len(logits), 0)


def is_export(folder: str | Path) -> bool:
    """Whether `folder` holds an exported file (not whether it is sound: `ExportedEngine` finds out)."""
    return any((Path(folder) / file).is_file() for file in FILES.values())


def describe(folder: str | Path) -> Network:
    """The network of the export in `folder`: everything but the weights; `open_engine` runs the file in their place.

    Raises:
        DataError: the folder holds no export, or one whose config is damaged.
    """
    net = artifact.describe(folder)
    _check_facts(net, Path(folder))
    net.export = Path(folder)
    return net


def digest(folder: Path, form: str) -> str:
    """SHA-256, in hex, over all that an answer depends on: the exported file (and OpenVINO's weights beside it),
    config.json, and, where it is there, the probe."""
    total = hashlib.sha256()
    probe = folder / PROBE
    for path in (*_files(folder, form), folder / artifact.CONFIG, *([probe] if probe.is_file() else [])):
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def _files(folder: Path, form: str) -> list[Path]:
    """The exported file, and OpenVINO's weights beside it."""
    file = folder / FILES[form]
    return [path for path in (file, file.with_suffix(".bin")) if path.is_file()]


def _check_facts(net: Network, folder: Path) -> None:
    facts = net.artifact.get("export")
    wanted = {"format": str, "precision": str, "with_preprocessing": bool, "dynamic_batch": bool}
    if not isinstance(facts, dict) or any(not isinstance(facts.get(key), kind) for key, kind in wanted.items()):
        raise DataError(f"{folder}/config.json: no block `export` with {', '.join(wanted)}; export the model again")
    if facts["format"] not in FILES:
        raise DataError(f"{folder}/config.json: export format {facts['format']!r}; one of {', '.join(FILES)} is known")
    if not (folder / FILES[facts["format"]]).is_file():
        raise DataError(f"{folder}: {FILES[facts['format']]} is missing; export the model again")


def proof(folder: Path) -> dict[str, Any]:
    """What parity.json says; nothing where it is missing or damaged."""
    try:
        parity = json.loads((folder / PARITY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return parity if isinstance(parity, dict) else {}


def refuse_unproven(folder: Path, form: str) -> None:
    """Raises `DataError` where parity.json does not prove what lies in `folder` now."""
    parity, again = proof(folder), "`inceptions export ORIGINAL --output FOLDER --check` proves it"
    if parity.get("verdict") != "passed":
        raise DataError(f"{folder}: its parity with the original is not proven ({PARITY} does not say so); {again}")
    if parity.get("sha256") != digest(folder, form):
        raise DataError(
            f"{folder}: {FILES[form]}, {artifact.CONFIG} or {PROBE} was altered after the proof of parity; {again}"
        )


def _open_onnx(file: Path, threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: torch.from_numpy(session.run(None, {name: images.contiguous().numpy()})[0])
