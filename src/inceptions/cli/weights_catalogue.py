"""`inceptions weights list | info | pull | verify`: the published weights, and the files of them on this machine."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from inceptions.cli.terminal import print_json, table
from inceptions.errors import RunError

if TYPE_CHECKING:
    from inceptions.weights.catalogue import Record


def list_weights(*, model: str | None = None, json: bool = False) -> None:
    """List the published weights: network, publisher, accuracy, license.

    Accuracies are the publishers' own, on ImageNet's validation images; `info` says how they were measured.

    Args:
        model: only those of this network.
        json: print one JSON list instead of the table.
    """
    from inceptions.weights.catalogue import RECORDS
    from inceptions.zoo import resolve

    network = None if model is None else resolve(model)
    records = [record for record in RECORDS.values() if network in (None, record.network)]
    if json:
        print_json([record.to_dict() for record in records])
        return
    columns = ["name", "publisher", "classes", "top1", "top5", "license", "here"]
    rows = [
        [r.name, r.publisher, r.classes, r.top1, r.top5, r.license or "not stated", "yes" if _cached(r) else ""]
        for r in records
    ]
    table(rows, columns, dispensable=["license"])


def info(name: str, /, *, json: bool = False) -> None:
    """Show what is known about published weights: addresses, hash, preprocessing, accuracy.

    Args:
        name: a name of the catalogue.
        json: print one JSON object instead of the table.
    """
    record = _record(name)
    cached = _cached(record)
    if json:
        print_json({**record.to_dict(), "path": cached})
        return
    unknown = "not stated"
    accuracy = f"{record.top1} / {record.top5} % top-1 / top-5 ({record.measured})" if record.top1 else unknown
    rows = [
        ("network", record.network),
        ("publisher", record.publisher),
        *(("address", url) for url in record.urls),
        *([("Hugging Face hub", record.hub)] if record.hub else []),
        ("bytes", unknown if record.size is None else record.size),
        *(record.hashes.items() or [("hash", "not stated; recorded at the first download")]),
        ("license", record.license or unknown),
        ("accuracy", accuracy),
        ("classes", record.classes or "no classifier"),
        *(("preprocessing: " + key, value) for key, value in record.preprocess.to_dict().items()),
        ("note", record.note),
        ("on this machine", cached or "no"),
    ]
    table([row for row in rows if row[1] != ""], [record.name, ""])


def pull(name: str, /, *, json: bool = False) -> None:
    """Download published weights to the cache, verify them, and print their path.

    What is there already is checked again, without a request.

    Args:
        name: a name of the catalogue.
        json: print one JSON object instead of the path.
    """
    from inceptions.weights.locate import locate

    path = locate(_record(name).name)
    if json:
        print_json({"name": name, "path": path})
    else:
        print(path)


def verify(what: str, /, *, json: bool = False) -> None:
    """Compare a weight file with the hash its publisher states, or that was recorded at its download.

    Exit code 1 if it differs, or if nothing is known to compare it with.

    Args:
        what: a name of the catalogue, or a file that is called as one of its files is.
        json: print one JSON object instead of a line.
    """
    from inceptions.weights.catalogue import RECORDS
    from inceptions.weights.download import cache_folder, recorded
    from inceptions.weights.download import verify as compare

    record = RECORDS.get(what)
    if record is not None and record.hub is not None:
        raise RunError(f"{what} lies in the Hugging Face hub's cache, which names every file by its hash")
    path = Path(what) if record is None else cache_folder() / record.file
    if record is None and not path.is_file():
        raise _unknown(what)
    if not path.is_file():
        raise FileNotFoundError(f"{what} is not on this machine; `inceptions weights pull {what}` fetches it")
    record = record or next((r for r in RECORDS.values() if r.file and r.file == path.name), None)
    if record is None and recorded(path) is None:
        raise RunError(f"{path}: not a file of the catalogue, and there is no {path.name}.sha256 next to it")
    digest = compare(path, record)
    if json:
        print_json({"path": path, "sha256": digest, "record": None if record is None else record.name})
    else:
        print(f"{path}: OK, SHA-256 {digest}")


def _record(name: str) -> Record:
    from inceptions.weights.catalogue import RECORDS

    if name not in RECORDS:
        raise _unknown(name)
    return RECORDS[name]


def _unknown(name: str) -> ValueError:
    from inceptions.weights.catalogue import RECORDS

    near = difflib.get_close_matches(name, RECORDS, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "`inceptions weights list` shows them"
    return ValueError(f"no weights are called {name!r}; {hint}")


def _cached(record: Record) -> Path | None:
    """Where the file lies on this machine; None: it does not, or in the hub's own cache."""
    from inceptions.weights.download import cache_folder

    path = cache_folder() / record.file
    return path if record.file and os.path.isfile(path) else None  # not where others' homes may not be looked into
