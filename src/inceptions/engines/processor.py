"""The one place that knows the processor: its instruction set, and what that means for the number formats.

Nobody else asks for flags, and nobody assumes any: what pays, what is emulated and what a proof of parity is worth on
another machine all follow from the record in here.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_NAMES: dict[str, tuple[str, ...]] = {
    "avx2": ("avx2",),
    "fma": ("fma", "fma3"),
    "avx512": ("avx512f", "avx512_f"),
    "avx_vnni": ("avx_vnni",),
    "avx512_vnni": ("avx512_vnni",),
    "avx512_bf16": ("avx512_bf16",),
    "avx512_fp16": ("avx512_fp16",),
    "amx_int8": ("amx_int8",),
    "amx_bf16": ("amx_bf16",),
    "neon": ("neon", "asimd"),
    "dotprod": ("dot", "asimddp", "feat_dotprod"),
    "i8mm": ("i8mm", "feat_i8mm"),
    "bf16": ("bf16", "feat_bf16"),
    "sve": ("sve",),
    "sve2": ("sve2",),
}
"""our name of an instruction set -> what PyTorch, Linux or macOS call it, in small letters."""
_SPOKEN = {
    "avx2": "AVX2",
    "avx512": "AVX-512",
    "avx_vnni": "AVX-VNNI",
    "avx512_vnni": "VNNI",
    "avx512_bf16": "BF16",
    "avx512_fp16": "FP16",
    "amx_int8": "AMX int8",
    "amx_bf16": "AMX BF16",
    "neon": "NEON",
    "dotprod": "dot product",
    "i8mm": "I8MM",
    "bf16": "BF16",
    "sve": "SVE",
    "sve2": "SVE2",
}
_LIMIT = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
_AVX2 = frozenset({"avx2", "fma"})
_AVX512 = _AVX2 | {"avx512"}
_VNNI = _AVX512 | {"avx512_vnni"}
_BF16 = _VNNI | {"avx_vnni", "avx512_bf16"}
_LIMITS: dict[str, frozenset[str]] = {
    "sse41": frozenset(),
    "avx": frozenset(),
    "avx2": _AVX2,
    "avx2_vnni": _AVX2 | {"avx_vnni"},
    "avx2_vnni_2": _AVX2 | {"avx_vnni"},
    "avx512_core": _AVX512,
    "avx512_core_vnni": _VNNI,
    "avx512_core_bf16": _BF16,
    "avx512_core_fp16": _BF16 | {"avx512_fp16"},
    "avx10_1_512": _BF16 | {"avx512_fp16"},
}
"""value of `ONEDNN_MAX_CPU_ISA`, in small letters -> what it leaves of an x86 processor; others leave everything."""


@dataclass(frozen=True, kw_only=True)
class Processor:
    """What the libraries may use of this processor.

    Attributes:
        model: as the maker calls it.
        architecture: "x86_64", "arm64", or what the system says.
        features: instruction sets, by the names of this module.
        cores: logical ones, of the machine.
        limit: the value of `ONEDNN_MAX_CPU_ISA` where that hides a part of them from PyTorch and OpenVINO.
    """

    model: str
    architecture: str
    features: frozenset[str]
    cores: int
    limit: str | None = None

    @property
    def has_vnni(self) -> bool:
        """Whether four products of 8-bit numbers are added up in 32 bits by one instruction (VNNI, AMX, ARM's dot
        product). Without it an x86 processor adds pairs in 16 bits, which saturate, and int8 answers differ."""
        return not self.features.isdisjoint(("avx_vnni", "avx512_vnni", "amx_int8", "dotprod", "i8mm"))

    @property
    def has_bf16(self) -> bool:
        """Whether it multiplies bf16 numbers; elsewhere they are emulated in float32, slower than float32 itself."""
        return not self.features.isdisjoint(("avx512_bf16", "amx_bf16", "bf16"))

    @property
    def instruction_set(self) -> str:
        """All of it in a line that people read and records keep, such as "AVX2 AVX-512 VNNI BF16"."""
        return " ".join(word for name, word in _SPOKEN.items() if name in self.features) or self.architecture

    def to_dict(self) -> dict[str, object]:
        """JSON-able."""
        return {
            "model": self.model,
            "architecture": self.architecture,
            "instruction_set": self.instruction_set,
            "cores": self.cores,
            "limit": self.limit,
        }


def processor() -> Processor:
    """The processor of this machine, less what `ONEDNN_MAX_CPU_ISA` hides.

    (The limit reaches PyTorch and OpenVINO, which obey it, and not ONNX Runtime.)
    """
    found = _hardware()
    limit = next((os.environ[name] for name in _LIMIT if os.environ.get(name)), None)
    left = _LIMITS.get(limit.lower()) if limit else None
    if left is None or found.architecture != "x86_64" or found.features <= left:
        return found
    return Processor(
        model=found.model,
        architecture=found.architecture,
        features=found.features & left,
        cores=found.cores,
        limit=limit,
    )


@cache
def _hardware() -> Processor:
    machine = platform.machine().lower()
    architecture = {"amd64": "x86_64", "x64": "x86_64", "aarch64": "arm64"}.get(machine, machine or "unknown")
    asked = _torch()
    words, model = (asked, asked.get("cpu_name")) if asked else (_system(), None)
    features = frozenset(ours for ours, theirs in _NAMES.items() if any(words.get(name) for name in theirs))
    return Processor(
        model=str(model or _lines().get("model name") or platform.processor() or machine or "unknown"),
        architecture=architecture,
        features=features,
        cores=os.cpu_count() or 1,
    )


def _torch() -> Mapping[str, object]:
    """PyTorch's answer, which asks the processor itself, on every system; nothing where it is too old to know."""
    import torch

    able = getattr(torch.cpu, "get_capabilities", None)
    answer: Mapping[str, object] = able() if able is not None else {}
    return answer


def _system() -> dict[str, object]:
    """What the system says: names that are there -> True."""
    if sys.platform == "darwin":
        told = subprocess.run(["sysctl", "hw.optional"], capture_output=True, text=True, check=False).stdout
        pairs = (line.partition(":") for line in told.lower().splitlines())
        return {name.rpartition(".")[2]: True for name, _, value in pairs if value.strip() == "1"}
    lines = _lines()
    return dict.fromkeys((lines.get("flags") or lines.get("features") or "").lower().split(), True)


def _lines() -> dict[str, str]:
    """Linux's description of the first processor; elsewhere nothing."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    return {name.strip().lower(): value.strip() for name, _, value in pairs}
