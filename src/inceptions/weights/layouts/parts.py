"""Which tensors of a file are the network's: a checkpoint may hold several networks, each under a prefix of its own.

Whatever a training script wraps a network in (DataParallel, a Lightning module, an average of its weights, dictionaries
in dictionaries) puts something in front of all its names. So each prefix is looked at, and the network lies where most
of a layout's body does; what else the file holds is named and left.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import takewhile

import torch
from torch import Tensor

from inceptions.errors import DataError
from inceptions.weights.checkpoint import Checkpoint, Dialect, some_of, without_code
from inceptions.weights.layouts.folded import folded
from inceptions.weights.layouts.layout import Layout
from inceptions.weights.layouts.statistics import statistics

_SEPARATORS: Mapping[Dialect, str] = {"torch": ".", "slim": "/"}
"""Between the parts of a name; dialects where a prefix is nothing but a prefix."""
_WRAPPERS = re.compile(
    r"(?:^|(?<=\.))(?:_fsdp_wrapped_module|_checkpoint_wrapped_module|_orig_mod|_forward_module|module)\."
)
"""What FSDP, activation checkpointing, `torch.compile`, Fabric and DataParallel put in, anywhere in a name."""
_WEIGHTS = ("weight", "bias", "running_mean", "running_var")
"""The tensors of a layer."""
_COUNTERS = ("num_batches_tracked", "total_ops", "total_params", "n_averaged")
"""What batch norm and the counters of operations put beside them."""
_AVERAGES = frozenset({"ema", "average", "averaged", "avg", "swa", "polyak", "shadow"})
_TRAINED_ELSEWHERE = {"current_model_state": "", "ema_state_dict": "ema_state_dict.steps"}
"""Where Lightning's and MMEngine's checkpoints, whose `state_dict` is the average, keep the weights as trained; and the
name that tells MMEngine's from others, who mean what they write."""
_OTHERS = {
    *("criterion", "loss", "losses", "metric", "metrics", "meter", "meters", "acc", "accuracy", "top1", "top5"),
    *(
        "f1score",
        "auc",
        "auroc",
        "auprc",
        "precision",
        "recall",
        "specificity",
        "kappa",
        "confmat",
        "confusion",
        "mixup",
    ),
    *("optimizer", "optimizers", "optim", "opt", "scheduler", "schedulers", "sched", "scaler", "lr", "epoch", "step"),
    *("iteration", "rng", "hyper", "callbacks", "fid", "kid", "lpips"),
}
_BESIDE = _AVERAGES | _OTHERS
"""Words in the names of what stands beside a network and is none of its layers."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One network in a file."""

    prefix: str
    """In front of all its names, without the separator behind it; empty: nothing is."""
    average: bool
    """It is an average of the weights over the training."""
    separator: str
    """Between the parts of its names."""

    @property
    def start(self) -> str:
        """What all its names begin with."""
        return self.prefix + self.separator if self.prefix else ""

    @property
    def called(self) -> str:
        """How messages name it."""
        return self.prefix or "the network without a prefix"

    def of(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Its tensors by names without the prefix."""
        start = self.start
        return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}

    def shared(self, name: str) -> int:
        """With how many parts of the prefix a name begins."""
        pairs = zip(name.split(self.separator), self.prefix.split(self.separator), strict=False)
        return len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))

    def beside(self, name: str) -> str:
        """A name that stands beside the part, without what the part's begins with as well."""
        return self.separator.join(name.split(self.separator)[self.shared(name) :])


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The tensors of one part, by names without its prefix, and what there is to say about it."""

    checkpoint: Checkpoint
    part: str | None = None
    """What chooses it, where the file holds several or an average: "model", "ema" or its prefix."""
    notes: tuple[str, ...] = ()


def choose(
    checkpoint: Checkpoint, layouts: Iterable[Layout], part: str | None = None, network: str | None = None
) -> Chosen:
    """Takes the part of a file in which a layout's body lies; an average before what it is the average of.

    Args:
        checkpoint: the file's tensors by all their names.
        layouts: what to look for.
        part: "model" (the weights as trained), "ema" (their average), or a prefix; None: the average if there is one.
        network: the member of the family that is looked for before all others.

    Raises:
        DataError: it holds several networks and nothing chooses between them, or none that is called `part`.
    """
    layouts = [layout for layout in layouts if layout.dialect == checkpoint.dialect]
    if checkpoint.dialect not in _SEPARATORS:
        return _averaged(checkpoint, part)
    if checkpoint.averages:
        averaged = _averaged(checkpoint, part)
        inner = choose(averaged.checkpoint, layouts, None, network)
        return replace(inner, part=averaged.part, notes=(*averaged.notes, *inner.notes))
    separator = _SEPARATORS[checkpoint.dialect]
    tensors = folded(_unwrapped(checkpoint.tensors)) if checkpoint.dialect == "torch" else dict(checkpoint.tensors)
    shares = _shares(tensors, _places(layouts), separator)
    whole: dict[str, set[str]] = {}
    for (prefix, name), share in shares.items():
        if share == 1:
            whole.setdefault(prefix, set()).add(name)
    if not shares and checkpoint.pickled:
        raise DataError(f"{checkpoint.source}: {without_code(checkpoint.pickled)}")
    if not whole:  # whoever reads on says what the nearest network lacks
        best = max(shares.values(), default=0)
        nearest = min((prefix for (prefix, _), share in shares.items() if share == best), key=len, default="")
        part_ = Part(prefix=nearest, average=False, separator=separator)
        _refuse_unreadable(checkpoint, part_)
        bare = part_.of(tensors)
        return Chosen(checkpoint=replace(checkpoint, tensors=bare))
    parts = _parts(whole, tensors, separator)
    wanted = [one for one in parts if network in whole[one.prefix]] or parts
    if part in (None, "model", "ema"):  # a loss or a metric may be made of a whole network
        wanted = [one for one in wanted if one.average or not _words(one.prefix) & _OTHERS] or wanted
    taken, notes = _select(wanted, tensors, part, checkpoint.source)
    _refuse_unreadable(checkpoint, taken)
    named = part not in (None, "model", "ema")
    others = [other for other in parts if other is not taken]
    inside, left = _divide(tensors, taken, others, layouts, named=named)
    inside = _completed(inside, taken, parts, tensors)
    colors = statistics(tensors, (name for name in tensors if _may_be_entrance(name, taken, others)))
    if left:
        notes.append(f"{checkpoint.source}: left out {some_of(left, 8)}")
    several = sum(other.average == taken.average for other in wanted) > 1
    kind = "ema" if taken.average else None if len(wanted) == 1 else "model"
    return Chosen(
        checkpoint=replace(checkpoint, tensors=inside, statistics=colors),
        part=taken.prefix or "model" if several else kind,
        notes=tuple(notes),
    )


def _averaged(checkpoint: Checkpoint, part: str | None) -> Chosen:
    """A file that keeps averages beside single tensors (TensorFlow's), or none at all."""
    if part not in (None, "model", "ema") or (part == "ema" and not checkpoint.averages):
        raise DataError(f"{checkpoint.source} holds no part called {part}, it holds one network")
    if not checkpoint.averages or part == "model":
        return Chosen(checkpoint=replace(checkpoint, averages={}), part=part)
    trained = [name for name in checkpoint.tensors if not name.rpartition("/")[2].startswith("moving_")]
    bare = [name for name in trained if name not in checkpoint.averages]
    if bare:
        text = (
            f"{checkpoint.source} holds moving averages of only {len(trained) - len(bare)} of {len(trained)} variables"
        )
        if part == "ema":
            raise DataError(f"{text}; without one are {some_of(bare)}")
        return Chosen(checkpoint=replace(checkpoint, averages={}), notes=(f"{text}: left out",))
    note = f"{checkpoint.source}: the moving averages are taken (--weights-part model takes the weights as trained)"
    tensors = {**checkpoint.tensors, **checkpoint.averages}
    return Chosen(checkpoint=replace(checkpoint, tensors=tensors, averages={}), part="ema", notes=(note,))


# --- names ------------------------------------------------------------------------------------------------------------


def _unwrapped(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without what wrappers put into names, unless two names become one."""
    bare = {_WRAPPERS.sub("", name): tensor for name, tensor in tensors.items()}
    return bare if len(bare) == len(tensors) else dict(tensors)


def _places(layouts: Iterable[Layout]) -> dict[str, list[Layout]]:
    places: dict[str, list[Layout]] = {}
    for layout in layouts:
        for module in dict.fromkeys(layout.body):
            places.setdefault(module, []).append(layout)
    return places


def _shares(
    names: Iterable[str], places: Mapping[str, list[Layout]], separator: str
) -> dict[tuple[str, str], float]:  # fmt: skip
    """The largest share of a body that is there, for each prefix under which any of it lies and each network."""
    deepest = max((module.count(separator) for module in places), default=0) + 1
    found: dict[tuple[str, int], set[str]] = {}
    layouts = {id(layout): layout for at in places.values() for layout in at}
    for name in names:
        module, _, kind = name.rpartition(separator)
        if separator == "." and kind not in _WEIGHTS:
            continue
        pieces = module.rsplit(separator, deepest)[-deepest:]
        for start in range(len(pieces)):
            rest = separator.join(pieces[start:])
            for layout in places.get(rest, ()):
                prefix = module[: len(module) - len(rest)].removesuffix(separator)
                found.setdefault((prefix, id(layout)), set()).add(rest)
    shares: dict[tuple[str, str], float] = {}
    for (prefix, key), modules in found.items():
        at = prefix, layouts[key].network
        shares[at] = max(shares.get(at, 0), len(modules) / len(set(layouts[key].body)))
    return shares


def _words(text: str) -> set[str]:
    """The words of a name in any spelling, with and without their numbers: `model_ema`, `netEMA`, `val-acc1`."""
    found = re.findall(r"(?:[A-Z]+(?![a-z])|[A-Z]?[a-z]+)\d*", text)
    return {form.lower() for word in found for form in (word, word.rstrip("0123456789"))}


# --- parts ------------------------------------------------------------------------------------------------------------


def _parts(prefixes: Iterable[str], tensors: Mapping[str, Tensor], separator: str) -> list[Part]:
    """The networks that lie under these prefixes, and which of them are averages."""
    firsts = {prefix: prefix.partition(separator)[0] for prefix in sorted(prefixes)}
    known: dict[str, bool] = {}
    for elsewhere, mark in _TRAINED_ELSEWHERE.items():
        if {elsewhere, "state_dict"} <= set(firsts.values()) and (not mark or mark in tensors):
            known |= {elsewhere: False, "state_dict": True}
    return [
        Part(prefix=prefix, average=known.get(first, bool(_words(prefix) & _AVERAGES)), separator=separator)
        for prefix, first in firsts.items()
    ]


def _select(
    parts: list[Part], tensors: Mapping[str, Tensor], asked: str | None, source: str
) -> tuple[Part, list[str]]:  # fmt: skip
    """The part to take, and the line that says so where another one could have been meant."""
    raw, averages = [p for p in parts if not p.average], [p for p in parts if p.average]
    if asked in (None, "model", "ema"):
        fitting = raw if asked == "model" else averages if asked == "ema" else averages or raw
        narrow = [part for part in fitting if asked is not None and part.prefix.rpartition(part.separator)[2] == asked]
        fitting = narrow if len(fitting) > 1 and len(narrow) == 1 else fitting
    else:
        fitting = [part for part in parts if _is_called(part, asked)]
    if not fitting:
        held = "; ".join(f"{part.called} ({'an average' if part.average else 'as trained'})" for part in parts)
        raise DataError(f"{source} holds no network called {asked} (--weights-part); it holds {held}")
    fitting = _different(fitting, tensors)
    if len(fitting) > 1:
        raise DataError(
            f"{source} holds {len(fitting)} networks: {some_of([part.called for part in fitting], 8)}; "
            "say by its name which one is meant (--weights-part, weights_part=...)"
        )
    (taken,) = fitting
    others = some_of(part.called for part in parts if part is not taken)
    if taken.average and raw and asked is None:
        return taken, [
            f"{source}: the average of the weights is taken, {taken.called}, not {others} "
            "(--weights-part model takes the weights as trained)"
        ]
    if taken.average and asked is None:
        return taken, [f"{source}: {taken.called}, an average of the weights, is taken; there is nothing else"]
    return taken, [f"{source}: {taken.called} is taken, not {others}"] if others else []


def _is_called(part: Part, asked: str) -> bool:
    """Whether the words between the points of `asked` stand in the prefix, one after the other."""
    wanted, place = (_WRAPPERS.sub("", f"{text.strip('./').replace('/', '.')}.") for text in (asked, part.prefix))
    return f".{wanted}" in f".{place}"


def _different(parts: list[Part], tensors: Mapping[str, Tensor]) -> list[Part]:
    """The parts without those that hold the same numbers as an earlier one."""
    kept: list[Part] = []
    for part in parts if len(parts) > 1 else []:
        if not any(_same(other.of(tensors), part.of(tensors)) for other in kept):
            kept.append(part)
    return kept or parts


def _same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


# --- the tensors of a part --------------------------------------------------------------------------------------------


def _divide(
    tensors: Mapping[str, Tensor], taken: Part, others: list[Part], layouts: Iterable[Layout], *, named: bool
) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors of a part by names without its prefix, with those beside it that may be its head; and what is left.

    A wrapper class may hold the body in one attribute and the head in another one. Who named the part means no other.
    """
    nested = tuple(part.start for part in others if part.prefix and not taken.start.startswith(part.start))
    inside: dict[str, Tensor] = {}
    near: dict[str, Tensor] = {}
    left: dict[str, None] = {}
    for name, tensor in tensors.items():
        bare = name.removeprefix(taken.start)
        kind = name.rpartition(taken.separator)[2]
        if kind in _COUNTERS:
            left |= {} if kind == _COUNTERS[0] else {kind: None}
        elif not name.startswith(taken.start) or name.startswith(nested):
            if not named and _may_be_head(name, tensor, taken, others):
                near[name] = tensor
            else:
                left[taken.beside(name).partition(taken.separator)[0] or name] = None
        elif taken.separator == "." and _is_beside(bare):
            left[bare.partition(".")[0] or bare] = None
        else:
            inside[bare] = tensor
    own = any(f"{head}.weight" in inside for layout in layouts for head in layout.heads)
    if own and not any(tensor.ndim == 2 and name.endswith(".weight") for name, tensor in near.items()):
        left |= dict.fromkeys(taken.beside(name).partition(".")[0] for name in near)
        near = {}
    for name, tensor in near.items():
        called = taken.beside(name)
        inside[name if called in inside else called] = tensor
    return inside, list(left)


def _is_beside(name: str) -> bool:
    """Whether a name under the network's prefix is a loss's, a metric's or a counter's, or no layer's at all."""
    first, _, rest = name.partition(".")
    return bool(_words(first) & _BESIDE) or not rest


def _may_be_entrance(name: str, taken: Part, others: list[Part]) -> bool:
    """Whether a tensor may be of what a wrapper does to images in front of a network: beside it, or in it."""
    if any(name.startswith(part.start) for part in others if part.prefix):
        return False
    above = name.rpartition(taken.separator)[0].rpartition(taken.separator)[0]
    near = name.startswith(taken.start) or taken.start.startswith(f"{above}{taken.separator}" if above else "")
    return near and not any(_words(piece) & _BESIDE for piece in name.split(taken.separator)[:-1])


def _may_be_head(name: str, tensor: Tensor, taken: Part, others: list[Part]) -> bool:
    """Whether a tensor beside a part is a layer's, of what may work on that part's features."""
    if taken.separator != "." or name.rpartition(".")[2] not in _WEIGHTS or not tensor.is_floating_point():
        return False
    if any(name.startswith(part.start) if part.prefix else False for part in others):
        return False
    if any(part.shared(name) > taken.shared(name) for part in others):  # another part's head
        return False
    return not any(_words(piece) & _BESIDE for piece in taken.beside(name).split(".")[:-1])


def _completed(
    inside: dict[str, Tensor], taken: Part, parts: list[Part], tensors: Mapping[str, Tensor]
) -> dict[str, Tensor]:  # fmt: skip
    """An average of the parameters alone, with the statistics of the batch norms as trained."""
    raw = [part for part in parts if not part.average]
    if not taken.average or len(raw) != 1:
        return inside
    modules = {name.rpartition(".")[0] for name in inside}
    statistics = {
        name: tensor
        for name, tensor in raw[0].of(tensors).items()
        if name.rpartition(".")[0] in modules and name.rpartition(".")[2] in ("running_mean", "running_var")
    }
    return {**statistics, **inside}


def _refuse_unreadable(checkpoint: Checkpoint, taken: Part) -> None:
    for name, kind in checkpoint.unreadable.items():
        bare = _WRAPPERS.sub("", name)
        if bare.startswith(taken.start) and bare.rpartition(".")[2] in _WEIGHTS:
            raise DataError(f"{checkpoint.source}: {name} is {kind}; plain floating-point tensors are needed")
