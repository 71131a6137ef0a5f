"""What a training step computes: the module with its losses, which part of it is trained, and the step's randomness."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from inceptions.passes import fast_for_training
from inceptions.training.losses import cross_entropy
from inceptions.zoo import Network


class WithLoss(nn.Module):
    """A network whose `forward(images, targets)` gives (loss, main logits): the one thing that is wrapped.

    The loss is the main head's cross-entropy plus `aux_weight` times each auxiliary head's.

    Args:
        net: the network.
        aux_weight: None takes the network's own.
        class_weights: (C,) or None.
    """

    def __init__(self, net: Network, *, aux_weight: float | None = None, class_weights: Tensor | None = None) -> None:
        super().__init__()
        self.net = fast_for_training(net)
        self.aux_weight = net.aux_weight if aux_weight is None else aux_weight
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", class_weights, persistent=False)

    def forward(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Images (N, C, H, W) normalized, soft targets (N, classes) -> scalar loss and logits (N, classes)."""
        logits, aux = self.net.forward_with_aux(images)
        loss = cross_entropy(logits, targets, self.class_weights)
        for other in aux.values():
            loss = loss + self.aux_weight * cross_entropy(other, targets, self.class_weights)
        return loss, logits


def freeze(net: Network, last: int | None) -> list[nn.Module]:
    """Freezes all but the heads and the last `last` stages (None: nothing) and returns the frozen stages.

    An auxiliary head that taps a frozen stage still learns; its gradient ends at the tap.

    Raises:
        ValueError: the network has fewer stages.
    """
    if last is None:
        return []
    if last > len(net.stages):
        raise ValueError(f"last:{last}: {net.name} has {len(net.stages)} stages ({', '.join(net.stages)})")
    frozen = [module for _, module in list(net.body.named_children())[: len(net.stages) - last]]
    for module in frozen:
        module.requires_grad_(False)
    return frozen


def norms(net: Network) -> list[nn.Module]:
    """The batch norms: in evaluation mode they keep their statistics, and their scales and offsets still learn."""
    return [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]


def train_mode(net: Network, frozen: list[nn.Module]) -> None:
    """Training mode, but evaluation mode for what is frozen: the batch-norm statistics in it are frozen too."""
    net.train()
    for module in frozen:
        module.eval()


def parts(net: Network) -> dict[str, nn.Module]:
    """What gradients are measured of: the stages that have weights, the head, and the auxiliary heads together."""
    every = {**dict(net.body.named_children()), "head": net.head, "aux": net.aux}
    return {name: module for name, module in every.items() if any(True for _ in module.parameters())}


def gradient_norms(modules: Iterable[nn.Module], device: torch.device) -> Tensor:
    """Norm of the gradients of each module, of shape (modules,); 0 where there is none."""
    norms = []
    for module in modules:
        gradients = [weight.grad for weight in module.parameters() if weight.grad is not None]
        norms.append(nn.utils.get_total_norm(gradients) if gradients else torch.zeros((), device=device))
    return torch.stack(norms)


def starved(modules: Sequence[nn.Module], norms: Sequence[float]) -> bool:
    """Whether the first trained module's gradient, per weight, is below a thousandth of the last one's."""
    sizes = [sum(w.numel() for w in module.parameters() if w.requires_grad) for module in modules]
    rms = [norm / size**0.5 for norm, size in zip(norms, sizes, strict=True) if size]
    return len(rms) > 1 and rms[0] < 1e-3 * rms[-1]


def seed_step(seed: int, step: int) -> np.random.Generator:
    """Makes everything random in this step a function of (seed, step): torch's generators, and the one returned."""
    sequence = np.random.SeedSequence((seed, step))
    torch.manual_seed(int(sequence.generate_state(1, np.uint64)[0]))
    return np.random.default_rng(sequence)
