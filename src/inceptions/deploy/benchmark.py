"""How fast is a network here, on every engine, next to what the machine can do at most.

Every network, engine and precision has a process of its own, so that memory and threads are its own. As many as cores
and memory allow are alive at once; they take turns, round after round, so that a noisy machine is noisy for all of
them. What the processor lacks is left out, and said. The limit is the best of several small kernels of the same
arithmetic, see `inceptions.deploy.peak`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from inceptions.deploy.images import made_up
from inceptions.deploy.peak import Peak
from inceptions.deploy.turns import LONGEST, Case, Job, Opened, Process, TooLongError, serve_case, serve_limits
from inceptions.engines import ENGINES, PRECISIONS, available, support
from inceptions.engines.processor import processor
from inceptions.progress import log, track

DEVICES = ("cpu", "cuda")
PROCESS = 3 * 2**30  # bytes that a process may need: a network, its copy for a runtime, and what converts it
MOST = 4  # processes alive at once: more would wait longer for their turns than they save
PATIENCE = 60.0  # seconds that emulated arithmetic has for whatever is asked of it
LOADING = {"openvino": 15, "onnxruntime": 20, "torch-compiled": 70, "torch": 7}
QUANTISING = 40
"""Seconds that opening a network of the size of Inception v3 takes, to say beforehand how long it will be."""
LIMITS = 1.5  # seconds of a turn of the limits in one precision


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A case and what came out; times are medians over the rounds."""

    model: str
    engine: str
    precision: str
    """What ran, as reported by the runtime."""
    batch: int
    threads: int
    device: str
    images_per_second: float
    latency_ms: dict[str, float]
    """p50, p95 and p99 of one batch."""
    share_of_peak: float
    """Operations per second (two a multiply-add) against the limit. Above 1 the limit is wrong, which is reported."""
    peak_gops: float
    """The limit: 10^9 operations per second."""
    parity: dict[str, float]
    """`equal_top1`: share of equal answers with float32 PyTorch; `max_difference`: of a logit; `max_logit`."""
    load_seconds: float
    """Opening, converting and the first answers of every size of a batch, while others loaded next to it."""
    peak_memory: int
    """Bytes of the process; on a GPU, of its memory."""
    file_size: int
    """Bytes of the network as this engine has it in a file: see `Engine.file_size`."""
    computes: str
    """What ran, for people: how many layers in which precision, and whether it is emulated."""
    peak_by: str
    """The kernel that reached the limit."""
    register_gops: float | None
    """What the registers allow, 10^9 operations per second; None: not known."""
    register_assumed: str
    """What that takes for granted."""
    instruction_set: str
    """The processor's."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)


def cases(
    models: Sequence[str], *, engines: Sequence[str] | None, precisions: Sequence[str] | None, batches: Sequence[int],
    threads: Sequence[int], device: str | None = None,
) -> list[Case]:  # fmt: skip
    """Every combination that this machine has; what it has not is said and left out.

    Args:
        precisions: None: all but emulated ones, which are slower than float32.
        device: where PyTorch runs, "cpu" or "cuda"; None: a GPU where there is one. The other engines run on the CPU.

    Raises:
        ValueError: an unknown or missing engine, precision or device, or nothing is left to measure.
    """
    if device not in (None, *DEVICES) or (device == "cuda" and not torch.cuda.is_available()):
        raise ValueError(f"device {device}: cpu, or cuda where PyTorch finds a GPU")
    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    installed = available()
    wrong = [name for name in engines or () if name not in installed]
    wrong += [name for name in precisions or () if name not in PRECISIONS]
    if wrong:
        raise ValueError(f"not here: {', '.join(wrong)}; engines: {', '.join(installed)}; {', '.join(PRECISIONS)}")
    wanted = [
        (engine, precision, place if engine.startswith("torch") else "cpu")
        for engine in installed
        for precision in ENGINES[engine]
        if (not engines or engine in engines) and (not precisions or precision in precisions)
    ]
    here = [one for one in wanted if _is_here(*one, asked=bool(precisions))]
    if not here:
        raise ValueError("no engine here has any of these precisions")
    return [
        Case(model=model, engine=engine, precision=precision, batch=batch, threads=count, device=where)
        for model in models
        for engine, precision, where in here
        for batch in batches
        for count in threads
    ]


def _is_here(engine: str, precision: str, device: str, *, asked: bool) -> bool:
    """Whether it is measured; why not is said.

    Args:
        asked: the precision was requested by name, so that emulated arithmetic is measured too.
    """
    one = support(engine, precision, torch.device(device))
    here = one.computes == precision and (asked or one.pays)
    if one.note and (not here or one.emulated):
        log.warning("%s %s%s: %s", engine, precision, "" if here else " is left out", one.note)
    return here


def together(count: int) -> int:
    """How many of `count` processes may be alive at once: as cores and memory allow, and one always."""
    names = getattr(os, "sysconf_names", {})
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if "SC_AVPHYS_PAGES" in names else PROCESS
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(count, cores, free // PROCESS, MOST))


def seconds_needed(groups: Sequence[Sequence[Case]], alive: int, rounds: int, seconds: float) -> float:
    """About how long `benchmark` takes."""
    firsts = [group[0] for group in groups]
    loads = [LOADING[one.engine] + QUANTISING * (one.precision == "int8") for one in firsts]
    models = len({one.model for one in firsts})
    limits = {(one.device, one.threads, one.precision) for one in firsts}
    turns = sum(map(len, groups)) * rounds * seconds * 1.2
    return (sum(loads) + LOADING["torch"] * models) / alive + turns + len(limits) * (LIMITS * 2 + 1)


def benchmark(
    wanted: Sequence[Case],
    *,
    rounds: int = 5,
    seconds: float = 1.0,
    img_size: int | None = None,
    options: dict[str, Any] | None = None,
) -> list[Measured]:
    """Measure every case, taking turns; one that takes too long is left out, and said.

    Args:
        wanted: what to measure.
        rounds: turns of each case; medians over them are reported.
        seconds: of one turn.
        img_size: side of the images, px; None: the network's own.
        options: of bare networks, whose weights are drawn from a fixed seed.

    Raises:
        ValueError: a model cannot be opened, or does not run on an engine.
        RuntimeError: a process failed in another way; the message holds its traceback.
    """
    groups: dict[Case, list[Case]] = {}
    for case in wanted:
        groups.setdefault(replace(case, batch=0), []).append(case)
    ready = list(groups.values())
    alive = together(len(ready))
    log.info(
        "%d cases in %d processes, %d at a time: about %.0f minutes",
        *(len(wanted), len(ready), alive, np.ceil(seconds_needed(ready, alive, rounds, seconds) / 60)),
    )
    found: dict[Case, _Series] = {}
    with TemporaryDirectory() as folder:
        split = made_up(Path(folder), ())
        job = Job(tuple(split.path(index) for index in range(len(split))), img_size, options)
        originals = {model: _original(model, job) for model in dict.fromkeys(case.model for case in wanted)}
        peaks = _peaks(wanted)
        parts = [ready[at : at + alive] for at in range(0, len(ready), alive)]
        for part in track(parts, description="measuring", unit="processes"):
            found |= _measure(part, job, rounds=rounds, seconds=seconds)
        peaks = {key: max(peak, again, key=lambda one: one.gops)
                 for (key, peak), again in zip(peaks.items(), _peaks(wanted).values(), strict=True)}  # fmt: skip
    if not found:
        raise RuntimeError("nothing was measured: every case took too long")
    return [series.result(case, originals[case.model], peaks[_key(case)]) for case, series in found.items()]


@dataclass(frozen=True)
class _Series:
    """The turns of one case."""

    opened: Opened
    place: int
    """Of its size among those of its process."""
    latencies: list[list[float]]

    def result(self, case: Case, original: NDArray[np.float32], peak: Peak) -> Measured:
        """The result, with the answers of the original and the limit."""
        logits = self.opened.logits
        turn = float(np.median([np.median(latencies) for latencies in self.latencies]))
        every = np.concatenate(self.latencies) * 1000
        p50, p95, p99 = (float(value) for value in np.percentile(every, (50, 95, 99)))
        share = case.batch / turn * 2 * self.opened.multiply_adds / peak.gops / 1e9
        if share > 1:
            log.warning(
                "%s on %s in %s is at %.0f %% of the limit: the limit (%s) is wrong, please report it",
                *(case.model, case.engine, case.precision, 100 * share, peak.by),
            )
        return Measured(
            **{**asdict(case), "precision": self.opened.precision},
            images_per_second=case.batch / turn,
            latency_ms={"p50": p50, "p95": p95, "p99": p99},
            share_of_peak=share,
            peak_gops=peak.gops,
            parity={
                "equal_top1": float((logits.argmax(1) == original.argmax(1)).mean()),
                "max_difference": float(np.abs(logits - original).max()),
                "max_logit": float(np.abs(original).max()),
            },
            load_seconds=self.opened.load_seconds,
            peak_memory=self.opened.memory[self.place],
            file_size=self.opened.file_size,
            computes=self.opened.computes,
            peak_by=peak.by,
            register_gops=peak.register_gops,
            register_assumed=peak.assumed,
            instruction_set=processor().instruction_set,
        )


def _measure(part: Sequence[Sequence[Case]], job: Job, *, rounds: int, seconds: float) -> dict[Case, _Series]:
    """Open some processes side by side and let them take turns."""
    workers = [(group, Process(serve_case, _name(group[0]), group[0], [one.batch for one in group], job))
               for group in part]  # fmt: skip
    found: dict[Case, _Series] = {}
    gone: set[str] = set()

    def answer(group: Sequence[Case], worker: Process, ask: Callable[[], Any]) -> Any:
        """The answer, or None from here on where it takes too long."""
        if worker.name in gone:
            return None
        try:
            return ask()
        except TooLongError as error:
            log.warning("%s: left out", error)
            gone.add(worker.name)
            for case in group:
                found.pop(case, None)
            return None

    try:
        for group, worker in workers:
            opened = answer(group, worker, partial(worker.receive, _most(group[0])))
            if opened is not None:
                found |= {case: _Series(opened, place, []) for place, case in enumerate(group)}
        for _ in range(rounds):
            for group, worker in workers:
                most = _most(group[0]) + 2 * seconds * len(group)
                turns = answer(group, worker, partial(worker.ask, seconds, most))
                for case, latencies in zip(group, turns or (), strict=turns is not None):
                    found[case].latencies.append(latencies)
    finally:
        for _, worker in workers:
            worker.close()
    return found


def _original(model: str, job: Job) -> NDArray[np.float32]:
    """The answers of PyTorch in float32 to the images."""
    plain = Case(
        model=model, engine="torch", precision="float32", batch=1, threads=torch.get_num_threads(), device="cpu"
    )
    worker = Process(serve_case, _name(plain), plain, [plain.batch], job)
    try:
        opened: Opened = worker.receive(LONGEST)
        return opened.logits
    finally:
        worker.close()


def _key(case: Case) -> tuple[str, int, str]:
    """Whose limit a case has: emulated bf16 is float32's arithmetic."""
    emulated = support(case.engine, case.precision, torch.device(case.device)).emulated
    return case.device, case.threads, "float32" if emulated else case.precision


