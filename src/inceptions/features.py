"""Pooled features of images, computed once by the fastest engine at hand and kept on disk.

They are keyed by what they depend on: the image's SHA-256, and one hash of the weights below the classifier, the
preprocessing, the precision and the views. A second run, or one on a grown data set, computes what is new; so does
`inceptions predict --features` after `inceptions train --tune head`.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load as read_tensors
from safetensors.torch import save as to_bytes
from torch import Tensor

from inceptions.data import Refused, Split, batches
from inceptions.data.batches import reading_workers
from inceptions.engines import Engine, Runtime, blaming, open_engine, resolved
from inceptions.files import user_cache, write_atomically
from inceptions.models import Model, as_model
from inceptions.progress import log, track
from inceptions.zoo import Network, preprocess_of

FLUSH_EVERY = 30.0  # seconds of work that a kill may cost
FAST = Runtime(precision="auto")
READ_AT_ONCE = 32  # images a batch; the engine splits them as is fastest for it


@dataclass(frozen=True, kw_only=True)
class Features:
    """What the classifier sees of the images of a split that could be read."""

    values: Tensor
    """(n, views, F) float32; the second view is the mirror image."""
    indices: NDArray[np.int64]
    """(n,) places in the split."""
    targets: Tensor
    """(n,) int64 classes."""
    hashes: tuple[str, ...]
    """SHA-256 of each of the n files, in hex."""
    refused: tuple[Refused, ...]
    """Images that could not be read, and why."""
    computed: int
    """How many were computed now; the others were found on disk."""
    precision: str
    """Of the arithmetic: float32 or bf16."""

    @property
    def skipped(self) -> int:
        """How many images could not be read."""
        return len(self.refused)


class Extractor:
    """Pooled features of images under one network, by the fastest engine at hand (bf16 where that is fast).

    Args:
        net: with `preprocess`; its classifier does not matter.
        expected: the most views that will be requested: converting to a faster engine must pay.
        runtime: how it is run; no int8, whose ranges depend on images that the key knows nothing of.
        workers: processes that decode; None: what the number of images is worth.
        changes: fields of `runtime` by name.

    Attributes:
        weights: SHA-256 over the weights below the classifier, in hex.
        precision: of the arithmetic, float32 or bf16.

    Raises:
        ValueError: such an engine or precision does not exist here; an export, which gives logits only.
    """

    def __init__(
        self,
        net: Network | Model,
        *,
        expected: int,
        runtime: Runtime = FAST,
        workers: int | None = None,
        **changes: Any,
    ) -> None:
        net = as_model(net).in_pytorch()
        runtime = replace(runtime, **changes)
        if runtime.precision == "int8":
            raise ValueError("features are computed in float32 or bf16, not in int8")
        self.precision = resolved(runtime).precision
        self.weights = _weights(net)
        self._net, self._workers = net, workers
        self._runtime, self._expected = replace(runtime, precision=self.precision), expected
        self._engine: Engine | None = None
        cache = cache_folder()
        self._store = Store(None if cache is None else cache / _key(net, self.weights, self.precision))

    def __call__(self, split: Split, *, views: int = 1) -> Features:
        """The features of every readable image of `split`: of evaluation's view, with 2 also of its mirror image."""
        digests = [_digest(split, index) for index in range(len(split))]
        names = [_names(digest, views) for digest in digests]
        known = self._store.known
        missing = [index for index, name in enumerate(names) if not name or any(view not in known for view in name)]
        computed = 0
        refused: list[Refused] = []
        if missing:
            for index, values in self._computed(split, np.array(missing, dtype=np.int64), views, refused):
                self._store.add(zip(names[index], values, strict=False))
                computed += 1
            self._store.flush()
        found = [index for index, name in enumerate(names) if name and all(view in known for view in name)]
        log.info("features of %d images: %d computed, %d known", len(found), computed, len(split) - len(missing))
        rows = [torch.stack([known[view] for view in names[index]]) for index in found]
        return Features(
            values=torch.stack(rows) if rows else torch.zeros(0, views, self._net.num_features),
            indices=np.array(found, dtype=np.int64),
            targets=torch.from_numpy(split.targets[found]),
            hashes=tuple(digests[index].hex() for index in found),
            refused=tuple(refused),
            computed=computed,
            precision=self.precision,
        )

    def _computed(
        self, split: Split, missing: NDArray[np.int64], views: int, refused: list[Refused]
    ) -> Iterator[tuple[int, Tensor]]:
        """(index, (views, F) features) of what can be read of `missing`; `refused` gets the others."""
        net, preprocess = self._net, preprocess_of(self._net)
        if self._engine is None:
            self._engine = open_engine(net, self._runtime, expected=self._expected)
            log.info("features by %s", self._engine)
        workers = reading_workers(len(missing), preprocess) if self._workers is None else self._workers
        feed = batches(split, preprocess, batch_size=READ_AT_ONCE, workers=workers, order=missing)
        for batch in track(feed, description="features", total=len(missing), amount=lambda b: len(b) + len(b.refused)):
            refused += batch.refused
            if len(batch):
                with blaming(net, split.names(batch.indices)):
                    seen = [self._engine.features(batch.images)]
                    if views == 2:
                        seen.append(self._engine.features(batch.images.flip(3)))
                yield from zip(batch.indices.tolist(), torch.stack(seen, dim=1), strict=True)


