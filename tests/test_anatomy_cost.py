"""Counts equal the published ones and an independent counter, for every network and for modules that are not ours."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from inceptions.anatomy import Cost, StageCost, cost
from inceptions.anatomy.trace import trace
from inceptions.layers import Head, branches, chain, convolution, max_pool
from inceptions.zoo import MEMBERS, Network, Table, build

# Parameters and multiply-adds of independent implementations, at the published input size.
PUBLISHED = {
    "googlenet": (6_998_552, 1_582_671_872),
    "bn_inception": (11_295_240, 2_032_600_064),
    "inception_v3": (23_834_568, 5_713_216_096),
    "inception_v4": (42_679_816, 12_253_974_624),
    "inception_resnet_v2": (55_843_464, 13_155_794_016),
    "xception": (22_855_952, 8_357_403_496),
    "xception41": (26_969_560, 9_204_134_312),
    "xception65": (39_916_312, 13_852_682_216),
    "xception71": (42_338_736, 17_946_553_928),
}
# Millions of values that leave convolutions and classifiers, as timm's tables of results have them.
ACTIVATIONS = {
    "inception_v3": 8.97, "inception_v4": 15.09, "inception_resnet_v2": 25.06, "xception": 35.83, "xception41": 39.86,
    "xception65": 52.48, "xception71": 69.92,
}  # fmt: skip


def hollow(name: str, **options: Any) -> Network:
    with torch.device("meta"):
        return build(name, **options).eval()


@cache
def of_the_family(name: str, size: int | None = None) -> Cost:
    return cost(name, size)


def counted_independently(module: nn.Module, shape: tuple[int, ...]) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(torch.empty(shape, device="meta"))
    return int(counter.get_total_flops())


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_multiply_adds_are_the_published_ones(name: str) -> None:
    counted = of_the_family(name)
    assert (counted.parameters, counted.multiply_adds) == PUBLISHED[name]


def test_the_face_network_costs_what_facenets_port_costs() -> None:
    counted = cost(hollow("inception_resnet_v1", bottleneck=512, num_classes=8631), 160)
    assert counted.parameters == 27_910_327
    assert counted.multiply_adds == 1_417_662_304 + 512 * 8631  # the port counts up to the embedding


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_those_of_timms_tables(name: str) -> None:
    assert round(of_the_family(name).activations / 1e6, 2) == ACTIVATIONS[name]


@pytest.mark.parametrize("name", MEMBERS)
def test_pytorchs_own_counter_counts_twice_as_much(name: str) -> None:
    assert 2 * of_the_family(name, 163).multiply_adds == counted_independently(hollow(name), (1, 3, 163, 163))


@pytest.mark.parametrize("name", MEMBERS)
def test_stages_and_head_make_the_whole(name: str) -> None:
    counted = of_the_family(name, 163)
    assert counted.head is not None
    rows = [*counted.stages, counted.head]
    assert tuple(row.name for row in counted.stages) == hollow(name).stages
    for what in ("parameters", "multiply_adds", "activations"):
        assert sum(getattr(row, what) for row in rows) == getattr(counted, what)
    for row in rows:
        assert sum(layer.parameters for layer in row.layers) == row.parameters
        assert sum(layer.multiply_adds for layer in row.layers) == row.multiply_adds
        assert sum(layer.activations for layer in row.layers) == row.activations


def test_shapes_are_those_that_leave_the_stages() -> None:
    net = build("bn_inception", width=0.125).eval()
    with torch.no_grad():
        outputs = net.forward_stages(torch.zeros(1, 3, 97, 130))
    for row in cost(net, (97, 130)).stages:
        assert (1, row.channels, row.height, row.width) == outputs[row.name].shape


def test_auxiliary_heads_add_parameters_but_no_work() -> None:
    without, with_aux = cost("inception_v3"), cost(hollow("inception_v3", aux=True))
    assert with_aux.multiply_adds == without.multiply_adds
    (aux,) = with_aux.aux
    assert aux.name == "mixed_6e"
    assert aux.parameters == with_aux.parameters - without.parameters == 27_161_264 - 23_834_568
    assert aux.multiply_adds == 5_683_200
    assert without.aux == ()


def test_the_textbook_formula_is_the_weights_of_each_kind_of_convolution() -> None:
    net = hollow("xception", width=0.25)
    layers = {layer.name: layer for row in cost(net, 99).stages for layer in row.layers if layer.formula}
    for name, layer in layers.items():
        product = 1
        for factor in layer.formula.split(" x "):
            product *= int(factor)
        assert product == net.get_submodule(name).weight.numel()  # type: ignore[union-attr]  # a convolution's
        assert layer.multiply_adds == product * layer.height * layer.width
    assert layers["body.block2.body.separable3x3.depthwise"].formula == "1 x 3 x 3 x 16"
    assert layers["body.block2.body.separable3x3.pointwise"].formula == "16 x 1 x 1 x 32"


def test_a_pool_is_a_layer_without_weights_but_with_a_window() -> None:
    (stage,) = [row for row in cost("googlenet").stages if row.name == "pool2"]
    (pool,) = stage.layers
    assert (pool.kernel, pool.stride, pool.height, pool.width) == ((3, 3), (2, 2), 28, 28)
    assert (pool.formula, pool.parameters, pool.multiply_adds, stage.activations) == ("", 0, 0, 0)


def test_a_pool_without_a_stride_steps_by_its_kernel() -> None:
    class Pooled(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return nn.functional.avg_pool2d(images, (2, 3))

    (pool,) = trace(Pooled(), (1, 3, 12, 12))
    assert (pool.kernel, pool.stride) == ((2, 3), (2, 3))


def test_the_network_itself_is_left_alone() -> None:
    net = build("googlenet", width=0.125, norm="batch", aux=True).train()
    before = copy.deepcopy(net.state_dict())
    cost(net, 64)
    assert net.training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    assert all(torch.equal(tensor, before[key]) for key, tensor in net.state_dict().items())
    assert all(parameter.device.type == "cpu" for parameter in net.parameters())


def test_a_table_of_ones_own_is_counted_like_the_familys() -> None:
    conv = convolution()
    stages = (
        ("first", conv(4, 3)),
        ("second", branches({"1x1": conv(2), "3x3": chain(conv(3), conv(5, 3)), "pool": max_pool(3)})),
    )
    counted = cost(Network(Table(stages, Head()), num_classes=7, in_channels=1), 8)
    weights = {"first": 9 * 4, "second": 4 * 2 + 4 * 3 + 9 * 3 * 5}
    biases = {"first": 4, "second": 2 + 3 + 5}
    for row in counted.stages:
        assert row.parameters == weights[row.name] + biases[row.name]
        assert row.multiply_adds == weights[row.name] * 64
    assert counted.stages[1].channels == 2 + 5 + 4
    assert counted.head is not None
    assert counted.head.multiply_adds == 11 * 7


class Foreign(nn.Module):
    """What other people's networks have: functions instead of modules, a shared part, a transposed convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2)
        self.shared = nn.Conv2d(8, 8, 3, padding=1, groups=4)
        self.up = nn.ConvTranspose2d(8, 6, 3, stride=2)
        self.again = nn.Sequential(nn.Conv2d(6, 8, 1), self.shared)
        self.kernel = nn.Parameter(torch.zeros(5, 8, 1, 1))
        self.head = nn.Sequential(nn.Dropout(), nn.Linear(5, 10))

    def forward(self, images: Tensor) -> Tensor:
        images = self.again(self.up(self.shared(self.stem(images).relu_())))
        return self.head(nn.functional.conv2d(images, self.kernel).mean((2, 3)))  # type: ignore[no-any-return]


