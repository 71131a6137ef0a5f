"""PyTorch, eager: no conversion, the arithmetic of training."""

from __future__ import annotations

import torch
from torch import Tensor

from inceptions.engines.engine import Engine
from inceptions.engines.precisions import layers_of
from inceptions.engines.prepared import Prepared
from inceptions.passes import merge_siblings


class TorchEngine(Engine):
    """PyTorch with channels-last tensors and folded batch norm, on the CPU or a GPU.

    For single images on a GPU, 1x1 convolutions of one input are computed as one.
    """

    name = "torch"

    def __init__(
        self,
        prepared: Prepared,
        precision: str,
        batch_size: int,
        reason: str,
        *,
        device: torch.device,
        threads: int | None = None,
    ) -> None:
        super().__init__(precision, batch_size, reason)
        if threads is not None:
            torch.set_num_threads(threads)  # PyTorch knows only one number for the whole process
        self.device = device
        if device.type == "cuda" and batch_size == 1:
            merge_siblings(prepared)
        self.module = (prepared.in_bf16() if precision == "bf16" else prepared).to(device)
        self.executed = layers_of(self.module)
        for parameter in self.module.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)

    def file_size(self) -> int:
        """As in `Engine`: of the weights."""
        return sum(tensor.nbytes for tensor in self.module.state_dict().values())

    def _run(self, images: Tensor) -> tuple[Tensor, Tensor]:
        with torch.inference_mode():
            logits, features = self.module(images.to(self.device, non_blocking=True))
        return logits, features
