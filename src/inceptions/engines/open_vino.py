"""OpenVINO on the CPU, converted in memory."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from inceptions.engines.engine import Engine
from inceptions.engines.prepared import Prepared, exported, quiet

# OpenVINO and NNCF report their use to an analytics host as soon as they find this package; we never phone home.
# It must stand before any import of theirs, which is why they are imported in this room only.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # None: Python's way to say "not importable"

_HINTS = {"float32": "f32", "bf16": "bf16", "int8": "f32"}  # int8: what was left unquantised keeps float32


class OpenVinoEngine(Engine):
    """OpenVINO; compiled once for each picture size, for a full batch and for single pictures.

    A graph with a fixed number of pictures is faster than one for any number, so what remains of a batch is run picture
    by picture instead of being filled up.
    """

    name = "openvino"

    def __init__(
        self,
        prepared: Prepared,
        precision: str,
        batch_size: int,
        reason: str,
        *,
        threads: int | None = None,
        calibration: Iterable[Tensor] | None = None,
    ) -> None:
        super().__init__(precision, batch_size, reason)
        self.prepared = prepared
        self.threads = threads or torch.get_num_threads()
        self.calibration = None if calibration is None else list(calibration)
        self._graphs: dict[object, Any] = {}
        self._compiled: dict[tuple[torch.Size, torch.dtype], Any] = {}

    def tune(self, picture: Tensor, *, seconds: float = 4.0) -> None:
        """As in `Engine`; what was compiled for other batch sizes, with a copy of the weights each, is let go."""
        super().tune(picture, seconds=seconds)
        self._compiled = {key: ready for key, ready in self._compiled.items() if key[0][0] in (1, self.batch_size)}

    def _parts(self, pictures: Tensor) -> Iterator[Tensor]:
        whole = len(pictures) - len(pictures) % self.batch_size
        for size, group in ((self.batch_size, pictures[:whole]), (1, pictures[whole:])):
            if len(group):
                yield from torch.split(group, size)

    def _run(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        key = (pictures.shape, pictures.dtype)
        if key not in self._compiled:
            self._compiled[key] = self._compile(pictures)
        answer = self._compiled[key](pictures.contiguous().numpy(), share_inputs=True)
        return torch.from_numpy(answer[0].copy()), torch.from_numpy(answer[1].copy())

    def _compile(self, pictures: Tensor) -> Any:
        key = (pictures.shape[1:], pictures.dtype)
        if key not in self._graphs:
            graph = to_openvino(self.prepared, pictures)
            self._graphs[key] = graph if self.calibration is None else quantise(graph, self.calibration)
        return compiled(self._graphs[key], pictures.shape, self.precision, self.threads)


def compiled(graph: Any, shape: Iterable[int], precision: str, threads: int) -> Any:
    """`graph` ready to run on the CPU for inputs of exactly this shape, one request at a time."""
    import openvino

    fixed = graph.clone()
    fixed.reshape(list(shape))
    properties = {
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
    }
    return openvino.Core().compile_model(fixed, "CPU", properties)


def to_openvino(prepared: Prepared, pictures: Tensor) -> Any:
    """An `openvino.Model` of `prepared` for pictures of this height, width and type, any number of them."""
    return convert(exported(prepared, pictures))


def convert(program: torch.export.ExportedProgram) -> Any:
    """An `openvino.Model` of an exported program."""
    import openvino

    with quiet():
        return openvino.convert_model(program)


def quantise(graph: Any, calibration: Iterable[Tensor]) -> Any:
    """`graph` with 8-bit convolutions (NNCF, after training), its ranges measured on `calibration`.

    Args:
        graph: what `to_openvino` made.
        calibration: batches of pictures like the ones to come, un-normalised; some hundreds of pictures are enough.
    """
    import nncf

    batches = [batch.contiguous().numpy() for batch in calibration]
    with quiet():
        return nncf.quantize(
            graph, nncf.Dataset(batches), subset_size=len(batches), preset=nncf.QuantizationPreset.MIXED
        )
