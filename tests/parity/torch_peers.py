"""Peers written in PyTorch: torchvision, timm, Cadene's pretrainedmodels, facenet-pytorch, pytorch-fid.

Their tensors are matched with ours by *order* and checked by shape: where a library registers its modules in another
order than ours flow, `order` says which ones wait.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from parity.recipe import Answer
from parity.rows import Row, Size

# torchvision registers shapes of operators that a CPU build of it beside a CPU torch does not have.
_register_fake = torch.library.register_fake


def _register_fake_but_torchvisions(operator: Any, *arguments: Any, **options: Any) -> Any:
    if str(operator).startswith("torchvision::"):
        return lambda function: function
    return _register_fake(operator, *arguments, **options)


torch.library.register_fake = _register_fake_but_torchvisions
import facenet_pytorch
import pretrainedmodels
import pytorch_fid.inception
import timm
import torchvision

torch.library.register_fake = _register_fake


Peer = Callable[[np.ndarray], Answer]


@dataclass
class Plan:
    """How a PyTorch peer lines up with ours."""

    model: nn.Module
    stages: Mapping[str, str] = field(default_factory=dict)
    """Our stage -> their module; `<module` is what that module *receives*."""
    aux: Mapping[str, str] = field(default_factory=dict)
    """Our tap -> their auxiliary head."""
    order: Callable[[str], Any] = lambda name: 0
    """Sort key of their tensors (the sort is stable)."""


def load(plan: Plan, tensors: Mapping[str, np.ndarray]) -> None:
    """Copy our tensors into the peer, in order. Raises `ValueError` on the first that does not fit."""
    theirs = {k: v for k, v in plan.model.state_dict().items() if not k.endswith("num_batches_tracked")}
    names = sorted(theirs, key=plan.order)
    if len(names) != len(tensors):
        raise ValueError(f"{len(tensors)} tensors of ours for {len(names)} of theirs")
    for (name, value), other in zip(tensors.items(), names, strict=True):
        if name.rpartition(".")[2] != other.rpartition(".")[2] or tuple(theirs[other].shape) != value.shape:
            raise ValueError(f"{name} {value.shape} does not fit {other} {tuple(theirs[other].shape)}")
    with torch.no_grad():
        for value, other in zip(tensors.values(), names, strict=True):
            theirs[other].copy_(torch.from_numpy(value.copy()))


def torch_peer(row: Row, tensors: Mapping[str, np.ndarray], size: Size, double: bool) -> Peer:
    """The peer of a row with our tensors in it."""
    plan = PLANS[row.network, row.peer](row)
    load(plan, tensors)
    model = plan.model.double() if double else plan.model
    model.eval()
    aux = plan.aux if size in row.aux_sizes else {}
    if hasattr(model, "aux_logits") and not aux:
        model.aux_logits = False  # timm's v3 runs its auxiliary head always, and it does not fit small images

    def run(images: np.ndarray) -> Answer:
        stages: dict[str, Tensor] = {}

        def keep(stage: str, received: bool) -> Callable[..., None]:
            # Copied at once: what follows may work in place.
            def hook(module: nn.Module, inputs: tuple[Tensor], output: Tensor | None = None) -> None:
                value = inputs[0] if received else output
                assert value is not None
                stages[stage] = value.clone()

            return hook

        hooks = []
        for stage, path in plan.stages.items():
            module = model.get_submodule(path.lstrip("<"))
            register = module.register_forward_pre_hook if path.startswith("<") else module.register_forward_hook
            hooks.append(register(keep(stage, path.startswith("<"))))
        with torch.inference_mode():
            logits = model(torch.from_numpy(images).double() if double else torch.from_numpy(images))
            heads = {tap: model.get_submodule(path)(stages[tap]).numpy() for tap, path in aux.items()}
        for hook in hooks:
            hook.remove()
        logits = logits[0] if isinstance(logits, tuple) else logits
        return Answer(logits.numpy(), heads, {stage: value.numpy() for stage, value in stages.items()})

    return run


def torch_files(row: Row, tensors: Mapping[str, np.ndarray], folder: Path) -> list[Path]:
    """The peer's own weight file with our tensors in it."""
    plan = PLANS[row.network, row.peer](row)
    load(plan, tensors)
    path = folder / f"{row.peer}.pth"
    torch.save(plan.model.state_dict(), path)
    return [path]


