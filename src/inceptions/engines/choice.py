"""Which engine answers: what is installed, what is precise enough, and what pays off for the work ahead."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from inceptions.engines.eager import TorchEngine
from inceptions.engines.engine import Engine
from inceptions.engines.exported import ExportedEngine
from inceptions.engines.prepared import Prepared
from inceptions.progress import log
from inceptions.zoo import Network

ENGINES = {
    "openvino": ("float32", "bf16", "int8"),
    "onnxruntime": ("float32",),
    "torch": ("float32", "bf16"),
}
"""engine -> its precisions; the fastest on a CPU first (measured: float32 39, 40, 26 and bf16 80, -, 52 pictures/s)."""
PRECISIONS = ("float32", "bf16", "int8")

MANY = 200  # pictures from which on measuring what is fastest is worth its time
PATIENCE = 30.0  # seconds of work without conversion below which converting (about 10 s) does not pay


def available() -> tuple[str, ...]:
    """The engines whose packages are installed, the fastest on a CPU first."""
    return tuple(name for name in ENGINES if find_spec(name) is not None)


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
    precision: str = "float32",
    batch_size: int | None = None,
    device: str | torch.device | None = None,
    threads: int | None = None,
    expected: int | None = None,
    calibration: Iterable[Tensor] | None = None,
) -> Engine:
    """Make `net` ready to answer.

    Args:
        net: a network with its `preprocess`; copied, never changed. One that an export describes runs on the file of
            the export, in its precision.
        engine: "torch", "onnxruntime", "openvino"; "auto": torch on a GPU, and for work that it finishes on the CPU in
            half a minute; else the fastest installed that has the precision.
        precision: "float32", "bf16", "int8" (needs `calibration`); "auto": bf16 where the device is fast in it.
        batch_size: pictures that are run at once; None: 16 on a CPU and 128 on a GPU, and for much work on a CPU what
            is measured to be fastest.
        device: where torch runs; None: a GPU where there is one and the engine may be torch.
        threads: of the CPU; None: as many as PyTorch uses.
        expected: how many pictures will come; None: few.
        calibration: batches of un-normalised pictures that int8 measures its ranges on.

    Raises:
        ValueError: an unknown engine or precision, one that is not installed, or that do not go together; a network
            without preprocessing.
    """
    if net.export is not None:
        exported = ExportedEngine(net.export, batch_size=batch_size or 16, threads=threads)
        if engine not in ("auto", exported.name):
            raise ValueError(f"{net.export} is an export for {exported.name}; it does not run on {engine}")
        return exported
    precision, place = settled(engine, precision, device, batch_size=batch_size, calibrated=calibration is not None)
    size = batch_size or (16 if place.type == "cpu" else 128)

    def opened(name: str, reason: str) -> Engine:
        prepared = Prepared(net).to(place)
        if name == "torch":
            return TorchEngine(prepared, precision, size, reason, device=place, threads=threads)
        if name == "onnxruntime":
            from inceptions.engines.onnx_runtime import OnnxRuntimeEngine

            return OnnxRuntimeEngine(prepared, precision, size, reason, threads=threads)
        from inceptions.engines.open_vino import OpenVinoEngine

        return OpenVinoEngine(prepared, precision, size, reason, threads=threads, calibration=calibration)

    if engine != "auto":
        chosen = opened(engine, "asked for")
    elif place.type != "cpu":
        chosen = opened("torch", f"the engine for {place.type}")
    else:
        chosen = _choose(opened, precision, net, expected or 0)
    if batch_size is None and place.type == "cpu" and (expected or 0) >= MANY:
        chosen.tune(_blank(net))
    log.debug("engine: %s", chosen)
    return chosen


def settled(
    engine: str,
    precision: str,
    device: str | torch.device | None,
    *,
    batch_size: int | None = None,
    calibrated: bool = False,
) -> tuple[str, torch.device]:
    """The precision and the device that `open_engine` takes for these arguments.

    Raises:
        ValueError: as `open_engine`.
    """
    place = torch.device(device or ("cuda" if engine in ("auto", "torch") and torch.cuda.is_available() else "cpu"))
    if precision == "auto":
        precision = "bf16" if fast_bf16(place) and engine != "onnxruntime" else "float32"
    _refuse(engine, precision, batch_size, place, calibrated=calibrated)
    return precision, place


def _choose(opened: Callable[[str, str], Engine], precision: str, net: Network, expected: int) -> Engine:
    """The engine for a CPU: converting takes seconds, so it must be earned back by the pictures to come."""
    fitting = [name for name in available() if precision in ENGINES[name]]
    if "torch" in fitting:
        torch_engine = opened("torch", "needs no conversion, which does not pay for few pictures")
        if expected < MANY:
            return torch_engine
        seconds = expected / torch_engine.rate(_blank(net).expand(torch_engine.batch_size, -1, -1, -1))
        if seconds < PATIENCE or fitting[0] == "torch":
            torch_engine.reason = (
                f"about {seconds:.0f} s for {expected} pictures; no faster engine pays off or is installed"
            )
            return torch_engine
    return opened(fitting[0], f"the fastest installed on a CPU in {precision}")


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
    if engine not in ("auto", "torch") and place.type != "cpu":
        raise ValueError(f"{engine} runs on the CPU here, not on {place}; for {place.type} use the engine torch")
    installed = available()
    if engine != "auto" and engine not in installed:
        raise ValueError(
            f"{engine} is not installed: pip install 'inceptions[deploy]' (installed: {', '.join(installed)})"
        )
    if precision == "int8":
        if "openvino" not in installed:
            raise ValueError("int8 needs OpenVINO and NNCF: pip install 'inceptions[deploy]'")
        if not calibrated:
            raise ValueError("int8 needs pictures to measure its ranges on (calibration=batches of pictures)")
