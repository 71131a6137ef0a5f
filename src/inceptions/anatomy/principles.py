"""The design principles of Inception v3 (arXiv 1512.00567, section 2) as checks on a network's own numbers.

The paper gives principles, not thresholds. Those in `RULES` are ours, and stated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod

import networkx
from torch import nn

from inceptions.anatomy.cost import Work, trace_image, work_of_stages
from inceptions.anatomy.rules import COSTLY, HEAVIEST, MANY, NARROWEST, NUMERALS, SHRUNK, WORTHWHILE, Principle
from inceptions.anatomy.trace import Op, depth
from inceptions.layers import Grid


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one principle says of one stage."""

    principle: Principle
    stage: str
    kept: bool
    number: float
    """What was measured: a share or a factor, as `text` explains."""
    text: str
    suggestion: str | None = None
    """What to do; None where the principle is kept."""


def principles(network: nn.Module, size: int | Grid | None = None) -> tuple[Finding, ...]:
    """Check the principles on every stage that they apply to, principle by principle, in the order of work.

    Args:
        network: one of the family, around a table of your own, or any module that takes one (N, C, H, W) tensor.
        size: side of the image, or (height, width), in pixels; None: see `image_size`.

    Returns:
        Nothing for a module without stages that end on a grid, such as a transformer of tokens.

    Raises:
        ValueError: the image is too small, or the module cannot be traced.
    """
    ops = trace_image(network, size)
    # Where no grid is left there is no space to squeeze: what comes behind is the classifier.
    stages = {
        name: work for name, work in work_of_stages(network, ops).items() if work.end.grid and prod(work.end.grid) > 1
    }
    checks: tuple[Callable[[Sequence[Op], dict[str, Work]], Iterator[Finding]], ...] = (
        _bottlenecks, _widening, _reductions, _factorisations, _balance,
    )  # fmt: skip
    return tuple(finding for check in checks for finding in check(ops, stages))


# --- no representational bottleneck -------------------------------------------------------------------------------


def _bottlenecks(ops: Sequence[Op], stages: dict[str, Work]) -> Iterator[Finding]:
    for name, whole in stages.items():
        end = whole.end
        work = [op for op in whole if op.index <= end.index]
        inside = {op.index for op in work}
        sources = {index for op in work for index in op.inputs if index not in inside}
        if -1 in sources or not sources:
            continue  # the image itself: its values are no representation yet; or nothing: positions, say
        # What runs beside the stage and is read behind it keeps what the stage itself may lose.
        beside = {index for op in ops[end.index + 1 :] for index in op.inputs if index <= end.index} - inside
        known = sources | beside
        entering = sum(ops[index].size for index in known if not _follows(index, known - {index}, ops))
        narrowest = narrowest_place(work) + sum(ops[index].size for index in beside)
        kept = narrowest >= NARROWEST * entering
        if not kept or _rows(end) < SHRUNK * _rows(ops[min(sources)]):
            came = " + ".join(_shape(ops[index]) for index in sorted(sources))
            yield Finding(
                principle="bottleneck",
                stage=name,
                kept=kept,
                number=narrowest / entering,
                text=f"{came} come in, {_shape(end)} leave; {narrowest:,} of {entering:,} values fit through the "
                "narrowest place",
                suggestion=None
                if kept
                else "let strided convolutions work beside the pool and concatenate, so that channels grow while the "
                "grid shrinks",
            )


def _follows(index: int, known: set[int], ops: Sequence[Op]) -> bool:
    """Whether a tensor is made of nothing but the `known` ones, and so adds nothing to them."""
    waiting, seen = list(ops[index].inputs), set(known)
    while waiting:
        maker = waiting.pop()
        if maker == -1:
            return False
        if maker not in seen:
            seen.add(maker)
            waiting.extend(ops[maker].inputs)
    return True


def narrowest_place(work: Sequence[Op]) -> int:
    """Values of the smallest set of tensors that everything a stage's last operation knows has passed: a minimum cut.

    The tensors that enter the stage do not count as such a set.
    """
    graph = networkx.DiGraph()
    inside = {op.index for op in work}
    for op in work:
        graph.add_edge(("in", op.index), ("out", op.index), capacity=op.size)
        for index in op.inputs:
            graph.add_edge(("out", index) if index in inside else "entrance", ("in", op.index))
    value, _ = networkx.minimum_cut(graph, "entrance", ("out", work[-1].index))
    return int(value)


# --- channels grow while the grid shrinks -------------------------------------------------------------------------


def _grids(stages: dict[str, Work]) -> list[list[str]]:
    """Stages that end on about the same grid, from the largest grid to the smallest."""
    grids: list[list[str]] = []
    side = 0
    for name, work in stages.items():
        if not grids or _rows(work.end) < SHRUNK * side:
            grids.append([])
            side = _rows(work.end)
        grids[-1].append(name)
    return grids


