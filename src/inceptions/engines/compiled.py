"""PyTorch, compiled by its own compiler: the loops between convolutions fused, at the price of half a minute."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from inceptions.engines.eager import TorchEngine
from inceptions.engines.prepared import Prepared, exported, quiet
from inceptions.errors import RunError
from inceptions.progress import log

Compiled = Callable[[Tensor], tuple[Tensor, Tensor]]


class CompiledEngine(TorchEngine):
    """As `TorchEngine`, compiled at its first use: once for each image size, for any number of images.

    With a `batch_size` of 1 the graph is for single images, and a GPU then launches all of it at once (CUDA graphs).
    """

    name = "torch-compiled"

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
        super().__init__(prepared, precision, batch_size, reason, device=device, threads=threads)
        self.launched_at_once = device.type == "cuda" and batch_size == 1
        self._graphs: dict[object, Compiled] = {}

    def tune(self, image: Tensor, *, most: int | None = None, seconds: float = 4.0) -> None:
        """Does nothing: trying other batch sizes would cost more time than the best of them saves."""

    def _run(self, images: Tensor) -> tuple[Tensor, Tensor]:
        count = len(images)
        if count == 1 < self.batch_size:
            images = images.expand(2, -1, -1, -1)  # a graph for any number is one for 2 or more
        with torch.no_grad():  # in one layout only: for another one PyTorch would compile again
            logits, features = self._graph(images.to(self.device, non_blocking=True).contiguous())
        return logits[:count], features[:count]

    def _graph(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        if len(inputs) > 1:
            torch._dynamo.mark_dynamic(inputs, 0)
        key = (inputs.shape[1:], inputs.dtype)
        if key not in self._graphs:
            self._graphs[key] = self._compile(inputs)
        logits, features = self._graphs[key](inputs)
        # The next launch writes its answers to the same place.
        return (logits.clone(), features.clone()) if self.launched_at_once else (logits, features)

    def _compile(self, inputs: Tensor) -> Compiled:
        """A graph for inputs like these, which has run once.

        It is made of an exported program, which has code of its own: PyTorch compiles a few variants of any code only,
        and of `Prepared.forward` every engine would be one.

        Raises:
            RunError: the compiler failed.
        """
        log.info("compiling for images of %d x %d px: about half a minute", *inputs.shape[2:])
        module = exported(self.module, inputs, whole=False).module()
        # Weights as constants, laid out for their convolutions: 9 % faster in bf16 and 3 % in float32, on a CPU.
        options: dict[str, str | int | bool | Callable[..., Any]] = {
            "freezing": self.device.type == "cpu",
            "triton.cudagraphs": self.launched_at_once,
        }
        graph: Compiled = torch.compile(module, fullgraph=True, options=options)
        try:
            with quiet():
                graph(inputs)
        except Exception as error:  # PyTorch's compiler and those that it calls fail in many ways
            reason = str(error).strip().splitlines()[:1]
            raise RunError(
                f"torch-compiled: PyTorch's compiler failed ({type(error).__name__}: {' '.join(reason)}); "
                "the engine torch needs none"
            ) from error
        return graph


def compiler() -> str | None:
    """The compiler for C++ that PyTorch's calls on a CPU; None: it is not there."""
    usual = {"win32": "cl", "darwin": "clang++"}.get(sys.platform, "g++")
    return shutil.which(os.environ.get("CXX", usual))
