"""Pooled features of pictures, computed once by the fastest engine at hand and kept on disk.

They are keyed by what they depend on: the picture's SHA-256, and one hash of the weights below the classifier, the
preprocessing, the precision and the views. A second run, or one on a grown data set, computes what is new.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load as read_tensors
from safetensors.torch import save as to_bytes
from torch import Tensor

from inceptions.data import Split, batches
from inceptions.engines import Engine, fast_bf16, open_engine
from inceptions.evaluate.protocol import reading_workers
from inceptions.progress import log, track, write_atomically
from inceptions.zoo import Network

FLUSH_EVERY = 30.0  # seconds of work that a kill may cost
READ_AT_ONCE = 16  # pictures a batch; the engine splits them as is fastest for it


@dataclass(frozen=True, kw_only=True)
class Features:
    """What the classifier sees of the pictures of a split that could be read."""

    values: Tensor
    """(n, views, F) float32; the second view is the mirror image."""
    indices: NDArray[np.int64]
    """(n,) places in the split."""
    targets: Tensor
    """(n,) int64 classes."""
    skipped: int
    """Pictures that could not be read."""
    computed: int
    """How many were computed now; the others were found on disk."""
    precision: str
    """Of the arithmetic: float32 or bf16."""


class Extractor:
    """Pooled features of pictures under one network, by the fastest engine at hand (bf16 where that is fast).

    Args:
        net: with `preprocess`; its classifier does not matter.
        expected: views that will be asked for at most: converting to a faster engine must pay.
        device: where torch would run; None: a GPU if there is one.
        workers: processes that decode; None: what the number of pictures is worth.
    """

    def __init__(self, net: Network, *, expected: int, device: str | None = None, workers: int | None = None) -> None:
        place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.precision = "bf16" if fast_bf16(place) else "float32"
        self._net, self._expected, self._device, self._workers = net, expected, device, workers
        self._engine: Engine | None = None
        self._store = Store(cache_folder() / _key(net, self.precision))

    def __call__(self, split: Split, *, views: int = 1) -> Features:
        """The features of every readable picture of `split`: of evaluation's view, with 2 also of its mirror image."""
        digests = [bytes.fromhex(split.hash(index)) for index in range(len(split))]
        names = [[digest, hashlib.sha256(digest + b"mirror").digest()][:views] for digest in digests]
        known = self._store.known
        missing = [index for index, name in enumerate(names) if any(view not in known for view in name)]
        if missing:
            for index, values in self._computed(split, np.array(missing, dtype=np.int64), views):
                self._store.add(zip(names[index], values, strict=True))
            self._store.flush()
        found = [index for index, name in enumerate(names) if all(view in known for view in name)]
        log.info("features of %d pictures: %d computed, %d known", len(found), len(missing), len(split) - len(missing))
        rows = [torch.stack([known[view] for view in names[index]]) for index in found]
        return Features(
            values=torch.stack(rows) if rows else torch.zeros(0, views, self._net.num_features),
            indices=np.array(found, dtype=np.int64),
            targets=torch.from_numpy(split.targets[found]),
            skipped=len(split) - len(found),
            computed=len(missing),
            precision=self.precision,
        )

    def _computed(self, split: Split, missing: NDArray[np.int64], views: int) -> Iterator[tuple[int, Tensor]]:
        """(index, (views, F) features) of those of the pictures `missing` that can be read."""
        net = self._net
        if self._engine is None:
            self._engine = open_engine(net, precision=self.precision, device=self._device, expected=self._expected)
            log.info("features by %s", self._engine)
        workers = reading_workers(len(missing), net.preprocess) if self._workers is None else self._workers
        feed = batches(split, net.preprocess, batch_size=READ_AT_ONCE, workers=workers, order=missing)
        for batch in track(feed, description="features", total=len(missing), amount=lambda b: len(b) + len(b.refused)):
            if len(batch):
                seen = [self._engine.features(batch.pictures)]
                if views == 2:
                    seen.append(self._engine.features(batch.pictures.flip(3)))
                yield from zip(batch.indices.tolist(), torch.stack(seen, dim=1), strict=True)


def cache_folder() -> Path:
    """Where features are kept: INCEPTIONS_CACHE, else XDG_CACHE_HOME/inceptions, else ~/.cache/inceptions."""
    if own := os.environ.get("INCEPTIONS_CACHE"):
        return Path(own) / "features"
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "inceptions" / "features"


class Store:
    """Features by name, in files that are only ever added: two runs may write at once, and a kill costs little."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._new: dict[bytes, Tensor] = {}
        self._flushed = time.monotonic()
        self.known = self._read()
        """(F,) float32 by 32 bytes of name."""

    def add(self, features: Iterable[tuple[bytes, Tensor]]) -> None:
        """Remembers features; every half minute they go to disk."""
        for name, value in features:
            self.known[name] = self._new[name] = value
        if time.monotonic() - self._flushed > FLUSH_EVERY:
            self.flush()

    def flush(self) -> None:
        """Writes what is new to disk."""
        if self._new:
            self._folder.mkdir(parents=True, exist_ok=True)
            names = torch.frombuffer(bytearray(b"".join(self._new)), dtype=torch.uint8).reshape(len(self._new), 32)
            tensors = {"names": names, "features": torch.stack(list(self._new.values()))}
            write_atomically(self._folder / f"{secrets.token_hex(8)}.safetensors", to_bytes(tensors))
            self._new = {}
        self._flushed = time.monotonic()

    def _read(self) -> dict[bytes, Tensor]:
        """Everything on disk. A damaged file is deleted: its features are computed anew."""
        known: dict[bytes, Tensor] = {}
        for file in sorted(self._folder.glob("*.safetensors")):
            try:
                tensors = read_tensors(file.read_bytes())
                known |= zip((row.tobytes() for row in tensors["names"].numpy()), tensors["features"], strict=True)
            except (SafetensorError, KeyError, ValueError) as error:
                log.warning("%s is damaged (%s): computing its features anew", file, error)
                file.unlink()
        return known


def _key(net: Network, precision: str) -> str:
    """A hash of everything but the picture that features depend on."""
    facts = {
        "name": net.name,
        "options": {key: value for key, value in net.options.items() if key not in ("num_classes", "aux", "drop_rate")},
        "preprocess": net.preprocess.to_dict(),
        "precision": precision,
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name, tensor in sorted(net.state_dict().items()):
        if not name.startswith(("aux.", "head.linear.")):
            digest.update(
                name.encode() + tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
            )
    return digest.hexdigest()
