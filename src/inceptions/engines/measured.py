"""Which engine is fastest, measured on the network at hand, and remembered for this machine.

No order of engines is right everywhere: OpenVINO leads on one processor and comes last on another.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from inceptions.engines.engine import Engine
from inceptions.engines.processor import processor
from inceptions.files import write_atomically
from inceptions.progress import log
from inceptions.zoo import Network

ROUNDS = 3  # turns of each engine, interleaved, so that background load affects all of them equally
SECONDS = 4.0  # no further round begins after so many
AS_FAST = 0.98  # of the best rate: between these the order of `ENGINES` decides, and so the answer is the same again
_LIBRARIES = ("inceptions", "torch", "openvino", "onnxruntime")


def race(names: Sequence[str], opened: Callable[[str], Engine], net: Network) -> tuple[dict[str, float], list[Engine]]:
    """Images per second of each engine, and the engines; one that cannot run the network has the rate 0, which is
    said, and is not among them.

    Args:
        names: of engines.
        opened: opens one.
        net: whose images are made up.

    Raises:
        ValueError: none of them runs it: what the last one said.
    """
    engines: list[Engine] = []
    failure: Exception | None = None
    shape = net.preprocess.shape
    several = torch.randint(
        0, 256, (_together(), *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    for name in names:
        try:
            engine = opened(name)
            engine(several)  # converts, which no rate is to blame for
        except Exception as error:  # every runtime fails in ways of its own
            failure = error
            log.warning("%s does not run this network here (%s); it is left out", name, _line(error))
        else:
            engines.append(engine)
    if not engines:
        raise ValueError(f"no engine runs this network here: {_line(failure)}") from failure
    found: dict[str, list[float]] = {engine.name: [] for engine in engines}
    begin = time.perf_counter()
    for _ in range(ROUNDS):
        for engine in engines:
            found[engine.name].append(engine.rate(several))
        if time.perf_counter() - begin > SECONDS:
            break
    return {name: statistics.median(found.get(name, [0.0])) for name in names}, engines


def best(rates: Mapping[str, float]) -> str:
    """The fastest engine; of those that are as good as that the first."""
    return next(name for name, rate in rates.items() if rate >= AS_FAST * max(rates.values()))


def told(rates: Mapping[str, float]) -> str:
    """The rates for people, the best first."""
    ranked = sorted(((name, rate) for name, rate in rates.items() if rate), key=lambda item: -item[1])
    return ", ".join(f"{name} {rate:.3g}" for name, rate in ranked) + " images/s"


def key(net: Network, precision: str, threads: int, batch_size: int | None) -> str:
    """What a measurement holds for, as a name for a file: processor, cores, network, size, precision and versions.

    Of the network its structure counts and no weights: what is fine-tuned has the speed of what it came from.
    """
    here = processor()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else here.cores
    shapes = [(name, *tensor.shape) for name, tensor in net.state_dict().items()]
    facts = [here.to_dict(), cores, threads, precision, batch_size, net.preprocess.shape, repr(net), shapes]
    facts += [[name, _version(name)] for name in _LIBRARIES]
    return hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest()


def remembered(name: str) -> dict[str, float]:
    """The rates that were kept under this key; nothing where there are none, or no sound ones."""
    try:
        rates = json.loads((_folder() / f"{name}.json").read_text(encoding="utf-8"))["rates"]
        sound = {str(engine): float(rate) for engine, rate in rates.items()}
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    return sound if any(sound.values()) and all(0 <= rate < float("inf") for rate in sound.values()) else {}


def remember(name: str, rates: Mapping[str, float]) -> None:
    """Keeps them; where that fails, a line says so and nothing else happens."""
    try:
        _folder().mkdir(parents=True, exist_ok=True)
        facts = {"rates": dict(rates), "processor": processor().to_dict()}
        write_atomically(_folder() / f"{name}.json", json.dumps(facts) + "\n")
    except (OSError, RuntimeError) as error:
        log.info("cannot keep the measured speeds for the next time: %s", error)


def _folder() -> Path:
    """Beside what else this machine keeps: INCEPTIONS_CACHE, XDG_CACHE_HOME/inceptions or ~/.cache/inceptions."""
    if own := os.environ.get("INCEPTIONS_CACHE"):
        return Path(own) / "engines"
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "inceptions" / "engines"


def _together() -> int:
    """Images a turn: enough for every thread of every engine to have work."""
    return max(16, 8 * torch.get_num_threads())


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _line(error: Exception | None) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