def _peaks(wanted: Sequence[Case]) -> dict[tuple[str, int, str], Peak]:
    """The limits of all cases, measured while nothing else is."""
    keys = dict.fromkeys(map(_key, wanted))
    found = {}
    for device, threads in dict.fromkeys((device, threads) for device, threads, _ in keys):
        precisions = [precision for where, count, precision in keys if (where, count) == (device, threads)]
        worker = Process(serve_limits, "the limit", precisions, device, threads)
        try:
            worker.receive(LONGEST)
            told = worker.ask(LIMITS * len(precisions), LONGEST)
        finally:
            worker.close()
        found.update({(device, threads, precision): peak for precision, peak in told.items()})
    return {key: found[key] for key in keys}


def _most(case: Case) -> float:
    """Seconds that a process may take for an answer, in addition to the turn itself."""
    return PATIENCE if support(case.engine, case.precision, torch.device(case.device)).emulated else LONGEST


def _name(case: Case) -> str:
    return f"{case.model} on {case.engine} in {case.precision}, {case.threads} threads"


def lines(found: Sequence[Measured]) -> Iterator[str]:
    """The limits for people: measured, and what the registers allow."""
    for key in dict.fromkeys((one.device, one.threads, one.precision) for one in found):
        one = next(one for one in found if (one.device, one.threads, one.precision) == key)
        allowed = "not known" if one.register_gops is None else f"{one.register_gops:,.0f} GOP/s"
        yield (
            f"{one.precision} on {one.device}, {one.threads} threads: limit {one.peak_gops:,.0f} GOP/s "
            f"({one.peak_by}); registers {allowed} ({one.register_assumed})"
        )
