"""Which engine answers: what is installed, what is precise enough, and what pays off for the work ahead."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from inceptions.engines.compiled import CompiledEngine, compiler
from inceptions.engines.eager import TorchEngine
from inceptions.engines.early_exit import early_exit as cascade
from inceptions.engines.early_exit import refuse
from inceptions.engines.engine import Engine
from inceptions.engines.exported import ExportedEngine
from inceptions.engines.finite import refuse_damaged
from inceptions.engines.prepared import Prepared
from inceptions.progress import log
from inceptions.zoo import Network

ENGINES = {
    "openvino": ("float32", "bf16", "int8"),
    "onnxruntime": ("float32",),
    "torch-compiled": ("float32", "bf16"),
    "torch": ("float32", "bf16"),
}
"""engine -> its precisions; the fastest on a CPU first (measured: float32 40, 40, 34, 30 and bf16 75, -, 73, 57
pictures/s of Inception v3 in batches of 16)."""
PRECISIONS = ("float32", "bf16", "int8")

MANY = 200  # pictures from which on measuring what is fastest is worth its time
PATIENCE = {"openvino": 30.0, "onnxruntime": 30.0, "torch-compiled": 300.0, "torch": 0.0}
"""engine -> seconds of work for eager PyTorch below which it does not pay: converting takes 10 s, compiling 30."""
_ON_TORCH = {"torch": TorchEngine, "torch-compiled": CompiledEngine}


def available() -> tuple[str, ...]:
    """The engines that are installed, the fastest on a CPU first; PyTorch's compiler calls one for C++."""
    return tuple(name for name in ENGINES if (compiler() if name == "torch-compiled" else find_spec(name)) is not None)


