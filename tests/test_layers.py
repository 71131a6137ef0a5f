"""The vocabulary: widths flow, grids are predicted, borders are where TensorFlow, Caffe and PyTorch put them."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from inceptions.layers import (
    LRN,
    AuxHead,
    BatchNorm,
    Chain,
    Conv,
    Identity,
    Padding,
    Pool,
    Projected,
    Residual,
    Separable,
    avg_pool,
    branches,
    chain,
    convolution,
    initialize,
    max_pool,
    scale_width,
    tf_same,
)

conv = convolution(BatchNorm(), bias=False)
PADDINGS: tuple[Padding, ...] = ("same", "valid", "tf_same", "ceil")


def test_widths_flow_through_branches_and_chains() -> None:
    block = branches({"1x1": conv(8), "3x3": chain(conv(4), conv(16, 3)), "pool": chain(max_pool(3), conv(3))})
    module, width = block.build(5)
    assert width == 8 + 16 + 3
    assert module(torch.randn(2, 5, 9, 9)).shape == (2, 27, 9, 9)


def test_concatenation_keeps_the_order_of_the_branches() -> None:
    images = torch.randn(1, 2, 4, 4)
    joined = branches({"b": Identity(), "a": max_pool(3)}).build(2)[0](images)
    assert torch.equal(joined[:, :2], images)
    assert torch.equal(joined[:, 2:], F.max_pool2d(images, 3, 1, 1))


def test_parts_of_a_chain_are_named_by_what_they_are() -> None:
    named = chain(conv(4), conv(4, (1, 7)), conv(4, 3), conv(4, 3), max_pool(3)).parts
    assert [name for name, _ in named] == ["conv1x1", "conv1x7", "conv3x3", "conv3x3_2", "max_pool"]


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (2, 2), (3, 1), (3, 2), (5, 2), (7, 2)])
def test_the_predicted_grid_is_the_grid(padding: Padding, kernel: int, stride: int) -> None:
    layers = [Pool("max", kernel, stride, padding)]
    if padding != "ceil":
        layers.append(Conv(2, (kernel, kernel), stride, padding))  # type: ignore[arg-type]
        layers.append(Separable(2, kernel, stride, padding))  # type: ignore[arg-type]
    for layer, height in itertools.product(layers, range(1, 20)):
        predicted = layer.grid(height, 11)
        if min(predicted) < 1:
            continue
        if kernel % 2 == 0 and padding == "same" and stride == 1:
            continue
        module, _ = layer.build(2)
        assert tuple(module(torch.zeros(1, 2, height, 11)).shape[2:]) == predicted, (layer, height)


def test_tensorflow_pads_the_odd_pixel_after() -> None:
    # Values of TensorFlow's rule, written out: total = max((ceil(n / s) - 1) * s + k - n, 0).
    assert tf_same(224, 7, 2) == (2, 3)
    assert tf_same(28, 3, 2) == (0, 1)
    assert tf_same(147, 3, 2) == (1, 1)
    assert tf_same(14, 2, 2) == (0, 0)


@pytest.mark.parametrize("size", [6, 7])
def test_tf_same_convolution_shifts_with_the_parity_of_the_input(size: int) -> None:
    module, _ = Conv(1, (3, 3), 2, "tf_same", bias=False).build(1)
    images = torch.randn(1, 1, size, size)
    before, after = tf_same(size, 3, 2)
    expected = F.conv2d(F.pad(images, (before, after, before, after)), module.conv.weight, stride=2)  # type: ignore[union-attr,arg-type]
    assert torch.equal(module(images), expected)
    symmetric, _ = Conv(1, (3, 3), 2, "same", bias=False).build(1)
    symmetric.load_state_dict(module.state_dict())
    assert torch.equal(symmetric(images), expected) == (size % 2 == 1)


def test_a_border_never_wins_a_max_pool() -> None:
    for padding in PADDINGS:
        module, _ = Pool("max", 3, 2, padding).build(1)
        assert module(torch.full((1, 1, 7, 8), -5.0)).max() == -5.0


def test_average_pools_count_the_border_or_not() -> None:
    ones = torch.ones(1, 1, 3, 3)
    assert avg_pool(3, include_border=False).build(1)[0](ones)[0, 0, 0, 0] == 1.0
    assert avg_pool(3, include_border=True).build(1)[0](ones)[0, 0, 0, 0] == pytest.approx(4 / 9)


@pytest.mark.parametrize("shape", [(8, 8), (12, 4), (7, 9)])
def test_an_auxiliary_heads_pool_is_an_adaptive_one(shape: tuple[int, int]) -> None:
    head = AuxHead(Identity(), grid=4, adaptive=True).build(3, 3 * 4 * 4)
    head.linear.weight.data.copy_(torch.eye(3 * 4 * 4))
    head.linear.bias.data.zero_()
    images = torch.randn(2, 3, *shape)
    torch.testing.assert_close(head(images), F.adaptive_avg_pool2d(images, 4).flatten(1))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_local_response_norm_takes_half_precision(dtype: torch.dtype) -> None:
    norm, _ = LRN().build(8)
    images = 5 * torch.randn(2, 8, 4, 3)
    found = norm(images.to(dtype))
    assert found.dtype == dtype
    torch.testing.assert_close(found, norm(images.to(dtype).float()).to(dtype))


def test_a_strided_average_pool_without_a_border_rule_is_refused() -> None:
    with pytest.raises(ValueError, match="strided average pool"):
        Pool("avg", 3, 2, "tf_same")


def test_local_response_normalization_is_caffes_formula() -> None:
    images = torch.randn(1, 7, 2, 2, dtype=torch.float64) * 30
    expected = torch.empty_like(images)
    for channel in range(7):
        window = images[:, max(0, channel - 2) : channel + 3]
        expected[:, channel] = images[:, channel] * (1 + 1e-4 / 5 * window.square().sum(1)) ** -0.75
    torch.testing.assert_close(LRN().build(7)[0](images), expected)


def test_residual_is_shortcut_plus_scaled_body() -> None:
    body = Projected(conv(6))
    images = torch.randn(2, 4, 5, 5)
    module, width = Residual(body, scale=0.25).build(4)
    module.eval()
    assert width == 4
    torch.testing.assert_close(module(images), images + 0.25 * module.body(images))  # type: ignore[operator]
    activated, _ = Residual(body, scale=0.25, activation="relu").build(4)
    activated.load_state_dict(module.state_dict())
    torch.testing.assert_close(activated.eval()(images), F.relu(module(images)))


def test_a_rectified_residual_adds_the_rectified_input() -> None:
    images = torch.randn(1, 3, 4, 4)
    module, _ = Residual(Identity(), rectify=True).build(3)
    torch.testing.assert_close(module(images), 2 * F.relu(images))


def test_a_residual_of_unequal_widths_is_refused() -> None:
    with pytest.raises(ValueError, match="body 8, shortcut 3"):
        Residual(conv(8)).build(3)


def test_branches_of_unequal_grids_are_refused() -> None:
    with pytest.raises(ValueError, match="different grids"):
        branches({"a": conv(4, 3, 2), "b": conv(4)}).grid(9, 9)


def test_separable_convolution_is_depthwise_then_pointwise() -> None:
    images = torch.randn(1, 3, 6, 6)
    module, _ = Separable(5).build(3)
    depthwise, pointwise = module.depthwise.weight, module.pointwise.weight  # type: ignore[union-attr]
    between = F.conv2d(images, depthwise, padding=1, groups=3)  # type: ignore[arg-type]
    torch.testing.assert_close(module(images), F.conv2d(between, pointwise))  # type: ignore[arg-type]
    other, _ = Separable(5, order="channel_first").build(3)
    assert [name for name, _ in other.named_children()] == ["pointwise", "depthwise"]
    assert other(images).shape == (1, 5, 6, 6)


def test_activation_and_norm_between_the_two_halves_act() -> None:
    images = torch.randn(1, 3, 6, 6)
    torch.manual_seed(0)
    plain, _ = Separable(5).build(3)
    activated, _ = Separable(5, middle_activation="relu").build(3)
    activated.load_state_dict(plain.state_dict())
    assert not torch.allclose(plain(images), activated(images))
    normed, _ = Separable(5, middle_norm=BatchNorm()).build(3)
    assert "middle_norm.running_var" in normed.state_dict()


def test_gamma_without_scale_stays_one() -> None:
    norm = BatchNorm(scale=False).build(4)
    assert not norm.weight.requires_grad
    assert norm.bias.requires_grad
    assert torch.equal(norm.weight, torch.ones(4))


def test_widths_scale_to_multiples_of_eight() -> None:
    assert [scale_width(channels, 0.25) for channels in (16, 64, 96, 192)] == [8, 16, 24, 48]
    assert scale_width(17, 1.0) == 17


def test_records_compare_and_hash() -> None:
    assert chain(conv(4), conv(4, 3)) == chain(conv(4), conv(4, 3))
    assert len({conv(4), conv(4), conv(5)}) == 2
    assert isinstance(chain(conv(4)), Chain)


def test_initial_weights_are_a_normal_cut_at_two_sigma() -> None:
    """Shares of a cut normal below -1, 0 and 1 sigma, its fourth moment, and no value beyond the cut."""
    torch.manual_seed(0)
    layer = nn.Conv2d(100, 1000, 3)
    initialize([layer])
    weights = (layer.weight.detach() / math.sqrt(1.3 * 2 / 900)).double().flatten()
    normal = torch.distributions.Normal(0.0, 1.0)
    low, high = normal.cdf(torch.tensor(-2.0)), normal.cdf(torch.tensor(2.0))
    for bound in (-1.0, 0.0, 1.0):
        share = (normal.cdf(torch.tensor(bound)) - low) / (high - low)
        assert (weights < bound).double().mean() == pytest.approx(float(share), abs=3e-3)
    assert weights.abs().max() <= 2 + 1e-6
    assert weights.pow(4).mean() == pytest.approx(1.4164, rel=0.02)  # 3 - (2 a^3 + 6 a) phi(a) / (2 Phi(a) - 1), a = 2


def test_initial_weights_have_the_variance_of_slims_scaling() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(64, 64, 3)
    initialize([layer])
    sigma = math.sqrt(1.3 * 2 / (64 * 9))
    # A normal cut at two sigma keeps 0.7737 of its variance: times 1.3, the factor 2 / fan-in comes back.
    assert layer.weight.var().item() == pytest.approx(2 / (64 * 9), rel=0.03)
    assert layer.weight.abs().max() <= 2 * sigma
    assert torch.equal(layer.bias, torch.zeros(64))  # type: ignore[arg-type]
