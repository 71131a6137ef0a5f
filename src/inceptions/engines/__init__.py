"""Run a network: images in, logits or pooled features out, behind one callable for every runtime.

    torch           always there; no conversion; float32 and bf16, CPU and GPU
    torch-compiled  the same, compiled for half a minute first; on a CPU it needs a C++ compiler
    onnxruntime     float32 on any CPU
    openvino        float32, bf16 and int8 on x86 and ARM CPUs

Which is fastest is measured (`auto`); which precisions a machine has is asked of its processor and of the runtime
(`support`), and what ran is read back (`Engine.precision`, `Engine.computes`).

With an early exit, a network's parts run one after the other on any of them (`EarlyExit`).

Conversion happens in memory, from the same module that PyTorch runs, normalization included.
"""

from __future__ import annotations

from inceptions.engines.early_exit import EarlyExit
from inceptions.engines.engine import Engine
from inceptions.engines.finite import NotFiniteError, blaming, finite, refuse_damaged
from inceptions.engines.precisions import ENGINES, PRECISIONS, Support, fast_bf16, support
from inceptions.engines.runtime import Runtime
from inceptions.engines.select import ANY, available, open_engine, resolved

__all__ = [
    "ANY",
    "ENGINES",
    "PRECISIONS",
    "EarlyExit",
    "Engine",
    "NotFiniteError",
    "Runtime",
    "Support",
    "available",
    "blaming",
    "fast_bf16",
    "finite",
    "open_engine",
    "refuse_damaged",
    "resolved",
    "support",
]
