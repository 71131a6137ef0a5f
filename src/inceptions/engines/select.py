"""Which engine answers: what is installed, what is precise enough, and what pays off for the work ahead."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from inceptions.engines.compiled import CompiledEngine, compiler
from inceptions.engines.eager import TorchEngine
from inceptions.engines.early_exit import early_exit as cascade
from inceptions.engines.early_exit import refuse
from inceptions.engines.engine import Engine
from inceptions.engines.export_folder import RUNTIMES, Export
from inceptions.engines.exported import ExportedEngine
from inceptions.engines.finite import refuse_damaged
from inceptions.engines.measured import best, key, race, remember, remembered, told
from inceptions.engines.precisions import ENGINES, PRECISIONS, Support, fast_bf16, support
from inceptions.engines.prepared import Prepared
from inceptions.engines.processor import processor
from inceptions.engines.runtime import Resolved, Runtime
from inceptions.progress import log
from inceptions.zoo import Network, preprocess_of

MANY = 200  # images from which on measuring what is fastest is worth its time
PATIENCE = {"openvino": 30.0, "onnxruntime": 30.0, "torch-compiled": 300.0, "torch": 0.0}
"""engine -> seconds of work for eager PyTorch below which it is not tried: converting takes 10 s, compiling 30."""
ANY = Runtime()
"""Nothing asked for in particular."""
_ON_TORCH = {"torch": TorchEngine, "torch-compiled": CompiledEngine}


def available() -> tuple[str, ...]:
    """The engines that are installed; PyTorch's compiler calls one for C++."""
    return tuple(name for name in ENGINES if (compiler() if name == "torch-compiled" else find_spec(name)) is not None)


def open_engine(
    net: Network | Export,
    runtime: Runtime = ANY,
    *,
    expected: int | None = None,
    calibration: Iterable[Tensor] | None = None,
    **changes: Any,
) -> Engine:
    """Make `net` ready to answer.

    Args:
        net: a network with its `preprocess`; copied, never changed. An export runs on its file, in its precision.
        runtime: how it is run.
        expected: how many images will come; None: few.
        calibration: batches of un-normalized images that int8 measures its ranges on.
        changes: fields of `runtime` by name, as `engine="torch"`.

    Raises:
        ValueError: an unknown engine or precision, one that is not installed, that do not go together, or a precision
            that the engine would not compute in on this processor; a network without preprocessing; an early exit from
            a network without auxiliary heads.
    """
    runtime = replace(runtime, **changes)
    if isinstance(net, Export):
        _refuse_for_export(net, runtime)
        return ExportedEngine(net.folder, batch_size=runtime.batch_size, threads=runtime.threads)
    if runtime.early_exit is not None:
        refuse(net, runtime.early_exit)
    refuse_damaged(net)
    found = resolved(runtime, calibrated=calibration is not None)
    ranges = list(calibration) if found.precision == "int8" and calibration is not None else None
    opening = _Opening(found)
    if found.engine != "auto":
        name, reason = found.engine, "asked for"
    elif found.device.type != "cpu":
        name, reason = "torch", f"the engine for {found.device.type}"
    else:
        name, reason = _choose(net, opening, expected or 0)
    if found.early_exit is not None:
        chosen: Engine = cascade(net, found.early_exit, partial(opening, name, reason), ranges)
    else:
        chosen = opening.ready.get(name) or opening(name, reason, Prepared(net), ranges)
        chosen.reason = reason
    opening.ready.clear()
    asked = support(name, found.precision, found.device)
    if asked.emulated:
        log.warning("%s", asked.note)
    if found.batch_size is None and found.device.type == "cpu" and (expected or 0) >= chosen.worth_tuning:
        chosen.tune(_blank(net))
    log.debug("engine: %s", chosen)
    return chosen


@dataclass(frozen=True)
class _Opening:
    """How engines are opened, whichever it will be."""

    runtime: Resolved
    ready: dict[str, Engine] = field(default_factory=dict)
    """Engines of the whole network that were opened to be measured."""

    def __call__(self, name: str, reason: str, part: Prepared, ranges: list[Tensor] | None = None) -> Engine:
        engine = self._engine(name, reason, part.to(self.runtime.device), ranges)
        engine.emulated = support(name, self.runtime.precision, self.runtime.device).emulated
        return engine

    def _engine(self, name: str, reason: str, part: Prepared, ranges: list[Tensor] | None) -> Engine:
        precision, place, threads = self.runtime.precision, self.runtime.device, self.runtime.threads
        size = self.runtime.batch_size or (16 if place.type == "cpu" else 128)
        if name in _ON_TORCH:
            return _ON_TORCH[name](part, precision, size, reason, device=place, threads=threads)
        if name == "onnxruntime":
            from inceptions.engines.onnx_runtime import OnnxRuntimeEngine

            return OnnxRuntimeEngine(part, precision, size, reason, threads=threads)
        from inceptions.engines.openvino import PER_REQUEST, OpenVinoEngine

        request = self.runtime.batch_size or PER_REQUEST
        return OpenVinoEngine(part, precision, request, reason, threads=threads, calibration=ranges)

    def timed(self, net: Network, name: str) -> Engine:
        """An engine of the whole network to be measured, opened once."""
        if name not in self.ready:
            self.ready[name] = self(name, "timed", Prepared(net))
        return self.ready[name]


