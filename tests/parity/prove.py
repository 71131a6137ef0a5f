"""Proves each network equal to an independent implementation of it, and writes what the ordinary tests compare with.

    make parity                                          prove every row
    .parity/bin/python tests/parity/prove.py NAME...     those whose name begins so: inception_v3, xception/keras, ...
    .parity/bin/python tests/parity/prove.py --write     and renew tests/golden/parity

Every row: random weights, random batch-norm statistics, two sizes, float32 and (where the peer can) float64; logits,
auxiliary logits and stage outputs. The largest difference, relative to the largest value, is at most 1e-5 and 1e-12;
peers written in PyTorch do the same arithmetic, and from them there is none. The peer's own weight files are read by
`create_model` too, which has to find the same tensors and options in them.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from inceptions import create_model
from parity.recipe import Answer, answer, error, filled, images, signature, tensors
from parity.rows import ROWS, Row, Size

GOLDEN = Path(__file__).parents[1] / "golden" / "parity"
ALLOWED = {False: 1e-5, True: 1e-12}
"""Largest relative error in float32 and in float64, where another library computes."""

# peer: (module of this folder, its function, the package whose version is recorded)
PEERS = {
    "torchvision": ("torch_peers", "torch_peer", "torchvision"),
    "timm": ("torch_peers", "torch_peer", "timm"),
    "cadene": ("torch_peers", "torch_peer", "pretrainedmodels"),
    "facenet": ("torch_peers", "torch_peer", "facenet-pytorch"),
    "fid": ("torch_peers", "torch_peer", "pytorch-fid"),
    "keras": ("keras_peers", "keras_peer", "keras"),
    "slim": ("slim_peers", "slim_peer", "tf-slim"),
    "caffe": ("caffe_peers", "caffe_peer", "opencv-python-headless"),
}
Make = Callable[[Row, Mapping[str, np.ndarray], Size, bool], Callable[[np.ndarray], Answer]]


def peer_of(row: Row) -> Make:
    """The function that makes the peer of a row. Imported late: each brings a framework of its own."""
    module, function, _ = PEERS[row.peer]
    make: Make = getattr(import_module(f"parity.{module}"), function)
    return make


def files_of(row: Row, weights: Mapping[str, np.ndarray], folder: Path) -> list[Path]:
    """The peer's own weight files, holding the row's weights."""
    module, function, _ = PEERS[row.peer]
    paths: list[Path] = getattr(import_module(f"parity.{module}"), function.replace("_peer", "_files"))(
        row, weights, folder
    )
    return paths


def prove_files(row: Row) -> bool:
    """The peer's own files give, through `create_model` and nothing else, the row's network, bit for bit."""
    wanted = filled(row.network, row.options, row.gain)
    mean = {key: row.options[key] for key in row.options if key not in ("num_classes", "aux", "norm_scale")}
    good = True
    with TemporaryDirectory() as folder:
        for path in files_of(row, tensors(wanted, row.gain), Path(folder)):
            heads = {"aux": True} if row.options.get("aux") else {}
            net = create_model(row.network, weights=path, num_classes=wanted.num_classes, **heads)
            state, expected = net.state_dict(), wanted.state_dict()
            wrong = [key for key in expected if key not in state or not torch.equal(state[key], expected[key])]
            wrong += [key for key in state if key not in expected]
            wrong += [f"{key}={net.options[key]!r}" for key in mean if net.options[key] != mean[key]]
            good &= not wrong
            print(
                f"{'BAD' if wrong else 'ok '} {row.name:28} {path.name}: {' '.join(wrong) or 'the same network'}",
                flush=True,
            )
    return good


def differences(ours: Answer, theirs: Answer) -> dict[str, float]:
    """Relative error of the logits, and the worst of the auxiliary heads and stages that the peer shows."""
    missing = {*theirs.aux} - {*ours.aux} | {*theirs.stages} - {*ours.stages}
    if missing:
        raise ValueError(f"we have no {sorted(missing)}")
    found = {"logits": error(ours.logits, theirs.logits)}
    for part in ("aux", "stages"):
        mine, other = getattr(ours, part), getattr(theirs, part)
        if other:
            found[part] = max(error(mine[name], value) for name, value in other.items())
    return found


def prove(row: Row) -> bool:
    """Compare at both sizes and precisions, print a line for each, and say whether all were within what is allowed."""
    good = True
    network = filled(row.network, row.options, row.gain)
    weights = tensors(network, row.gain)
    for double in (False, True) if row.double else (False,):
        network = network.double() if double else network
        for size in row.sizes:
            inputs = images(*size, row.amplitude)
            theirs = peer_of(row)(row, weights, size, double)(inputs)
            found = differences(answer(network, inputs), theirs)
            fine = max(found.values()) <= (0.0 if PEERS[row.peer][0] == "torch_peers" else ALLOWED[double])
            good &= fine
            said = "  ".join(f"{part} {value:7.1e}" if value else f"{part}   exact" for part, value in found.items())
            print(
                f"{'ok ' if fine else 'BAD'} {row.name:28} {'x'.join(map(str, size)):8} "
                f"{'float64' if double else 'float32'}  {said}  ({len(theirs.stages)} stages)",
                flush=True,
            )
    return good


def write(row: Row) -> None:
    """Keep the peer's numbers for the ordinary tests: a few logits, and two numbers of every other output."""
    weights = tensors(filled(row.network, row.options, row.gain), row.gain)
    cases = []
    for size in row.golden:
        theirs = peer_of(row)(row, weights, size, row.double)(images(*size, row.amplitude))
        cases.append(
            {
                "size": list(size),
                "logits": [[float(f"{value:.14g}") for value in image[:4]] for image in theirs.logits],
                "all_logits": _short(theirs.logits),
                "aux": {tap: _short(value) for tap, value in theirs.aux.items()},
                "stages": {stage: _short(value) for stage, value in theirs.stages.items()},
            }
        )
    package = PEERS[row.peer][2]
    record = {
        "peer": f"{package} {version(package)}",
        "network": row.network,
        "options": dict(row.options),
        "gain": row.gain,
        "amplitude": row.amplitude,
        "precision": "float64" if row.double else "float32",
        "cases": cases,
    }
    GOLDEN.mkdir(parents=True, exist_ok=True)
    text = json.dumps(record, indent=None, separators=(",", ":")).replace('{"size"', '\n{"size"')
    (GOLDEN / f"{row.network}-{row.peer}.json").write_text(text + "\n")


def _short(values: np.ndarray) -> list[float]:
    return [float(f"{number:.14g}") for number in signature(values)]


def main() -> int:
    """Prove what was asked for; 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="beginnings of network/peer; all without")
    parser.add_argument("--write", action="store_true", help="renew the golden files of what was proven")
    arguments = parser.parse_args()
    rows = [row for row in ROWS if row.name.startswith(tuple(arguments.names) or "")]
    if not rows:
        parser.error(f"no row begins with {arguments.names}; there are {', '.join(row.name for row in ROWS)}")
    torch.manual_seed(0)
    start, failed = time.monotonic(), []
    for row in rows:
        if not (prove(row) & prove_files(row)):
            failed.append(row.name)
        elif arguments.write:
            write(row)
    print(f"{len(rows) - len(failed)} of {len(rows)} rows proven in {time.monotonic() - start:.0f} s")
    print(f"peers: {', '.join(sorted({f'{PEERS[row.peer][2]} {version(PEERS[row.peer][2])}' for row in rows}))}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
