"""The page of `inceptions explain`: images next to what the network used of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from inceptions.explain import Explanation
from inceptions.report.page import embedded, render


@dataclass(frozen=True, kw_only=True)
class Plate:
    """One image in the page's explanation."""

    title: str
    image: Image.Image
    path: Path | None = None
    """The file that it is written to as well."""
    lossless: bool = False
    """Maps and filters, of which every pixel is a value."""

    @property
    def uri(self) -> str:
        """The image as a data URI."""
        return embedded(self.image, lossless=self.lossless)


@dataclass(frozen=True, kw_only=True)
class Explained:
    """One image, explained."""

    file: str
    found: Explanation
    plates: Sequence[Plate]


def explained_page(model: str, method: str, explained: Sequence[Explained], filters: Plate | None = None) -> str:
    """The page.

    Args:
        model: what the network is called.
        method: how maps were made.
        explained: the images.
        filters: of the first layer, where asked for.
    """
    return render("explained.html", model=model, method=method, explained=explained, filters=filters)
