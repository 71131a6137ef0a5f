"""How far a unit sees: receptive field, stride and effective padding, exactly, from the tables.

A unit that reads the image through one path sees one rectangle of pixels. Through branches and shortcuts there are
many paths, each with a rectangle of its own: what a unit sees is the set of them, and "the" receptive field is the
smallest rectangle around them all. That is a bound that is reached, and says nothing of how much each pixel counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from inceptions.anatomy.cost import image_size
from inceptions.layers import (
    LRN,
    Act,
    Branches,
    Chain,
    Conv,
    Grid,
    Identity,
    Layer,
    Padding,
    Pool,
    Projected,
    Residual,
    Separable,
    out_size,
    tf_same,
)
from inceptions.zoo import Network


@dataclass(frozen=True, order=True)
class Rectangle:
    """Pixels that unit (0, 0) reads through one path, first and last included; negative ones lie in the border."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def size(self) -> Grid:
        """(height, width) in pixels."""
        return self.bottom - self.top + 1, self.right - self.left + 1

    def moved(self, down: int, right: int) -> Rectangle:
        """The same rectangle elsewhere, by pixels."""
        return Rectangle(self.top + down, self.bottom + down, self.left + right, self.right + right)


@dataclass(frozen=True, kw_only=True)
class Field:
    """What the units of one layer see of the image."""

    grid: Grid
    """Units, (height, width)."""
    stride: Grid
    """Pixels from one unit to the next."""
    paths: frozenset[Rectangle]
    """What unit (0, 0) sees, a rectangle for each path that sees a different one."""

    @property
    def rectangle(self) -> Rectangle:
        """The smallest rectangle around what unit (0, 0) sees."""
        return Rectangle(
            min(path.top for path in self.paths),
            max(path.bottom for path in self.paths),
            min(path.left for path in self.paths),
            max(path.right for path in self.paths),
        )

    @property
    def size(self) -> Grid:
        """The receptive field, (height, width) in pixels."""
        return self.rectangle.size

    @property
    def sizes(self) -> tuple[Grid, ...]:
        """The receptive fields of all paths, smallest first."""
        return tuple(sorted({path.size for path in self.paths}))

    @property
    def padding(self) -> Grid:
        """Effective padding: pixels of border that the first unit sees above and to the left of the image."""
        return -self.rectangle.top, -self.rectangle.left

    def seen_by(self, row: int, column: int) -> Rectangle:
        """The receptive field of one unit, in pixels of the image."""
        return self.rectangle.moved(row * self.stride[0], column * self.stride[1])


def receptive_fields(network: Network, size: int | Grid | None = None) -> dict[str, Field]:
    """What every stage and every layer sees, in order; keys are `stage` and `stage.branch.layer`.

    The borders of TensorFlow's SAME depend on the size of the image, and the effective padding with them.

    Args:
        network: one of the family, or around a table of your own from the vocabulary's layers.
        size: side of the image, or (height, width), in pixels; None is the published size.

    Raises:
        ValueError: the image is too small, or a table holds a layer whose window is not known.
    """
    height, width = image_size(network, size)
    if min(height, width) < network.min_size:
        raise ValueError(
            f"{network.name} needs images of at least {network.min_size} px a side; got {height} x {width}"
        )
    field = Field(grid=(height, width), stride=(1, 1), paths=frozenset([Rectangle(0, 0, 0, 0)]))
    fields: dict[str, Field] = {}
    for stage, layer in network.table.stages:
        fields[stage] = field = _through(layer, field, stage, fields)
    return fields


def parts(layer: Layer, name: str) -> Iterator[tuple[str, Layer]]:
    """`layer` and all that it is made of, by path under `name`: blocks and branches before their own parts."""
    yield name, layer
    match layer:
        case Chain() | Branches():
            inner = layer.parts
        case Projected():
            inner = (("body", layer.body), ("linear", Conv(1)))
        case Residual():
            inner = (("body", layer.body), ("shortcut", layer.shortcut))
        case _:
            inner = ()
    for part, within in inner:
        yield from parts(within, f"{name}.{part}")


def is_block(layer: Layer) -> bool:
    """Whether it is made of other layers."""
    return isinstance(layer, Chain | Branches | Projected | Residual)


def _through(layer: Layer, field: Field, name: str, fields: dict[str, Field]) -> Field:
    """What the units behind `layer` see, when those in front of it see `field`; inner layers go into `fields`."""
    match layer:
        case Chain():
            for inner, part in layer.parts:
                field = _through(part, field, f"{name}.{inner}", fields)
        case Branches():
            field = _joined([_through(part, field, f"{name}.{inner}", fields) for inner, part in layer.parts])
        case Projected():
            field = _through(layer.body, field, f"{name}.body", fields)
            field = _through(Conv(1), field, f"{name}.linear", fields)
        case Residual():
            body = _through(layer.body, field, f"{name}.body", fields)
            field = _joined([body, _through(layer.shortcut, field, f"{name}.shortcut", fields)])
        case Conv():
            field = _window(field, layer.kernel, layer.stride, layer.padding)
        case Separable() | Pool():
            field = _window(field, (layer.kernel, layer.kernel), layer.stride, layer.padding)
        case Act() | LRN() | Identity():
            pass
        case _:
            raise ValueError(
                f"the window of layer {name} ({type(layer).__name__}) is not known; receptive fields are known for "
                "Conv, Separable, Pool, LRN, Act, Identity, Chain, Branches, Projected and Residual"
            )
    fields[name] = field
    return field


def _joined(parts: list[Field]) -> Field:
    return replace(parts[0], paths=frozenset().union(*(part.paths for part in parts)))


def _window(field: Field, kernel: Grid, stride: int, padding: Padding) -> Field:
    """Behind a window: it starts `before` units above the first, and spans `kernel` of them."""
    (above, high), (before, wide) = (
        (_border(size, extent, stride, padding) * step, (extent - 1) * step)
        for size, extent, step in zip(field.grid, kernel, field.stride, strict=True)
    )
    paths = frozenset(
        Rectangle(path.top - above, path.bottom - above + high, path.left - before, path.right - before + wide)
        for path in field.paths
    )
    grid = (
        out_size(field.grid[0], kernel[0], stride, padding),
        out_size(field.grid[1], kernel[1], stride, padding),
    )
    return Field(grid=grid, stride=(field.stride[0] * stride, field.stride[1] * stride), paths=paths)


def _border(size: int, kernel: int, stride: int, padding: Padding) -> int:
    """Units of border in front of the first one."""
    match padding:
        case "tf_same":
            return tf_same(size, kernel, stride)[0]
        case "same":
            return kernel // 2
    return 0
