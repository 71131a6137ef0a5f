"""What varies: every ablation and every publisher's deviation is a rewrite of a published table.

A rewrite takes a table and returns another; `rewritten` applies a function to every layer of one, innermost first. An
ablation of your own is such a function, and needs no change of a network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, cast

from inceptions.layers import (
    LRN,
    Act,
    Activation,
    BatchNorm,
    Branches,
    Chain,
    Conv,
    Identity,
    Layer,
    Pool,
    Projected,
    Residual,
    Separable,
    chain,
    scale_width,
)
from inceptions.zoo.depth import split_name
from inceptions.zoo.table import Changes, Table


def mapped(layer: Layer, change: Callable[[Any], Layer]) -> Layer:
    """The layer with `change` applied to each layer inside it, then to itself."""
    match layer:
        case Chain():
            layer = Chain(tuple(mapped(part, change) for part in layer.layers))
        case Branches():
            layer = Branches(tuple((name, mapped(part, change)) for name, part in layer.parts))
        case Projected():
            layer = replace(layer, body=mapped(layer.body, change))
        case Residual():
            layer = replace(layer, body=mapped(layer.body, change), shortcut=mapped(layer.shortcut, change))
    return change(layer)


def rewritten(table: Table, change: Callable[[Any], Layer], *rows: str) -> Table:
    """The table with `change` applied to every layer of the named rows; of all rows and auxiliary heads if none is."""
    stages = tuple((name, mapped(row, change) if not rows or name in rows else row) for name, row in table.stages)
    if rows:
        return replace(table, stages=stages)
    aux = tuple((tap, replace(head, convs=mapped(head.convs, change))) for tap, head in table.aux)
    return replace(table, stages=stages, aux=aux)


def changed(table: Table, kind: Any, /, *rows: str, where: Callable[[Any], bool] = bool, **fields: Any) -> Table:
    """The table with other values in the fields of every layer of a kind (in the named rows, where `where` holds)."""
    return rewritten(
        table, lambda layer: replace(layer, **fields) if isinstance(layer, kind) and where(layer) else layer, *rows
    )


# -- the list of stages


def with_rows(table: Table, rows: Changes) -> Table:
    """Other layers in the named rows; None takes the row away."""
    changed = [(name, rows.get(name, layer)) for name, layer in table.stages]
    return replace(table, stages=tuple((name, layer) for name, layer in changed if layer is not None))


def with_aux(table: Table, aux: bool) -> Table:
    """With the auxiliary heads of the published network, or without."""
    return table if aux else replace(table, aux=())


def adaptive_aux(table: Table) -> Table:
    """Auxiliary heads that pool to their grid in torchvision's way at every size."""
    return replace(table, aux=tuple((tap, replace(head, adaptive=True)) for tap, head in table.aux))


def with_head(table: Table, **fields: Any) -> Table:
    """Another classifier: `drop_rate`, `hidden`, `bottleneck`."""
    return replace(table, head=replace(table.head, **fields))


def pool_first(table: Table) -> Table:
    """The grid halved by a pool in front, the same convolutions on what is left: the representational bottleneck that
    the paper of v3 warns of (its figure 9, left)."""

    def kept(layer: Layer) -> Layer:
        match layer:
            case Chain(layers=(*before, last)):
                return Chain((*before, kept(last)))
            case Conv(stride=2):
                return replace(layer, stride=1, padding="same")
        return layer

    def change(layer: Layer) -> Layer:
        match layer:
            case Branches(parts=(*others, ("pool", Pool(kind="max", stride=2) as pool))):
                return chain(pool, Branches((*((name, kept(part)) for name, part in others), ("pool", Identity()))))
        return layer

    return rewritten(table, change)


# -- blocks


def naive_modules(table: Table) -> Table:
    """Figure 2a of GoogLeNet: no 1x1 in front of 3x3 and 5x5, the pool branch passed through."""

    def change(layer: Layer) -> Layer:
        match layer:
            case Branches(parts=(one, (a, Chain((_, three))), (b, Chain((_, five))), (c, Chain((pool, _))))):
                return Branches((one, (a, three), (b, five), (c, pool)))
        return layer

    return rewritten(table, change)


