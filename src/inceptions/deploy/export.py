"""Write a network in a runtime's own format, open what was written, and keep it only if it answers the same."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inceptions.data import Split, batches
from inceptions.deploy.card import export_card
from inceptions.deploy.graph import ImagesToLogits, PicturesToProbabilities
from inceptions.deploy.parity import Parity, compare
from inceptions.deploy.pictures import Pictures
from inceptions.engines import open_engine, refuse_damaged
from inceptions.engines.equalise import equalise
from inceptions.engines.exported import FILES, PARITY, ExportedEngine, digest
from inceptions.engines.openvino import convert
from inceptions.engines.operators import onnx_translations, whole_operators
from inceptions.engines.prepared import quiet
from inceptions.errors import GateError
from inceptions.files import text_path, to_json, write_atomically
from inceptions.progress import log, track
from inceptions.weights import artifact
from inceptions.zoo import Network

FORMATS = {"onnx": ("float32",), "openvino": ("float32", "bf16", "int8"), "pt2": ("float32", "bf16")}
"""format -> its precisions. ONNX Runtime has no bf16 convolutions on a CPU; 8 bits are OpenVINO's here."""
CALIBRATION = 300  # pictures that 8-bit ranges are measured on: NNCF's own advice
OPSET = 20  # of ONNX; read by ONNX Runtime since 1.17


@dataclass(frozen=True, kw_only=True)
class Exported:
    """An export that was proven."""

    folder: Path
    parity: Parity
    kept_float: tuple[str, ...]
    """int8: layers that had to stay in floating point."""


def export(
    net: Network,
    folder: str | Path,
    pictures: Pictures,
    *,
    format: str,
    precision: str = "float32",
    dynamic_batch: bool = True,
    with_preprocessing: bool = False,
    max_drop: float = 0.5,
    workers: int = 0,
) -> Exported:
    """Write `net` to `folder` and prove that what was written answers the same.

    Args:
        net: a network with `preprocess` and `classes`.
        folder: a new folder; it appears only when the proof holds.
        pictures: what the proof runs on.
        format: "onnx", "openvino" or "pt2".
        precision: see `FORMATS`; "auto" is "float32".
        dynamic_batch: any number of pictures at once; False: one.
        with_preprocessing: uint8 RGB pictures of the network's size in, probabilities out; else normalised images in,
            logits out.
        max_drop: int8: percentage points of accuracy that may be lost.
        workers: processes that decode.

    Raises:
        ValueError: a format or precision that does not exist, or `folder` holds something.
        GateError: what was written does not answer as the original does; nothing is left behind.
    """
    precision = "float32" if precision == "auto" else precision
    _refuse(net, Path(folder), format, precision)
    folder = Path(os.path.abspath(folder))
    module = _module(net, with_preprocessing)
    with _new_folder(folder) as new:
        kept = _write(module, net, new, pictures, format, precision, dynamic_batch, max_drop, workers)
        kept_facts = {key: net.artifact.get(key) for key in ("training", "metrics", "provenance", "temperature")}
        config = artifact.facts(net, **kept_facts)
        config["inceptions"]["export"] = {
            "format": format,
            "precision": precision,
            "with_preprocessing": with_preprocessing,
            "dynamic_batch": dynamic_batch,
            "kept_float": list(kept),
        }
        (new / artifact.CONFIG).write_text(to_json(config, indent=2) + "\n", encoding="utf-8")
        parity = _prove(net, new, pictures, max_drop, workers)
        if parity.verdict != "passed":
            raise GateError(f"the export does not answer as the original: {parity.verdict} ({parity.n} pictures)")
        (new / artifact.CARD).write_text(export_card(config, parity), encoding="utf-8", errors="backslashreplace")
    return Exported(folder=folder, parity=parity, kept_float=kept)


