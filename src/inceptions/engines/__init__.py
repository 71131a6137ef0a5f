"""Run a network: pictures in, logits or pooled features out, behind one callable for every runtime.

    torch          always there; no conversion; float32 and bf16, CPU and GPU
    onnxruntime    float32 on any CPU
    openvino       float32, bf16 and int8 on x86 and ARM CPUs; the fastest of the three there

Conversion happens in memory, from the same module that PyTorch runs, normalisation included.
"""

from __future__ import annotations

from inceptions.engines.choice import ENGINES, PRECISIONS, available, fast_bf16, open_engine, settled
from inceptions.engines.engine import Engine

__all__ = ["ENGINES", "PRECISIONS", "Engine", "available", "fast_bf16", "open_engine", "settled"]
