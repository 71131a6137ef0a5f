"""Export a network to a runtime's format, open what was written, and keep it only if it gives the same answers."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inceptions.data import Split
from inceptions.deploy.card import export_card
from inceptions.deploy.graph import ImagesToLogits, ImagesToProbabilities
from inceptions.deploy.images import Images
from inceptions.deploy.onnx_file import OPSET, OPSETS, write_onnx
from inceptions.deploy.parity import Parity
from inceptions.deploy.proof import Exportable, batches_of_inputs, metadata, prove
from inceptions.engines import refuse_damaged
from inceptions.engines.export_folder import FILES
from inceptions.engines.openvino import convert
from inceptions.engines.prepared import quiet
from inceptions.errors import GateError
from inceptions.files import text_path, to_json
from inceptions.models import Model, as_model
from inceptions.passes import equalize, whole_operators
from inceptions.progress import log
from inceptions.weights import artifact
from inceptions.zoo import Network, preprocess_of

FORMATS = {"onnx": ("float32",), "openvino": ("float32", "bf16", "int8"), "pt2": ("float32", "bf16")}
"""format -> its precisions. ONNX Runtime has no bf16 convolutions on a CPU; 8 bits are OpenVINO's here."""
CALIBRATION = 300  # images that 8-bit ranges are measured on: NNCF's own advice
TARGETS = ("any", "this")
"""Where an export will run: on every processor, or on those with this one's instruction set. 8 bits alone ask."""
MAX_TIME = 600.0  # seconds that the search for accurate 8 bits may take


@dataclass(frozen=True, kw_only=True)
class Exported:
    """An export that was proven."""

    folder: Path
    parity: Parity
    kept_float: tuple[str, ...]
    """int8: layers that had to stay in floating point."""


def export(
    model: Network | Model,
    folder: str | Path,
    images: Images,
    *,
    format: str,
    precision: str = "float32",
    dynamic_batch: bool = True,
    dynamic_size: bool = False,
    with_preprocessing: bool = False,
    opset: int | None = None,
    target: str = "any",
    max_drop: float = 0.5,
    max_time: float = MAX_TIME,
    workers: int = 0,
) -> Exported:
    """Write `model` to `folder` and prove that what was written gives the same answers.

    Args:
        model: a network or a model, with `preprocess` and `classes`.
        folder: a new folder; it appears only when the proof holds.
        images: what the proof runs on.
        format: "onnx", "openvino" or "pt2".
        precision: see `FORMATS`; "auto" is "float32".
        dynamic_batch: any number of images at once; False: one.
        dynamic_size: images of any size from the network's smallest on; parity is proven at two more sizes.
        with_preprocessing: uint8 RGB images of the network's size in, probabilities out; else normalized images in,
            logits out.
        opset: of ONNX, one of `OPSETS`; None: the oldest.
        target: int8: "any": accurate on every processor; "this": on those with this one's instruction set.
        max_drop: int8: percentage points of accuracy that may be lost.
        max_time: int8: seconds after which nothing more is tried.
        workers: processes that decode.

    Raises:
        ValueError: a format or precision that does not exist, or `folder` holds something.
        GateError: what was written does not answer as the original does; nothing is left behind.
    """
    precision = "float32" if precision == "auto" else precision
    model = as_model(model)
    net = model.in_pytorch()
    _refuse(net, Path(folder), format, precision, target)
    _refuse_onnx(format, opset, dynamic_size)
    folder = Path(os.path.abspath(folder))
    module = _module(model, with_preprocessing)
    with _new_folder(folder) as new:
        task = _Task(
            net=net, module=module, images=images, format=format, precision=precision,
            dynamic_batch=dynamic_batch, dynamic_size=dynamic_size, opset=opset or OPSET, target=target,
            max_drop=max_drop, max_time=max_time, workers=workers,
        )  # fmt: skip
        kept, settings = _write(task, new)
        facts = model.facts
        config = artifact.facts(net, facts.training, facts.metrics, facts.provenance, facts.temperature)
        config["inceptions"]["export"] = {
            "format": format,
            "precision": precision,
            "with_preprocessing": with_preprocessing,
            "dynamic_batch": dynamic_batch,
            "dynamic_size": dynamic_size,
            "kept_float": list(kept),
        }
        if dynamic_size:
            config["inceptions"]["export"]["min_size"] = net.min_size
        if format == "onnx":
            config["inceptions"]["export"]["opset"] = task.opset
        if precision == "int8":
            config["inceptions"]["export"] |= {"target": target, "quantized": settings}
        (new / artifact.CONFIG).write_text(to_json(config, indent=2) + "\n", encoding="utf-8")
        parity = prove(model, new, images, max_drop=max_drop, workers=workers)
        if parity.verdict != "passed":
            raise GateError(f"the export's answers differ from the original's: {parity.verdict} ({parity.n} images)")
        (new / artifact.CARD).write_text(export_card(config, parity), encoding="utf-8", errors="backslashreplace")
    return Exported(folder=folder, parity=parity, kept_float=kept)


