"""Whose file is it? Layouts of the publishers, and the recognition of a checkpoint by its names and shapes."""

from __future__ import annotations

from inceptions.weights.layouts.heads import FileHead, FileLinear, FileNorm, find_head
from inceptions.weights.layouts.layout import Layout
from inceptions.weights.layouts.match import Match
from inceptions.weights.layouts.parts import choose
from inceptions.weights.layouts.recognition import LAYOUTS, recognize
from inceptions.weights.layouts.statistics import white

__all__ = [
    "LAYOUTS",
    "FileHead",
    "FileLinear",
    "FileNorm",
    "Layout",
    "Match",
    "choose",
    "find_head",
    "recognize",
    "white",
]
