"""OpenVINO on the CPU, converted in memory."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inceptions.engines.engine import Engine
from inceptions.engines.precisions import executed
from inceptions.engines.prepared import Prepared, exported, quiet
from inceptions.engines.processor import processor
from inceptions.passes import equalize, openvino_extensions, pad_rounded_pools
from inceptions.progress import log

# OpenVINO and NNCF report their use to an analytics host as soon as they find this package; we never phone home.
# It must stand before any import of theirs, which is why they are imported in this room only.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # None: Python's way to say "not importable"

HINTS = {"float32": "f32", "bf16": "bf16", "int8": "bf16"}
"""precision -> OpenVINO's hint. int8: of what is not quantized, see `hint`."""
PER_REQUEST = 4  # images a request, untuned: weights are fetched from memory a quarter as often as for single ones
PER_THREAD = 8  # requests a call: so many that what the last one makes the other threads wait is little


class OpenVinoEngine(Engine):
    """OpenVINO; converted once for each image size.

    All images of a call are in the works at once, see `Streams`; `batch_size` is the size of a request.
    """

    name = "openvino"
    sizes = (1, 2, 4)
    worth_tuning = 5000  # each size is compiled

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
        if self.calibration:
            equalize(prepared, self.calibration)
        self._graphs: dict[object, Streams] = {}

    @property
    def at_once(self) -> int:
        """Images for `PER_THREAD` requests a thread."""
        return self.batch_size * PER_THREAD * self.threads

    def tune(self, image: Tensor, *, most: int | None = None, seconds: float = 10.0) -> None:
        """As in `Engine`; what was compiled for other batch sizes, with a copy of the weights each, is let go."""
        super().tune(image, most=most, seconds=seconds)
        for streams in self._graphs.values():
            streams.keep(self.batch_size)

    def file_size(self) -> int:
        """As in `Engine`: of the graph and its weights."""
        import openvino

        with TemporaryDirectory() as folder:
            openvino.save_model(
                next(iter(self._graphs.values())).graph, Path(folder) / "model.xml", compress_to_fp16=False
            )
            return sum(file.stat().st_size for file in Path(folder).iterdir())

    def _parts(self, images: Tensor) -> Iterable[Tensor]:
        return (images,)

    def _run(self, images: Tensor) -> tuple[Tensor, Tensor]:
        key = (images.shape[1:], images.dtype)
        if key not in self._graphs:
            graph = to_openvino(self.prepared, images)
            graph = graph if self.calibration is None else quantize(graph, self.calibration)
            self._graphs[key] = Streams(graph, self.precision, self.threads)
        logits, features = self._graphs[key](images, self.batch_size)
        if not self.executed:
            self._tell(self._graphs[key].executed)
        return logits, features

    def _tell(self, layers: dict[str, int]) -> None:
        """Report what runs, as the runtime states it, where that is not what was requested."""
        self.executed = layers
        if layers and self.precision not in layers:
            ran = next(iter(layers))
            log.warning("OpenVINO computes %s, not %s, on this processor", ran, self.precision)
            self.precision = ran


class Streams:
    """A graph on the CPU: few images run one by one on all threads, many side by side, on streams of some threads.

    Threads that share an image wait for each other after every layer; streams do not. Compiled for exactly the number
    of images of a request, which is faster than for any number.

    Args:
        graph: an `openvino.Model` that takes any number of images.
        precision: "float32", "bf16" or "int8".
        threads: of all streams together.
    """

    def __init__(self, graph: Any, precision: str, threads: int) -> None:
        self.graph, self.precision, self.threads = graph, precision, threads
        self._single: dict[torch.Size, Any] = {}
        self._queues: dict[torch.Size, Any] = {}

    def __call__(self, images: Tensor, batch_size: int) -> list[Tensor]:
        """Every output of the graph for `images` (N, C, H, W).

        Args:
            images: read where they lie, without a copy.
            batch_size: images a request.
        """
        count, size, shape = len(images), batch_size, images.shape[1:]
        values = images.contiguous().numpy()
        outputs: list[NDArray[np.float32]] = []
        queue = self._queue(torch.Size((size, *shape))) if count > 1 else None
        # fewer requests than streams would leave threads idle
        side_by_side = count - count % size if queue and count // size >= len(queue) else 0
        if queue and side_by_side:
            outputs = _empty(queue[0], count)
            for start in range(0, side_by_side, size):
                queue.start_async([values[start : start + size]], (outputs, start), share_inputs=True)
            queue.wait_all()
        if side_by_side < count:
            ready = self._one(torch.Size((1, *shape)))
            outputs = outputs or _empty(ready, count)
            for start in range(side_by_side, count):
                ready.infer([values[start : start + 1]], share_inputs=True)
                _fill(ready, (outputs, start))
        return [torch.from_numpy(output) for output in outputs]

    @property
    def executed(self) -> dict[str, int]:
        """Precision -> how many layers that multiply run in it, as the runtime reports; empty before the first run."""
        ready = next(iter((*self._single.values(), *(queue[0] for queue in self._queues.values()))), None)
        return {} if ready is None else executed(ready.get_compiled_model())

    def keep(self, batch_size: int) -> None:
        """Let go of what only other batch sizes use."""
        self._queues = {shape: queue for shape, queue in self._queues.items() if shape[0] == batch_size}

    def _one(self, shape: torch.Size) -> Any:
        if shape not in self._single:
            self._single[shape] = compiled(self.graph, shape, self.precision, self.threads).create_infer_request()
        return self._single[shape]

    def _queue(self, shape: torch.Size) -> Any:
        import openvino

        if shape not in self._queues:
            # it starts as many requests at once as the model is fastest with
            queue = openvino.AsyncInferQueue(compiled(self.graph, shape, self.precision, self.threads, many=True))
            queue.set_callback(_fill)
            self._queues[shape] = queue
        return self._queues[shape]