def _widening(ops: Sequence[Op], stages: dict[str, Work]) -> Iterator[Finding]:
    lasts = [(names[-1], stages[names[-1]].end) for names in _grids(stages)]
    for (_, before), (name, after) in pairwise(lasts):
        kept = after.channels > before.channels
        yield Finding(
            principle="widening",
            stage=name,
            kept=kept,
            number=after.channels / before.channels,
            text=f"the grid shrinks from {_grid(before)} to {_grid(after)}; its channels go from {before.channels} to "
            f"{after.channels}",
            suggestion=None if kept else f"more than {before.channels} channels on the smaller grid",
        )


# --- dimension reduction in front of costly convolutions ----------------------------------------------------------


def _spatial(op: Op) -> bool:
    return op.is_dense and op.kernel is not None and prod(op.kernel) > 1 and op.grid is not None


def _makers(op: Op, ops: Sequence[Op]) -> list[Op]:
    """The convolutions and linear layers whose outputs `op` reads, through norms, activations and pools."""
    found: dict[int, Op] = {}
    waiting = list(op.inputs)
    while waiting:
        index = waiting.pop()
        if index >= 0 and index not in found:
            if ops[index].weighs:
                found[index] = ops[index]
            else:
                waiting.extend(ops[index].inputs)
    return list(found.values())


def _reducer(op: Op, ops: Sequence[Op]) -> Op | None:
    """The 1x1 convolution that alone feeds `op` and hands on fewer channels than it reads."""
    makers = _makers(op, ops)
    if len(makers) == 1 and makers[0].is_dense and makers[0].kernel == (1, 1):
        return makers[0] if makers[0].shape[1] < makers[0].in_channels else None
    return None


def _behind_a_reducer(op: Op, ops: Sequence[Op], work: Work) -> bool:
    """Whether a 1x1 feeds `op`, itself or through other convolutions of the stage, and reads no fewer channels."""
    makers = _makers(op, ops)
    while len(makers) == 1:
        (maker,) = makers
        if maker.is_dense and maker.kernel == (1, 1):
            return op.in_channels <= maker.in_channels
        makers = _makers(maker, ops) if maker in work else []
    return False


