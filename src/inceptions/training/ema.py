"""The average of the weights over the steps (Polyak averaging, EMA): what the papers evaluate."""

from __future__ import annotations

import copy

import torch

from inceptions.zoo import Network


class Average:
    """An exponential moving average of a network's tensors, batch-norm statistics included.

    The decay grows as min(decay, (1 + step) / (10 + step)) (TensorFlow's `num_updates`), so that a short run is not
    dominated by its random beginning.

    Args:
        net: the network that is trained; `Average.net` is a copy in eval mode that holds the average.
        decay: share of the old average that a step keeps, in the long run.
    """

    def __init__(self, net: Network, decay: float) -> None:
        self.net: Network = copy.deepcopy(net).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, net: Network, step: int) -> None:
        """Moves the average towards `net` after optimizer step number `step` (from 0)."""
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        average, current = self.net.state_dict(), net.state_dict()
        floats = [name for name, tensor in average.items() if tensor.is_floating_point()]
        torch._foreach_lerp_([average[name] for name in floats], [current[name] for name in floats], share)
        for name in average.keys() - set(floats):  # counters have no average
            average[name].copy_(current[name])