def test_a_foreign_module_is_counted_by_its_children() -> None:
    module = Foreign().eval()
    counted = cost(module, 32)
    assert 2 * counted.multiply_adds == counted_independently(module.to("meta"), (1, 3, 32, 32))
    assert counted.parameters == sum(parameter.numel() for parameter in module.parameters())
    rows = {row.name: row for row in counted.stages}
    assert list(rows) == ["stem", "shared", "up", "again.0", "head.1"]
    assert rows["stem"].parameters == 3 * 9 * 8 + 8
    assert rows["again.0"].parameters == 6 * 8 + 8
    assert sum(row.parameters for row in rows.values()) == counted.parameters - 5 * 8  # a shared part's count once
    assert rows["shared"].multiply_adds == (15 * 15 + 31 * 31) * 8 * 2 * 9 + 31 * 31 * 8 * 5  # but it works twice
    assert rows["up"].multiply_adds == 15 * 15 * 8 * 6 * 9
    assert counted.head is None


def test_a_module_without_children_is_one_stage() -> None:
    (row,) = cost(nn.Conv2d(3, 4, 1), 10).stages
    assert (row.parameters, row.multiply_adds) == (16, 1200)


def test_linear_layers_over_sequences_count_every_position() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 16, stride=16), nn.Flatten(2), nn.Linear(4, 9))
    assert cost(module, 32).multiply_adds == 4 * 3 * 256 * 4 + 4 * 4 * 9


class Ways(nn.Module):
    """Convolution along channels, a table of positions that no image enters, an image folded before it is read."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(12, 8, 3, padding=1)
        self.along = nn.Conv1d(1, 1, 3, padding=1)
        self.places = nn.Parameter(torch.zeros(4, 5))
        self.position = nn.Linear(5, 8)

    def forward(self, images: Tensor) -> Tensor:
        images = self.first(nn.functional.pixel_unshuffle(images, 2))
        gate = self.along(images.mean((2, 3))[:, None])[:, 0, :, None, None]
        return images * gate + self.position(self.places).mean(0)[:, None, None]  # type: ignore[no-any-return]


def test_every_way_of_working_is_counted() -> None:
    counted = cost(Ways(), 8)
    assert counted.multiply_adds == 4 * 4 * 9 * 12 * 8 + 8 * 3 + 4 * 5 * 8
    assert 2 * counted.multiply_adds == counted_independently(Ways().to("meta"), (1, 3, 8, 8))
    rows = {row.name: row for row in counted.stages}
    assert (rows["first"].channels, rows["first"].height, rows["first"].width) == (8, 4, 4)


@pytest.mark.parametrize(
    ("network", "size", "words"),
    [
        ("inception_v9", None, "inception_v3"),
        ("inception_v3", 74, "at least 75 x 75"),
        ("inception_v3", 0, "0 x 0"),
        (nn.Linear(5, 5), 32, "Linear cannot be traced"),
    ],
)
def test_what_cannot_be_counted_is_refused_in_words(network: Any, size: int | None, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        cost(network, size)


@pytest.mark.parametrize(("name", "depth"), [("googlenet", 22), ("inception_v3", 48), ("xception", 71)])
def test_depth_is_that_of_the_longest_path(name: str, depth: int) -> None:
    assert of_the_family(name).depth == depth


def test_memory_is_four_bytes_a_value() -> None:
    counted: Cost = cost("googlenet", 64)
    row: StageCost = counted.stages[0]
    assert row.activations == 64 * 32 * 32
    assert counted.activation_bytes == 4 * counted.activations
