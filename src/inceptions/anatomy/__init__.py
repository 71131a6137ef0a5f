"""Look inside a network: what it costs, how far a unit sees, which principles it keeps, how it differs from another."""

from __future__ import annotations

from inceptions.anatomy.cost import Cost, LayerCost, StageCost, cost
from inceptions.anatomy.memory import kept_for_training
from inceptions.anatomy.principles import Finding, principles
from inceptions.anatomy.receptive import Field, Rectangle, is_block, parts, receptive_fields
from inceptions.anatomy.rules import RULES

__all__ = [
    "RULES",
    "Cost",
    "Field",
    "Finding",
    "LayerCost",
    "Rectangle",
    "StageCost",
    "cost",
    "is_block",
    "kept_for_training",
    "parts",
    "principles",
    "receptive_fields",
]
