"""Which layout a checkpoint follows, told by its names."""

from __future__ import annotations

from collections.abc import Iterator

from inceptions.errors import DataError
from inceptions.weights.checkpoint import Checkpoint, some_of
from inceptions.weights.layouts import caffe, keras, pytorch, slim
from inceptions.weights.layouts.heads import head_modules
from inceptions.weights.layouts.layout import Layout
from inceptions.weights.layouts.match import KERNELS, Match

LAYOUTS: tuple[Layout, ...] = (*pytorch.LAYOUTS, *keras.LAYOUTS, *slim.LAYOUTS, *caffe.LAYOUTS)


def recognize(checkpoint: Checkpoint, network: str | None = None, *, new_head: bool = False) -> Match:
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
        outside = not new_head and not _surplus(match, new_head=True)
        hint = (
            "; give num_classes for a new head, or name the part with the network (--weights-part)" if outside else ""
        )
        raise DataError(
            f"{checkpoint.source}: the nearest layout, {match.layout.title}, has no place for {len(surplus)} of its "
            f"modules: {some_of(surplus)}{hint}"
        )
    return match


def _surplus(match: Match, *, new_head: bool) -> tuple[str, ...]:
    """What makes a file another network: any module that is no head's; in Keras only a convolution.

    Where the head will be new, only what stands in a block of the body.
    """
    if match.checkpoint.dialect != "keras":
        separator, head = KERNELS[match.checkpoint.dialect][0][0], head_modules(match)
        one_scope = len({name.partition(separator)[0] for name in match.layout.body}) == 1
        depth = 2 if one_scope else 1
        blocks = {tuple(name.split(separator)[:depth]) for name in match.layout.body}
        beside = [name for name in match.beside if name not in head]
        return tuple(name for name in beside if not new_head or tuple(name.split(separator)[:depth]) in blocks)
    tensors = match.checkpoint.tensors
    kernels = {name.rpartition("/")[0] for name, tensor in tensors.items() if tensor.ndim > 2}
    return tuple(name for name in match.beside if name in kernels)


def _has_published_head(match: Match) -> bool:
    rows = {match.rows(name) for name in match.layout.heads if name in match.names}
    return not rows.isdisjoint((match.layout.classes, match.layout.classes + 1))


def _candidates(checkpoint: Checkpoint) -> Iterator[tuple[float, Match]]:
    """Each layout of the file's dialect, in each container of the file, with the share of its body that is there."""
    nested = checkpoint.dialect == "keras"
    separator = KERNELS[checkpoint.dialect][0][0]
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
        held = some_of(tuple(nearest.checkpoint.tensors))
        return f"{text}It holds {held}; known are {', '.join(dict.fromkeys(layout.title for layout in LAYOUTS))}"
    text += f"The nearest is {nearest.layout.title}, of whose {len(body)} modules {found} are there; missing: "
    text += some_of(tuple(missing))
    return text + (f"; unknown: {some_of(nearest.beside)}" if nearest.beside else "")
