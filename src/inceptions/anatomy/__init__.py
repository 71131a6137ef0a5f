"""Look inside a network: what it costs, how far a unit sees, which principles it keeps, how it differs from another."""

from __future__ import annotations

from inceptions.anatomy.cost import Cost, LayerCost, StageCost, cost
from inceptions.anatomy.principles import Finding, principles
from inceptions.anatomy.receptive import Field, Rectangle, elements, receptive_fields

__all__ = [
    "Cost",
    "Field",
    "Finding",
    "LayerCost",
    "Rectangle",
    "StageCost",
    "cost",
    "elements",
    "principles",
    "receptive_fields",
]