def check(net: Network, folder: str | Path, pictures: Pictures, *, max_drop: float = 0.5, workers: int = 0) -> Parity:
    """Prove an existing export again, against the network it was made from; writes its `parity.json`.

    Raises:
        GateError: it does not answer as the original does; it is not opened any more until it does.
    """
    parity = _prove(net, Path(folder), pictures, max_drop, workers)
    if parity.verdict != "passed":
        raise GateError(f"{folder} does not answer as the original: {parity.verdict} ({parity.n} pictures)")
    return parity


def _refuse(net: Network, folder: Path, format: str, precision: str) -> None:
    if format not in FORMATS:
        raise ValueError(f"unknown format {format!r}; one of {', '.join(FORMATS)}")
    if precision not in FORMATS[format]:
        able = [name for name, precisions in FORMATS.items() if precision in precisions]
        raise ValueError(
            f"{format} is written in {', '.join(FORMATS[format])}, not {precision}"
            + (f"; {' and '.join(able)} can be" if able else "")
        )
    if net.preprocess is None or net.classes is None:
        raise ValueError(f"{net.name} has no preprocessing or no classes: an export holds what a prediction needs")
    refuse_damaged(net)
    text_path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} exists and is not empty; choose a new folder, or remove this one first")


def _module(net: Network, with_preprocessing: bool) -> ImagesToLogits | PicturesToProbabilities:
    if not with_preprocessing:
        return ImagesToLogits(net)
    if net.preprocess.fractional:
        raise ValueError("pictures resized as TensorFlow does have fractional pixels, and cannot be uint8 inputs")
    return PicturesToProbabilities(net, net.artifact.get("temperature") or 1.0)


def _prove(net: Network, folder: Path, pictures: Pictures, max_drop: float, workers: int) -> Parity:
    """Open what lies in `folder` with its own runtime and its own preprocessing, and compare."""
    original = open_engine(net, engine="torch", precision="float32", batch_size=16)
    exported = ExportedEngine(folder, verified=False)
    drop = max_drop if exported.precision == "int8" and pictures.labelled else None
    parity = compare(
        original,
        net.preprocess,
        exported,
        pictures.check,
        pictures=pictures.name,
        labelled=pictures.labelled,
        max_drop=drop,
        workers=workers,
    )
    if (told := _misnamed(net, exported, folder)) and parity.verdict == "passed":
        parity = replace(parity, verdict=told)
    facts = {**parity.to_dict(), "sha256": digest(folder, exported.facts["format"])}
    write_atomically(folder / PARITY, json.dumps(facts, indent=2) + "\n")
    return parity


def _misnamed(net: Network, exported: ExportedEngine, folder: Path) -> str | None:
    """What the export says of itself that is not so: right numbers under wrong names are wrong answers."""
    if exported.net.classes != net.classes:
        return f"config.json names the classes {exported.net.classes}, the original {net.classes}"
    if exported.facts["format"] == "onnx":
        import onnx

        model = onnx.load(folder / FILES["onnx"], load_external_data=False)
        found = {entry.key: entry.value for entry in model.metadata_props}
        for key, value in _metadata(net).items():
            if found.get(key) != value:
                return f"the file's metadata gives {key} as {found.get(key)}, the original's is {value}"
    return None


def _metadata(net: Network) -> dict[str, str]:
    """What an ONNX file says of itself: JSON texts."""
    facts = {"labels": list(net.classes or ()), "preprocess": net.preprocess.to_dict(), "architecture": net.name}
    return {key: to_json(value) for key, value in facts.items()}


