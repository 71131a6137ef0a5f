"""Charts as SVG inside the page: they take its colors, light or dark, and print sharp."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from inceptions.evaluation.metrics import wilson

WIDTH, HEIGHT = 480, 260
LEFT, RIGHT, TOP, BOTTOM = 74, 12, 26, 44
LEGEND = 18  # height of a row of names
COLOURS = 6
"""How many colors the page's style has: --line-0 and so on."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line of a chart."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    """Ends of the interval around each point, drawn as a band."""


def chart(series: Sequence[Series], *, x_title: str, y_title: str, percent: bool = False) -> Markup:
    """Lines over a common axis; points that are not finite are left out.

    Args:
        series: at least one, with at least one finite point.
        x_title, y_title: what the axes are.
        percent: values are shares, shown as per cent.
    """
    every_y = [value for one in series for values in (one.y, one.low or (), one.high or ()) for value in values]
    every_x = [value for one in series for value in one.x]
    x_ticks = ticks(every_x, least=1.0 if all(value == int(value) for value in every_x) else 0.0)
    y_ticks = ticks([value for value in every_y if math.isfinite(value)])
    frame = _Frame(x_ticks[0], x_ticks[-1], y_ticks[0], y_ticks[-1])
    parts = [_axes(frame, x_ticks, y_ticks, x_title, y_title, percent)]
    for index, one in enumerate(series):
        parts.append(_band(frame, one, index))
        parts.append(_line(frame, one, index))
    legend, rows = _legend(series)
    lifted = LEGEND * (rows - 1)  # the drawing grows upwards where the names fill more than a row
    parts.append(Markup('<g transform="translate(0 {})">{}</g>').format(-lifted, legend))
    title = f"{y_title} by {x_title}: {', '.join(one.name for one in series)}"
    return _svg(title, parts, lifted)


def reliability(confidence: Sequence[float], right: Sequence[bool], *, bins: int = 10) -> Markup:
    """How often an answer is right (height) against how sure it was (place), against the perfect-calibration diagonal.

    Whiskers are the 95 % interval (Wilson) that so many answers allow.
    """
    frame = _Frame(0, 1, 0, 1)
    marks = [number / 5 for number in range(6)]
    parts = [
        _axes(frame, marks, marks, "probability of the answer, %", "share of right answers", percent=True, shares=True)
    ]
    parts.append(Markup('<path class="diagonal" d="M{} {}L{} {}"/>').format(*frame.at(0, 0), *frame.at(1, 1)))
    for index in range(bins):
        low, high = index / bins, (index + 1) / bins
        inside = [hit for sure, hit in zip(confidence, right, strict=True) if low < sure <= high]
        if inside:
            share = sum(inside) / len(inside)
            least, most = wilson(sum(inside), len(inside))
            (left, top), (far, bottom) = frame.at(low, share), frame.at(high, 0)
            (middle, lowest), (_, highest) = frame.at((low + high) / 2, least), frame.at(0, most)
            said = f"{len(inside)} answers at {low:.0%} to {high:.0%}: {share:.1%} right ({least:.1%} to {most:.1%})"
            parts.append(
                Markup(
                    '<g><title>{}</title><rect class="bar" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>'
                    '<path class="whisker" d="M{:.1f} {:.1f}V{:.1f}"/></g>'
                ).format(said, left + 1, top, far - left - 2, max(bottom - top, 1), middle, lowest, highest)
            )
    return _svg("reliability: accuracy against confidence", parts)


def ticks(values: Sequence[float], count: int = 5, *, least: float = 0.0) -> list[float]:
    """Round numbers, about `count` steps but none below `least`, from below the smallest value to above the largest."""
    low, high = min(values), max(values)
    if low == high:
        low, high = low - 0.5, high + 0.5
    rough = max((high - low) / count, least)
    scale = 10.0 ** math.floor(math.log10(rough))
    step = scale * next(factor for factor in (1, 2, 2.5, 5, 10) if rough <= factor * scale * (1 + 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, last + 1)]


