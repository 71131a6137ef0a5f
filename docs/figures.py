"""Figures of blocks and networks, drawn from the records that the networks are built of, so they cannot drift.

`block_figure(layer)` draws a block as the papers do, input below and output above; `network_figure(net)` a network as a
column of stages. Both return SVG text that follows the reader's light or dark theme.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from inceptions.anatomy import cost
from inceptions.layers import (
    LRN,
    Act,
    Branches,
    Chain,
    Conv,
    Identity,
    Layer,
    Pool,
    Projected,
    Residual,
    Separable,
)
from inceptions.zoo import Network

BOX, TALL, GAP, RISE = 104, 30, 14, 22  # width and height of a box, space beside it and above it, pixels

STYLE = """<style>
text { font: 12px system-ui, sans-serif; fill: #222; text-anchor: middle }
.box { stroke: #555; fill: #e8eef6 } .one { fill: #fdf0d5 } .pool { fill: #e3f1e3 } .sum { fill: #f6e3ea }
.line { stroke: #777; fill: none } .left { text-anchor: start } .small { font-size: 11px; fill: #555 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6e6e6 } .small { fill: #aaa }
  .box { stroke: #aaa; fill: #2b3a4d } .one { fill: #4d4126 } .pool { fill: #2a452c } .sum { fill: #4d2b39 }
  .line { stroke: #999 }
}
</style>"""


@dataclass
class Drawing:
    """A part of a figure: its size, its shapes relative to its lower middle, where lines leave it above and below."""

    width: float
    height: float
    shapes: list[str] = field(default_factory=list)

    def at(self, x: float, y: float) -> str:
        """The shapes with their lower middle at (x, y)."""
        return f'<g transform="translate({x:g},{y:g})">{"".join(self.shapes)}</g>'


def block_figure(layer: Layer, title: str) -> str:
    """A block between its input and its output."""
    body = _draw(layer)
    width, height = body.width + 2 * GAP, body.height + 2 * (TALL + RISE) + 34
    middle = width / 2
    parts = [
        f'<text x="{middle:g}" y="14">{escape(title)}</text>',
        _line(middle, height - TALL - 4, middle, height - TALL - RISE - 4),
        body.at(middle, height - TALL - RISE - 4),
        _line(middle, height - TALL - RISE - 4 - body.height, middle, TALL + 24),
        _box("output", "sum").at(middle, TALL + 24),
        _box("input", "sum").at(middle, height - 4),
    ]
    return _svg(width, height, parts)


def network_figure(net: Network) -> str:
    """Stages from the image below to the logits above; a bar's width is the number of channels, as a square root."""
    counted = cost(net)
    rows = list(counted.stages)
    scale = 150 / math.sqrt(max(row.channels for row in rows))
    height = 20 * len(rows) + 44
    parts = [f'<text class="left" x="6" y="14">{escape(net.name)}, {net.input_size} px</text>']
    for index, row in enumerate(reversed(rows)):
        y = 34 + 20 * index
        bar = max(2.0, scale * math.sqrt(row.channels))
        kind = "pool" if row.name.startswith("pool") else "box"
        parts.append(
            f'<rect class="box {kind}" x="{130 + (150 - bar) / 2:.1f}" y="{y}" width="{bar:.1f}" height="15"/>'
        )
        parts.append(f'<text class="left small" x="6" y="{y + 8}" dy=".35em">{escape(row.name)}</text>')
        facts = f"{row.height}x{row.width}x{row.channels}"
        costs = f"{row.multiply_adds / 1e6:,.0f} M" if row.multiply_adds else ""
        parts.append(f'<text class="left small" x="292" y="{y + 8}" dy=".35em">{facts}</text>')
        parts.append(f'<text class="left small" x="390" y="{y + 8}" dy=".35em">{costs}</text>')
    return _svg(450, height, parts)


def _draw(layer: Layer) -> Drawing:
    match layer:
        case Chain():
            return _stack([_draw(part) for part in layer.layers])
        case Branches():
            return _beside([(_draw(part)) for _, part in layer.parts], "concatenate")
        case Projected():
            return _stack([_draw(layer.body), _box("1x1 linear", "one")])
        case Residual():
            scale = f"+ {layer.scale:g} x" if layer.scale != 1 else "+"
            return _beside(
                [_draw(layer.shortcut), _draw(layer.body)], scale if layer.scale == 1 else f"sum, body {scale[2:]}"
            )
        case Identity():
            return Drawing(GAP, TALL, [_line(0, 0, 0, -TALL)])
        case Conv():
            kernel = f"{layer.kernel[0]}x{layer.kernel[1]}" + (f"/{layer.stride}" if layer.stride > 1 else "")
            return _box(f"{kernel}, {layer.out_channels}", "one" if layer.kernel == (1, 1) else "")
        case Separable():
            return _box(f"sep {layer.kernel}x{layer.kernel}, {layer.out_channels}", "")
        case Pool():
            return _box(
                f"{layer.kind} {layer.kernel}x{layer.kernel}" + (f"/{layer.stride}" if layer.stride > 1 else ""), "pool"
            )
        case Act():
            return _box(layer.activation, "sum")
        case LRN():
            return _box("LRN", "sum")
    return _box(layer.name, "")


def _box(text: str, kind: str) -> Drawing:
    shapes = [
        f'<rect class="box {kind}" x="{-BOX / 2:g}" y="{-TALL}" width="{BOX}" height="{TALL}" rx="4"/>',
        f'<text x="0" y="{-TALL / 2:g}" dy=".35em">{escape(text)}</text>',
    ]
    return Drawing(BOX, TALL, shapes)


def _stack(parts: Sequence[Drawing]) -> Drawing:
    shapes, y = [], 0.0
    for index, part in enumerate(parts):
        if index:
            shapes.append(_line(0, y, 0, y - RISE))
            y -= RISE
        shapes.append(part.at(0, y))
        y -= part.height
    return Drawing(max(part.width for part in parts), -y, shapes)


def _beside(parts: Sequence[Drawing], joined: str) -> Drawing:
    width = sum(part.width for part in parts) + GAP * (len(parts) - 1)
    tallest = max(part.height for part in parts)
    top = -(tallest + 2 * RISE)
    shapes, x = [], -width / 2
    for part in parts:
        middle = x + part.width / 2
        shapes += [_curve(0, 0, middle, -RISE), part.at(middle, -RISE)]
        shapes.append(_line(middle, -RISE - part.height, middle, -RISE - tallest))
        shapes.append(_curve(middle, -RISE - tallest, 0, top))
        x += part.width + GAP
    shapes.append(_box(joined, "sum").at(0, top))
    return Drawing(max(width, BOX), -top + TALL, shapes)


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<path class="line" d="M{x1:g},{y1:g}L{x2:g},{y2:g}"/>'


def _curve(x1: float, y1: float, x2: float, y2: float) -> str:
    half = (y1 + y2) / 2
    return f'<path class="line" d="M{x1:g},{y1:g}C{x1:g},{half:g} {x2:g},{half:g} {x2:g},{y2:g}"/>'


def _svg(width: float, height: float, parts: Sequence[str]) -> str:
    size = f'width="{width:g}" height="{height:g}" viewBox="0 0 {width:g} {height:g}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">{STYLE}{"".join(parts)}</svg>\n'
