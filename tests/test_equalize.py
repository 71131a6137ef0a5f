"""Equalized separable convolutions answer the same, and lose less in 8 bits."""

from __future__ import annotations

import copy
from statistics import median

import pytest
import torch
from torch import Tensor, nn

from inceptions.engines import open_engine, openvino
from inceptions.engines.prepared import Prepared
from inceptions.image import Preprocess
from inceptions.passes import fold_batch_norm
from inceptions.passes.equalize import _pairs, equalize
from inceptions.weights import create_model
from inceptions.zoo import Network


def network(spread: float) -> Network:
    """A small Xception whose channels between depthwise and pointwise span `spread` powers of ten."""
    torch.manual_seed(0)
    net = create_model("xception", width=0.1, depth=0.2, num_classes=5, weights="none")
    net.preprocess = Preprocess(size=(71, 71))
    with torch.no_grad():
        net.train()(torch.randn(8, 3, 71, 71))
        for depthwise, pointwise in _pairs(net):
            scale = 10 ** (spread * torch.linspace(-0.5, 0.5, depthwise.out_channels))
            depthwise.weight.mul_(scale[:, None, None, None])
            pointwise.weight.div_(scale[None, :, None, None])
    return net.eval()


def images() -> Tensor:
    return torch.randint(0, 256, (16, 3, 71, 71), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_it_changes_weights_and_no_answer() -> None:
    prepared = Prepared(network(spread=2))
    before, (logits, _) = copy.deepcopy(prepared.state_dict()), prepared(images())
    assert equalize(prepared, [images()]) == len(_pairs(prepared)) > 0
    assert any(not torch.equal(before[name], tensor) for name, tensor in prepared.state_dict().items())
    torch.testing.assert_close(prepared(images())[0], logits, rtol=1e-4, atol=1e-4 * float(logits.abs().max()))


def test_channels_between_the_halves_span_about_the_same_range() -> None:
    def spread(net: nn.Module) -> float:
        seen: list[Tensor] = []
        hooks = [one.register_forward_hook(lambda _, __, out: seen.append(out)) for one, _ in _pairs(net)]
        net(torch.randn(4, 3, 71, 71, generator=torch.Generator().manual_seed(2)))
        for hook in hooks:
            hook.remove()
        peaks = [out.abs().amax((0, 2, 3)) for out in seen]
        return median(float(peak[peak > 0].log10().std()) for peak in peaks)

    net = fold_batch_norm(network(spread=3))
    before = spread(net)
    equalize(net, [torch.randn(8, 3, 71, 71)])
    assert spread(net) < before / 2


def test_eight_bits_lose_less(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    net = network(spread=3)
    exact = open_engine(net, engine="torch")(images())

    def lost() -> float:
        engine = open_engine(net, engine="openvino", precision="int8", calibration=[images()], threads=1)
        return float((engine(images()) - exact).pow(2).mean().sqrt())

    equalized = lost()
    monkeypatch.setattr(openvino, "equalize", lambda *_: 0)
    assert equalized < lost() / 2


def test_a_network_without_separable_convolutions_is_left_alone() -> None:
    net = fold_batch_norm(create_model("googlenet", width=0.1, depth=0.1, weights="none").eval())
    before = copy.deepcopy(net.state_dict())
    assert equalize(net, [torch.randn(2, 3, 64, 64)]) == 0
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
