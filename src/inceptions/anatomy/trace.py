"""Run a module on shapes alone and write down every operation: what cost and principles are computed from."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from inceptions.layers import Grid


@dataclass(frozen=True, kw_only=True)
class Op:
    """One operation of a forward pass."""

    index: int
    """Its place in the pass."""
    kind: str
    """The operation's name in PyTorch: convolution, addmm, cat, ..."""
    module: str
    """Path of the innermost module that was running; "" for the network itself."""
    inputs: tuple[int, ...]
    """Indices of the operations whose outputs it read; -1 is the image. Parameters do not count."""
    shape: tuple[int, ...]
    """Shape of its (first) output, batch included."""
    axes: tuple[int, ...] | None = None
    """Where batch, channels, rows and columns lie in `shape`; None where it is not a stack of planes."""
    multiply_adds: int = 0
    in_channels: int = 0
    """Convolutions and matrix products: channels (features) that are read."""
    kernel: Grid | None = None
    """Convolutions and pools: (height, width)."""
    stride: Grid | None = None
    groups: int = 1

    @property
    def size(self) -> int:
        """Values in the output."""
        return prod(self.shape)

    @property
    def grid(self) -> Grid | None:
        """(rows, columns) of the output; None where it is not a stack of planes, but a vector or a row of tokens."""
        if self.axes is None or len(self.shape) != 4:
            return None
        return self.shape[self.axes[2]], self.shape[self.axes[3]]

    @property
    def channels(self) -> int:
        """Channels of the output; features of a vector or a token."""
        if self.axes is None or len(self.shape) != 4:
            return self.shape[-1] if self.shape else 1
        return self.shape[self.axes[1]]

    @property
    def is_dense(self) -> bool:
        """Whether it is a convolution in which every output channel reads every input channel."""
        return self.kernel is not None and self.weighs and self.groups == 1

    @property
    def weighs(self) -> bool:
        """Whether it is a convolution or a linear layer: what multiply-adds and activations are counted of."""
        return self.multiply_adds > 0


def depth(ops: Sequence[Op]) -> int:
    """Convolutions and linear layers on the longest path through these operations."""
    layers: dict[int, int] = {}
    for op in ops:
        layers[op.index] = max((layers.get(index, 0) for index in op.inputs), default=0) + op.weighs
    return max(layers.values(), default=0)


def trace(module: nn.Module, shape: tuple[int, ...]) -> tuple[Op, ...]:
    """The operations of `module` in evaluation mode on an input of `shape`, in order.

    Runs on the meta device: nothing is computed, nothing but shapes is allocated, and `module` stays as it is. Works
    for every module whose path does not depend on the values it is given.

    Raises:
        ValueError: the module refuses the shape, or cannot run without values.
    """
    bare = hollow(module).eval()
    recorder = _Recorder()
    try:
        with torch.no_grad(), paths(bare, recorder.path), recorder:
            image = torch.empty(shape, device="meta")
            recorder.source(image)
            bare(image)
    except Exception as error:  # whatever a foreign module may raise
        raise ValueError(
            f"{type(module).__name__} cannot be traced on an input of shape {tuple(shape)}: {error}"
        ) from error
    return tuple(recorder.ops)