def check(
    model: Network | Model, folder: str | Path, images: Images, *, max_drop: float = 0.5, workers: int = 0
) -> Parity:
    """Prove an existing export again, against the model it was made from; writes its `parity.json`.

    Raises:
        GateError: it does not answer as the original does; it is not opened any more until it does.
    """
    parity = prove(as_model(model), Path(folder), images, max_drop=max_drop, workers=workers)
    if parity.verdict != "passed":
        raise GateError(f"the answers of {folder} differ from the original's: {parity.verdict} ({parity.n} images)")
    return parity


def _refuse(net: Network, folder: Path, format: str, precision: str, target: str) -> None:
    if format not in FORMATS:
        raise ValueError(f"unknown format {format!r}; choose one of {', '.join(FORMATS)}")
    if precision not in FORMATS[format]:
        able = [name for name, precisions in FORMATS.items() if precision in precisions]
        raise ValueError(
            f"{format} is written in {', '.join(FORMATS[format])}, not {precision}"
            + (f"; {' and '.join(able)} can be" if able else "")
        )
    if target not in TARGETS:
        raise ValueError(f"unknown target {target!r}; choose one of {', '.join(TARGETS)}")
    if net.preprocess is None or net.classes is None:
        raise ValueError(f"{net.name} has no preprocessing or no classes: an export needs both")
    refuse_damaged(net)
    text_path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} exists and is not empty; choose a new folder, or delete this one first")


def _refuse_onnx(format: str, opset: int | None, dynamic_size: bool) -> None:
    if opset is not None and format != "onnx":
        raise ValueError(f"only ONNX has opsets; {format} has none")
    if opset is not None and opset not in OPSETS:
        raise ValueError(f"opset {opset}: from {OPSETS[0]} to {OPSETS[-1]} can be written")
    if dynamic_size and format == "pt2":
        raise ValueError(
            "pt2 is written for one size: PyTorch's exporter cannot follow the borders of these networks through every "
            "size; onnx and openvino can be of any size"
        )


def _module(model: Model, with_preprocessing: bool) -> ImagesToLogits | ImagesToProbabilities:
    net = model.in_pytorch()
    if not with_preprocessing:
        return ImagesToLogits(net)
    if preprocess_of(net).fractional:
        raise ValueError("images resized as in TensorFlow have fractional pixels, and cannot be uint8 inputs")
    return ImagesToProbabilities(net, model.temperature)


@dataclass(frozen=True, kw_only=True)
class _Task:
    """What is written, as `export` was asked."""

    net: Network
    module: Exportable
    images: Images
    format: str
    precision: str
    dynamic_batch: bool
    dynamic_size: bool
    opset: int
    target: str
    max_drop: float
    max_time: float
    workers: int

    @property
    def with_preprocessing(self) -> bool:
        return isinstance(self.module, ImagesToProbabilities)


