"""Which precision an engine really computes in on this machine, asked of the runtime and of the processor.

A runtime takes every hint, and some fall back without a word: OpenVINO computes float32 where a processor has no bf16.
So a small graph is compiled here, and what it will execute is read back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from inceptions.engines.processor import Processor, processor

ENGINES = {
    "openvino": ("float32", "bf16", "int8"),
    "onnxruntime": ("float32",),
    "torch-compiled": ("float32", "bf16"),
    "torch": ("float32", "bf16"),
}
"""engine -> the precisions that it can be asked for; which of them this machine has, `support` finds out."""
PRECISIONS = ("float32", "bf16", "int8")

_MULTIPLIES = ("Convolution", "FullyConnected", "MatMul", "Deconvolution")
_RUNTIME = {"f32": "float32", "f16": "float16", "bf16": "bf16", "u8": "int8", "i8": "int8"}


@dataclass(frozen=True, kw_only=True)
class Support:
    """An engine asked for a precision, on one device.

    Attributes:
        computes: the precision that is executed; None: the runtime fails.
        pays: whether it is faster than float32 by the processor's instructions; of float32, that it is computed.
        note: what a user should know, as a sentence without its dot; empty: nothing.
    """

    engine: str
    precision: str
    computes: str | None
    pays: bool
    note: str = ""

    @property
    def emulated(self) -> bool:
        """Whether the numbers are what was asked for, and the arithmetic is another's."""
        return self.computes == self.precision and not self.pays


def support(engine: str, precision: str, device: torch.device) -> Support:
    """What happens where `engine` is asked for `precision` on `device`."""
    here = processor()
    if precision not in ENGINES.get(engine, ()):
        return Support(engine=engine, precision=precision, computes=None, pays=False, note=f"{engine} has none")
    if precision == "float32":
        return Support(engine=engine, precision=precision, computes="float32", pays=True)
    if device.type != "cpu":
        return _on_gpu(engine, precision, device)
    if engine == "openvino":
        return _openvino(precision, here)
    note = "" if here.has_bf16 else _emulation("PyTorch", here)
    return Support(engine=engine, precision=precision, computes="bf16", pays=here.has_bf16, note=note)


def fast_bf16(device: torch.device) -> bool:
    """Whether `device` computes in bf16 faster than in float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and processor().has_bf16


def executed(compiled_model: Any) -> dict[str, int]:
    """Precision -> how many layers that multiply run in it, read back from a compiled `openvino.CompiledModel`; the
    most first."""
    found = Counter[str]()
    for node in compiled_model.get_runtime_model().get_ops():
        facts = node.get_rt_info()
        if _text(facts, "layerType") in _MULTIPLIES:
            told = _text(facts, "runtimePrecision")
            found[_RUNTIME.get(told, told)] += 1
    return dict(found.most_common())


def said(layers: Mapping[str, int], *, emulated: bool = False) -> str:
    """What ran, for people: "bf16", "int8 (94 layers; bf16 1)", "bf16 (emulated in float32)"."""
    first, *others = layers
    notes = ["emulated in float32"] if emulated else []
    if others:
        notes.append("; ".join([f"{layers[first]} layers", *(f"{name} {layers[name]}" for name in others)]))
    return f"{first} ({'; '.join(notes)})" if notes else first


def _on_gpu(engine: str, precision: str, device: torch.device) -> Support:
    pays = fast_bf16(device)
    note = "" if pays else f"{device.type} emulates bf16 here: slower than float32"
    return Support(engine=engine, precision=precision, computes="bf16", pays=pays, note=note)


def _openvino(precision: str, here: Processor) -> Support:
    computes = _tried(precision, here)
    pays = computes == precision and (precision == "int8" or here.has_bf16)
    note = ""
    if precision == "int8" and not here.has_vnni:
        note = f"{here.instruction_set} adds pairs of 8-bit products in 16 bits, which can saturate"
    elif computes is None:
        note = f"OpenVINO has no {precision} on this processor ({here.instruction_set})"
    elif computes != precision:
        note = f"OpenVINO computes {computes} where {precision} is requested ({here.instruction_set})"
    elif not pays:
        note = _emulation("OpenVINO", here)
    return Support(engine="openvino", precision=precision, computes=computes, pays=pays, note=note)


def _emulation(runtime: str, here: Processor) -> str:
    return (
        f"{runtime} emulates bf16 on this processor ({here.instruction_set}): numbers are rounded to bf16 and computed "
        "in float32, which is slower than float32"
    )


@cache
def _tried(precision: str, here: Processor) -> str | None:
    """What OpenVINO executes where a convolution is asked for in `precision`; None: it fails, or is not installed.

    Args:
        here: what the answer is remembered for.
    """
    del here
    try:
        from inceptions.engines.openvino import compiled, small_graph

        layers = executed(compiled(small_graph(precision), (1, 16, 8, 8), precision, 1))
    except (ImportError, RuntimeError):  # what a runtime says where it lacks a kernel
        return None
    return next(iter(layers), None)


def _text(facts: Any, key: str) -> str:
    """A value of OpenVINO's runtime info, which has types of its own."""
    value = facts[key]
    return str(value.astype(str) if hasattr(value, "astype") else value)


def layers_of(module: torch.nn.Module) -> dict[str, int]:
    """Precision -> how many layers of a PyTorch module multiply in it, the most first."""
    names: Mapping[torch.dtype, str] = {torch.float32: "float32", torch.bfloat16: "bf16", torch.float16: "float16"}
    found = Counter(names.get(one.weight.dtype, str(one.weight.dtype)) for one in _weighted(module))
    return dict(found.most_common())


def _weighted(module: torch.nn.Module) -> Iterable[torch.nn.Conv2d | torch.nn.Linear]:
    return (one for one in module.modules() if isinstance(one, (torch.nn.Conv2d, torch.nn.Linear)))
