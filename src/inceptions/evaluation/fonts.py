"""Names of classes in figures: with an installed font that has their letters, or as numbers and a line that says so."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import version
from typing import TYPE_CHECKING

from inceptions.progress import log

if TYPE_CHECKING:
    from matplotlib.ft2font import FT2Font

_OWN = "DejaVu Sans"  # matplotlib brings it
_LAST_RESORT = "last ?resort"  # has a sign for every script, and no letters
_FIRST = (
    *("Noto Sans CJK", "Noto Sans SC", "Noto Sans JP", "Noto Sans KR", "Source Han Sans", "WenQuanYi", "Droid Sans"),
    *("Microsoft YaHei", "SimHei", "PingFang", "Hiragino", "Malgun", "Noto Sans", "Arial Unicode", "Segoe UI"),
)
"""Fonts that are looked into first: they have many letters, and go with DejaVu Sans."""


def legible(names: Sequence[str], *, figure: str) -> tuple[list[str], list[str]]:
    """How `names` can be written in a figure.

    Args:
        names: of the classes, in order.
        figure: what the log calls it.

    Returns:
        (each name, or "class N" with its number from 0 where no font here has all its letters, or where its script
        joins letters in ways that this matplotlib does not know; the families of fonts to draw them with).
    """
    letters = frozenset(letter for name in names for letter in name if _inked(letter))
    families, missing = _families(letters)
    joined = {letter for letter in letters if _joins(letter)} if _version() < (3, 11) else set()
    shown = [f"class {n}" if (missing | joined).intersection(name) else name for n, name in enumerate(names)]
    numbered = [name for name, written in zip(names, shown, strict=True) if name != written]
    if numbered:
        some = ", ".join(numbered[:3]) + (", ..." if len(numbered) > 3 else "")
        log.info(
            "%s: no font here can draw the names of %d classes (%s): they are written as class N, counted from 0; "
            "install a Noto font for their script",
            *(figure, len(numbered), some),
        )
    return shown, [_OWN, *families]


@lru_cache(maxsize=8)
def _families(letters: frozenset[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """(families that together have the letters DejaVu Sans lacks, letters that nothing here has)."""
    from matplotlib import font_manager

    own = font_manager.findfont(_OWN)
    missing = letters - _has(own, letters)
    found: list[str] = []
    if not missing:
        return (), missing
    entries = [one for one in font_manager.fontManager.ttflist if not re.search(_LAST_RESORT, one.name, re.IGNORECASE)]
    for entry in sorted(entries, key=lambda one: (_place(one.name), one.style != "normal", one.name, one.fname)):
        if not missing:
            break
        # a family's other weights have the same letters, and drawing asks for the regular one by the family's name
        regular = entry.name not in found and font_manager.findfont(entry.name) == entry.fname
        if regular and (had := _has(entry.fname, missing)):
            found.append(entry.name)
            missing -= had
    return tuple(found), missing


def _has(file: str, letters: frozenset[str]) -> frozenset[str]:
    """Those of `letters` that a font can draw."""
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(file)
        known = font.get_charmap()
        return frozenset(letter for letter in letters if ord(letter) in known and _drawn(font, letter))
    except (OSError, RuntimeError):  # a damaged file, or a kind of font that FreeType does not open
        return frozenset()


def _drawn(font: FT2Font, letter: str) -> bool:
    try:
        font.load_char(ord(letter))  # fails for images in colors
    except RuntimeError:
        return False
    return True


def _place(name: str) -> int:
    return next((place for place, start in enumerate(_FIRST) if name.startswith(start)), len(_FIRST))


def _inked(letter: str) -> bool:
    """Whether a font must have it: spaces, and signs that only join or select, it need not."""
    return not letter.isspace() and unicodedata.category(letter) != "Cf" and not "\ufe00" <= letter <= "\ufe0f"


def _joins(letter: str) -> bool:
    """Whether its script runs from right to left, or is written in another order or shape than it is stored."""
    return (
        unicodedata.bidirectional(letter) in ("R", "AL")
        or "\u0900" <= letter <= "\u0dff"  # the scripts of India
        or "\u1000" <= letter <= "\u109f"  # Myanmar
        or "\u1780" <= letter <= "\u17ff"  # Khmer
    )


@lru_cache(maxsize=1)
def _version() -> tuple[int, ...]:
    return tuple(int(part) for part in version("matplotlib").split(".")[:2])
