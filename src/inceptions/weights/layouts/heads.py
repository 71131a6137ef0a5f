"""The classifier of a checkpoint: the layout's own, what a Keras model says, or linear layers beside a whole body."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from torch import Tensor

from inceptions.errors import DataError
from inceptions.weights.checkpoint import Dialect, some_of
from inceptions.weights.keras_graph import KerasModel
from inceptions.weights.keras_head import DenseLayer, NormLayer
from inceptions.weights.layouts.match import KERNELS, Match

_TORCH_EPSILON = 1e-5
_MANY = re.compile(r"binary_\w*crossentropy\w*")
"""Losses of several labels an image, where there are several outputs."""
_ANGULAR = re.compile(r"arc_?(face|margin|loss)|cos_?(face|ine)|sphere_?face|am_?softmax|margin", re.IGNORECASE)
"""Names of classifiers that normalize their rows and what they read."""
_NORM = {"torch": ".running_mean", "caffe": ".running_mean", "keras": "/moving_mean", "slim": "/moving_mean"}
_WEIGHTS = {"kernel", "depthwise_kernel", "pointwise_kernel", "gamma", "beta", "moving_mean"}
"""Variables of Keras's layers that change what a model answers (others count, or hold the state of a generator)."""


@dataclass(frozen=True, kw_only=True)
class FileNorm:
    """A batch norm of a file's head."""

    name: str
    epsilon: float


@dataclass(frozen=True, kw_only=True)
class FileLinear:
    """A linear layer of a file's head."""

    name: str
    """The layout's name of it, or the file's."""
    inputs: int
    rows: int
    """Its outputs in the file."""
    before: tuple[FileNorm, ...] = ()
    """What its inputs go through."""
    after: tuple[FileNorm, ...] = ()
    """What its outputs go through, in front of the ReLU."""


@dataclass(frozen=True, kw_only=True)
class FileHead:
    """The classifier of a checkpoint, as far as it can be taken over."""

    layers: tuple[FileLinear, ...]
    """Hidden layers with a ReLU each, and the classifier."""
    drop_rate: float | None = None
    """Of the dropout in front of the classifier, where the file says so."""
    window: tuple[int, int] | None = None
    """Of an average pooling that is global only where the map of features is as large."""
    background: bool = False
    """The first class is "background", which nothing is."""
    told: str | None = None
    """What the user is told about how it was recognized."""

    @property
    def classifier(self) -> str:
        """The last linear layer."""
        return self.layers[-1].name

    @property
    def rows(self) -> int:
        """Outputs of the classifier in the file."""
        return self.layers[-1].rows

    @property
    def hidden(self) -> tuple[FileLinear, ...]:
        """The layers in front of the classifier."""
        return self.layers[:-1]

    @property
    def sigmoid(self) -> bool:
        """One output under a sigmoid: two classes. (Softmax over one output would always say 1.)"""
        return self.rows == 1

    @property
    def outputs(self) -> int:
        """Classes it tells apart."""
        return 2 if self.sigmoid else self.rows


def find_head(match: Match) -> FileHead | str | None:
    """The head of a checkpoint.

    Returns:
        The head; in words, why it cannot be taken over; None where there is none.

    Raises:
        DataError: the file speaks of layers whose weights it does not hold.
    """
    model, layout = match.checkpoint.model, match.layout
    if model is not None and model.obstacle:
        return model.obstacle
    if model is not None and model.dense:
        return _keras_head(match, model)
    modules = head_modules(match)
    beside = [name for name in modules if not _auxiliary(match, name)]
    other = [] if match.checkpoint.dialect == "keras" else [name for name in match.beside if name not in modules]
    if other:  # allowed only where the head is to be a new one
        return f"beside the network it holds {some_of(other)}"
    unknown = []
    for name in layout.heads:
        sizes = _sizes(match, match.names[name], convolved=True) if name in match.names else None
        if sizes is None:
            unknown += [name] if name in match.names else []
            continue
        if beside:
            return f"beside its classifier {match.names[name]} it holds {some_of(beside)}"
        layer = FileLinear(name=name, inputs=sizes[0], rows=sizes[1])
        return FileHead(layers=(layer,), background=sizes[1] == layout.classes + 1)
    if unknown and match.checkpoint.dialect != "keras":
        called = match.names[unknown[0]] + KERNELS[match.checkpoint.dialect][0][0]
        held = [name for name in match.checkpoint.tensors if name.startswith(called)]
        return f"its classifier {match.names[unknown[0]]} is no linear layer: it holds {some_of(held)}"
    return _chained(match, beside) if beside else None


