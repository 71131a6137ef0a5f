"""Why this answer: which pixels contributed to a class, which branch answered, what the channels look for.

A map shows what the network used, not what is right; its place does not show how confident the network is.
"""

from __future__ import annotations

from inceptions.explain.attribution import METHODS, Method, attribute, grid_stage
from inceptions.explain.drawing import overlaid, overlaid_whole, sheet, shown
from inceptions.explain.explanation import Explanation, explain
from inceptions.explain.inside import BranchAnswer, branch_answers, feature_maps, first_filters

__all__ = [
    "METHODS",
    "BranchAnswer",
    "Explanation",
    "Method",
    "attribute",
    "branch_answers",
    "explain",
    "feature_maps",
    "first_filters",
    "grid_stage",
    "overlaid",
    "overlaid_whole",
    "sheet",
    "shown",
]
