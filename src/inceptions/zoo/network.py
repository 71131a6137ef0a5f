"""`Network`, the module that runs a table."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from inceptions.layers import initialize
from inceptions.zoo.table import Table


class Network(nn.Module):
    """A member of the family. Made by `inceptions.zoo.build`, not by hand, except around a table of your own.

    Args:
        table: the stages and heads.
        num_classes: logits.
        in_channels: channels of the images.
        name, options: what `build` was called with; kept in the artifact, so that the network can be built again.
        input_size: side of the published input, in pixels.
        aux_weight: weight of each auxiliary head in the loss.

    `network(images)` takes (N, in_channels, H, W) float, already normalized by a `Preprocess`, and returns logits
    (N, num_classes): always one tensor. `body`, `head` and `aux` hold the weights; keys of `aux` start with `aux`.
    """

    def __init__(
        self,
        table: Table,
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        name: str = "custom",
        options: Mapping[str, Any] | None = None,
        input_size: int = 224,
        aux_weight: float = 0.3,
    ) -> None:
        super().__init__()
        self.table = table
        self.name = name
        self.options = dict(options or {})
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.input_size = input_size
        self.min_size = table.min_size()
        self.aux_weight = aux_weight
        self.preprocess: Any = None
        """The `Preprocess` the weights expect; comes with the weights."""
        self.classes: tuple[str, ...] | None = None
        """Names of the logits, in order; come with the weights."""
        self.artifact: dict[str, Any] = {}
        """What else the artifact said that the network was loaded from (its block `inceptions`)."""
        self.export: Path | None = None
        """The folder of an exported file that answers in place of these weights, which then are on `meta`."""

        taps = dict(table.aux)
        modules: OrderedDict[str, nn.Module] = OrderedDict()
        aux = nn.ModuleDict()
        width = in_channels
        device = torch.get_default_device()
        with torch.device("meta"):  # PyTorch would draw weights of its own first, which nobody sees
            for stage, layer in table.stages:
                modules[stage], width = layer.build(width)
                if stage in taps:
                    aux[stage] = taps[stage].build(width, num_classes)
            head = table.head.build(width, num_classes)
        self.body = nn.Sequential(modules)  # body, head, aux: layouts go by the order of tensors
        self.num_features = width
        self.head = head
        self.aux = aux
        if device.type != "meta":
            self.to_empty(device=device)
            initialize(self.modules())

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages: the rows of the paper's table."""
        return tuple(name for name, _ in self.table.stages)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, num_classes). Raises `ValueError` for images of the wrong shape or below `min_size`."""
        logits: Tensor = self.head(self.forward_features(images))
        return logits

    def forward_features(self, images: Tensor) -> Tensor:
        """Output (N, C, H, W) of the last stage, before pooling."""
        self._check(images)
        features: Tensor = self.body(images)
        return features

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits of the last stage's output; with `pre_logits` the pooled vector (N, F) before the classifier."""
        logits: Tensor = self.head(features, pre_logits)
        return logits

    def forward_with_aux(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits, and those of each auxiliary head by the stage it taps (empty without heads). For training."""
        self._check(images)
        aux: dict[str, Tensor] = {}
        for stage, module in self.body.named_children():
            images = module(images)
            if stage in self.aux:
                aux[stage] = self.aux[stage](images)
        return self.head(images), aux

    def forward_stages(self, images: Tensor) -> dict[str, Tensor]:
        """Output of every stage, by name and in order."""
        self._check(images)
        outputs: dict[str, Tensor] = {}
        for stage, module in self.body.named_children():
            outputs[stage] = images = module(images)
        return outputs

    def reset_classifier(self, num_classes: int) -> None:
        """Put new classifiers of `num_classes` logits on *every* head, auxiliary ones too; forget the class names.

        Raises `ValueError` below one class.
        """
        if num_classes < 1:
            raise ValueError(f"num_classes is {num_classes}; at least 1 is needed")
        for module in (self.head, *self.aux.values()):
            old = module.linear
            assert isinstance(old, nn.Linear)
            module.linear = nn.Linear(old.in_features, num_classes, device=old.weight.device, dtype=old.weight.dtype)
            initialize([module.linear])
        self.num_classes = num_classes
        self.options["num_classes"] = num_classes
        self.classes = None

    def _check(self, images: Tensor) -> None:
        if images.dim() != 4 or images.shape[1] != self.in_channels:
            raise ValueError(
                f"{self.name} reads images (N, {self.in_channels}, H, W); got a tensor of shape {tuple(images.shape)}"
            )
        if min(images.shape[2:]) < self.min_size:
            raise ValueError(
                f"{self.name} needs images of at least {self.min_size} x {self.min_size} px; got "
                f"{images.shape[2]} x {images.shape[3]}. Use larger images, or stem='small' for 32 to 96 px."
            )