@dataclass(frozen=True)
class _Frame:
    """From values to places in the drawing."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float

    def at(self, x: float, y: float) -> tuple[float, float]:
        across = (x - self.x_low) / (self.x_high - self.x_low)
        up = (y - self.y_low) / (self.y_high - self.y_low)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)


def _svg(title: str, parts: Sequence[Markup], lifted: int = 0) -> Markup:
    return Markup('<svg class="chart" viewBox="0 {} {} {}" role="img"><title>{}</title>{}</svg>').format(
        -lifted, WIDTH, HEIGHT + lifted, title, Markup("").join(parts)
    )


def _axes(
    frame: _Frame,
    x_ticks: Sequence[float],
    y_ticks: Sequence[float],
    x_title: str,
    y_title: str,
    percent: bool,
    shares: bool = False,
) -> Markup:
    """`percent` is of the values, `shares` of their places."""
    parts = []
    for value in y_ticks:
        x, y = frame.at(frame.x_low, value)
        parts.append(Markup('<path class="grid" d="M{:.1f} {:.1f}H{}"/>').format(x, y, WIDTH - RIGHT))
        label = f"{100 * value:g} %" if percent else f"{value:g}"
        parts.append(Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="end">{}</text>').format(x - 8, y + 4, label))
    for value in x_ticks:
        x, y = frame.at(value, frame.y_low)
        label = f"{100 * value:g}" if shares else f"{value:g}"
        parts.append(Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="middle">{}</text>').format(x, y + 18, label))
    middle = HEIGHT / 2 - BOTTOM / 2
    parts.append(
        Markup('<text x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(
            (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, x_title
        )
    )
    parts.append(
        Markup('<text transform="translate(14 {:.1f}) rotate(-90)" text-anchor="middle">{}</text>').format(
            middle, y_title
        )
    )
    return Markup("").join(parts)


def _band(frame: _Frame, one: Series, index: int) -> Markup:
    if one.low is None or one.high is None:
        return Markup("")
    there = [frame.at(x, y) for x, y in zip(one.x, one.low, strict=True)]
    back = [frame.at(x, y) for x, y in zip(one.x, one.high, strict=True)]
    return Markup('<path class="band" style="fill: var(--line-{})" d="{}Z"/>').format(
        index % COLOURS, _path([*there, *reversed(back)])
    )


def _line(frame: _Frame, one: Series, index: int) -> Markup:
    points = [frame.at(x, y) for x, y in zip(one.x, one.y, strict=True) if math.isfinite(y)]
    dots = Markup("").join(
        Markup('<circle cx="{:.1f}" cy="{:.1f}" r="2.5" style="fill: var(--line-{})"/>').format(x, y, index % COLOURS)
        for x, y in points
        if len(points) <= 40
    )
    return (
        Markup('<path class="line" style="stroke: var(--line-{})" d="{}"/>').format(index % COLOURS, _path(points))
        + dots
    )


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def _legend(series: Sequence[Series]) -> tuple[Markup, int]:
    """The names with their lines' colors above the drawing, and the rows that they fill."""
    parts, x, row = [], float(LEFT), 0
    for index, one in enumerate(series):
        # a Chinese character is about as wide as the type is high
        wide = 24 + sum(13.0 if ord(letter) > 0x2E7F else 6.4 for letter in one.name)
        if x > LEFT and x + wide > WIDTH - RIGHT:
            x, row = float(LEFT), row + 1
        y = 10 + LEGEND * row
        parts.append(
            Markup('<path class="line" style="stroke: var(--line-{})" d="M{:.1f} {:.1f}h18"/>').format(
                index % COLOURS, x, y
            )
        )
        parts.append(Markup('<text x="{:.1f}" y="{:.1f}">{}</text>').format(x + 24, y + 4, escape(one.name)))
        x += wide + 14
    return Markup("").join(parts), row + 1