def whole_kernels(table: Table) -> Table:
    """One 7x7 for each 1x7 with 7x1, one 3x3 of their joint width for 1x3 next to 3x1, one 5x5 for two equal 3x3."""
    whole = {((1, 7), (7, 1)): (7, 7), ((7, 1), (1, 7)): (7, 7), ((3, 3), (3, 3)): (5, 5)}

    def makes_one(first: Conv, second: Conv) -> bool:
        pair = first.kernel, second.kernel
        return pair in whole and (pair[0] != (3, 3) or first.out_channels == second.out_channels)

    def change(layer: Layer) -> Layer:
        match layer:
            case Branches(parts=(("1x3", Conv() as one), ("3x1", Conv()))):
                return replace(one, out_channels=2 * one.out_channels, kernel=(3, 3))
            case Chain(layers):
                joined: list[Layer] = []
                for part in layers:
                    match joined[-1:], part:
                        case [Conv(stride=1) as last], Conv(stride=1) if makes_one(last, part):
                            joined[-1] = replace(part, kernel=whole[last.kernel, part.kernel])
                        case _:
                            joined.append(part)
                return Chain(tuple(joined))
        return layer

    return rewritten(table, change)


def paper_order(table: Table) -> Table:
    """1x7 and 7x1 (3x1 and 1x3) exchanged in Inception v4's stem and long branches: the order of the paper's figures,
    which the released code and weights disagree with; neither counts nor shapes tell."""

    def swapped(layer: Layer) -> Layer:
        match layer:
            case Conv(kernel=(height, width)):
                return replace(layer, kernel=(width, height))
            case Chain(layers):
                return Chain(tuple(swapped(part) for part in layers))
        return layer

    def change(layer: Layer, long: tuple[str, ...] = ("7x7dbl", "3x3dbl")) -> Layer:
        match layer:
            case Branches(parts):
                return Branches(tuple((name, swapped(part) if name in long else part) for name, part in parts))
        return layer

    table = rewritten(table, partial(change, long=("7x7",)), "mixed_4a")
    return rewritten(table, change)


def without_residuals(table: Table) -> Table:
    """No shortcut, no scaling: the bodies alone."""

    def change(layer: Layer) -> Layer:
        match layer:
            case Residual(body=Projected() as body):
                return replace(body, activation=layer.activation)
            case Residual(body=body):
                return body
        return layer

    return rewritten(table, change)


def residual_scales(table: Table, scales: tuple[float, ...]) -> Table:
    """What the bodies of Inception-ResNet's 35x35, 17x17 and 8x8 blocks are multiplied by; the last block has 1.

    Raises:
        ValueError: not three numbers.
    """
    if len(scales) != 3:
        raise ValueError(f"scales has {len(scales)} numbers; three are needed, for the 35x35, 17x17 and 8x8 blocks")
    for (first, _), scale in zip(table.runs, scales, strict=True):
        prefix = split_name(first)[0]
        rows = [name for name, _ in table.stages if name.startswith(prefix) and name != f"{prefix}last"]
        table = changed(table, Residual, *rows, scale=scale)
    return table


def narrow_late_pools(table: Table) -> Table:
    """Pool projections of 96 in 4c and 4d of BN-Inception (TF-slim), so that the paper's sum of 576 holds."""

    def change(layer: Layer) -> Layer:
        match layer:
            case Branches(parts=(*others, ("pool", Chain((pool, Conv() as conv))))):
                return Branches((*others, ("pool", chain(pool, replace(conv, out_channels=96)))))
        return layer

    return rewritten(table, change, "inception_4c", "inception_4d")


# -- pools and padding


def last_pool(table: Table, kind: str) -> Table:
    """The kind of pool in the last block; the blocks before it on its grid average."""
    prefix, last = split_name(table.stages[-1][0])[0], table.stages[-1][0]
    for name in [name for name, _ in table.stages if name.startswith(prefix)]:
        put = kind if name == last else "avg"
        table = changed(table, Pool, name, where=lambda pool: pool.stride == 1, kind=put, include_border=False)
    return table


def padding_counted(table: Table, include_border: bool) -> Table:
    """Whether average pools count the zeros of the padding (Caffe, torchvision, timm) or not (TensorFlow, Keras)."""
    return changed(table, Pool, where=lambda pool: pool.kind == "avg", include_border=include_border)


def tensorflow_padding(table: Table) -> Table:
    """TensorFlow's SAME in strided layers, where Caffe pads convolutions symmetrically and rounds pools up."""
    kinds = Conv | Separable | Pool
    return changed(table, kinds, where=lambda x: x.stride > 1 and x.padding in ("same", "ceil"), padding="tf_same")