def cache_folder() -> Path | None:
    """Where features are kept: INCEPTIONS_CACHE, else XDG_CACHE_HOME/inceptions, else ~/.cache/inceptions.

    None where the user has no home either: then nothing is kept.
    """
    if own := os.environ.get("INCEPTIONS_CACHE"):
        return Path(own) / "features"
    caches = user_cache()
    return None if caches is None else caches / "inceptions" / "features"


class Store:
    """Features by name, in files that are only ever added: two runs may write at once, and a kill costs little.

    A folder that cannot be written costs a line in the log, and what was computed the next time.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._new: dict[bytes, Tensor] = {}
        self._told = False
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
            try:
                self._write(self._folder)
            except OSError as error:  # what is in memory is all that this run needs
                if not self._told:
                    reason = error.strerror or str(error)
                    log.warning("features are not kept for the next run: %s: %s", self._folder or "no home", reason)
                self._told = True
            self._new = {}
        self._flushed = time.monotonic()

    def _write(self, folder: Path | None) -> None:
        if folder is None:
            raise OSError("set INCEPTIONS_CACHE to a folder for them")
        folder.mkdir(parents=True, exist_ok=True)
        names = torch.frombuffer(bytearray(b"".join(self._new)), dtype=torch.uint8).reshape(len(self._new), 32)
        tensors = {"names": names, "features": torch.stack(list(self._new.values()))}
        write_atomically(folder / f"{secrets.token_hex(8)}.safetensors", to_bytes(tensors))

    def _read(self) -> dict[bytes, Tensor]:
        """Everything on disk. A damaged file is deleted, if it can be: its features are computed anew."""
        known: dict[bytes, Tensor] = {}
        for file in self._files():
            try:
                tensors = read_tensors(file.read_bytes())
                known |= zip((row.tobytes() for row in tensors["names"].numpy()), tensors["features"], strict=True)
            except OSError as error:
                log.warning("%s: %s: computing its features anew", file, error.strerror or error)
            except (SafetensorError, KeyError, ValueError) as error:
                log.warning("%s is damaged (%s): computing its features anew", file, error)
                with suppress(OSError):
                    file.unlink()
        return known

    def _files(self) -> list[Path]:
        try:
            return [] if self._folder is None else sorted(self._folder.glob("*.safetensors"))
        except OSError as error:  # not ours to look into; whether it can be written to, `flush` will see
            log.debug("%s: %s", self._folder, error)
            return []


def _digest(split: Split, index: int) -> bytes:
    """An image's SHA-256; empty for a file that cannot be read (whoever decodes it will say so)."""
    source = split.source(index)
    try:
        return bytes.fromhex(split.hash(index)) if isinstance(source, bytes) or source.is_file() else b""
    except OSError:
        return b""


def _names(digest: bytes, views: int) -> list[bytes]:
    """What the views of an image are kept under."""
    return [digest, hashlib.sha256(digest + b"mirror").digest()][:views] if digest else []


def _key(net: Network, weights: str, precision: str) -> str:
    """A hash of everything but the image that features depend on."""
    facts = {
        "name": net.name,
        "options": {key: value for key, value in net.options.items() if key not in ("num_classes", "aux", "drop_rate")},
        "preprocess": preprocess_of(net).to_dict(),
        "precision": precision,
        "weights": weights,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _weights(net: Network) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(net.state_dict().items()):
        if not name.startswith(("aux.", "head.linear.")):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
