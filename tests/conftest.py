"""What holds for every test: no telemetry, no network, one thread."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

# Before any library is imported: tests neither reach for the network nor fight over the cores.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.fixture(autouse=True, scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the product keeps for the next time (features, which engine is fastest) stays out of the user's home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INCEPTIONS_CACHE", str(tmp_path_factory.mktemp("kept")))
        yield
