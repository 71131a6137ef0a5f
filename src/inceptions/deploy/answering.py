"""A script, run as a process of its own: answers to the images that come in. It imports what it needs and no more.

    python answering.py MODEL.xml THREADS < arrays > arrays

Arrays are NumPy's files one behind the other, each behind its length. The first one out says whether pairs of 8-bit
products saturate here.
"""

from __future__ import annotations

import io
import os
import struct
import sys
from typing import Any, BinaryIO

import numpy as np


def saturates(core: Any) -> bool:
    """Whether the processor, as this process may use it, adds pairs of 8-bit products in 16 bits: 2 * 255 * 127 is more
    than they hold."""
    import openvino
    from openvino import opset14

    images = opset14.parameter([1, 16, 8, 8], np.float32)
    low, high = np.float32(0), np.float32(255)
    rounded = opset14.fake_quantize(images, low, high, low, high, 256)
    weights = opset14.convert(opset14.constant(np.full((16, 16, 3, 3), 127, np.int8)), "f32")
    weights = opset14.multiply(weights, opset14.constant(np.full((16, 1, 1, 1), 1e-3, np.float32)))
    sums = opset14.convolution(rounded, weights, [1, 1], [1, 1], [1, 1], [1, 1])
    model = core.compile_model(openvino.Model([sums], [images]), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = float(model(np.full((1, 16, 8, 8), 255, np.float32))[0][0, 0, 4, 4])
    return abs(found / (255 * 127e-3 * 16 * 9) - 1) > 0.01


def put(stream: BinaryIO, array: Any) -> None:
    """Write an array; NumPy itself writes to pipes on no system."""
    content = io.BytesIO()
    np.save(content, array)
    stream.write(struct.pack("<q", content.tell()) + content.getbuffer())
    stream.flush()


def get(stream: BinaryIO) -> Any:
    """The next array; None: the stream ends."""
    if len(head := stream.read(8)) < 8:
        return None
    return np.load(io.BytesIO(stream.read(*struct.unpack("<q", head))), allow_pickle=False)


def main() -> None:
    """Answer until the input ends."""
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # no telemetry
    import openvino

    file, threads = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not get among the arrays
    core = openvino.Core()
    put(answers, np.array(saturates(core)))
    properties = {
        "INFERENCE_PRECISION_HINT": "f32",  # bf16 under a limited instruction set comes out as zeros
        "INFERENCE_NUM_THREADS": int(threads),
        "PERFORMANCE_HINT": "LATENCY",
    }
    graph, models = core.read_model(file), dict[tuple[int, ...], Any]()
    while (images := get(sys.stdin.buffer)) is not None:
        if images.shape not in models:
            fixed = graph.clone()
            fixed.reshape(list(images.shape))
            models[images.shape] = core.compile_model(fixed, "CPU", properties)
        put(answers, np.asarray(models[images.shape](images)[0]))


if __name__ == "__main__":
    main()