def fast_bf16(device: torch.device) -> bool:
    """Whether `device` computes in bf16 faster than in float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    flags = Path("/proc/cpuinfo")
    return platform.system() == "Linux" and flags.exists() and "bf16" in flags.read_text(errors="replace")


def open_engine(
    net: Network,
    *,
    engine: str = "auto",
    precision: str | None = None,
    batch_size: int | None = None,
    device: str | torch.device | None = None,
    threads: int | None = None,
    expected: int | None = None,
    calibration: Iterable[Tensor] | None = None,
    early_exit: float | None = None,
) -> Engine:
    """Make `net` ready to answer.

    Args:
        net: a network with its `preprocess`; copied, never changed. One that an export describes runs on the file of
            the export, in its precision.
        engine: "torch", "torch-compiled", "onnxruntime", "openvino"; "auto": torch on a GPU, and for work that it
            finishes on the CPU in half a minute; else the fastest installed that has the precision (compiled for work
            of minutes only).
        precision: "float32", "bf16", "int8" (needs `calibration`); "auto": bf16 where the device is fast in it; None:
            float32, and of an export its own.
        batch_size: pictures that are run at once; None: 16 on a CPU and 128 on a GPU, and for much work on a CPU what
            is measured to be fastest.
        device: where torch runs; None: a GPU where there is one and the engine may be torch.
        threads: of the CPU; None: as many as PyTorch uses.
        expected: how many pictures will come; None: few.
        calibration: batches of un-normalised pictures that int8 measures its ranges on.
        early_exit: the softmax probability from which on an auxiliary head is sure, so that its pictures stop there;
            the engine is then an `EarlyExit`, which has no features.

    Raises:
        ValueError: an unknown engine or precision, one that is not installed, or that do not go together; a network
            without preprocessing; an early exit from a network without auxiliary heads.
    """
    if early_exit is not None:
        refuse(net, early_exit)
    if net.export is not None:
        exported = ExportedEngine(net.export, batch_size=batch_size, threads=threads)
        if engine not in ("auto", exported.name):
            raise ValueError(f"{net.export} is an export for {exported.name}; it does not run on {engine}")
        if precision not in (None, "auto", exported.precision):
            raise ValueError(f"{net.export} is an export in {exported.precision}; {precision} needs another export")
        if device is not None and torch.device(device).type != "cpu":
            raise ValueError(f"{net.export} is an export, which runs on the CPU, not on {device}")
        return exported
    refuse_damaged(net)
    precision, place = settled(engine, precision, device, batch_size=batch_size, calibrated=calibration is not None)
    size = batch_size or (16 if place.type == "cpu" else 128)

    def opened(name: str, reason: str, part: Prepared, ranges: list[Tensor] | None = None) -> Engine:
        part = part.to(place)
        if name in _ON_TORCH:
            return _ON_TORCH[name](part, precision, size, reason, device=place, threads=threads)
        if name == "onnxruntime":
            from inceptions.engines.onnx_runtime import OnnxRuntimeEngine

            return OnnxRuntimeEngine(part, precision, size, reason, threads=threads)
        from inceptions.engines.open_vino import PER_REQUEST, OpenVinoEngine

        request = batch_size or PER_REQUEST
        return OpenVinoEngine(part, precision, request, reason, threads=threads, calibration=ranges)

    def rate() -> float:
        return opened("torch", "timed", Prepared(net)).rate(_blank(net).expand(size, -1, -1, -1))

    if engine != "auto":
        name, reason = engine, "asked for"
    elif place.type != "cpu":
        name, reason = "torch", f"the engine for {place.type}"
    else:
        name, reason = _choose(precision, expected or 0, rate)
    ranges = list(calibration) if precision == "int8" and calibration is not None else None
    if early_exit is None:
        chosen = opened(name, reason, Prepared(net), ranges)
    else:
        chosen = cascade(net, early_exit, partial(opened, name, reason), ranges)
    if batch_size is None and place.type == "cpu" and (expected or 0) >= chosen.worth_tuning:
        chosen.tune(_blank(net))
    log.debug("engine: %s", chosen)
    return chosen


def settled(
    engine: str,
    precision: str | None,
    device: str | torch.device | None,
    *,
    batch_size: int | None = None,
    calibrated: bool = False,
) -> tuple[str, torch.device]:
    """The precision and the device that `open_engine` takes for these arguments.

    Raises:
        ValueError: as `open_engine`.
    """
    gpu = engine in ("auto", *_ON_TORCH) and torch.cuda.is_available()
    place = torch.device(device or ("cuda" if gpu else "cpu"))
    precision = precision or "float32"
    if precision == "auto":
        precision = "bf16" if fast_bf16(place) and engine != "onnxruntime" else "float32"
    _refuse(engine, precision, batch_size, place, calibrated=calibrated)
    return precision, place


def _choose(precision: str, expected: int, rate: Callable[[], float]) -> tuple[str, str]:
    """The engine for a CPU, and why: converting takes time, which the pictures to come must earn back.

    Args:
        expected: pictures to come.
        rate: measures the pictures per second of eager PyTorch.
    """
    fitting = [name for name in available() if precision in ENGINES[name]]
    fastest = f"the fastest installed on a CPU in {precision}"
    if "torch" not in fitting:
        return fitting[0], fastest
    if expected < MANY:
        return "torch", "needs no conversion, which does not pay for few pictures"
    seconds = expected / rate()
    name = next(name for name in fitting if seconds >= PATIENCE[name])
    if name != "torch":
        return name, fastest
    return name, f"about {seconds:.0f} s for {expected} pictures; no faster engine pays off or is installed"


def _blank(net: Network) -> Tensor:
    return torch.zeros(net.preprocess.shape, dtype=torch.uint8)


def _refuse(engine: str, precision: str, batch_size: int | None, place: torch.device, *, calibrated: bool) -> None:
    if engine not in ("auto", *ENGINES):
        raise ValueError(f"unknown engine {engine!r}; one of auto, {', '.join(ENGINES)}")
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision {precision!r}; one of auto, {', '.join(PRECISIONS)}")
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size {batch_size}: at least one picture is run at once")
    if engine != "auto" and precision not in ENGINES[engine]:
        able = [name for name, precisions in ENGINES.items() if precision in precisions]
        raise ValueError(
            f"{engine} has no {precision} here, only {', '.join(ENGINES[engine])}; {', '.join(able)} has it"
        )
    if engine not in ("auto", *_ON_TORCH) and place.type != "cpu":
        raise ValueError(f"{engine} runs on the CPU here, not on {place}; for {place.type} use the engine torch")
    installed = available()
    if engine == "torch-compiled" and place.type == "cpu" and engine not in installed:
        raise ValueError(
            "torch-compiled needs a C++ compiler, and none is found (CXX, or g++); or use the engine torch"
        )
    if engine not in ("auto", "torch-compiled", *installed):
        raise ValueError(
            f"{engine} is not installed: pip install 'inceptions[deploy]' (installed: {', '.join(installed)})"
        )
    if precision == "int8":
        if "openvino" not in installed:
            raise ValueError("int8 needs OpenVINO and NNCF: pip install 'inceptions[deploy]'")
        if not calibrated:
            raise ValueError("int8 needs pictures to measure its ranges on (calibration=batches of pictures)")
