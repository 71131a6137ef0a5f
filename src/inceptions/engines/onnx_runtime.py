"""ONNX Runtime on the CPU, converted in memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from inceptions.engines.engine import Engine
from inceptions.engines.prepared import Prepared, exported, quiet
from inceptions.passes import onnx_translations


class OnnxRuntimeEngine(Engine):
    """ONNX Runtime; the graph takes any number of images and is made once for each image size."""

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

    def _run(self, images: Tensor) -> tuple[Tensor, Tensor]:
        key = (images.shape[1:], images.dtype)
        if key not in self._sessions:
            self._sessions[key] = self._open(images)
        logits, features = self._sessions[key].run(None, {"images": images.contiguous().numpy()})
        return torch.from_numpy(logits), torch.from_numpy(features)

    def _open(self, images: Tensor) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.log_severity_level = 3  # errors
        model = to_onnx(self.prepared, images)
        self._file_size = len(model)
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def to_onnx(prepared: Prepared, images: Tensor) -> bytes:
    """An ONNX file of `prepared` for images of this height, width and type: `images` -> `logits`, `features`."""
    with quiet():
        program = torch.onnx.export(
            exported(prepared, images),
            input_names=["images"],
            output_names=["logits", "features"],
            custom_translation_table=onnx_translations(),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model: bytes = program.model_proto.SerializeToString()
    return model
