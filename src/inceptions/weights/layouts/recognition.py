"""Which layout a checkpoint follows, told by its names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from inceptions.progress import DataError
from inceptions.weights.checkpoint import Checkpoint, Dialect
from inceptions.weights.layouts import caffe, keras, pytorch, slim
from inceptions.weights.layouts.layout import Layout

LAYOUTS: tuple[Layout, ...] = (*pytorch.LAYOUTS, *keras.LAYOUTS, *slim.LAYOUTS, *caffe.LAYOUTS)

_KERNELS: Mapping[Dialect, tuple[str, int]] = {
    "torch": (".weight", 0), "caffe": (".weight", 0), "keras": ("/kernel", -1), "slim": ("/weights", -1),
}  # fmt: skip
"""What follows a linear layer's name in the name of its matrix, and the axis of its outputs."""


@dataclass(frozen=True, kw_only=True)
class Match:
    """A checkpoint and the layout it follows."""

    checkpoint: Checkpoint
    layout: Layout
    names: Mapping[str, str]
    """The file's own name of each module of the layout that is there."""
    beside: tuple[str, ...]
    """Modules of the file that the layout does not know (a user's head)."""

    def rows(self, module: str) -> int | None:
        """Outputs of the linear layer that the layout calls `module`; None where the file has no such layer."""
        kernel, axis = _KERNELS[self.checkpoint.dialect]
        tensor = self.checkpoint.tensors.get(self.names.get(module, module) + kernel)
        return None if tensor is None or tensor.ndim < 2 else tensor.shape[axis]


@dataclass(frozen=True, kw_only=True)
class FileHead:
    """The classifier of a checkpoint, as far as it can be taken over."""

    classifier: str
    """The last linear layer."""
    rows: int
    """Its outputs in the file."""
    hidden: tuple[str, ...] = ()
    """Layers with a ReLU between pooling and classifier."""
    hidden_widths: tuple[int, ...] = ()
    drop_rate: float | None = None
    """Of the dropout in front of it, where the file says so."""
    sigmoid: bool = False
    """One output under a sigmoid: two classes."""
    background: bool = False
    """The first class is "background", which nothing is."""

    @property
    def outputs(self) -> int:
        """Classes it tells apart."""
        return 2 if self.sigmoid else self.rows


def find_head(match: Match) -> FileHead | None:
    """The head of a checkpoint: the layout's own, or the dense layers that a Keras user put behind the network."""
    model, layout = match.checkpoint.model, match.layout
    if model is not None and model.obstacle:
        return None
    if model is not None and model.dense:
        *hidden, last = model.dense
        widths = [match.rows(layer.name) for layer in hidden]
        rows = match.rows(last.name)
        if rows is None or None in widths:
            raise DataError(
                f"{match.checkpoint.source}: its dense layers ({', '.join(d.name for d in model.dense)}) lack weights"
            )
        if last.activation == "sigmoid" and rows > 1:
            return None  # several labels a picture: no classifier
        return FileHead(
            classifier=last.name,
            rows=rows,
            hidden=tuple(layer.name for layer in hidden),
            hidden_widths=tuple(width for width in widths if width is not None),
            drop_rate=model.drop_rate,
            sigmoid=last.activation == "sigmoid",
        )
    for name in layout.heads:
        rows = match.rows(name) if name in match.names else None
        if rows is not None:
            return FileHead(classifier=name, rows=rows, background=rows == layout.classes + 1)
    return None


