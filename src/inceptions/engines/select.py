"""Which engine answers: what is installed, what is precise enough, and what pays off for the work ahead."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec

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
from inceptions.progress import log
from inceptions.zoo import Network, preprocess_of

MANY = 200  # images from which on measuring what is fastest is worth its time
PATIENCE = {"openvino": 30.0, "onnxruntime": 30.0, "torch-compiled": 300.0, "torch": 0.0}
"""engine -> seconds of work for eager PyTorch below which it is not tried: converting takes 10 s, compiling 30."""
_ON_TORCH = {"torch": TorchEngine, "torch-compiled": CompiledEngine}


def available() -> tuple[str, ...]:
    """The engines that are installed; PyTorch's compiler calls one for C++."""
    return tuple(name for name in ENGINES if (compiler() if name == "torch-compiled" else find_spec(name)) is not None)


def open_engine(
    net: Network | Export,
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
        net: a network with its `preprocess`; copied, never changed. An export runs on its file, in its precision.
        engine: "torch", "torch-compiled", "onnxruntime", "openvino"; "auto": torch on a GPU, and for work that it
            finishes on the CPU in half a minute; else what is measured to be fastest of those that are installed and
            have the precision (compiled for work of minutes only). The measurement is kept for this machine.
        precision: "float32", "bf16", "int8" (needs `calibration`); "auto": bf16 where the device is fast in it; None:
            float32, and of an export its own. What runs is `Engine.precision`.
        batch_size: images that are run at once; None: 16 on a CPU and 128 on a GPU, and for much work on a CPU what
            is measured to be fastest.
        device: where torch runs; None: a GPU where there is one and the engine may be torch.
        threads: of the CPU; None: as many as PyTorch uses.
        expected: how many images will come; None: few.
        calibration: batches of un-normalized images that int8 measures its ranges on.
        early_exit: the softmax probability from which on an auxiliary head is sure, so that its images stop there;
            the engine is then an `EarlyExit`, which has no features.

    Raises:
        ValueError: an unknown engine or precision, one that is not installed, that do not go together, or a precision
            that the engine would not compute in on this processor; a network without preprocessing; an early exit from
            a network without auxiliary heads.
    """
    if isinstance(net, Export):
        _refuse_for_export(net, engine, precision, device, early_exit)
        return ExportedEngine(net.folder, batch_size=batch_size, threads=threads)
    if early_exit is not None:
        refuse(net, early_exit)
    refuse_damaged(net)
    precision, place = settled(engine, precision, device, batch_size=batch_size, calibrated=calibration is not None)
    ranges = list(calibration) if precision == "int8" and calibration is not None else None
    opening = _Opening(precision, place, batch_size, threads)
    if engine != "auto":
        name, reason = engine, "asked for"
    elif place.type != "cpu":
        name, reason = "torch", f"the engine for {place.type}"
    else:
        name, reason = _choose(net, opening, expected or 0)
    if early_exit is not None:
        chosen: Engine = cascade(net, early_exit, partial(opening, name, reason), ranges)
    else:
        chosen = opening.ready.get(name) or opening(name, reason, Prepared(net), ranges)
        chosen.reason = reason
    opening.ready.clear()
    asked = support(name, precision, place)
    if asked.emulated:
        log.warning("%s", asked.note)
    if batch_size is None and place.type == "cpu" and (expected or 0) >= chosen.worth_tuning:
        chosen.tune(_blank(net))
    log.debug("engine: %s", chosen)
    return chosen


@dataclass(frozen=True)
class _Opening:
    """How engines are opened, whichever it will be."""

    precision: str
    place: torch.device
    batch_size: int | None
    threads: int | None
    ready: dict[str, Engine] = field(default_factory=dict)
    """Engines of the whole network that were opened to be measured."""

    def __call__(self, name: str, reason: str, part: Prepared, ranges: list[Tensor] | None = None) -> Engine:
        engine = self._engine(name, reason, part.to(self.place), ranges)
        engine.emulated = support(name, self.precision, self.place).emulated
        return engine

    def _engine(self, name: str, reason: str, part: Prepared, ranges: list[Tensor] | None) -> Engine:
        size = self.batch_size or (16 if self.place.type == "cpu" else 128)
        if name in _ON_TORCH:
            return _ON_TORCH[name](part, self.precision, size, reason, device=self.place, threads=self.threads)
        if name == "onnxruntime":
            from inceptions.engines.onnx_runtime import OnnxRuntimeEngine

            return OnnxRuntimeEngine(part, self.precision, size, reason, threads=self.threads)
        from inceptions.engines.openvino import PER_REQUEST, OpenVinoEngine

        request = self.batch_size or PER_REQUEST
        return OpenVinoEngine(part, self.precision, request, reason, threads=self.threads, calibration=ranges)

    def timed(self, net: Network, name: str) -> Engine:
        """An engine of the whole network to be measured, opened once."""
        if name not in self.ready:
            self.ready[name] = self(name, "timed", Prepared(net))
        return self.ready[name]


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
    wanted = precision or "float32"
    if wanted == "auto":
        able = [name for name in _candidates(engine, place) if support(name, "bf16", place).pays]
        wanted = "bf16" if fast_bf16(place) and able else "float32"
        if place.type == "cpu" and not fast_bf16(place):
            log.info("precision: float32, since this processor (%s) has no bf16", processor().instruction_set)
    _refuse(engine, wanted, batch_size, place, calibrated=calibrated)
    return wanted, place


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
    precision, place = opening.precision, opening.place
    able = [one for name in available() if precision in ENGINES[name] for one in [support(name, precision, place)]]
    fitting = [one.engine for one in able if one.pays] or [one.engine for one in able if one.emulated]
    if len(fitting) == 1:
        return fitting[0], f"the only one installed that has {precision}"
    if expected < MANY:
        return "torch", "needs no conversion, which does not pay for few images"
    preprocess_of(net)
    size = opening.batch_size or 16
    name = key(net, precision, opening.threads or torch.get_num_threads(), opening.batch_size)
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


def _refuse_for_export(
    export: Export, engine: str, precision: str | None, device: str | torch.device | None, early_exit: float | None
) -> None:
    folder, runtime = export.folder, RUNTIMES[export.format]
    if early_exit is not None:
        raise export.refusal()
    if engine not in ("auto", runtime):
        raise ValueError(f"{folder} is an export for {runtime}; it does not run on {engine}")
    if precision not in (None, "auto", export.precision):
        raise ValueError(f"{folder} is an export in {export.precision}; {precision} needs another export")
    if device is not None and torch.device(device).type != "cpu":
        raise ValueError(f"{folder} is an export, which runs on the CPU, not on {device}")


def _refuse(engine: str, precision: str, batch_size: int | None, place: torch.device, *, calibrated: bool) -> None:
    if engine not in ("auto", *ENGINES):
        raise ValueError(f"unknown engine {engine!r}; one of auto, {', '.join(ENGINES)}")
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision {precision!r}; one of auto, {', '.join(PRECISIONS)}")
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size {batch_size}: at least one image is run at once")
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