def head_modules(match: Match) -> tuple[str, ...]:
    """Linear layers and batch norms of vectors that the layout does not know and that lie outside of its body.

    They may be a head of somebody's own. Empty where there is no linear layer among them.
    """
    body = _parents(match, match.layout.body)
    known = set(match.names.values())
    if match.checkpoint.dialect == "keras":  # a network may be one layer of a model, its head another
        modules: Iterable[str] = dict.fromkeys(name.rpartition("/")[0] for name in match.checkpoint.tensors)
    else:
        modules = match.beside
    outside = [name for name in modules if name not in known and _top(match, name) not in body]
    linear = [name for name in outside if _sizes(match, name)]
    norms = [name for name in outside if name + _NORM[match.checkpoint.dialect] in match.checkpoint.tensors]
    return tuple(sorted({*linear, *norms}, key=_natural)) if linear else ()


# --- what a Keras model says ----------------------------------------------------------------------------------------


def _keras_head(match: Match, model: KerasModel) -> FileHead | str:
    layers = tuple(_keras_layer(match, layer) for layer in model.dense)
    head = FileHead(layers=layers, drop_rate=model.drop_rate, window=model.head.window)
    last = model.dense[-1].activation
    if head.rows == 1 and last in ("softmax", "log_softmax"):
        return f"softmax over the one output of {head.classifier} says 1 for every image"
    if head.rows > 1 and last == "sigmoid":
        return f"sigmoid over {head.rows} outputs gives each image several labels, and only one class an image is read"
    if head.rows > 1 and last == "linear" and _MANY.fullmatch(model.head.loss or ""):
        return f"its loss {model.head.loss} over {head.rows} outputs gives each image several labels, not one class"
    known = {*match.names.values(), *_names(layers)}
    modules = {name.rpartition("/") for name in match.checkpoint.tensors}
    left = sorted({module for module, _, variable in modules if variable in _WEIGHTS} - known)
    return f"{some_of(left)}: neither of the network nor of its head" if left else head


def _keras_layer(match: Match, layer: DenseLayer) -> FileLinear:
    def norms(layers: Iterable[NormLayer]) -> tuple[FileNorm, ...]:
        return tuple(FileNorm(name=_placed(match, one.name, "/moving_mean"), epsilon=one.epsilon) for one in layers)

    name = _placed(match, layer.name, "/kernel")
    sizes = _sizes(match, name)
    if sizes is None:
        raise DataError(f"{match.checkpoint.source}: the kernel of its dense layer {layer.name} is no matrix")
    return FileLinear(name=name, inputs=sizes[0], rows=sizes[1], before=norms(layer.before), after=norms(layer.after))


def _placed(match: Match, name: str, variable: str) -> str:
    """Where the weights of a layer of the head lie: files put containers in front of its name."""
    tensors = match.checkpoint.tensors
    if name + variable in tensors:
        return name
    found = [full.removesuffix(variable) for full in tensors if full.endswith(f"/{name}{variable}")]
    if len(found) != 1:
        came = "twice" if found else "not at all"
        raise DataError(f"{match.checkpoint.source}: its head's layer {name} has weights in the file {came}")
    return found[0]


# --- linear layers beside the body ----------------------------------------------------------------------------------


def _chained(match: Match, modules: list[str]) -> FileHead | str:
    """Linear layers, each of which reads what the one before makes."""
    sizes = {name: size for name in modules if (size := _sizes(match, name))}
    order = _order(sizes)
    if order is None:
        shown = ", ".join(f"{name} ({inputs} to {rows})" for name, (inputs, rows) in list(sizes.items())[:5])
        return f"its linear layers {shown} are no chain from features to classes"
    placed = _with_norms(order, [name for name in modules if name not in sizes])
    if isinstance(placed, str):
        return placed
    layers = tuple(
        FileLinear(name=name, inputs=sizes[name][0], rows=sizes[name][1], before=before, after=after)
        for name, (before, after) in zip(order, placed, strict=True)
    )
    if angular := next((name for name in order if _ANGULAR.search(name)), None):
        return f"{angular} seems to compare angles (as ArcFace's layer does), which a linear layer does not"
    told = f"the file does not say what {', '.join(order)} {'is' if len(order) == 1 else 'are'}: read as "
    count = len(order) - 1
    hidden = f"{count} hidden layer{'s' if count > 1 else ''} with a ReLU each, and " if count else ""
    return FileHead(layers=layers, told=f"{told}{hidden}the classifier")


def _order(sizes: dict[str, tuple[int, int]]) -> list[str] | None:
    """The names in the order of a chain; None where they are none."""
    starts = [
        name for name, (inputs, _) in sizes.items()
        if all(inputs != rows for other, (_, rows) in sizes.items() if other != name)
    ]  # fmt: skip
    if len(sizes) > 1 and len(starts) != 1:
        return None
    order, left = [(starts or list(sizes))[0]], dict(sizes)
    del left[order[0]]
    while left:
        following = next((name for name, (inputs, _) in left.items() if inputs == sizes[order[-1]][1]), None)
        if following is None:
            return None
        order.append(following)
        del left[following]
    return order


