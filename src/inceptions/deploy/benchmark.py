"""How fast is a network here, on every engine, beside what the machine can do at most.

Every case runs in a process of its own, so that memory and threads are its own; the processes take turns, round after
round, so that a noisy machine is noisy for all of them. The limit is a large matrix product of the same precision, in
the same engine, on the same threads, in the same rounds.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from inceptions.anatomy import cost
from inceptions.deploy.original import open_original
from inceptions.deploy.pictures import made_up
from inceptions.engines import ENGINES, available, open_engine
from inceptions.engines.prepared import quiet
from inceptions.progress import DataError, RunError, log, track
from inceptions.zoo import ALIASES, MEMBERS

SIDES = {"cpu": 2048, "cuda": 8192}
"""device -> side of the matrices whose product is the limit: far beyond its caches, small enough for a short round."""
LINKS = 4  # products one after the other, so that reading the input and writing the output does not count


def operations(device: str) -> int:
    """Of the chain of products: a multiply-add is two."""
    return int(2 * LINKS * SIDES[device] ** 3)


@dataclass(frozen=True, kw_only=True)
class Case:
    """What one process measures."""

    model: str
    engine: str
    precision: str
    batch: int
    threads: int
    device: str
    """"cpu" or "cuda"."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A case and what came out; times are medians over the rounds."""

    model: str
    engine: str
    precision: str
    batch: int
    threads: int
    device: str
    pictures_per_second: float
    latency_ms: dict[str, float]
    """p50, p95 and p99 of one batch."""
    share_of_peak: float
    """Operations per second (two a multiply-add) against the large matrix product; above 1 nothing is left to gain."""
    peak_gops: float
    """That product's rate, 10^9 operations per second."""
    parity: dict[str, float]
    """`equal_top1`: share of equal answers with float32 PyTorch; `max_difference`: of a logit; `max_logit`."""
    load_seconds: float
    """Opening, converting and the first answer."""
    peak_memory: int
    """Bytes of the process; on a GPU, of its memory."""
    file_size: int
    """Bytes of the network as this engine has it in a file: see `Engine.file_size`."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)


def cases(
    models: Sequence[str], *, engines: Sequence[str] | None, precisions: Sequence[str] | None, batches: Sequence[int],
    threads: Sequence[int], device: str | None = None,
) -> list[Case]:  # fmt: skip
    """Every combination that exists here.

    Args:
        device: where PyTorch runs, "cpu" or "cuda"; None: a GPU where there is one. The other engines run on the CPU.

    Raises:
        ValueError: an engine, precision or device that is unknown or not installed, or nothing is left.
    """
    if device not in (None, *SIDES) or (device == "cuda" and not torch.cuda.is_available()):
        raise ValueError(f"device {device}: cpu, or cuda where PyTorch finds a GPU")
    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    installed = available()
    wrong = [name for name in engines or () if name not in installed]
    wrong += [name for name in precisions or () if name not in ("float32", "bf16", "int8")]
    if wrong:
        raise ValueError(f"not here: {', '.join(wrong)}; engines: {', '.join(installed)}; float32, bf16, int8")
    found = [
        Case(
            model=model,
            engine=engine,
            precision=precision,
            batch=batch,
            threads=count,
            device=place if engine.startswith("torch") else "cpu",
        )
        for model in models
        for engine in installed
        for precision in ENGINES[engine]
        for batch in batches
        for count in threads
        if (not engines or engine in engines) and (not precisions or precision in precisions)
    ]
    if not found:
        raise ValueError("no engine here has any of these precisions")
    return found


def benchmark(
    wanted: Sequence[Case],
    *,
    rounds: int = 7,
    seconds: float = 1.0,
    img_size: int | None = None,
    options: dict[str, Any] | None = None,
) -> list[Measured]:
    """Measure every case, taking turns.

    Args:
        wanted: what to measure.
        rounds: turns of each case; medians over them are reported.
        seconds: of one turn.
        img_size: side of the pictures, px; None: the network's own.
        options: of bare networks, whose weights are drawn from a fixed seed.

    Raises:
        ValueError: a model cannot be opened, or does not run on an engine.
        RuntimeError: a process failed in another way; the message holds its traceback.
    """
    with TemporaryDirectory() as folder:
        split = made_up(Path(folder), ())
        job = _Job(tuple(split.path(index) for index in range(len(split))), img_size, options)
        workers: list[_Worker] = []
        try:
            originals = {}
            for model in dict.fromkeys(case.model for case in wanted):
                plain = Case(
                    model=model,
                    engine="torch",
                    precision="float32",
                    batch=16,
                    threads=torch.get_num_threads(),
                    device="cpu",
                )
                workers.append(_Worker(plain, job))
                originals[model] = workers.pop().close().opened.logits
            workers.extend(_Worker(case, job) for case in track(wanted, description="loading", unit="cases"))
            for _ in track(range(rounds), description="measuring", unit="rounds"):
                for worker in workers:
                    worker.turn(seconds)
            return [worker.result(originals[worker.case.model]) for worker in workers]
        finally:
            for worker in workers:
                worker.close()


@dataclass(frozen=True)
class _Job:
    """What every process is told."""

    files: tuple[Path, ...]
    img_size: int | None
    options: dict[str, Any] | None


@dataclass(frozen=True)
class _Refusal:
    """What a process says where the user, not the program, has to mend something."""

    kind: type[Exception]
    reason: str


@dataclass(frozen=True)
class _Opened:
    """What a process says when it is ready."""

    logits: NDArray[np.float32]
    multiply_adds: int
    load_seconds: float
    file_size: int


class _Worker:
    """The parent's side of one process."""

    def __init__(self, case: Case, job: _Job) -> None:
        context = multiprocessing.get_context("spawn")
        self.case = case
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, case, job), daemon=True)
        self.process.start()
        theirs.close()
        self.latencies: list[list[float]] = []
        self.peaks: list[float] = []
        self.opened: _Opened = self._receive()

    def turn(self, seconds: float) -> None:
        """Let the process measure for `seconds`."""
        self.connection.send(seconds)
        latencies, peak = self._receive()
        self.latencies.append(latencies)
        self.peaks.append(peak)

    def result(self, original: NDArray[np.float32]) -> Measured:
        """What came out, beside the answers of the original."""
        self.connection.send(None)
        memory: int = self._receive()
        logits = self.opened.logits
        turn = float(np.median([np.median(latencies) for latencies in self.latencies]))
        every = np.concatenate(self.latencies) * 1000
        peak = float(np.median(self.peaks))
        p50, p95, p99 = (float(value) for value in np.percentile(every, (50, 95, 99)))
        return Measured(
            **asdict(self.case),
            pictures_per_second=self.case.batch / turn,
            latency_ms={"p50": p50, "p95": p95, "p99": p99},
            share_of_peak=self.case.batch / turn * 2 * self.opened.multiply_adds / peak,
            peak_gops=peak / 1e9,
            parity={
                "equal_top1": float((logits.argmax(1) == original.argmax(1)).mean()),
                "max_difference": float(np.abs(logits - original).max()),
                "max_logit": float(np.abs(original).max()),
            },
            load_seconds=self.opened.load_seconds,
            peak_memory=memory,
            file_size=self.opened.file_size,
        )

    def close(self) -> _Worker:
        """End the process."""
        self.connection.close()
        self.process.join(timeout=5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        return self

    def _receive(self) -> Any:
        try:
            answer = self.connection.recv()
        except EOFError:
            raise RuntimeError(f"the process that measures {self.case} died (out of memory?)") from None
        if isinstance(answer, _Refusal):
            raise answer.kind(answer.reason)
        if isinstance(answer, str):
            raise RuntimeError(f"the process that measures {self.case} failed:\n{answer}")
        return answer


# --- in the process -----------------------------------------------------------------------------------------------


def _serve(connection: Connection, case: Case, job: _Job) -> None:
    """Open the case, then measure as often as asked; `None` ends it. A failure is sent as its traceback."""
    try:
        torch.set_num_threads(case.threads)
        run, opened = _open(case, job)
        product = _product(case)
        connection.send(opened)
        while (seconds := connection.recv()) is not None:
            limit = operations(case.device) / min(_latencies(product, seconds / 4))
            connection.send((_latencies(run, seconds), limit))
        scale = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale
        connection.send(torch.cuda.max_memory_allocated() if case.device == "cuda" else memory)
    except EOFError:  # the parent needs nothing more
        pass
    except (ValueError, OSError) as error:
        kinds = (DataError, RunError, ValueError, OSError)
        connection.send(_Refusal(next(kind for kind in kinds if isinstance(error, kind)), str(error)))
    except Exception:
        connection.send(traceback.format_exc())


def _open(case: Case, job: _Job) -> tuple[Callable[[], object], _Opened]:
    torch.manual_seed(0)
    net = open_original(case.model, options=job.options, img_size=job.img_size)
    pictures = torch.stack([torch.from_numpy(net.preprocess.picture(file)) for file in job.files])
    begin = time.perf_counter()
    calibration = list(torch.split(pictures, 8)) if case.precision == "int8" else None
    if calibration is not None and case.model in (*MEMBERS, *ALIASES):
        log.warning("%s: a bare network, quantised on made-up pictures: its int8 accuracy says nothing", case.model)
    engine = open_engine(
        net,
        engine=case.engine,
        precision=case.precision,
        device=case.device,
        batch_size=case.batch if case.device == "cuda" else None,
        threads=case.threads,
        calibration=calibration,
    )
    batch = pictures[torch.arange(case.batch) % len(pictures)]
    engine.tune(batch[0], most=case.batch)
    engine(batch)
    seconds = time.perf_counter() - begin
    opened = _Opened(
        logits=engine(pictures).numpy(),
        multiply_adds=cost(net, net.preprocess.size[0]).multiply_adds,
        load_seconds=seconds,
        file_size=engine.file_size(),
    )
    return lambda: engine(batch), opened


def _latencies(run: Callable[[], object], seconds: float) -> list[float]:
    run()
    latencies: list[float] = []
    end = time.perf_counter() + seconds
    while len(latencies) < 2 or time.perf_counter() < end:
        begin = time.perf_counter()
        run()
        latencies.append(time.perf_counter() - begin)
    return latencies


def _product(case: Case) -> Callable[[], object]:
    """A chain of large matrix products in the case's engine and precision: what this machine can do at most."""
    side = SIDES[case.device]
    chain = nn.Sequential(*[nn.Linear(side, side, bias=False) for _ in range(LINKS)]).requires_grad_(False)
    inputs = torch.randn(side, side)
    if case.engine.startswith("torch"):  # compiled or not: the product is one call of the same library
        dtype = torch.bfloat16 if case.precision == "bf16" else torch.float32
        chain, inputs = chain.to(case.device, dtype), inputs.to(case.device, dtype)

        def run() -> object:
            product = chain(inputs)
            if case.device == "cuda":
                torch.cuda.synchronize()
            return product

        return run
    with quiet():
        program = torch.export.export(chain, (inputs,))
    if case.engine == "onnxruntime":
        import onnxruntime

        with quiet():
            written = torch.onnx.export(program, dynamo=True, verbose=False)
        assert written is not None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = case.threads
        session = onnxruntime.InferenceSession(written.model_proto.SerializeToString(), options)
        feed = {session.get_inputs()[0].name: inputs.numpy()}
        return lambda: session.run(None, feed)
    from inceptions.engines.open_vino import compiled, convert, quantise

    graph = convert(program)
    if case.precision == "int8":
        graph = quantise(graph, [inputs])
    model = compiled(graph, inputs.shape, case.precision, case.threads)
    return lambda: model(inputs.numpy(), share_inputs=True)