def recognise(checkpoint: Checkpoint, network: str | None = None, *, new_head: bool = False) -> Match:
    """Finds the layout whose every module of the body is in the file.

    Args:
        checkpoint: what was read.
        network: the member of the family that it is to be; None for whichever it is.
        new_head: the classifier will be a new one, so nobody needs to know what stands behind the body.

    Raises:
        DataError: no layout fits; the message names the nearest one and what is missing, or what is too much.
    """
    scored = sorted(_candidates(checkpoint), key=lambda pair: pair[0], reverse=True)
    if not scored:
        raise DataError(f"{checkpoint.source}: no layout of a {checkpoint.dialect} file is known")
    full = [match for score, match in scored if score == 1.0]
    if not full:
        raise DataError(_nothing_fits(scored[0][1]))
    # the names of one network may be among another's, and publishers share names: what is left over and the head decide
    match = min(full, key=lambda m: (len(m.beside), not _has_published_head(m)))
    if network is not None and match.layout.network != network:
        raise DataError(f"{checkpoint.source} holds {match.layout.title}, not {network}")
    if surplus := _surplus(match, new_head=new_head):
        raise DataError(
            f"{checkpoint.source}: the nearest layout, {match.layout.title}, has no place for {len(surplus)} of its "
            f"modules: {_some(surplus)}" + ("" if new_head else "; if these are a head, give num_classes for a new one")
        )
    return match


def _surplus(match: Match, *, new_head: bool) -> tuple[str, ...]:
    """What makes a file another network: any module too much; in Keras a convolution, as dense layers may be a head.

    Where the head will be new, only what stands in a block of the body.
    """
    if match.checkpoint.dialect != "keras":
        separator = _KERNELS[match.checkpoint.dialect][0][0]
        blocks = {name.partition(separator)[0] for name in match.layout.body} if new_head else set()
        return tuple(name for name in match.beside if not new_head or name.partition(separator)[0] in blocks)
    tensors = match.checkpoint.tensors
    kernels = {name.rpartition("/")[0] for name, tensor in tensors.items() if tensor.ndim > 2}
    return tuple(name for name in match.beside if name in kernels)


def _has_published_head(match: Match) -> bool:
    rows = {match.rows(name) for name in match.layout.heads if name in match.names}
    return not rows.isdisjoint((match.layout.classes, match.layout.classes + 1))


def _candidates(checkpoint: Checkpoint) -> Iterator[tuple[float, Match]]:
    """Each layout of the file's dialect, in each container of the file, with the share of its body that is there."""
    nested = checkpoint.dialect == "keras"
    separator = _KERNELS[checkpoint.dialect][0][0]
    containers: dict[str, set[str]] = {}
    for tensor in checkpoint.tensors:
        module = tensor.rpartition(separator)[0]
        # in Keras a network may be one layer of another; elsewhere the separator is part of a module's name
        container, _, layer = module.rpartition("/") if nested else ("", "", module)
        containers.setdefault(container, set()).add(layer)
    for container, layers in containers.items():
        prefix = f"{container}/" if container else ""
        called = {layer: prefix + layer for layer in sorted(layers)}
        if nested:
            called |= {counted: prefix + name for counted, name in keras.creation_order(layers).items()}
        for layout in LAYOUTS:
            if layout.dialect == checkpoint.dialect:
                body, known = set(layout.body), set(layout.modules())
                names = {name: called[name] for name in layout.modules() if name in called}
                placed = set(names.values())
                beside = tuple(called[layer] for layer in sorted(layers - known) if called[layer] not in placed)
                share = len(body & names.keys()) / len(body)
                yield share, Match(checkpoint=checkpoint, layout=layout, names=names, beside=beside)


def _nothing_fits(nearest: Match) -> str:
    body = list(dict.fromkeys(nearest.layout.body))
    missing = [name for name in body if name not in nearest.names]
    found = len(body) - len(missing)
    text = f"{nearest.checkpoint.source}: its names fit no known layout. "
    if not found:
        held = _some(tuple(nearest.checkpoint.tensors))
        return f"{text}It holds {held}; known are {', '.join(dict.fromkeys(layout.title for layout in LAYOUTS))}"
    text += f"The nearest is {nearest.layout.title}, of whose {len(body)} modules {found} are there; missing: "
    text += _some(tuple(missing))
    return text + (f"; unknown: {_some(nearest.beside)}" if nearest.beside else "")


def _some(names: tuple[str, ...], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(name[:100] for name in names[:most]) + more
