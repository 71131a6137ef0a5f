"""Whose file is it? Layouts of the publishers, and the recognition of a checkpoint by its names and shapes."""

from __future__ import annotations

from inceptions.weights.layouts.layout import Layout
from inceptions.weights.layouts.parts import choose
from inceptions.weights.layouts.recognition import LAYOUTS, FileHead, Match, find_head, recognise

__all__ = ["LAYOUTS", "FileHead", "Layout", "Match", "choose", "find_head", "recognise"]
