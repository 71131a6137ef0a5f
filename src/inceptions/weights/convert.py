"""From a publisher's tensors to ours: axes turned, gaps filled in, every shape compared, nothing half loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from inceptions.errors import DataError, some
from inceptions.layers import initialize
from inceptions.weights.layouts import Match
from inceptions.zoo import Network

Role: TypeAlias = Literal["conv", "depthwise", "pointwise", "norm", "linear"]
State: TypeAlias = dict[str, Tensor]

_KERAS_NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
_KERAS: Mapping[Role, Mapping[str, str]] = {
    "conv": {"weight": "kernel", "bias": "bias"},
    "depthwise": {"weight": "depthwise_kernel"},
    "pointwise": {"weight": "pointwise_kernel", "bias": "bias"},
    "norm": _KERAS_NORM,
    "linear": {"weight": "kernel", "bias": "bias"},
}
_SLIM: Mapping[Role, Mapping[str, str]] = {
    "conv": {"weight": "weights", "bias": "biases"},
    "depthwise": {"weight": "depthwise_weights"},
    "pointwise": {"weight": "pointwise_weights", "bias": "biases"},
    "norm": _KERAS_NORM,
    "linear": {"weight": "weights", "bias": "biases"},
}
_SHOWN = 4  # problems that a message spells out


def part_state(match: Match, prefix: str, part: nn.Module, modules: tuple[str, ...]) -> State:
    """The tensors of one part of a network out of a checkpoint, by our names.

    Args:
        match: the checkpoint and its layout.
        prefix: our name of `part` ("body", "head.linear").
        part: what receives the tensors; its shapes are what counts, it may be on the meta device.
        modules: the layout's names of the modules with tensors in it, in their order.

    Raises:
        DataError: a tensor is missing or has another shape; the message names it, both shapes and the layout.
    """
    return _Conversion(match).state(prefix, part, modules)


def norm_map(match: Match, module: str, epsilon: float) -> tuple[Tensor, Tensor]:
    """What a batch norm of the file does when a model answers: the factor and what is added, in float64.

    Raises:
        DataError: its tensors are missing or of different lengths.
    """
    fetched = {suffix: _Conversion(match).fetch("norm", module, suffix) for suffix in _KERAS_NORM}
    called, variance = fetched["running_var"]
    mean = fetched["running_mean"][1]
    if variance is None or mean is None or variance.ndim != 1:
        raise DataError(f"{match.checkpoint.source}: {called} of its head is missing, or is no row of numbers")
    factor = (variance.double() + epsilon).rsqrt()
    shift = torch.zeros_like(factor)
    for name, tensor in fetched.values():
        if tensor is not None and tensor.shape != variance.shape:
            raise DataError(f"{match.checkpoint.source}: {name} is {tuple(tensor.shape)}, not {tuple(variance.shape)}")
    if (weight := fetched["weight"][1]) is not None:
        factor = factor * weight.double()
    if (bias := fetched["bias"][1]) is not None:
        shift = shift + bias.double()
    return factor, shift - mean.double() * factor


def materialize(net: Network, state: Mapping[str, Tensor]) -> None:
    """Gives `net`, built without memory (on the meta device), the tensors of `state`, and fresh ones for the rest.

    Drawing tens of millions of weights that are overwritten at once would take seconds.
    """
    own = net.state_dict()
    net.load_state_dict(
        {name: tensor.to(own[name].dtype, copy=True).contiguous() for name, tensor in state.items()},
        strict=False,
        assign=True,
    )
    fresh = [module for module in net.modules() if _is_empty(module)]
    for module in fresh:
        module.to_empty(device="cpu", recurse=False)
        if isinstance(module, nn.Linear | nn.Conv2d | nn.BatchNorm2d | nn.BatchNorm1d):
            module.reset_parameters()
    initialize(fresh)


def _is_empty(module: nn.Module) -> bool:
    return any(tensor.is_meta for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)))


class _Conversion:
    """Fetches tensors for one part of a network and gathers what does not fit."""

    def __init__(self, match: Match) -> None:
        self._match = match
        self._problems: list[str] = []
        self._carried: tuple[str, Tensor] | None = None

    def state(self, prefix: str, part: nn.Module, modules: tuple[str, ...]) -> State:
        ours = list(_leaves(part))
        source, title = self._match.checkpoint.source, self._match.layout.title
        if len(ours) != len(modules):
            raise DataError(
                f"{source}: {title} has {len(modules)} layers with weights where this network has {len(ours)}; "
                "drop the options that change its layers"
            )
        state: State = {}
        for (name, role, module), theirs in zip(ours, modules, strict=True):
            for suffix, tensor in self._tensors(role, module, theirs):
                state[".".join(filter(None, (prefix, name, suffix)))] = tensor
        if self._carried is not None:
            self._problems.append(f"{self._carried[0]} is an unexpected bias: this layer has none in our network")
        if self._problems:
            raise DataError(
                f"{source} does not fit {self._match.layout.network} (nearest layout: {title}): "
                + some(self._problems, _SHOWN, "; ")
            )
        return state

    def _tensors(self, role: Role, module: nn.Module, theirs: str) -> Iterator[tuple[str, Tensor]]:
        """(our name of the tensor, the tensor) of one module, converted and checked."""
        for suffix, wanted in module.state_dict().items():
            if suffix == "num_batches_tracked":
                yield suffix, torch.zeros((), dtype=torch.int64)
                continue
            called, tensor = self.fetch(role, theirs, suffix)
            if tensor is None:
                filled = self._filled(role, suffix, wanted, called)
            else:
                filled = self._checked(called, tensor, wanted)
                if suffix == "running_mean" and self._carried is not None:
                    filled = filled - self._carried[1].to(filled.dtype)  # batch norm subtracts a bias in front of it
                    self._carried = None
            yield suffix, filled
        if self._carried is not None:
            self._problems.append(f"{self._carried[0]} is an unexpected bias: this layer has none in our network")
            self._carried = None
        if "bias" not in module.state_dict() and role != "norm":
            called, bias = self.fetch(role, theirs, "bias")
            self._carried = None if bias is None else (called, bias)

    def fetch(self, role: Role, theirs: str, suffix: str) -> tuple[str, Tensor | None]:
        """The file's name of a tensor, and the tensor with our axes, or None where it is not there."""
        module = self._match.names.get(theirs, theirs)
        dialect = self._match.checkpoint.dialect
        if dialect in ("torch", "caffe"):
            called = f"{module}.{suffix}"
            tensor = self._match.checkpoint.tensors.get(called)
            # converters of Caffe's models left batch norm's vectors as rows
            rows = tensor is not None and role == "norm" and tensor.ndim == 2 and tensor.shape[0] == 1
            if tensor is not None and role == "linear" and tensor.ndim == 4 and tuple(tensor.shape[2:]) == (1, 1):
                return called, tensor[:, :, 0, 0]  # a convolution behind global pooling
            return called, tensor[0] if tensor is not None and rows else tensor
        if dialect == "slim" and role == "pointwise" and f"{module}/weights" in self._match.checkpoint.tensors:
            role = "conv"  # DeepLab's pointwise convolutions are scopes of their own
        called = f"{module}/{(_SLIM if dialect == 'slim' else _KERAS)[role].get(suffix, suffix)}"
        tensor = self._match.checkpoint.tensors.get(called)
        return called, None if tensor is None else _our_axes(tensor, role, suffix)

    def _filled(self, role: Role, suffix: str, wanted: Tensor, called: str) -> Tensor:
        if role == "norm" and suffix == "weight":
            return torch.ones(wanted.shape)  # batch norm without a scale multiplies by one
        if suffix != "bias":
            self._problems.append(f"{called} is missing")
        return torch.zeros(wanted.shape)

    def _checked(self, called: str, tensor: Tensor, wanted: Tensor) -> Tensor:
        if tensor.shape != wanted.shape:
            foreign = self._match.checkpoint.dialect in ("keras", "slim") and wanted.ndim > 1
            turned = " with its axes in PyTorch's order" if foreign else ""
            self._problems.append(f"{called} is {tuple(tensor.shape)}{turned}, this network's is {tuple(wanted.shape)}")
            return torch.zeros(wanted.shape)
        return tensor


