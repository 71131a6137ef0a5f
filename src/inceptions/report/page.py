"""One self-contained HTML file: templates with autoescaping, images embedded, no network requests."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image


def render(template: str, **facts: Any) -> str:
    """Fill a template of `templates/`; everything but `Markup` is escaped."""
    return _environment().get_template(template).render(facts)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("inceptions.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "whole": whole, "plain": plain}
    return environment


def percent(share: float | None, digits: int = 1) -> str:
    """0.934 -> 93.4 %."""
    return "–" if share is None else f"{100 * share:.{digits}f}\u00a0%"


def whole(number: int | None) -> str:
    """1234567 -> 1 234 567, with spaces that do not break."""
    return "–" if number is None else f"{number:,}".replace(",", "\u202f")


def plain(value: object) -> str:
    """A setting as its reader would write it."""
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.4g}"
        case list() | tuple():
            return ", ".join(plain(item) for item in value) or "–"
        case Mapping():
            return ", ".join(f"{key} {plain(item)}" for key, item in value.items()) or "–"
    # a file name need not be valid text
    return str(value).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def embedded(image: Image.Image, *, side: int | None = None, lossless: bool = False) -> str:
    """The image as a data URI: JPEG, or PNG where every pixel counts; at most `side` px a side."""
    if side is not None and max(image.size) > side:
        image = image.copy()
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    kind = "png" if lossless else "jpeg"
    image.save(data, kind, **({} if lossless else {"quality": 82}))
    return f"data:image/{kind};base64,{base64.b64encode(data.getvalue()).decode('ascii')}"
