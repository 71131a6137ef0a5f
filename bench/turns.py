"""Measuring side by side: every competitor in a process of its own, taking turns, so that noise meets all of them.

`serve` runs in a competitor's process, `Competitor` and `medians` in the one that measures. They speak JSON lines.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results"
PEERS = Path(os.environ.get("PARITY", HERE.parent / ".parity")) / "bin" / "python"
"""The interpreter that has the competitors' packages (`make parity` builds it)."""


def serve(work: Callable[[], object], *, clock: Callable[[], float] = time.perf_counter, **facts: str) -> None:
    """Say that `work` is ready, then answer each line {"seconds": s} with the seconds of every call in that time."""
    work()
    print(json.dumps(facts), flush=True)
    for line in sys.stdin:
        end = time.perf_counter() + json.loads(line)["seconds"]
        latencies: list[float] = []
        while not latencies or time.perf_counter() < end:
            begin = clock()
            work()
            latencies.append(clock() - begin)
        print(json.dumps(latencies), flush=True)


def device() -> str:
    """Where PyTorch's competitors run: a GPU where there is one."""
    import torch  # not every competitor has it

    return "cuda" if torch.cuda.is_available() else "cpu"


def synchronize() -> None:
    """Wait for what a GPU was asked to do; without one there is nothing to wait for."""
    import torch

    if device() == "cuda":
        torch.cuda.synchronize()


def one_core() -> None:
    """Keep this process, and every thread it starts from now on, on one core."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


class Competitor:
    """A process that serves one kind of work."""

    def __init__(self, name: str, python: Path | str, script: str, *arguments: str) -> None:
        self.name = name
        self.process = subprocess.Popen(
            [str(python), str(HERE / script), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.facts: dict[str, str] = self._read()
        self.medians: list[float] = []
        self.fastest: list[float] = []

    def turn(self, seconds: float) -> None:
        """Let it work for `seconds`; keeps the median and the shortest time of a call."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"seconds": seconds}) + "\n")
        self.process.stdin.flush()
        latencies = self._read()
        self.medians.append(statistics.median(latencies))
        self.fastest.append(min(latencies))

    @property
    def peak_memory(self) -> int:
        """Bytes that were resident at most."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return 1024 * int(status.split("VmHWM:")[1].split()[0])

    def close(self) -> None:
        """End the process."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.wait()

    def _read(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended with exit code {self.process.wait()}; its errors are above")
        return json.loads(line)


def medians(competitors: Sequence[Competitor], *, rounds: int, seconds: float) -> dict[str, float]:
    """Seconds a call of each competitor: medians over rounds in which each had its turn."""
    for _ in range(rounds):
        for competitor in competitors:
            competitor.turn(seconds)
    return {competitor.name: statistics.median(competitor.medians) for competitor in competitors}


def ratio(theirs: Competitor, mine: Competitor, *, batch: float = 1) -> float:
    """How many times as fast we are: the median over the rounds of the ratio in a round.

    Args:
        batch: how many of their calls one of ours is.
    """
    return statistics.median(batch * a / b for a, b in zip(theirs.medians, mine.medians, strict=True))


def limits(precisions: Sequence[str], place: str = "cpu") -> dict[str, dict[str, Any]]:
    """Precision -> what this machine can do at most in it, as `inceptions benchmark` measures it; to be called before
    and after the competitors: see `highest`."""
    command = [sys.executable, str(HERE / "ours.py"), "limit", place, "0", *precisions]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def highest(before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of two measurements of the limits the better one."""
    return {key: max(limit, after[key], key=lambda one: float(one["gops"])) for key, limit in before.items()}


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    from inceptions.engines.processor import processor  # a competitor's environment does not have us

    here = processor()
    return {
        "date": date.today().isoformat(),
        "processor": here.model,
        "instruction_set": here.instruction_set,
        "limited_by": here.limit,
        "cores": os.cpu_count(),
        "python": sys.version.split()[0],
    }


def member(model: str) -> tuple[str, dict[str, str]]:
    """Name and options of a network as the benchmarks take it: "googlenet,norm=batch"."""
    name, *options = model.split(",")
    return name, {option: choice for option, _, choice in (word.partition("=") for word in options)}


def write(name: str, result: dict[str, Any]) -> Path:
    """Keep a result with its machine and command under bench/results."""
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{name}.json"
    words = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv]  # nobody else has our folders
    facts = {"command": " ".join(["python", *words]), "machine": machine(), **result}
    file.write_text(json.dumps(facts, indent=2) + "\n")
    return file
