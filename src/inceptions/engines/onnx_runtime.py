"""ONNX Runtime on the CPU, converted in memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from inceptions.engines.engine import Engine
from inceptions.engines.operators import onnx_translations
from inceptions.engines.prepared import Prepared, exported, quiet


class OnnxRuntimeEngine(Engine):
    """ONNX Runtime; the graph takes any number of pictures and is made once for each picture size."""

    name = "onnxruntime"

    def __init__(
        self, prepared: Prepared, precision: str, batch_size: int, reason: str, *, threads: int | None
    ) -> None:
        super().__init__(precision, batch_size, reason)
        self.prepared = prepared
        self.threads = threads or torch.get_num_threads()
        self._sessions: dict[object, Any] = {}
        self._file_size = 0

    def file_size(self) -> int:
        """As in `Engine`."""
        return self._file_size

    def _run(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        key = (pictures.shape[1:], pictures.dtype)
        if key not in self._sessions:
            self._sessions[key] = self._open(pictures)
        logits, features = self._sessions[key].run(None, {"pictures": pictures.contiguous().numpy()})
        return torch.from_numpy(logits), torch.from_numpy(features)

    def _open(self, pictures: Tensor) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.log_severity_level = 3  # errors
        model = to_onnx(self.prepared, pictures)
        self._file_size = len(model)
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def to_onnx(prepared: Prepared, pictures: Tensor) -> bytes:
    """An ONNX file of `prepared` for pictures of this height, width and type: `pictures` -> `logits`, `features`."""
    with quiet():
        program = torch.onnx.export(
            exported(prepared, pictures),
            input_names=["pictures"],
            output_names=["logits", "features"],
            custom_translation_table=onnx_translations(),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model: bytes = program.model_proto.SerializeToString()
    return model