# --- which module is which of our stages --------------------------------------------------------------------------


def _torchvision_v1(row: Row) -> Plan:
    model = torchvision.models.googlenet(weights=None, aux_logits=True, init_weights=False, transform_input=False)
    blocks = [f"{grid}{letter}" for grid, letters in ((3, "ab"), (4, "abcde"), (5, "ab")) for letter in letters]
    stages = {f"inception_{block}": f"inception{block}" for block in blocks}
    stages |= {"conv1": "conv1", "conv2_reduce": "conv2", "conv2": "conv3"}
    stages |= {f"pool{index}": f"maxpool{index}" for index in range(1, 5)}
    taps = {"inception_4a": "aux1", "inception_4d": "aux2"}
    return Plan(model, stages, taps, lambda name: name.startswith("aux"))


V3 = {
    "conv_1a": "Conv2d_1a_3x3", "conv_2a": "Conv2d_2a_3x3", "conv_2b": "Conv2d_2b_3x3", "conv_3b": "Conv2d_3b_1x1",
    "conv_4a": "Conv2d_4a_3x3", **{f"mixed_{block}": f"Mixed_{block}" for block in
    ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c")},
}  # fmt: skip


def _v3(model: nn.Module, pools: str, aux: bool = True) -> Plan:
    stages = {**V3, "pool_3a": f"{pools}1", "pool_5a": f"{pools}2"}
    taps = {"mixed_6e": "AuxLogits"} if aux else {}
    return Plan(model, stages, taps, lambda name: name.startswith("AuxLogits"))


def _torchvision_v3(row: Row) -> Plan:
    model = torchvision.models.inception_v3(weights=None, aux_logits=True, init_weights=False, transform_input=False)
    return _v3(model, "maxpool")


def _fid(row: Row) -> Plan:
    # pytorch-fid downloads its weights while it builds; the same tensors of torchvision's network stand in for them.
    blank = torchvision.models.inception_v3(weights=None, num_classes=1008, aux_logits=False, init_weights=False)
    pytorch_fid.inception.load_state_dict_from_url = lambda *_, **__: blank.state_dict()
    return _v3(pytorch_fid.inception.fid_inception_v3(), "maxpool", aux=False)


def _v4(model: nn.Module) -> Plan:
    names = ["conv_1a", "conv_2a", "conv_2b", "mixed_3a", "mixed_4a", "mixed_5a"]
    names += [f"mixed_{grid}{letter}" for grid, letters in ((5, "bcde"), (6, "abcdefgh"), (7, "abcd"))
              for letter in letters]  # fmt: skip
    return Plan(model, {name: f"features.{index}" for index, name in enumerate(names)})


LIGHT_STEM = {
    "conv_1a": "conv2d_1a", "conv_2a": "conv2d_2a", "conv_2b": "conv2d_2b", "pool_3a": "maxpool_3a",
    "conv_3b": "conv2d_3b", "conv_4a": "conv2d_4a",
}  # fmt: skip


def _repeats(*flows: tuple[str, str, int]) -> dict[str, str]:
    return {f"{ours}_{index + 1}": f"{theirs}.{index}" for ours, theirs, count in flows for index in range(count)}


def _resnet_v1(row: Row) -> Plan:
    model = facenet_pytorch.InceptionResnetV1(classify=True, num_classes=row.options["num_classes"])
    stages = {**LIGHT_STEM, "conv_4b": "conv2d_4b", "mixed_6a": "mixed_6a", "mixed_7a": "mixed_7a"}
    stages |= _repeats(("block35", "repeat_1", 5), ("block17", "repeat_2", 10), ("block8", "repeat_3", 5))
    return Plan(model, {**stages, "block8_last": "block8"})


def _resnet_v2(model: nn.Module) -> Plan:
    stages = {**LIGHT_STEM, "pool_5a": "maxpool_5a", "mixed_5b": "mixed_5b", "mixed_6a": "mixed_6a"}
    stages |= _repeats(("block35", "repeat", 10), ("block17", "repeat_1", 20), ("block8", "repeat_2", 9))
    return Plan(model, {**stages, "mixed_7a": "mixed_7a", "block8_last": "block8", "conv_7b": "conv2d_7b"})


def _body_before_shortcut(name: str) -> Any:
    """Our residual blocks hold the body first; these libraries register the shortcut first."""
    return _position(name), any(part.startswith(("skip", "shortcut")) for part in name.split("."))


def _position(name: str) -> float:
    """Where the block of a tensor stands: conv1, conv2, block1 to block12, conv3, conv4, fc; or stem, blocks, head."""
    first, second = name.split(".")[:2]
    if first == "blocks":
        return 100 + int(second)
    if first == "stem":
        return int(second)
    number = float("".join(character for character in first if character.isdigit()) or 1000)
    late = first.startswith(("conv", "bn")) and number > 2
    return number + (100 if first.startswith("block") else 200 if late else 0)


def _xception(model: nn.Module, ends: tuple[str, ...]) -> Plan:
    stages = {f"block{index + 1}": f"block{index}" for index in range(1, 13)}
    return Plan(model, {**stages, **dict(zip(("conv1", "conv2", "block14"), ends, strict=False))},
                order=_body_before_shortcut)  # fmt: skip


def _cadene_xception(row: Row) -> Plan:
    # One ReLU object serves conv1 and conv2: their outputs are read where they are received.
    return _xception(pretrainedmodels.xception(pretrained=None), ("<conv2", "<block1"))


def _aligned(row: Row) -> Plan:
    model = timm.create_model(row.network)
    stages = {f"block{index + 1}": f"blocks.{index}" for index in range(len(model.blocks))}
    return Plan(model, {"conv1": "stem.0", "conv2": "stem.1", **stages}, order=_body_before_shortcut)


def _any_size(model: nn.Module, pool: str) -> nn.Module:
    """Cadene's networks average over a fixed window; over the whole grid they take images of any size."""
    setattr(model, pool, nn.AdaptiveAvgPool2d(1))
    return model


def _cadene_v2(row: Row) -> Plan:
    model = _any_size(pretrainedmodels.bninception(pretrained=None), "global_pool")
    stages = {
        "conv1": "conv1_relu_7x7", "pool1": "pool1_3x3_s2", "conv2_reduce": "conv2_relu_3x3_reduce",
        "conv2": "conv2_relu_3x3", "pool2": "pool2_3x3_s2",
    }  # fmt: skip
    blocks = ["3a", "3b", "3c", "4a", "4b", "4c", "4d", "4e", "5a", "5b"]
    for block, reader in itertools.pairwise(blocks):
        # A block is no module there: its output is what the next one's first convolution receives.
        first = "3x3_reduce" if reader in ("3c", "4e") else "1x1"
        stages[f"inception_{block}"] = f"<inception_{reader}_{first}"
    return Plan(model, {**stages, "inception_5b": "<global_pool"})


PLANS: dict[tuple[str, str], Callable[[Row], Plan]] = {
    ("googlenet", "torchvision"): _torchvision_v1,
    ("bn_inception", "cadene"): _cadene_v2,
    ("inception_v3", "torchvision"): _torchvision_v3,
    ("inception_v3", "timm"): lambda row: _v3(timm.create_model("inception_v3", aux_logits=True), "Pool"),
    ("inception_v3", "fid"): _fid,
    ("inception_v4", "timm"): lambda row: _v4(timm.create_model("inception_v4")),
    ("inception_v4", "cadene"): lambda row: _v4(_any_size(pretrainedmodels.inceptionv4(pretrained=None), "avg_pool")),
    ("inception_resnet_v1", "facenet"): _resnet_v1,
    ("inception_resnet_v2", "timm"): lambda row: _resnet_v2(timm.create_model("inception_resnet_v2")),
    ("inception_resnet_v2", "cadene"): lambda row: _resnet_v2(
        _any_size(pretrainedmodels.inceptionresnetv2(pretrained=None), "avgpool_1a")
    ),
    ("xception", "timm"): lambda row: _xception(timm.create_model("legacy_xception"), ("act1", "act2", "act4")),
    ("xception", "cadene"): _cadene_xception,
    ("xception41", "timm"): _aligned,
    ("xception65", "timm"): _aligned,
    ("xception71", "timm"): _aligned,
}
