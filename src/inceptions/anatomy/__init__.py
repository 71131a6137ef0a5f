"""Look inside a network: what it costs, how far a unit sees, which principles it keeps, how it differs from another."""

from __future__ import annotations

from inceptions.anatomy.cost import Cost, LayerCost, StageCost, cost

__all__ = ["Cost", "LayerCost", "StageCost", "cost"]
