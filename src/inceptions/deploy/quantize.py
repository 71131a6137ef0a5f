"""8-bit networks after training (NNCF), held to the accuracy of the original on the user's own images, in the
arithmetic of the processors that the network is for."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inceptions.deploy.arithmetic import answering
from inceptions.engines.openvino import signal_stack_kept
from inceptions.engines.prepared import quiet
from inceptions.engines.processor import processor
from inceptions.progress import log, note, track

Items = Iterable[tuple[Tensor, Tensor]]
Validation = Callable[[], Items]

_COSTLY = ("Convolution", "GroupConvolution", "MatMul")
RANKED_ON = 16  # images that tell how much a layer's 8 bits disturb the answers


@dataclass(frozen=True)
class Quantized:
    """An 8-bit graph."""

    graph: Any
    """`openvino.Model`"""
    kept: tuple[str, ...]
    """Layers that stay in floating point because the accuracy needs them."""
    settings: str = ""
    """How it was quantized, in words."""
    drop: float = 0.0
    """Percentage points of accuracy that it loses."""


@dataclass(frozen=True)
class Setting:
    """One way to quantize.

    Attributes:
        half_range: the layers whose weights use half of the 8 bits, so that no pair of products can saturate: "first",
            which sees the widest inputs, "all" or "none".
        singly: activation ranges are means over single images; else over batches, which are wider.
    """

    half_range: str = "first"
    singly: bool = False

    def __str__(self) -> str:
        layers = {"first": "half-range weights in the first layer", "all": "half-range weights", "none": "full range"}
        return layers[self.half_range] + (", ranges of single images" if self.singly else "")


SATURATING = (Setting("first", singly=True), Setting("all", singly=True), Setting("first"))
"""What is tried for processors that add pairs of products in 16 bits, the best of what was measured first."""
EXACT = (Setting("none", singly=True), Setting("first", singly=True), Setting("none"))
"""What is tried where the sums have 32 bits: half a range would only cost precision."""


def quantize_within(
    graph: Any, calibration: Sequence[Tensor], validation: Validation, layers: Sequence[str], *, max_drop: float,
    threads: int, target: str = "any", max_time: float = 600.0, total: int | None = None,
) -> Quantized:  # fmt: skip
    """`graph` in 8 bits, losing at most `max_drop` points of accuracy on `validation`, or as little as was found.

    All layers are tried in 8 bits first, with each setting. If all of them lose too much, the layers that disturb the
    answers most are put back into floating point, one, two, four, ..., until the bound holds. However many images
    there are, they are never in memory together.

    Args:
        graph: an `openvino.Model`, one input, logits or probabilities out.
        calibration: batches of inputs that the ranges are measured on.
        validation: gives (inputs, targets) batches, the same at every call.
        layers: names of the costly layers (see `costly_layers`).
        max_drop: percentage points.
        threads: of the CPU.
        target: see `arithmetic.TARGETS`: whose arithmetic the accuracy is measured in.
        max_time: seconds after which nothing more is tried; what was begun is finished.
        total: images of `validation`, for the bar.
    """
    search = _Search(
        graph, validation, max_drop=max_drop, threads=threads, target=target, max_time=max_time, total=total
    )
    try:
        for setting in settings_for(target):
            search.judge(quantize(graph, calibration, setting), str(setting))
            if search.over():
                return search.result(layers)
        log.info(
            "int8 in all layers loses %.2f points at best, %g allowed: searching for the layers to keep in float",
            search.best.drop,
            max_drop,
        )
        base = search.best
        ranked = search.ranked(torch.cat(list(calibration))[:RANKED_ON])
        for count in sorted({*(2**power for power in range(len(ranked).bit_length())), len(ranked)}):
            if count == 0 or search.over():
                break
            search.judge(with_floats(base.graph, graph, ranked[:count]), f"{base.settings}, {count} layers in float")
    except KeyboardInterrupt:
        if search.trials:
            log.warning("interrupted; the best so far loses %.2f points, %g allowed", search.best.drop, max_drop)
        raise
    return search.result(layers)


def settings_for(target: str) -> tuple[Setting, ...]:
    """What is worth trying for `target`."""
    return SATURATING if target == "any" or not processor().has_vnni else EXACT


def quantize(graph: Any, calibration: Iterable[Tensor], setting: Setting) -> Any:
    """`graph` with 8-bit convolutions, its ranges measured on `calibration`, its biases corrected."""
    import nncf
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix

    fix = {"first": OverflowFix.FIRST_LAYER, "all": OverflowFix.ENABLE, "none": OverflowFix.DISABLE}
    batches = [batch.contiguous() for batch in calibration]
    if setting.singly:
        batches = [image for batch in batches for image in torch.split(batch, 1)]
    with quiet(), _silent("nncf"), signal_stack_kept():
        return nncf.quantize(
            graph,
            nncf.Dataset(_Shown([batch.numpy() for batch in batches])),
            subset_size=len(batches),
            preset=nncf.QuantizationPreset.MIXED,
            advanced_parameters=AdvancedQuantizationParameters(overflow_fix=fix[setting.half_range]),
        )


class _Shown:
    """Calibration data that NNCF goes through several times, each time with a bar in place of NNCF's own."""

    def __init__(self, batches: list[Any]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        return track(self.batches, description="measuring int8 ranges", unit="batches")


def accuracies(graphs: Sequence[Any], items: Items, threads: int, target: str = "this") -> list[float]:
    """Share of right answers of each `openvino.Model` in the arithmetic of `target`, in one pass over `items`."""
    right, count = [0] * len(graphs), 0
    with ExitStack() as stack:
        running = [stack.enter_context(answering(graph, target, threads)) for graph in graphs]
        for images, targets in items:
            values = images.contiguous().numpy()
            for place, answers in enumerate(running):
                right[place] += int((answers(values).argmax(axis=1) == targets.numpy()).sum())
            count += len(targets)
    return [number / count for number in right]


class _Search:
    """The trials so far, and the time that is left for more."""

    def __init__(
        self, graph: Any, validation: Validation, *, max_drop: float, threads: int, target: str, max_time: float,
        total: int | None,
    ) -> None:  # fmt: skip
        self.graph, self.validation, self.max_drop = graph, validation, max_drop
        self.threads, self.target, self.total = threads, target, total
        self.until = time.monotonic() + max_time
        self.trials: list[Quantized] = []
        self.before: float | None = None

    @property
    def best(self) -> Quantized:
        return min(self.trials, key=lambda trial: trial.drop)

    def over(self) -> bool:
        """Whether one is good enough, or the time is up."""
        late = time.monotonic() > self.until
        if late and self.best.drop > self.max_drop:
            log.warning("the time for int8 is up (--max-time): the best found loses %.2f points", self.best.drop)
        return late or self.best.drop <= self.max_drop + 1e-9

    def judge(self, graph: Any, settings: str) -> None:
        """Measure what `graph` loses."""
        if self.before is None:
            self.before = accuracies([self.graph], self._shown("checking float"), self.threads)[0]
        (after,) = accuracies([graph], self._shown(f"checking int8 ({settings})"), self.threads, self.target)
        self.trials.append(Quantized(graph, (), settings, 100 * (self.before - after)))
        log.info("int8, %s: %.2f points lost, %g allowed", settings, self.trials[-1].drop, self.max_drop)

    def _shown(self, description: str) -> Iterator[tuple[Tensor, Tensor]]:
        shown = track(self.validation(), description=description, total=self.total, amount=lambda item: len(item[1]))
        for item in shown:
            note(f"at most {max(0, self.until - time.monotonic()) / 60:.0f} minutes more for trying")
            yield item

    def ranked(self, images: Tensor) -> list[str]:
        """Names of the costly layers of the best graph, the one that disturbs the answers most first.

        Each is put back into floating point alone; how much nearer the outputs for `images` then come to the original's
        is what it costs. Half of the time that is left is for this; layers that are not reached are not named.
        """
        until, values = time.monotonic() + (self.until - time.monotonic()) / 2, images.contiguous().numpy()
        base = self.best.graph
        with answering(self.graph, "this", self.threads) as answers:
            right = answers(values)
        errors: dict[str, float] = {}
        names = [name for name, source in _costly(base) if source.get_type_name() == "FakeQuantize"]
        for name in track(names, description="ranking layers", unit="layers"):
            with answering(with_floats(base, self.graph, [name]), self.target, self.threads) as answers:
                errors[name] = float(np.square(answers(values) - right).mean())
            if time.monotonic() > until:
                break
        return sorted(errors, key=lambda name: errors[name])

    def result(self, layers: Sequence[str]) -> Quantized:
        """The best, with the names of what stays in floating point."""
        best = self.best
        return Quantized(best.graph, floats(self.graph, best.graph, layers), best.settings, best.drop)


def with_floats(quantized: Any, graph: Any, names: Sequence[str]) -> Any:
    """A copy of `quantized` in which the operations called `names` compute in floating point, as they do in `graph`."""
    from openvino import opset14

    copy = quantized.clone()
    originals = {op.get_friendly_name(): op for op in graph.get_ops()}
    for op in copy.get_ops():
        name = op.get_friendly_name()
        if name.split("/")[0] not in names or op.get_type_name() not in _COSTLY:
            continue
        source = op.input_value(0).get_node()
        if source.get_type_name() == "FakeQuantize":
            op.input(0).replace_source_output(source.input_value(0))
        for rounding in _behind(op):
            for target in rounding.output(0).get_target_inputs():
                target.replace_source_output(rounding.input_value(0))
        for ours, theirs in ((op, originals.get(name)), *_biases(op, originals)):
            weights = theirs.input_value(1).get_node() if theirs is not None else None
            if weights is not None and weights.get_type_name() == "Constant":
                ours.input(1).replace_source_output(opset14.constant(weights.data).output(0))
    copy.validate_nodes_and_infer_types()
    return copy


def _biases(op: Any, originals: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    """The sum that adds the bias behind `op`, and the original's: NNCF corrects biases for 8 bits."""
    for target in op.output(0).get_target_inputs():
        consumer = target.get_node()
        if consumer.get_type_name() == "Add" and consumer.input_value(1).get_node().get_type_name() == "Constant":
            yield consumer, originals.get(consumer.get_friendly_name())


def _behind(op: Any) -> Iterator[Any]:
    """Where the outputs of `op` are rounded to 8 bits for nobody who computes in them, such as a sum."""
    for target in op.output(0).get_target_inputs():
        consumer = target.get_node()
        if consumer.get_type_name() in ("Add", "Relu", "MaxPool"):
            yield from _behind(consumer)
        elif consumer.get_type_name() == "FakeQuantize":
            readers = [reader.get_node().get_type_name() for reader in consumer.output(0).get_target_inputs()]
            if not any(reader in _COSTLY for reader in readers):
                yield consumer


@contextmanager
def _silent(name: str) -> Iterator[None]:
    """Keeps what the logger `name` says, short of errors, which a user can do nothing about."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def floats(graph: Any, quantized: Any, layers: Sequence[str]) -> tuple[str, ...]:
    """The convolutions and matrix products of `graph` that have no 8-bit input in `quantized`.

    Args:
        layers: the network's names of them, in the order of execution (see `costly_layers`).
    """
    ordered = sorted((name for name, _ in _costly(graph)), key=_position)
    named = dict(zip(ordered, layers, strict=True))
    kept = {name for name, source in _costly(quantized) if name in named and not _rounded(source)}
    return tuple(named[name] for name in ordered if name in kept)


def costly_layers(program: torch.export.ExportedProgram) -> list[str]:
    """Names of the convolutions and linear layers of an exported program, in the order of execution."""
    parameters = program.graph_signature.inputs_to_parameters
    targets = ("aten.conv2d.", "aten.linear.")
    nodes = [node for node in program.graph.nodes if str(node.target).startswith(targets)]
    weights = [parameters[node.args[1].name] for node in nodes]
    return [name.removeprefix("net.").removesuffix(".weight") for name in weights]


def _costly(graph: Any) -> list[tuple[str, Any]]:
    """(name, what feeds it) of the operations that cost."""
    # "convolution_7/aten.convolution.default/Convolution": the converter numbers them as they are executed
    return [
        (op.get_friendly_name().split("/")[0], op.input_value(0).get_node())
        for op in graph.get_ops()
        if op.get_type_name() in _COSTLY
    ]


def _rounded(node: Any) -> bool:
    """Whether what `node` gives is 8-bit: rounded there, or before a step that keeps it so."""
    kind = node.get_type_name()
    if kind in ("MaxPool", "Relu", "Pad"):
        return _rounded(node.input_value(0).get_node())
    if kind == "Concat":
        return all(_rounded(value.get_node()) for value in node.input_values())
    return bool(kind == "FakeQuantize")


def _position(name: str) -> tuple[str, int]:
    """Orders convolution, convolution_1, ..., convolution_10, ..., linear."""
    word, _, number = name.partition("_")
    return word, int(number or 0)
