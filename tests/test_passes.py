"""Passes: a built network in a cheaper order computes the same, and learns into the network it was made of."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from inceptions.layers import BatchNorm, Conv, ConvNormAct, Head, Layer, Pool, avg_pool, chain, max_pool
from inceptions.passes import fast_for_training
from inceptions.zoo import Network, Table, build, list_models


def network(layer: Layer, channels: int = 16) -> Network:
    """A network of one stage."""
    return Network(Table((("only", layer),), Head()), num_classes=2, in_channels=channels)


def fast_stage(layer: Layer, channels: int = 16) -> tuple[nn.Module, nn.Module]:
    """The stage as it is built, and as the pass leaves it."""
    net = network(layer, channels)
    return net.body.only, fast_for_training(net).body.only


@pytest.mark.parametrize("name", list_models())
def test_the_fast_network_learns_the_same_bits_into_the_same_parameters(name: str) -> None:
    def learn(fast: bool) -> list[torch.Tensor]:
        torch.manual_seed(0)
        net = build(name, width=0.125, depth=0.2, num_classes=5, drop_rate=0).train()
        module = fast_for_training(net) if fast else net
        logits, aux = module.forward_with_aux(torch.randn(2, 3, 107, 107))
        sum((other.square().sum() for other in aux.values()), logits.square().sum()).backward()
        gradients = [weight.grad for weight in net.parameters() if weight.grad is not None]
        assert len(gradients) == sum(weight.requires_grad for weight in net.parameters())
        return [logits.detach(), *gradients, *net.buffers()]

    assert all(torch.equal(one, other) for one, other in zip(learn(False), learn(True), strict=True))


@pytest.mark.parametrize("options", [{"aux": True}, {}])
def test_the_fast_network_leaves_the_one_it_was_made_of_as_it_is(options: dict[str, bool]) -> None:
    net = build("inception_v3", width=0.125, depth=0.2, num_classes=5, **options)
    before, keys = str(net), list(net.state_dict())
    fast = fast_for_training(net)
    assert str(net) == before
    assert list(net.state_dict()) == keys
    assert {id(weight) for weight in fast.parameters()} == {id(weight) for weight in net.parameters()}
    assert {id(value) for value in fast.buffers()} == {id(value) for value in net.buffers()}


@pytest.mark.parametrize(("name", "stages"), [("googlenet", 1), ("bn_inception", 2), ("inception_v3", 2)])
def test_relu_waits_for_the_max_pool_behind_it(name: str, stages: int) -> None:
    net = build(name, width=0.125, depth=0.2, num_classes=5).train()
    sizes: dict[bool, list[int]] = {False: [], True: []}
    for fast in (False, True):
        relus = [module[-1] for module in net.body if isinstance(module, ConvNormAct)]
        hooks = [
            relu.register_forward_hook(lambda _, inputs, __, fast=fast: sizes[fast].append(inputs[0].shape[-1]))
            for relu in relus
        ]
        (fast_for_training(net) if fast else net).forward_with_aux(torch.randn(2, 3, 107, 107))
        for hook in hooks:
            hook.remove()
    assert sum(before > after for before, after in zip(sizes[False], sizes[True], strict=True)) == stages


def test_a_stage_with_a_hook_stays_whole() -> None:
    net, seen = build("inception_v3", width=0.125, depth=0.2, num_classes=5).train(), dict[str, torch.Tensor]()
    net.body.conv_2b.register_forward_hook(lambda _, __, output: seen.update(conv_2b=output.detach().clone()))
    fast_for_training(net).forward_with_aux(torch.randn(2, 3, 107, 107))
    assert seen["conv_2b"].min() == 0


@pytest.mark.parametrize(("kernel", "include_border"), [(3, True), (3, False), (5, False)])
def test_the_gradient_of_an_average_pool_in_bf16_is_rounded_no_more_than_its_parts(
    kernel: int, include_border: bool
) -> None:
    _, pool = fast_stage(avg_pool(kernel, include_border), 4)
    images = torch.randn(2, 4, 9, 6).bfloat16().contiguous(memory_format=torch.channels_last)
    weights = torch.rand(2, 4, 9, 6).bfloat16()  # positive, so that no sum cancels

    def gradient(dtype: torch.dtype) -> torch.Tensor:
        inputs = images.to(dtype).requires_grad_()
        return torch.autograd.grad(pool(inputs), inputs, weights.to(dtype))[0].double()

    exact = gradient(torch.float64)
    assert ((gradient(torch.bfloat16) - exact) / exact).abs().max() < 1.5 * 2**-8  # torch's: up to ten times that
    learning = images.clone().requires_grad_()
    with torch.no_grad():
        assert torch.equal(pool(images), pool(learning))


@pytest.mark.parametrize("include_border", [True, False])
def test_in_half_precision_an_average_and_a_1x1_convolution_change_places(include_border: bool) -> None:
    layer = chain(avg_pool(3, include_border), Conv(4, norm=BatchNorm(), activation="relu", bias=False))
    _, fast = fast_stage(layer)
    images = torch.randn(2, 16, 9, 7)
    widths: list[int] = []
    fast.pool.register_forward_hook(lambda pool, given, found: widths.append(found.shape[1]))  # type: ignore[union-attr,operator]
    exact = fast(images)
    with torch.autocast("cpu", torch.bfloat16):
        assert (fast(images) - exact).abs().max() < 2**-5  # the norm's answers are of order 1, bf16 has eight bits
    assert widths == [16, 4]


@pytest.mark.parametrize(
    "pool",
    [max_pool(3, 2, "valid"), max_pool(3, 2, "ceil"), max_pool(3, 2), max_pool(3, 2, "tf_same"), max_pool(3)],
)
def test_a_compiled_step_calls_pytorchs_max_pool_and_finds_the_same_gradient(pool: Pool) -> None:
    plain, module = fast_stage(pool, 3)
    images = torch.randn(2, 3, 12, 9).contiguous(memory_format=torch.channels_last).requires_grad_()
    called = []

    def backend(graph: torch.fx.GraphModule, _: object) -> torch.fx.GraphModule:
        called.extend(str(node.target) for node in graph.graph.nodes)
        return graph

    expected = plain(images)
    weights = torch.randn_like(expected)
    (gradient,) = torch.autograd.grad(expected, images, weights)
    for compiler in (backend, "aot_eager"):
        found = torch.compile(module, backend=compiler, fullgraph=True)(images)
        assert torch.equal(found, expected)
        assert torch.equal(torch.autograd.grad(found, images, weights)[0], gradient)
    assert any("max_pool" in name for name in called if "inceptions" in name)
