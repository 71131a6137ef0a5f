"""Published weights: where they are, how their files are read, what their names mean, and our own artifact."""

from __future__ import annotations

from inceptions.weights.create import create_model, load_weights, network_in, tell_assumed
from inceptions.weights.described import Loaded, ModelFacts

__all__ = ["Loaded", "ModelFacts", "create_model", "load_weights", "network_in", "tell_assumed"]
