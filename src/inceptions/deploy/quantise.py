"""8-bit networks after training (NNCF), held to the accuracy of the original on the user's own pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inceptions.engines.openvino import compiled, quantise, signal_stack_kept
from inceptions.engines.prepared import quiet
from inceptions.progress import log

Item = tuple[NDArray[Any], NDArray[np.int64]]


@dataclass(frozen=True)
class Quantised:
    """An 8-bit graph."""

    graph: Any
    """`openvino.Model`"""
    kept: tuple[str, ...]
    """Layers that stay in floating point because the accuracy needs them."""


def quantise_within(
    graph: Any, calibration: Sequence[Tensor], validation: Callable[[], Iterable[tuple[Tensor, Tensor]]],
    layers: Sequence[str], *, max_drop: float, threads: int,
) -> Quantised:  # fmt: skip
    """`graph` in 8 bits, losing at most `max_drop` points of accuracy on `validation`.

    All layers are tried in 8 bits first. If that loses too much, the layers that hurt most are put back into floating
    point, one after the other, until the bound holds or none is left. However many pictures there are, they are never
    in memory together: the first trial reads them as they come, the search reads them again and again from files.

    Args:
        graph: an `openvino.Model`, one input, logits or probabilities out.
        calibration: batches of inputs that the ranges are measured on.
        validation: gives (inputs, targets) batches, the same at every call.
        layers: names of the costly layers (see `costly_layers`).
        max_drop: percentage points.
        threads: of the CPU.
    """
    import nncf

    inputs = [batch.contiguous().numpy() for batch in calibration]
    plain = quantise(graph, calibration)
    before, after = accuracies([graph, plain], map(_item, validation()), threads)
    drop = 100 * (before - after)
    if drop <= max_drop:
        return Quantised(plain, ())
    log.info(
        "int8 everywhere loses %.2f points, %g allowed: searching the layers that must stay in float", drop, max_drop
    )

    def judge(model: Any, files: Iterable[tuple[Path, NDArray[np.int64]]]) -> tuple[float, list[float]]:
        right = [float(value) for file, targets in files for value in _answers(model, np.load(file)) == targets]
        return sum(right) / len(right), right

    with TemporaryDirectory() as folder, quiet(), signal_stack_kept():
        files = list(_filed(map(_item, validation()), Path(folder)))
        controlled = nncf.quantize_with_accuracy_control(
            graph,
            nncf.Dataset(inputs),
            nncf.Dataset(files, lambda item: np.load(item[0])),
            lambda model, data: judge(model, files),
            max_drop=max_drop / 100,
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(inputs),
        )
    return Quantised(controlled, floats(graph, controlled, layers))


def _item(batch: tuple[Tensor, Tensor]) -> Item:
    return batch[0].contiguous().numpy(), batch[1].numpy()


def _filed(items: Iterable[Item], folder: Path) -> Iterator[tuple[Path, NDArray[np.int64]]]:
    """The same, with each batch's inputs in a file of `folder`."""
    for index, (images, targets) in enumerate(items):
        file = folder / f"{index}.npy"
        np.save(file, images)
        yield file, targets


def accuracies(graphs: Sequence[Any], items: Iterable[Item], threads: int) -> list[float]:
    """Share of right answers of each `openvino.Model`, in one pass over `items`."""
    right, count = [0] * len(graphs), 0
    ready: dict[tuple[int, ...], list[Any]] = {}
    for images, targets in items:
        if images.shape not in ready:
            ready[images.shape] = [compiled(graph, images.shape, "int8", threads) for graph in graphs]
        for place, model in enumerate(ready[images.shape]):
            right[place] += int((_answers(model, images) == targets).sum())
        count += len(targets)
    return [number / count for number in right]


def floats(graph: Any, quantised: Any, layers: Sequence[str]) -> tuple[str, ...]:
    """The convolutions and matrix products of `graph` that have no 8-bit input in `quantised`.

    Args:
        layers: the network's names of them, in the order of execution (see `costly_layers`).
    """
    ordered = sorted((name for name, _ in _costly(graph)), key=_position)
    named = dict(zip(ordered, layers, strict=True))
    kept = {name for name, source in _costly(quantised) if name in named and source != "FakeQuantize"}
    return tuple(named[name] for name in ordered if name in kept)


def costly_layers(program: torch.export.ExportedProgram) -> list[str]:
    """Names of the convolutions and linear layers of an exported program, in the order of execution."""
    parameters = program.graph_signature.inputs_to_parameters
    targets = ("aten.conv2d.", "aten.linear.")
    nodes = [node for node in program.graph.nodes if str(node.target).startswith(targets)]
    weights = [parameters[node.args[1].name] for node in nodes]
    return [name.removeprefix("net.").removesuffix(".weight") for name in weights]


def _costly(graph: Any) -> list[tuple[str, str]]:
    """(name, type of what feeds it) of the operations that cost."""
    types = ("Convolution", "GroupConvolution", "MatMul")
    # "convolution_7/aten.convolution.default/Convolution": the converter numbers them as they are executed
    return [
        (op.get_friendly_name().split("/")[0], op.input_value(0).get_node().get_type_name())
        for op in graph.get_ops()
        if op.get_type_name() in types
    ]


def _position(name: str) -> tuple[str, int]:
    """Orders convolution, convolution_1, ..., convolution_10, ..., linear."""
    word, _, number = name.partition("_")
    return word, int(number or 0)


def _answers(model: Any, images: NDArray[Any]) -> NDArray[np.int64]:
    answer: NDArray[np.int64] = np.asarray(model(images)[0]).argmax(axis=1)
    return answer