def _reductions(ops: Sequence[Op], stages: dict[str, Work]) -> Iterator[Finding]:
    everything = sum(op.multiply_adds for op in ops)
    for name, work in stages.items():
        total = sum(op.multiply_adds for op in work)
        without = total
        reducers: dict[int, Op] = {}
        for op in filter(_spatial, work):
            reducer = _reducer(op, ops)
            if reducer and reducer in work:
                without += op.multiply_adds * reducer.in_channels // reducer.shape[1] - op.multiply_adds
                reducers[reducer.index] = reducer
        without -= sum(reducer.multiply_adds for reducer in reducers.values())
        if reducers:
            yield Finding(
                principle="reduction",
                stage=name,
                kept=without > total,
                number=1 - total / without,
                text=f"{total:,} multiply-adds; without the 1x1 in front of its larger kernels {without:,}",
                suggestion=None if without > total else "fewer channels out of the 1x1 convolutions",
            )
        for op in filter(_spatial, work):
            widths = [op.shape[1]] if op.shape[1] < op.in_channels else []
            costly = op.multiply_adds >= COSTLY * everything and op.in_channels >= MANY
            # What reads the image alone is the first layer: there is nothing yet to reduce.
            if costly and _makers(op, ops) and not _behind_a_reducer(op, ops, work):
                widths.append(op.in_channels // 2)
            for width in widths:
                cheap = _reduced_cost(op, width, ops)
                if op.multiply_adds - cheap >= WORTHWHILE * op.multiply_adds:
                    yield _of_missing_reducer(name, op, width, cheap)
                    break


def _reduced_cost(op: Op, width: int, ops: Sequence[Op]) -> int:
    """Multiply-adds of `op` and of a 1x1 convolution in front of it that hands on `width` channels."""
    return width * op.multiply_adds // op.in_channels + prod(_input_grid(op, ops)) * op.in_channels * width


def _of_missing_reducer(stage: str, op: Op, width: int, cost: int) -> Finding:
    return Finding(
        principle="reduction",
        stage=stage,
        kept=False,
        number=1 - cost / op.multiply_adds,
        text=f"{_layer(op)}: {_kernel(op)} reads {op.in_channels} channels to write {op.shape[1]}: "
        f"{op.multiply_adds:,} multiply-adds",
        suggestion=f"a 1x1 convolution to {width} channels in front: {cost:,} together",
    )


def _input_grid(op: Op, ops: Sequence[Op]) -> Grid:
    entering = ops[op.inputs[0]].grid if op.inputs[0] >= 0 else None
    return entering or op.grid or (1, 1)


# --- large kernels factorized -------------------------------------------------------------------------------------


def _factorisations(ops: Sequence[Op], stages: dict[str, Work]) -> Iterator[Finding]:
    for name, work in stages.items():
        pairs = list(_pairs(work, ops))
        if pairs:
            yield _of_pairs(name, pairs)
        for op in filter(_spatial, work):
            ways = list(_ways(op, _input_grid(op, ops)))
            if ways:
                yield _of_large_kernel(name, op, *min(ways))


def _pairs(work: Sequence[Op], ops: Sequence[Op]) -> Iterator[tuple[Op, Op]]:
    """Two convolutions in a row that stand for one larger: 3x3 after 3x3, or 1 x n and n x 1; none is in two pairs."""
    paired: set[int] = set()
    for second in filter(_spatial, work):
        makers = _makers(second, ops)
        if len(makers) != 1 or makers[0] not in work or not paired.isdisjoint({makers[0].index, second.index}):
            continue
        (first,) = makers
        if first.kernel and first.is_dense and first.stride == second.stride == (1, 1):
            small = first.kernel == second.kernel == (3, 3)
            flat = min(first.kernel) == 1 and max(first.kernel) >= 5 and second.kernel == first.kernel[::-1]
            if small or flat:
                paired |= {first.index, second.index}
                yield first, second


def _of_pairs(stage: str, pairs: list[tuple[Op, Op]]) -> Finding:
    whole = both = 0
    kinds: dict[str, int] = {}
    for first, second in pairs:
        assert first.kernel
        assert second.kernel
        high, wide = (one + other - 1 for one, other in zip(first.kernel, second.kernel, strict=True))
        whole += high * wide * first.in_channels * second.shape[1] * prod(second.shape[2:])
        both += first.multiply_adds + second.multiply_adds
        kind = f"{_kernel(first)} and {_kernel(second)} for {high}x{wide}"
        kinds[kind] = kinds.get(kind, 0) + 1
    return Finding(
        principle="factorisation",
        stage=stage,
        kept=both < whole,
        number=1 - both / whole,
        text="; ".join(f"{count} x ({kind})" for kind, count in kinds.items())
        + f": {both:,} multiply-adds instead of {whole:,}",
        suggestion=None if both < whole else "fewer channels between the two",
    )


def _of_large_kernel(stage: str, op: Op, cost: int, way: str) -> Finding:
    saved = 1 - cost / op.multiply_adds
    return Finding(
        principle="factorisation",
        stage=stage,
        kept=saved < WORTHWHILE,
        number=saved,
        text=f"{_layer(op)}: {_kernel(op)} costs {op.multiply_adds:,} multiply-adds; {way} would cost {cost:,}",
        suggestion=None if saved < WORTHWHILE else way,
    )


def _ways(op: Op, entering: Grid) -> Iterator[tuple[int, str]]:
    """(multiply-adds, description) of what can stand for a kernel of 5x5 or more.

    The channels grow by the same factor in each step (section 3.1); the last step has the stride.
    """
    assert op.kernel
    size = op.kernel[0]
    if op.kernel != (size, size) or size < 5 or size % 2 == 0:
        return
    before, after = prod(entering), prod(op.shape[2:])
    steps = size // 2
    widths = [round(op.in_channels * (op.shape[1] / op.in_channels) ** (step / steps)) for step in range(steps + 1)]
    costs = [9 * reads * writes for reads, writes in pairwise(widths)]
    yield sum(costs[:-1]) * before + costs[-1] * after, f"{NUMERALS.get(steps, steps)} 3x3 in a row"
    if 12 <= op.shape[2] <= 20:  # 1 x n and n x 1 do well on medium grids, and not in front of them (section 3.2)
        middle = round((op.in_channels * op.shape[1]) ** 0.5)
        yield (
            size * middle * (op.in_channels * before + op.shape[1] * after),
            f"1x{size} and {size}x1",
        )


# --- balance ------------------------------------------------------------------------------------------------------


def _balance(ops: Sequence[Op], stages: dict[str, Work]) -> Iterator[Finding]:
    # Whatever has one place only is the classifier; tokens, whose grid is not known, are work nevertheless.
    total = sum(op.multiply_adds for op in ops if op.size > op.channels)
    grids = _grids(stages)
    works = [[op for name in names for op in stages[name]] for names in grids]
    shares = [sum(op.multiply_adds for op in work) / max(1, total) for work in works]
    told = "; ".join(
        f"{_grid(stages[names[-1]].end)}: {share:.0%}, {depth(work)} deep, {max(op.channels for op in work)} wide"
        for names, work, share in zip(grids, works, shares, strict=True)
    )
    for names, share in zip(grids, shares, strict=True):
        if share == max(shares):
            yield Finding(
                principle="balance",
                stage=names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}",
                kept=share <= HEAVIEST,
                number=share,
                text=f"share of the work, depth and width from the largest grid to the smallest: {told}",
                suggestion=None if share <= HEAVIEST else "fewer or narrower blocks there, more on the other grids",
            )


def _layer(op: Op) -> str:
    """As `inceptions inspect --stage` names it: without what is in every path of ours."""
    return op.module.removeprefix("body.").removesuffix(".conv")


def _kernel(op: Op) -> str:
    assert op.kernel
    return f"{op.kernel[0]}x{op.kernel[1]}"


def _grid(op: Op) -> str:
    return "x".join(map(str, op.grid or (op.size // op.channels,)))


def _rows(op: Op) -> int:
    return op.grid[0] if op.grid else 0


def _shape(op: Op) -> str:
    return f"{_grid(op)}x{op.channels}"