def symmetric_padding(table: Table) -> Table:
    """Symmetric padding where TensorFlow's SAME is published (the PyTorch ports of Xception: Cadene, timm)."""
    return changed(table, Conv | Pool, where=lambda layer: layer.padding == "tf_same", padding="same")


# -- convolutions, norms, activations


def scaled(table: Table, width: float) -> Table:
    """The channels of every layer times `width`, to multiples of 8."""

    def change(layer: Layer) -> Layer:
        if isinstance(layer, Conv | Separable):
            return replace(layer, out_channels=scale_width(layer.out_channels, width))
        return layer

    return rewritten(table, change)


def small_fives(table: Table) -> Table:
    """3x3 in the place of 5x5: what TF-slim and torchvision really have in GoogLeNet's branch of that name."""
    return changed(table, Conv, where=lambda conv: conv.kernel == (5, 5), kernel=(3, 3))


def batch_normalized(table: Table) -> Table:
    """Batch norm after each convolution in the place of local response normalization (TF-slim, torchvision)."""
    table = with_rows(table, {name: None for name, row in table.stages if isinstance(row, LRN)})
    return changed(table, Conv, norm=BatchNorm(), bias=False)


def without_norm(table: Table) -> Table:
    """The same network without batch norm, with biases."""
    return changed(table, Conv, norm=None, bias=True)


def without_biases(table: Table) -> Table:
    """No bias under batch norm: the same family of functions (1502.03167, section 3.2)."""
    return changed(table, Conv, where=lambda conv: conv.norm is not None, bias=False)


def with_norm(table: Table, **fields: float) -> Table:
    """Other settings of every batch norm: `eps`, `momentum`, `scale`."""

    def change(layer: Any) -> Layer:
        for name in ("norm", "middle_norm"):
            if norm := getattr(layer, name, None):
                layer = replace(layer, **{name: replace(norm, **fields)})
        return cast(Layer, layer)

    return rewritten(table, change)


def with_activation(table: Table, activation: Activation) -> Table:
    """Another activation wherever there is one."""
    kinds = Act | Conv | Separable | Projected | Residual
    table = changed(table, kinds, where=lambda layer: layer.activation, activation=activation)
    return changed(table, Separable, where=lambda sep: sep.middle_activation, middle_activation=activation)


# -- Xception


def regular_convolutions(table: Table) -> Table:
    """Regular convolutions for the separable ones."""

    def change(layer: Layer) -> Layer:
        match layer:
            case Separable(out_channels=out, kernel=kernel, stride=stride, padding=padding):
                return Conv(out, (kernel, kernel), stride, padding, layer.norm, layer.activation, layer.bias)
        return layer

    return rewritten(table, change)


def separable_first(table: Table) -> Table:
    """The first layer of the paper of BN-Inception and of TF-slim: 7x7 over space, 8 filters a channel, then 1x1,
    biased and not normalized; the Caffe model has a plain convolution."""
    return with_rows(table, {"conv1": Separable(64, 7, 2, activation="relu", multiplier=8, bias=True)})


def activated_middles(table: Table) -> Table:
    """An activation between depthwise and pointwise convolution (figure 10 of Xception: worse)."""
    return changed(table, Separable, middle_activation="relu")


def channels_first(table: Table) -> Table:
    """Pointwise before depthwise, the order of an Inception block (section 1.3 of Xception)."""
    return changed(table, Separable, order="channel_first")


def padded_stem(table: Table) -> Table:
    """Padded convolutions in the stem."""
    return changed(table, Conv, "conv1", "conv2", padding="same")


def unstrided_block4(table: Table) -> Table:
    """A fourth block that keeps the grid, so that the network ends at stride 16."""
    return changed(table, Conv | Pool, "block4", where=lambda layer: layer.stride == 2, stride=1)


def biased_shortcuts(table: Table) -> Table:
    """A bias in the convolutions of the shortcuts."""

    def change(layer: Layer) -> Layer:
        match layer:
            case Residual(shortcut=Conv() as conv):
                return replace(layer, shortcut=replace(conv, bias=True))
        return layer

    return rewritten(table, change)


def rectified_shortcuts(table: Table) -> Table:
    """Shortcuts of blocks 3, 4 and the middle flow get the rectified input, as an in-place ReLU gives it to them."""
    table = changed(table, Residual, where=lambda layer: isinstance(layer.shortcut, Identity), rectify=True)
    return changed(table, Residual, "block3", "block4", rectify=True)
