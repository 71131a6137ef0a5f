"""The classifiers of a network: their tensors out of a checkpoint, or fresh ones in their place."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from inceptions.errors import DataError
from inceptions.layers import AuxModule
from inceptions.progress import log
from inceptions.weights.convert import State, norm_map, part_state
from inceptions.weights.layouts import FileHead, FileNorm, Match
from inceptions.zoo import Network


def aux_state(match: Match, net: Network) -> State:
    """The tensors of the auxiliary heads that the network has and the file too.

    Whoever gives a network another classifier may forget theirs: one with other outputs is left out.
    """
    state: State = {}
    for tap, modules in match.layout.aux.items():
        if tap not in net.aux or not all(module in match.names for module in modules):
            continue
        head, rows = net.aux[tap], match.rows(modules[-1])
        assert isinstance(head, AuxModule)
        own = head.linear
        if rows is None or rows == own.out_features:
            state |= part_state(match, f"aux.{tap}", head, modules)
            continue
        head.linear = nn.Linear(own.in_features, rows, device="meta")
        found = part_state(match, f"aux.{tap}", head, modules)
        head.linear = own
        state |= {name: tensor for name, tensor in found.items() if not _is_classifier(name)}
        log.info("the auxiliary classifier %s is new: in the file it has %d outputs", modules[-1], rows)
    return state


def head_state(match: Match, net: Network, head: FileHead) -> State:
    """The linear layers of a head; batch norms around them become part of them."""
    state = part_state(match, "head.hidden", net.head.hidden, tuple(layer.name for layer in head.hidden))
    state |= part_state(match, "head.linear", net.head.linear, (head.classifier,))
    for index, layer in enumerate(head.layers):
        name = f"head.hidden.{index}.0" if index < len(head.hidden) else "head.linear"
        weight, bias = state[f"{name}.weight"].double(), state[f"{name}.bias"].double()
        for norm in reversed(layer.before):
            factor, shift = norm_map(match, norm.name, norm.epsilon)
            weight, bias = weight * _long(factor, layer.inputs, norm), bias + weight @ shift
        for norm in layer.after:
            factor, shift = norm_map(match, norm.name, norm.epsilon)
            weight, bias = weight * _long(factor, layer.rows, norm)[:, None], bias * factor + shift
        if layer.before or layer.after:
            state |= {f"{name}.weight": weight.float(), f"{name}.bias": bias.float()}
    return state


def _long(numbers: Tensor, length: int, norm: FileNorm) -> Tensor:
    if len(numbers) != length:
        raise DataError(f"batch norm {norm.name} of the head has {len(numbers)} numbers; {length} are needed there")
    return numbers


def fresh_head(net: Network, state: State, num_classes: int, came: str) -> State:
    """Gives `net` fresh classifiers, auxiliary ones too, and returns `state` without the old ones."""
    net.reset_classifier(num_classes)
    log.info("new head: %d classes (%s)", num_classes, came)
    return {name: tensor for name, tensor in state.items() if not _is_classifier(name)}


def _is_classifier(name: str) -> bool:
    part, _, rest = name.partition(".")
    return (part == "head" and rest.startswith("linear.")) or (part == "aux" and ".linear." in rest)


def without_background(net: Network, state: State) -> State:
    """Drops the first class of every head: "background", which nothing is."""
    net.reset_classifier(net.num_classes - 1)
    return {name: tensor[1:] if _is_classifier(name) else tensor for name, tensor in state.items()}


def two_classes(net: Network, state: State) -> State:
    """One output under a sigmoid as two classes: softmax over (0, z) gives the second one sigmoid(z)."""
    net.reset_classifier(2)
    return {
        name: torch.cat([torch.zeros_like(tensor), tensor]) if _is_classifier(name) else tensor
        for name, tensor in state.items()
    }