_Norms = tuple[tuple[FileNorm, ...], tuple[FileNorm, ...]]


def _with_norms(linear: list[str], norms: list[str]) -> list[_Norms] | str:
    """The batch norms before and after each linear layer, told by their numbers in a `Sequential`.

    What has no weights leaves a gap in the numbers, and an activation must be in one.
    """
    places = [_numbered(name) for name in linear]
    before: list[list[FileNorm]] = [[] for _ in linear]
    after: list[list[FileNorm]] = [[] for _ in linear]
    steps: list[list[int]] = [[place[1]] for place in places]  # numbers from a linear layer to the next one
    for name in norms:
        parent, number = _numbered(name)
        if number < 0 or any(place[0] != parent or place[1] < 0 for place in places):
            return f"where batch norm {name} stands in its head is not known"
        index = sum(place[1] < number for place in places)
        if index == len(linear):
            return f"its head ends in batch norm ({name})"
        norm = FileNorm(name=name, epsilon=_TORCH_EPSILON)
        if index == 0:
            before[0].append(norm)
            continue
        gap_in_front, gap_behind = number > steps[index - 1][-1] + 1, number + 1 < places[index][1]
        if gap_in_front and gap_behind:
            return f"whether an activation stands before or after batch norm {name} is not known"
        (before[index] if gap_in_front else after[index - 1]).append(norm)
        steps[index - 1].append(number)
    for index in range(len(linear) - 1):
        (parent, first), (next_parent, last) = places[index], places[index + 1]
        if parent == next_parent and first >= 0 and last - first - 1 == len(steps[index]) - 1:
            return f"no activation stands between {linear[index]} and {linear[index + 1]}"
    return [(tuple(one), tuple(two)) for one, two in zip(before, after, strict=True)]


def _numbered(name: str) -> tuple[str, int]:
    """("fc", 3) of "fc.3"; -1 where there is no number."""
    parent, separator, number = name.rpartition(".")
    return (parent, int(number)) if separator and number.isdecimal() and len(number) < 9 else (parent, -1)


# --- names and sizes ------------------------------------------------------------------------------------------------


def _sizes(match: Match, module: str, *, convolved: bool = False) -> tuple[int, int] | None:
    """(inputs, outputs) of the linear layer that the file calls `module`; None where there is none.

    `convolved`: a convolution of 1 x 1 is one too, as it is behind global pooling.
    """
    dialect = match.checkpoint.dialect
    tensor = match.checkpoint.tensors.get(module + KERNELS[dialect][0])
    return None if tensor is None else _matrix(tensor, dialect, convolved=convolved)


def _matrix(tensor: Tensor, dialect: Dialect, *, convolved: bool) -> tuple[int, int] | None:
    rows_first = dialect in ("torch", "caffe")
    if rows_first and convolved and tensor.ndim == 4 and tuple(tensor.shape[2:]) == (1, 1):
        return tensor.shape[1], tensor.shape[0]
    if tensor.ndim == 4 and dialect == "slim" and tuple(tensor.shape[:2]) == (1, 1):  # slim's 1x1 convolutions
        return tensor.shape[2], tensor.shape[3]
    if tensor.ndim != 2:
        return None
    return (tensor.shape[1], tensor.shape[0]) if rows_first else (tensor.shape[0], tensor.shape[1])


def _auxiliary(match: Match, name: str) -> bool:
    """Whether a module belongs to an auxiliary head."""
    tops = _parents(match, (module for modules in match.layout.aux.values() for module in modules))
    return _top(match, name) in tops


def _parents(match: Match, modules: Iterable[str]) -> set[str]:
    return {_top(match, match.names.get(module, module)) for module in modules}


def _top(match: Match, name: str) -> str:
    """The part of a name that tells the stages of a network apart."""
    separator = KERNELS[match.checkpoint.dialect][0][0]
    if match.checkpoint.dialect == "keras":
        return name  # layers have no parts
    parts = name.split(separator)
    scope = 1 if match.checkpoint.dialect == "slim" else 0  # slim puts a whole network under one scope
    return separator.join(parts[: scope + 1]) if len(parts) > scope else name


def _names(layers: Iterable[FileLinear]) -> Iterator[str]:
    for layer in layers:
        yield layer.name
        yield from (norm.name for norm in (*layer.before, *layer.after))


def _natural(name: str) -> list[tuple[int, int, str]]:
    """A key that puts `dense_2` in front of `dense_10`, and `dense` in front of both."""
    parts = re.split(r"(\d+)", name)
    return [(1, int(part[:18]), "") if part.isdecimal() else (0, 0, part.rstrip("_")) for part in parts if part]