def _write(
    module: ImagesToLogits | PicturesToProbabilities, net: Network, folder: Path, pictures: Pictures, format: str,
    precision: str, dynamic_batch: bool, max_drop: float, workers: int,
) -> tuple[str, ...]:  # fmt: skip
    calibration = _calibration(module, net, pictures, workers) if precision == "int8" else []
    if calibration:
        equalise(module, calibration)
    program = _program(module, net, format, precision, dynamic_batch)
    file = folder / FILES[format]
    if format == "pt2":
        with quiet():
            torch.export.save(program, file)
        return ()
    if format == "onnx":
        _write_onnx(program, module, net, file)
        return ()
    import openvino

    graph = convert(program)
    graph.inputs[0].get_tensor().set_names({module.inputs})
    graph.outputs[0].get_tensor().set_names({module.outputs})
    kept: tuple[str, ...] = ()
    if precision == "int8":
        graph, kept = _quantised(graph, program, module, net, pictures, calibration, max_drop, workers)
    openvino.save_model(graph, file, compress_to_fp16=False)
    return kept


def _program(
    module: ImagesToLogits | PicturesToProbabilities, net: Network, format: str, precision: str, dynamic_batch: bool
) -> torch.export.ExportedProgram:
    size = (2 if dynamic_batch else 1, net.in_channels, *net.preprocess.size)
    uint8 = isinstance(module, PicturesToProbabilities)
    example = torch.zeros(size, dtype=torch.uint8) if uint8 else torch.zeros(size)
    shapes = ({0: torch.export.Dim("n", min=1)},) if dynamic_batch else None
    exportable = _InHalf(module, torch.bfloat16) if (format, precision) == ("pt2", "bf16") else module
    with torch.no_grad(), quiet(), nullcontext() if format == "pt2" else whole_operators(exportable):
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


def _write_onnx(
    program: torch.export.ExportedProgram, module: ImagesToLogits | PicturesToProbabilities, net: Network, file: Path
) -> None:
    import onnx

    with quiet():
        written = torch.onnx.export(
            program,
            input_names=[module.inputs],
            output_names=[module.outputs],
            opset_version=OPSET,
            custom_translation_table=onnx_translations(),
            dynamo=True,
            verbose=False,
        )
    assert written is not None
    model = written.model_proto
    onnx.helper.set_model_props(model, _metadata(net))
    onnx.save(model, file)


def _calibration(
    module: ImagesToLogits | PicturesToProbabilities, net: Network, pictures: Pictures, workers: int
) -> list[Tensor]:
    """Batches of what the graph takes, of pictures spread over the whole split."""
    split = pictures.calibration or pictures.check
    some = split.subset(np.linspace(0, len(split) - 1, min(CALIBRATION, len(split))).astype(np.int64))
    return [inputs for inputs, _ in _inputs(some, module, net, workers)]


def _quantised(
    graph: Any, program: torch.export.ExportedProgram, module: ImagesToLogits | PicturesToProbabilities, net: Network,
    pictures: Pictures, calibration: list[Tensor], max_drop: float, workers: int,
) -> tuple[Any, tuple[str, ...]]:  # fmt: skip
    from inceptions.deploy.quantise import costly_layers, quantise_within
    from inceptions.engines.openvino import quantise

    if not pictures.labelled:
        log.warning("int8 without labelled pictures: how much accuracy it costs is unknown")
        return quantise(graph, calibration), ()

    def validation() -> Iterator[tuple[Tensor, Tensor]]:
        found = _inputs(pictures.check, module, net, workers)
        return track(found, description="checking int8", total=len(pictures.check), amount=lambda batch: len(batch[1]))

    result = quantise_within(
        graph, calibration, validation, costly_layers(program), max_drop=max_drop, threads=torch.get_num_threads()
    )
    return result.graph, result.kept


def _inputs(
    split: Split, module: ImagesToLogits | PicturesToProbabilities, net: Network, workers: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """What the graph takes, in batches of 8, with the targets; pictures of unknown classes are left out."""
    for batch in batches(split.known(), net.preprocess, batch_size=8, workers=workers):
        if not len(batch):
            continue
        if isinstance(module, ImagesToLogits):
            yield net.preprocess.normalise(batch.pictures), batch.targets
        else:
            rgb = batch.pictures.flip(1) if net.preprocess.channel_order == "bgr" else batch.pictures
            yield rgb, batch.targets


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