def resolved(runtime: Runtime, *, calibrated: bool = False) -> Resolved:
    """What `runtime` means on this machine.

    Args:
        calibrated: there are images for int8 to measure its ranges on.

    Raises:
        ValueError: as `open_engine`.
    """
    gpu = runtime.engine in ("auto", *_ON_TORCH) and torch.cuda.is_available()
    place = torch.device(runtime.device or ("cuda" if gpu else "cpu"))
    precision = runtime.precision or "float32"
    if precision == "auto":
        able = [name for name in _candidates(runtime.engine, place) if support(name, "bf16", place).pays]
        precision = "bf16" if fast_bf16(place) and able else "float32"
        if place.type == "cpu" and not fast_bf16(place):
            log.info("precision: float32, since this processor (%s) has no bf16", processor().instruction_set)
    found = Resolved(**{**vars(runtime), "precision": precision, "device": place})
    _refuse(found, calibrated=calibrated)
    return found


def _candidates(engine: str, place: torch.device) -> list[str]:
    """The engines that may answer where `engine` is asked for."""
    if engine != "auto":
        return [engine]
    return [name for name in available() if place.type == "cpu" or name in _ON_TORCH]


def _choose(net: Network, opening: _Opening, expected: int) -> tuple[str, str]:
    """The engine for a CPU, and why: converting and measuring take time, which the images to come must earn back.

    Args:
        opening: opens what has to be measured, and keeps it.
        expected: images to come.
    """
    runtime = opening.runtime
    precision, place = runtime.precision, runtime.device
    able = [one for name in available() if precision in ENGINES[name] for one in [support(name, precision, place)]]
    fitting = [one.engine for one in able if one.pays] or [one.engine for one in able if one.emulated]
    if len(fitting) == 1:
        return fitting[0], f"the only one installed that has {precision}"
    if expected < MANY:
        return "torch", "needs no conversion, which does not pay for few images"
    preprocess_of(net)
    size = runtime.batch_size or 16
    name = key(net, precision, runtime.threads or torch.get_num_threads(), runtime.batch_size)
    known = remembered(name)
    rate = known.get("torch") or opening.timed(net, "torch").rate(_blank(net).expand(size, -1, -1, -1))
    seconds = expected / rate
    worth = [one for one in fitting if seconds >= PATIENCE[one]]
    if worth == ["torch"]:
        return "torch", f"about {seconds:.0f} s for {expected} images; no faster engine pays off or is installed"
    if not known.keys() >= set(worth):
        log.info("measuring which engine is fastest here: %s", ", ".join(worth))
        known, engines = race(worth, partial(opening.timed, net), net)
        opening.ready.update({engine.name: engine for engine in engines})
        remember(name, known)
    rates = {one: known[one] for one in worth}
    log.debug("engines, measured in %s: %s", precision, told(rates))
    return best(rates), f"the fastest here in {precision}: {told(rates)}"


def _blank(net: Network) -> Tensor:
    return torch.zeros(preprocess_of(net).shape, dtype=torch.uint8)


def _refuse_for_export(export: Export, runtime: Runtime) -> None:
    folder, own = export.folder, RUNTIMES[export.format]
    if runtime.early_exit is not None:
        raise export.refusal()
    if runtime.engine not in ("auto", own):
        raise ValueError(f"{folder} is an export for {own}; it does not run on {runtime.engine}")
    if runtime.precision not in (None, "auto", export.precision):
        raise ValueError(f"{folder} is an export in {export.precision}; {runtime.precision} needs another export")
    if runtime.device is not None and torch.device(runtime.device).type != "cpu":
        raise ValueError(f"{folder} is an export, which runs on the CPU, not on {runtime.device}")


def _refuse(runtime: Resolved, *, calibrated: bool) -> None:
    engine, precision, place = runtime.engine, runtime.precision, runtime.device
    if engine not in ("auto", *ENGINES):
        raise ValueError(f"unknown engine {engine!r}; one of auto, {', '.join(ENGINES)}")
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision {precision!r}; one of auto, {', '.join(PRECISIONS)}")
    if runtime.batch_size is not None and runtime.batch_size < 1:
        raise ValueError(f"batch_size {runtime.batch_size}: at least one image is run at once")
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
            raise ValueError("int8 needs images to measure its ranges on (calibration=batches of images)")
    _refuse_untrue(engine, precision, place)


def _refuse_untrue(engine: str, precision: str, place: torch.device) -> None:
    """Raises `ValueError` where nothing that may answer would compute in `precision`."""
    asked: list[Support] = [
        support(name, precision, place) for name in _candidates(engine, place) if precision in ENGINES[name]
    ]
    if all(one.computes != precision for one in asked):
        reasons = "; ".join(one.note for one in asked)
        raise ValueError(
            f"{precision} is not computed here: {reasons}. Take float32, or auto for what this machine has"
        )
