"""What holds for every test: no telemetry, no network, one thread, nothing left in the user's home."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

# Before any library is imported: tests neither reach for the network nor fight over the cores.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

# A job in a shell's background ignores Ctrl-C, and so would every process that a test starts and interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the product keeps for the next time (features, which engine is fastest) stays out of the user's home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INCEPTIONS_CACHE", str(tmp_path_factory.mktemp("kept")))
        yield


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """What a test writes goes from one test process to the other as UTF-8; file names may be other bytes."""
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