def _our_axes(tensor: Tensor, role: Role, suffix: str) -> Tensor:
    """TensorFlow's (height, width, in, out) as (out, in, height, width); its dense (in, out) as (out, in)."""
    if suffix != "weight" or role == "norm":
        return tensor
    if role == "linear":
        dense = tensor[0, 0] if tensor.ndim == 4 and tensor.shape[:2] == (1, 1) else tensor  # slim's 1x1 convolutions
        return dense.T if dense.ndim == 2 else tensor
    if tensor.ndim != 4:
        return tensor
    if role == "depthwise":  # (height, width, in, multiplier), the filters of one channel side by side
        height, width, channels, multiplier = tensor.shape
        return tensor.permute(2, 3, 0, 1).reshape(channels * multiplier, 1, height, width)
    return tensor.permute(3, 2, 0, 1)


def _leaves(part: nn.Module) -> Iterator[tuple[str, Role, nn.Module]]:
    """The modules with tensors of their own, in order, and what each does."""
    for name, module in part.named_modules():
        if isinstance(module, nn.Linear):
            yield name, "linear", module
        elif isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            yield name, "norm", module
        elif isinstance(module, nn.Conv2d):
            last = name.rsplit(".", 1)[-1]
            yield name, "depthwise" if last == "depthwise" else "pointwise" if last == "pointwise" else "conv", module
