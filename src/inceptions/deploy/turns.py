"""Processes that measure, each its own memory and threads: what they receive, what they send, and their parent's side.

A process opens one network on one engine in one precision, for every size of a batch, and measures when it is its turn.
"""

from __future__ import annotations

import multiprocessing
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from inceptions.anatomy import cost
from inceptions.deploy.original import open_original
from inceptions.deploy.peak import Limit, Peak
from inceptions.engines import Engine, open_engine
from inceptions.errors import DataError, RunError
from inceptions.progress import log
from inceptions.system import peak_memory
from inceptions.zoo import ALIASES, MEMBERS

LONGEST = 300.0  # seconds that a process may take to open its network, compiling included


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is measured."""

    model: str
    engine: str
    precision: str
    batch: int
    threads: int
    device: str
    """"cpu" or "cuda"."""


@dataclass(frozen=True)
class Job:
    """What every process receives."""

    files: tuple[Path, ...]
    img_size: int | None
    options: dict[str, Any] | None


@dataclass(frozen=True)
class Opened:
    """What a process sends when it is ready."""

    logits: NDArray[np.float32]
    multiply_adds: int
    load_seconds: float
    file_size: int
    precision: str
    computes: str
    memory: tuple[int, ...]
    """Bytes of the process at most so far, for each size of a batch."""


@dataclass(frozen=True)
class _Refusal:
    """A failure caused by user input rather than a bug."""

    kind: type[Exception]
    reason: str


class TooLongError(RuntimeError):
    """A process did not answer in the time it has."""


class Process:
    """The parent's side of one process.

    Args:
        serve: what runs there, given its end of the connection and `arguments`.
        name: for messages.
    """

    def __init__(self, serve: Callable[..., None], name: str, *arguments: object) -> None:
        context = multiprocessing.get_context("spawn")
        self.name = name
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, *arguments), daemon=True)
        self.process.start()
        theirs.close()

    def ask(self, question: object, seconds: float) -> Any:
        """Send a question and wait for the answer, see `receive`."""
        self.connection.send(question)
        return self.receive(seconds)

    def receive(self, seconds: float) -> Any:
        """What the process says within `seconds`.

        Raises:
            TooLongError: nothing.
            ValueError, OSError: caused by user input.
            RuntimeError: the process failed or died.
        """
        if not self.connection.poll(seconds):
            raise TooLongError(f"{self.name}: not done after {seconds:.0f} s")
        try:
            answer = self.connection.recv()
        except EOFError:
            raise RuntimeError(f"the process that measures {self.name} died (out of memory?)") from None
        if isinstance(answer, _Refusal):
            raise answer.kind(answer.reason)
        if isinstance(answer, str):
            raise RuntimeError(f"the process that measures {self.name} failed:\n{answer}")
        return answer

    def close(self) -> None:
        """End the process."""
        self.connection.close()
        self.process.join(timeout=1)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


# --- in the process -----------------------------------------------------------------------------------------------


def serve_case(connection: Connection, case: Case, batches: Sequence[int], job: Job) -> None:
    """Open the case for every size in `batches`; then answer seconds with the latencies of each size."""

    def work() -> None:
        torch.set_num_threads(case.threads)
        runs, opened = _open(case, batches, job)
        connection.send(opened)
        while True:
            seconds = connection.recv()
            connection.send([_latencies(run, seconds) for run in runs])

    _serve(connection, work)


def serve_limits(connection: Connection, precisions: Sequence[str], device: str, threads: int) -> None:
    """Answer seconds with the limit in each of `precisions`: a mapping to `Peak`."""

    def work() -> None:
        limits = {precision: Limit(precision, device, threads) for precision in precisions}
        connection.send(True)
        while True:
            seconds = connection.recv() / len(limits)
            found: Mapping[str, Peak] = {precision: limit.turn(seconds) for precision, limit in limits.items()}
            connection.send(found)

    _serve(connection, work)


def _serve(connection: Connection, work: Callable[[], None]) -> None:
    """A failure is sent as its traceback."""
    try:
        work()
    except (EOFError, BrokenPipeError, ConnectionResetError):  # the parent needs nothing more
        pass
    except (ValueError, OSError) as error:
        kinds = (DataError, RunError, ValueError, OSError)
        connection.send(_Refusal(next(kind for kind in kinds if isinstance(error, kind)), str(error)))
    except Exception:
        connection.send(traceback.format_exc())


def _open(case: Case, batches: Sequence[int], job: Job) -> tuple[list[Callable[[], object]], Opened]:
    torch.manual_seed(0)
    net = open_original(case.model, options=job.options, img_size=job.img_size)
    images = torch.stack([torch.from_numpy(net.preprocess.image(file)) for file in job.files])
    begin = time.perf_counter()
    calibration = list(torch.split(images, 8)) if case.precision == "int8" else None
    if calibration is not None and case.model in (*MEMBERS, *ALIASES):
        log.warning("%s: a bare network, quantized on made-up images: its int8 accuracy says nothing", case.model)
    options: dict[str, Any] = {
        "engine": case.engine,
        "precision": case.precision,
        "device": case.device,
        "threads": case.threads,
    }
    engines: list[Engine] = []
    memory: list[int] = []
    runs: list[Callable[[], object]] = []
    for batch in batches:
        if not engines or case.device == "cuda":  # a GPU's engine is made for its size
            size = batch if case.device == "cuda" else None
            engines.append(open_engine(net, batch_size=size, calibration=calibration, **options))
        engine, part = engines[-1], images[torch.arange(batch) % len(images)]
        if not engine.emulated:  # its rate is not worth the wait
            engine.tune(part[0], most=batch, seconds=2.0)
        engine(part)
        memory.append(torch.cuda.max_memory_allocated() if case.device == "cuda" else peak_memory())
        runs.append(_run(engine, engine.batch_size, part))
    seconds = time.perf_counter() - begin
    engine = engines[0]
    opened = Opened(
        logits=engine(images).numpy(),
        multiply_adds=cost(net, net.preprocess.size[0]).multiply_adds,
        load_seconds=seconds,
        file_size=engine.file_size(),
        precision=engine.precision,
        computes=engine.computes,
        memory=tuple(memory),
    )
    return runs, opened


def _run(engine: Engine, size: int, images: torch.Tensor) -> Callable[[], object]:
    def run() -> object:
        engine.batch_size = size
        return engine(images)

    return run


def _latencies(run: Callable[[], object], seconds: float) -> list[float]:
    run()
    latencies: list[float] = []
    end = time.perf_counter() + seconds
    while not latencies or time.perf_counter() < end:
        begin = time.perf_counter()
        run()
        latencies.append(time.perf_counter() - begin)
    return latencies
