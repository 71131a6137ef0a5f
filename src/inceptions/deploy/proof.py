"""The proof next to an export: `parity.json`, and the probe that repeats it in small on other processors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inceptions.data import Split, batches
from inceptions.deploy.graph import ImagesToLogits, ImagesToProbabilities
from inceptions.deploy.images import Images
from inceptions.deploy.parity import LOGITS, Parity, compare
from inceptions.engines import Engine, open_engine
from inceptions.engines.exported import FILES, PARITY, ExportedEngine, digest, proof, refuse_unproven
from inceptions.engines.probe import IMAGES, INT8_FACTOR, Probe, read_probe, write_probe
from inceptions.engines.processor import processor
from inceptions.errors import DataError, GateError
from inceptions.files import to_json, write_atomically
from inceptions.progress import log, track
from inceptions.zoo import Network

Exportable = ImagesToLogits | ImagesToProbabilities
OTHER_SIZES = 32  # images that parity at each other size is proven on


def prove(net: Network, folder: Path, images: Images, *, max_drop: float, workers: int) -> Parity:
    """Open what lies in `folder` with its own runtime and its own preprocessing, and compare with `net`.

    Writes parity.json and probe.npz.
    """
    original = open_engine(net, engine="torch", precision="float32", batch_size=16)
    exported = ExportedEngine(folder, verified=False)
    drop = max_drop if exported.precision == "int8" and images.labeled else None
    parity = compare(
        original,
        net.preprocess,
        exported,
        images.check,
        images=images.name,
        labeled=images.labeled,
        max_drop=drop,
        workers=workers,
    )
    if parity.verdict == "passed" and (told := _misnamed(net, exported, folder)):
        parity = replace(parity, verdict=told)
    if parity.verdict == "passed" and drop is not None:
        parity = _elsewhere(parity, net, exported, folder, images, workers)
    if parity.verdict == "passed" and exported.facts.get("dynamic_size"):
        parity = _other_sizes(parity, net, original, exported, images, workers)
    if (probe := _probe(net, original, exported, images.check)) is not None:
        write_probe(folder, probe)
    facts = {
        **parity.to_dict(),
        "processor": processor().to_dict(),
        "sha256": digest(folder, exported.facts["format"]),
    }
    write_atomically(folder / PARITY, to_json(facts, indent=2) + "\n")
    return parity


def check_here(folder: str | Path) -> dict[str, Any]:
    """Run the probe of the export in `folder` on this processor; its original is not needed.

    Returns:
        What parity.json says, with `probe_difference`, `probe_tolerance` and `checked_on`, this instruction set.

    Raises:
        DataError: the export was altered or never proven, or is older than probes.
        GateError: it answers differently here.
    """
    folder = Path(folder)
    exported = ExportedEngine(folder, verified=False)
    refuse_unproven(folder, exported.facts["format"])
    probe = read_probe(folder)
    if probe is None:
        raise DataError(f"{folder} is older than probes: name its original, `inceptions export ORIGINAL --check`")
    difference, here = probe.difference(exported.graph), processor().instruction_set
    if difference > probe.tolerance:
        raise GateError(
            f"on this processor ({here}) the answers of {folder} differ from its original's: the outputs of its probe "
            f"differ by {difference:.3g}, {probe.tolerance:.3g} allowed"
        )
    told = {"probe_difference": difference, "probe_tolerance": probe.tolerance, "checked_on": here}
    return proof(folder) | told


def graph_inputs(net: Network, images: Tensor, *, with_preprocessing: bool) -> Tensor:
    """What an exported graph takes in place of un-normalized `images` (N, C, H, W)."""
    inputs: Tensor = images
    if not with_preprocessing:
        inputs = net.preprocess.normalize(images)
    elif net.preprocess.channel_order == "bgr":
        inputs = images.flip(1)
    return inputs


def batches_of_inputs(
    split: Split, net: Network, *, with_preprocessing: bool, workers: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """What the graph takes, in batches of 8, with the targets; images of unknown classes are left out."""
    for batch in batches(split.known(), net.preprocess, batch_size=8, workers=workers):
        if len(batch):
            yield graph_inputs(net, batch.images, with_preprocessing=with_preprocessing), batch.targets


def metadata(net: Network) -> dict[str, str]:
    """What an ONNX file says of itself: JSON texts."""
    facts = {"labels": list(net.classes or ()), "preprocess": net.preprocess.to_dict(), "architecture": net.name}
    return {key: to_json(value) for key, value in facts.items()}


def _misnamed(net: Network, exported: ExportedEngine, folder: Path) -> str | None:
    """What the export says of itself that is not so: right numbers under wrong names are wrong answers."""
    if exported.net.classes != net.classes:
        return f"config.json names the classes {exported.net.classes}, the original {net.classes}"
    if exported.facts["format"] == "onnx":
        import onnx

        model = onnx.load(folder / FILES["onnx"], load_external_data=False)
        found = {entry.key: entry.value for entry in model.metadata_props}
        for key, value in metadata(net).items():
            if found.get(key) != value:
                return f"the file's metadata gives {key} as {found.get(key)}, the original's is {value}"
    return None


def _elsewhere(
    parity: Parity, net: Network, exported: ExportedEngine, folder: Path, images: Images, workers: int
) -> Parity:
    """int8: the accuracy under the arithmetic of processors without VNNI, where the export is for any."""
    if exported.facts.get("target") != "any" or not processor().has_vnni:
        return parity
    from inceptions.deploy.quantize import accuracies
    from inceptions.engines.openvino import core

    inside = exported.facts["with_preprocessing"]
    feed = batches_of_inputs(images.check, net, with_preprocessing=inside, workers=workers)
    shown = track(feed, description="checking without VNNI", total=len(images.check), amount=lambda item: len(item[1]))
    graph = core().read_model(folder / FILES["openvino"])
    (found,) = accuracies([graph], shown, exported.threads, "any")
    assert parity.top1_original is not None
    assert parity.max_drop is not None
    drop = 100 * (parity.top1_original - found)
    lost = f"{drop:.2f} points of accuracy lost on processors without VNNI, {parity.max_drop:g} allowed"
    return replace(parity, top1_without_vnni=found, verdict="passed" if drop <= parity.max_drop + 1e-9 else lost)


def _other_sizes(
    parity: Parity, net: Network, original: Engine, exported: ExportedEngine, images: Images, workers: int
) -> Parity:
    """Parity at two more sizes, neither of them square: one larger, one smaller, odd and even sides."""
    height, width = net.preprocess.size
    split = images.check
    if len(split) > OTHER_SIZES:
        split = split.subset(np.linspace(0, len(split) - 1, OTHER_SIZES).astype(np.int64))
    found, verdict = [], parity.verdict
    for grow in ((height // 4 + 1, width // 8), (-(height // 8), -(width // 4) - 1)):
        size = max(height + grow[0], net.min_size), max(width + grow[1], net.min_size)
        preprocess = replace(net.preprocess, size=size)
        exported.net.preprocess = replace(exported.net.preprocess, size=size)
        # among few images, one more or less is many points
        drop = None if parity.max_drop is None else max(parity.max_drop, 200 / len(split))
        at = compare(
            original, preprocess, exported, split, images=images.name, labeled=images.labeled,
            max_drop=drop, workers=workers,
        )  # fmt: skip
        told = ("n", "max_difference", "equal_top1", "verdict")
        found.append({"size": list(size), **{key: getattr(at, key) for key in told}})
        if at.verdict != "passed" and verdict == "passed":
            verdict = f"at {size[0]} x {size[1]} px: {at.verdict}"
    return replace(parity, sizes=tuple(found), verdict=verdict)


def _probe(net: Network, original: Engine, exported: ExportedEngine, split: Split) -> Probe | None:
    """Images spread over `split`, with the original's answers; None: none can be read."""
    some = split.subset(np.linspace(0, len(split) - 1, min(IMAGES, len(split))).astype(np.int64))
    parts = [batch.images for batch in batches(some, net.preprocess, batch_size=IMAGES) if len(batch)]
    if not parts:
        log.warning("none of the images of the probe could be read: the export cannot check itself elsewhere")
        return None
    images = torch.cat(parts)
    inside = exported.facts["with_preprocessing"]
    outputs = original(images)
    if inside:
        outputs = torch.softmax(outputs / (net.artifact.get("temperature") or 1.0), dim=1)
    share = LOGITS.get(exported.precision, LOGITS["bf16"])
    probe = Probe(
        inputs=graph_inputs(net, images, with_preprocessing=inside).contiguous(),
        outputs=outputs.float(),
        tolerance=share * float(outputs.square().mean().sqrt()),
    )
    if exported.precision == "int8":  # no bound is known beforehand
        measured = INT8_FACTOR * probe.difference(exported.graph)
        probe = replace(probe, tolerance=max(probe.tolerance, measured))
    return probe