def _write(task: _Task, folder: Path) -> tuple[tuple[str, ...], str | None]:
    """Returns int8's layers that stay in floating point, and the settings that it was quantized with."""
    module = task.module
    calibration = _calibration(task) if task.precision == "int8" else []
    if calibration:
        equalize(module, calibration)
    program = _program(task)
    file = folder / FILES[task.format]
    if task.format == "pt2":
        with quiet():
            torch.export.save(program, file)
        return (), None
    if task.format == "onnx":
        write_onnx(
            program, file, inputs=module.inputs, outputs=module.outputs, facts=metadata(task.net), opset=task.opset,
            dynamic_size=task.dynamic_size,
        )  # fmt: skip
        return (), None
    import openvino

    graph = convert(program, dynamic_size=task.dynamic_size)
    graph.inputs[0].get_tensor().set_names({module.inputs})
    graph.outputs[0].get_tensor().set_names({module.outputs})
    kept: tuple[str, ...] = ()
    settings: str | None = None
    if task.precision == "int8":
        graph, kept, settings = _quantized(task, graph, program, calibration)
    openvino.save_model(graph, file, compress_to_fp16=False)
    return kept, settings


def _program(task: _Task) -> torch.export.ExportedProgram:
    size = (2 if task.dynamic_batch else 1, task.net.in_channels, *preprocess_of(task.net).size)
    example = torch.zeros(size, dtype=torch.uint8) if task.with_preprocessing else torch.zeros(size)
    shapes = ({0: torch.export.Dim("n", min=1)},) if task.dynamic_batch else None
    exportable = (
        _InHalf(task.module, torch.bfloat16) if (task.format, task.precision) == ("pt2", "bf16") else task.module
    )
    whole = nullcontext() if task.format == "pt2" else whole_operators(exportable, sizes=task.dynamic_size)
    with torch.no_grad(), quiet(), whole:
        return torch.export.export(exportable, (example,), dynamic_shapes=shapes)


class _InHalf(torch.nn.Module):
    """The module under autocast: convolutions in bf16, sums and the softmax in float32."""

    def __init__(self, module: torch.nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.module, self.dtype = module, dtype

    def forward(self, inputs: Tensor) -> Tensor:
        with torch.autocast("cpu", self.dtype):
            outputs: Tensor = self.module(inputs)
        return outputs.float()


def _calibration(task: _Task) -> list[Tensor]:
    """Batches of what the graph takes, of images spread over the whole split."""
    split = task.images.calibration or task.images.check
    some = split.subset(np.linspace(0, len(split) - 1, min(CALIBRATION, len(split))).astype(np.int64))
    return [inputs for inputs, _ in _inputs(task, some)]


def _inputs(task: _Task, split: Split) -> Iterator[tuple[Tensor, Tensor]]:
    return batches_of_inputs(split, task.net, with_preprocessing=task.with_preprocessing, workers=task.workers)


def _quantized(
    task: _Task, graph: Any, program: torch.export.ExportedProgram, calibration: list[Tensor]
) -> tuple[Any, tuple[str, ...], str]:
    from inceptions.deploy.quantize import costly_layers, quantize, quantize_within, settings_for

    if not task.images.labeled:
        log.warning("int8 without labeled images: how much accuracy it costs is unknown")
        setting = settings_for(task.target)[0]
        return quantize(graph, calibration, setting), (), str(setting)

    def validation() -> Iterator[tuple[Tensor, Tensor]]:
        return _inputs(task, task.images.check)

    result = quantize_within(
        graph,
        calibration,
        validation,
        costly_layers(program),
        max_drop=task.max_drop,
        threads=torch.get_num_threads(),
        target=task.target,
        max_time=task.max_time,
        total=len(task.images.check),
    )
    return result.graph, result.kept, result.settings


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """A folder under another name that becomes `folder` when the block ends well, and vanishes when it does not."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".new", dir=folder.parent))
    try:
        yield new
        new.chmod(0o755)  # mkdtemp's 0700 would hide the export from the account that serves it
        if folder.exists():
            folder.rmdir()  # empty: anything else was refused
        new.rename(folder)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