def _empty(request: Any, count: int) -> list[NDArray[np.float32]]:
    return [np.empty((count, *output.shape[1:]), np.float32) for output in request.model_outputs]


def _fill(request: Any, place: tuple[list[NDArray[np.float32]], int]) -> None:
    """Copies a request's answers to their place among all images' answers."""
    outputs, start = place
    for output, tensor in zip(outputs, request.output_tensors, strict=True):
        output[start : start + len(tensor.data)] = tensor.data


def compiled(graph: Any, shape: Iterable[int], precision: str, threads: int, *, many: bool = False) -> Any:
    """`graph` ready to run on the CPU for inputs of exactly this shape: one request at a time, or `many`."""
    fixed = graph.clone()
    fixed.reshape(list(shape))
    properties = {
        "INFERENCE_PRECISION_HINT": hint(precision),
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "THROUGHPUT" if many else "LATENCY",
    }
    return core().compile_model(fixed, "CPU", properties)


def hint(precision: str) -> str:
    """OpenVINO's precision hint. What int8 leaves unquantized runs in bf16 where the processor multiplies in it."""
    return "f32" if precision == "int8" and not processor().has_bf16 else HINTS[precision]


def small_graph(precision: str, *, channels: int = 16, kernel: int = 1, links: int = 1) -> Any:
    """An `openvino.Model` of convolutions without borders, one after the other, of 8-bit numbers for "int8": to ask the
    runtime what it executes, and how fast."""
    import openvino
    from openvino import PartialShape, opset14

    images = opset14.parameter(PartialShape([-1, channels, -1, -1]), np.float32)
    values = np.linspace(-1, 1, channels**2 * kernel**2, dtype=np.float32).reshape(channels, channels, kernel, kernel)
    node, border = images, [0, 0]
    for _ in range(links):
        weights = opset14.constant(values)
        if precision == "int8":
            node = opset14.fake_quantize(node, *(np.float32(bound) for bound in (0, 2.55, 0, 2.55)), 256)
            weights = opset14.fake_quantize(weights, *(np.float32(bound) for bound in (-1.27, 1.27, -1.27, 1.27)), 255)
        node = opset14.convolution(node, weights, [1, 1], border, border, [1, 1])
    return openvino.Model([node], [images])


@cache
def core() -> Any:
    """The process's one runtime, see `signal_stack_kept`."""
    import openvino

    return openvino.Core()


class _SignalStack(ctypes.Structure):
    """Linux's `stack_t`."""

    _fields_ = (("address", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextmanager
def signal_stack_kept() -> Iterator[None]:
    """Leaves the thread with the stack for signal handlers that it had.

    Each OpenVINO runtime (`Core`) on the CPU puts a stack of its own there, and puts back what it found when it is
    gone. NNCF makes several: where the one that was found goes first, a stack that is no more is put back, and the next
    signal that Python handles, a Ctrl-C, would crash the process if faulthandler is on.
    """
    if sys.platform != "linux":
        yield
        return
    libc, before = ctypes.CDLL(None), _SignalStack()
    libc.sigaltstack(None, ctypes.byref(before))
    try:
        yield
    finally:
        libc.sigaltstack(ctypes.byref(before), None)


def to_openvino(prepared: Prepared, images: Tensor) -> Any:
    """An `openvino.Model` of `prepared` for images of this height, width and type, any number of them."""
    return convert(exported(prepared, images))


def convert(program: torch.export.ExportedProgram, *, dynamic_size: bool = False) -> Any:
    """An `openvino.Model` of an exported program.

    Args:
        dynamic_size: free the height and the width, which are fixed in `program`.
    """
    import openvino

    assert program.example_inputs is not None
    (example,), _ = program.example_inputs
    with quiet():
        graph = openvino.convert_model(program, extension=openvino_extensions())
    graph.reshape(
        [graph.input(0).partial_shape[0], *((example.shape[1], -1, -1) if dynamic_size else example.shape[1:])]
    )
    if not dynamic_size:
        pad_rounded_pools(graph)
    return graph


def quantize(graph: Any, calibration: Iterable[Tensor]) -> Any:
    """`graph` with 8-bit convolutions (NNCF, after training), its ranges measured on `calibration`.

    Args:
        graph: what `to_openvino` made.
        calibration: batches of images like the ones to come, un-normalized; some hundreds of images are enough.
    """
    import nncf

    batches = [batch.contiguous().numpy() for batch in calibration]
    with quiet(), signal_stack_kept():
        return nncf.quantize(
            graph, nncf.Dataset(batches), subset_size=len(batches), preset=nncf.QuantizationPreset.MIXED
        )