def hollow(module: nn.Module) -> nn.Module:
    """A copy with meta tensors for parameters and buffers; the values themselves are never copied."""
    memo: dict[int, Any] = {}
    for tensor in itertools.chain(module.parameters(), module.buffers()):
        meta = torch.empty_like(tensor, device="meta")
        memo[id(tensor)] = nn.Parameter(meta, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else meta
    return copy.deepcopy(module, memo)


@contextmanager
def paths(module: nn.Module, running: list[str]) -> Iterator[None]:
    """Keep the path of the module that runs at the end of `running`."""

    def leave(*_: object) -> None:
        running.pop()

    handles = []
    for path, part in module.named_modules():
        handles.append(part.register_forward_pre_hook(lambda *_, path=path: running.append(path)))
        handles.append(part.register_forward_hook(leave))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


# PyTorch does not annotate its modes.
class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operation below PyTorch's Python functions, as `torch.utils.flop_counter` does."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.ops: list[Op] = []
        self.path: list[str] = [""]
        self._made_by: dict[int, int] = {}
        self._alive: list[Tensor] = []
        """Every tensor seen: an address must not be given out twice while it identifies its maker."""

    def source(self, image: Tensor) -> None:
        self._remember(image, -1)

    def _axes_of(self, index: int) -> tuple[int, ...] | None:
        return PLANES if index == -1 else self.ops[index].axes

    def _remember(self, tensor: Tensor, maker: int) -> None:
        self._made_by[id(tensor)] = maker
        self._alive.append(tensor)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        read = [self._made_by[id(leaf)] for leaf in tree_leaves((args, kwargs)) if id(leaf) in self._made_by]
        outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        kind = func.overloadpacket.__name__
        # Work on parameters alone (a table of positions through a linear layer) is work for every image, too.
        if outputs and (read or kind in _FACTS):
            facts = _FACTS[kind](args, outputs[0]) if kind in _FACTS else {}
            op = Op(
                index=len(self.ops),
                kind=kind,
                module=self.path[-1],
                inputs=tuple(dict.fromkeys(read)),
                shape=tuple(outputs[0].shape),
                axes=_axes(kind, args, next((axes for index in read if (axes := self._axes_of(index))), None)),
                **facts,
            )
            for tensor in outputs:
                self._remember(tensor, op.index)
            self.ops.append(op)
        return result


PLANES = (0, 1, 2, 3)
"""Batch, channels, rows, columns: how convolutions and pools want them, and leave them."""


def _axes(kind: str, args: tuple[Any, ...], before: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """Where the output's axes lie, if those of what it reads lie as `before`."""
    if (kind in _FACTS and "pool" in kind) or kind == "convolution":
        return PLANES
    if before is None or kind not in ("permute", "transpose"):
        return before
    if args[0].dim() != 4:
        return None
    order = list(PLANES)
    if kind == "permute":
        order = [axis % 4 for axis in args[1]]
    else:
        order[args[1]], order[args[2]] = order[args[2]], order[args[1]]
    return tuple(order.index(axis) for axis in before)


def _convolution(args: tuple[Any, ...], output: Tensor) -> dict[str, Any]:
    weight, stride, transposed, groups = args[1], args[3], args[6], args[8]
    # A weight is (out, in / groups, *kernel); transposed it is (in, out / groups, *kernel) and works on each input.
    positions = args[0].shape[2:].numel() if transposed else output.shape[2:].numel()
    kernel = [1, *weight.shape[2:]][-2:]
    return {
        "multiply_adds": output.shape[0] * positions * weight.numel(),
        "in_channels": args[0].shape[1],
        "kernel": (int(kernel[0]), int(kernel[1])),
        "stride": (int(stride[0]), int(stride[-1])),
        "groups": int(groups),
    }


def _product(left: Tensor, output: Tensor) -> dict[str, Any]:
    return {"multiply_adds": output.numel() * left.shape[-1], "in_channels": left.shape[-1]}


def _pool(args: tuple[Any, ...], _: Tensor) -> dict[str, Any]:
    kernel, stride = args[1], (args[2] if len(args) > 2 else ()) or args[1]  # no stride: the kernel's
    return {"kernel": (int(kernel[0]), int(kernel[-1])), "stride": (int(stride[0]), int(stride[-1]))}


_FACTS: dict[str, Callable[[tuple[Any, ...], Tensor], dict[str, Any]]] = {
    "convolution": _convolution,
    "max_pool2d_with_indices": _pool,
    "avg_pool2d": _pool,
    "mm": lambda args, output: _product(args[0], output),
    "bmm": lambda args, output: _product(args[0], output),
    "addmm": lambda args, output: _product(args[1], output),
    "baddbmm": lambda args, output: _product(args[1], output),
}
