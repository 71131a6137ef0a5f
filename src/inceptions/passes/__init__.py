"""Passes over a built network that make it faster without changing what it computes."""

from __future__ import annotations

from inceptions.passes.training import fast_for_training

__all__ = ["fast_for_training"]
