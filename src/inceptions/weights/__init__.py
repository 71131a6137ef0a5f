"""Published weights: where they are, how their files are read, what their names mean, and our own artifact."""

from __future__ import annotations

from inceptions.weights.create import Loaded, create_model, load_weights, network_in, tell_assumed

__all__ = ["Loaded", "create_model", "load_weights", "network_in", "tell_assumed"]
