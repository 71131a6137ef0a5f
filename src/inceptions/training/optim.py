"""Optimizers and learning-rate schedules: the papers' RMSProp, what weight decay touches, the rate as a function."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from inceptions.training.config import TrainConfig


class RMSPropTF(Optimizer):
    """RMSProp as TensorFlow 1 has it, the optimizer of the Inception v3, v4 and Inception-ResNet papers.

    It differs from `torch.optim.RMSprop` to first order when epsilon is the papers' 1.0: the mean square starts at one,
    epsilon is added inside the root, and the learning rate is multiplied into the momentum buffer::

        square   <- rho * square + (1 - rho) * gradient ** 2
        velocity <- momentum * velocity + lr * gradient / sqrt(square + eps)
        weight   <- weight - velocity

    Weight decay is an L2 penalty: added to the gradient.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        *,
        rho: float = 0.9,
        momentum: float = 0.9,
        eps: float = 1.0,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "rho": rho, "momentum": momentum, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update from the gradients. `closure`, where given, computes the loss (with gradients) first."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if weights and weights[0].device.type == "cpu":
                for weight in weights:  # stays in the cache from the first operation to the last
                    self._update([weight], group)
            elif weights:
                self._update(weights, group)
        return loss

    def _update(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        for weight in weights:
            if not self.state[weight]:
                self.state[weight] = {"square": torch.ones_like(weight), "velocity": torch.zeros_like(weight)}
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        if group["weight_decay"]:
            gradients = list(torch._foreach_add(gradients, weights, alpha=group["weight_decay"]))
        squares = [self.state[weight]["square"] for weight in weights]
        velocities = [self.state[weight]["velocity"] for weight in weights]
        torch._foreach_mul_(squares, group["rho"])
        torch._foreach_addcmul_(squares, gradients, gradients, value=1 - group["rho"])
        roots = torch._foreach_add(squares, group["eps"])
        torch._foreach_sqrt_(roots)
        torch._foreach_mul_(velocities, group["momentum"])
        torch._foreach_addcdiv_(velocities, gradients, roots, value=group["lr"])
        torch._foreach_sub_(weights, velocities)


def optimizer(net: nn.Module, config: TrainConfig) -> Optimizer:
    """The optimizer of `config` over the trainable parameters of `net`, weight decay as `config.decay_all` says."""
    groups = decay_groups(net, config.weight_decay, everything=config.decay_all)
    # On a CPU one pass over the memory instead of one an operation: a third of the time. Elsewhere PyTorch chooses so.
    # Not with float16: where its first step overflows, PyTorch's fused SGD continues with uninitialized momentum.
    float16 = config.amp and config.amp_dtype == "float16"
    fused = True if next(net.parameters()).device.type == "cpu" and not float16 else None
    if config.opt in ("sgd", "nesterov"):
        nesterov = config.opt == "nesterov"
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=nesterov, fused=fused)
    if config.opt == "rmsproptf":
        eps = 1.0 if config.opt_eps is None else config.opt_eps
        rho = 0.9 if config.opt_decay is None else config.opt_decay
        return RMSPropTF(groups, config.lr, rho=rho, momentum=config.momentum, eps=eps)
    betas = (config.momentum, 0.999 if config.opt_decay is None else config.opt_decay)
    kind = torch.optim.Adam if config.opt == "adam" else torch.optim.AdamW
    eps = 1e-8 if config.opt_eps is None else config.opt_eps
    return kind(groups, lr=config.lr, betas=betas, eps=eps, fused=fused)


def decay_groups(net: nn.Module, weight_decay: float, *, everything: bool = False) -> list[dict[str, Any]]:
    """Trainable parameters as two optimizer groups: with weight decay, and (biases, batch norms) without.

    Biases and batch norms are the parameters with fewer than two axes; all others are kernels.
    """
    trainable = [parameter for parameter in net.parameters() if parameter.requires_grad]
    decayed = [parameter for parameter in trainable if everything or parameter.ndim >= 2]
    others = [parameter for parameter in trainable if not (everything or parameter.ndim >= 2)]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def learning_rate(config: TrainConfig, epoch: float) -> float:
    """The learning rate at a time in epochs (2.5: half through the third): a function, so nothing to save or restore.

    Linear warm-up from `warmup_lr`, then cosine to `min_lr` over the epochs left, or `decay_rate` every `decay_epochs`
    whole epochs since the start (the papers' staircase, which the warm-up does not shift), or constant.
    """
    if epoch < config.warmup_epochs:
        return config.warmup_lr + (config.lr - config.warmup_lr) * epoch / config.warmup_epochs
    if config.sched == "constant":
        return config.lr
    if config.sched == "step":
        # the small addend keeps 5 steps of 1/5 epoch from counting as 0.9999... epochs
        return max(config.min_lr, config.lr * config.decay_rate ** math.floor(epoch / config.decay_epochs + 1e-9))
    done = min(1.0, (epoch - config.warmup_epochs) / (config.epochs - config.warmup_epochs))
    return config.min_lr + (config.lr - config.min_lr) * (1 + math.cos(math.pi * done)) / 2
