"""8-bit arithmetic as another processor does it: a network that must be right everywhere is judged under the worst.

x86 processors without VNNI add pairs of 8-bit products in 16 bits, which saturate. OpenVINO's oneDNN obeys
`ONEDNN_MAX_CPU_ISA`, so that one with VNNI runs the same kernels (`jit_avx2`) in a process with that limit.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inceptions.deploy.answering import get, put
from inceptions.engines.processor import processor
from inceptions.errors import RunError

TARGETS = ("any", "this")
"""Where an export will run: on every processor, or on those with this one's instruction set."""
_WITHOUT_VNNI = {"ONEDNN_MAX_CPU_ISA": "AVX2"}


class Answering:
    """A process that answers for an `openvino.Model`.

    Attributes:
        saturates: whether pairs of 8-bit products saturate in its arithmetic, found out by a convolution.
    """

    def __init__(self, process: Any, errors: Any) -> None:
        self._process, self._errors = process, errors
        self.saturates = bool(self._next())

    def __call__(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """The outputs (N, classes) for `images`."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # why it died is reported below
            put(self._process.stdin, images)
        return self._next()

    def _next(self) -> NDArray[Any]:
        assert self._process.stdout is not None
        array: NDArray[Any] | None = get(self._process.stdout)
        if array is None:
            code = self._process.wait()
            self._errors.seek(0)
            told = self._errors.read().decode(errors="replace").strip().splitlines()
            raise RunError(f"the process that runs the 8-bit network ended with {code}: {' '.join(told[-1:])}")
        return array


@contextmanager
def answering(graph: Any, target: str, threads: int) -> Iterator[Answering]:
    """`graph`, an `openvino.Model`, in the arithmetic of `target`, in a process of its own.

    Raises:
        RunError: the process ends.
    """
    import openvino

    environment = dict(os.environ)
    if target == "any" and processor().has_vnni and processor().architecture == "x86_64":
        environment |= _WITHOUT_VNNI
    script = Path(__file__).with_name("answering.py")
    with TemporaryDirectory(prefix="inceptions-") as folder, TemporaryFile() as errors:
        file = Path(folder) / "model.xml"
        openvino.save_model(graph, file, compress_to_fp16=False)
        process = subprocess.Popen(
            [sys.executable, str(script), str(file), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
            start_new_session=True,  # a Ctrl-C is this process's to handle
        )
        try:
            yield Answering(process, errors)
        finally:
            process.kill()
            process.communicate()
