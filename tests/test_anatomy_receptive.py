"""Receptive fields against the networks themselves: a NaN just inside reaches the unit, one just outside does not."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from inceptions.anatomy import Field, Rectangle, parts, receptive_fields
from inceptions.layers import Head, Identity, branches, chain, convolution, max_pool
from inceptions.zoo import MEMBERS, Network, Table, build

Axis = int
"""0: rows, 1: columns."""


def extent(rectangle: Rectangle, axis: Axis) -> tuple[int, int]:
    return (rectangle.top, rectangle.bottom) if axis == 0 else (rectangle.left, rectangle.right)


def strip(net: Network, axis: Axis, length: int) -> tuple[int, int]:
    """An image `length` px long and as narrow as the network reads."""
    return (length, net.min_size) if axis == 0 else (net.min_size, length)


def middle_unit(field: Field, axis: Axis, length: int) -> int:
    """A unit whose field lies inside the image, so that both of its edges can be probed."""
    first, last = extent(field.rectangle, axis)
    for unit in range(field.grid[axis]):
        if first + unit * field.stride[axis] >= 1 and last + unit * field.stride[axis] <= length - 2:
            return unit
    raise AssertionError(f"no unit of {field.grid} sees all of its field in {length} px")


def probe(net: Network, axis: Axis, names: list[str], length: int) -> None:
    """Put a line of NaN at four places around the field of a unit, for every layer in `names`."""
    fields = receptive_fields(net, strip(net, axis, length))
    for name in names:
        field = fields[name]
        unit = middle_unit(field, axis, length)
        first, last = (pixel + unit * field.stride[axis] for pixel in extent(field.rectangle, axis))
        places = [first, last, first - 1, last + 1]
        images = torch.zeros(4, net.in_channels, *strip(net, axis, length), dtype=torch.float64)
        for image, place in zip(images, places, strict=True):
            image.select(axis + 1, place).fill_(math.nan)
        reached = outputs_of(net, name, images).select(axis + 2, unit).isnan().flatten(1).any(1)
        assert reached.tolist() == [True, True, False, False], (name, axis, unit, places)


def outputs_of(net: Network, name: str, images: Tensor) -> Tensor:
    """What leaves one layer; stages behind it are not run."""
    kept: list[Tensor] = []
    handle = net.body.get_submodule(name).register_forward_hook(lambda _, __, output: kept.append(output.clone()))
    with torch.no_grad():
        for stage, module in net.body.named_children():
            images = module(images)
            if stage == name.split(".")[0]:
                break
    handle.remove()
    return kept[0]


def tiny(name: str, **options: Any) -> Network:
    """The fewest channels: how far a unit sees does not depend on them. Weights are drawn, so none is zero."""
    torch.manual_seed(0)
    return build(name, width=0.02, num_classes=2, **options).double().eval()


def length_for(net: Network) -> int:
    """A strip on which some unit of the last stage sees its whole field: border, field, and a stride on either side."""
    last = receptive_fields(net, net.min_size)[net.stages[-1]]
    return max(last.size) + 3 * max(last.stride)


SHALLOW = [
    ("googlenet", {"depth": 0.4}),
    ("googlenet", {"depth": 0.1, "padding": "tf_same", "norm": "batch", "stem": "small"}),
    ("bn_inception", {"depth": 0.2}),
    ("bn_inception", {"depth": 0.2, "padding": "tf_same", "first_conv": "separable"}),
    ("inception_v3", {"depth": 0.3}),
    ("inception_v3", {"depth": 0.1, "parallel_reduction": False, "factorize": False}),
    ("inception_v4", {"depth": 0.2}),
    ("inception_resnet_v1", {"depth": 0.1}),
    ("inception_resnet_v2", {"depth": 0.05}),
    ("inception_resnet_v2", {"depth": 0.05, "residual": False, "stem": "small"}),
    ("xception", {"depth": 0.1}),
    ("xception", {"depth": 0.1, "order": "channel_first", "padding": "symmetric", "middle_activation": True}),
    ("xception41", {"depth": 0.1}),
    ("xception_stride16", {"depth": 0.1}),
]


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(("name", "options"), SHALLOW, ids=str)
def test_no_unit_of_a_shallow_network_sees_further_or_less(name: str, options: dict[str, Any], axis: Axis) -> None:
    net = tiny(name, **options)
    probe(net, axis, [net.stages[0], net.stages[len(net.stages) // 2], net.stages[-1]], length_for(net))


@pytest.mark.slow
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("name", MEMBERS)
def test_no_unit_of_any_stage_sees_further_or_less(name: str, axis: Axis) -> None:
    net = tiny(name)
    probe(net, axis, list(net.stages), length_for(net))


@pytest.mark.slow
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("name", ["googlenet", "inception_v3", "inception_v4", "xception"])
def test_nor_does_one_of_any_layer_inside_a_stage(name: str, axis: Axis) -> None:
    net = tiny(name, depth=0.1)
    probe(net, axis, [inner for stage, layer in net.table.stages for inner, _ in parts(layer, stage)],
          length_for(net))  # fmt: skip


# Of the last stage at the published size; Inception-ResNet v2's is known from the literature.
WHOLE = {"googlenet": 715, "inception_v3": 1311, "inception_resnet_v2": 3039, "xception": 1083, "xception65": 1915}


@pytest.mark.parametrize("name", WHOLE)
def test_the_last_stage_sees_more_than_the_image(name: str) -> None:
    with torch.device("meta"):
        net = build(name)
    field = receptive_fields(net)[net.stages[-1]]
    assert field.size == (WHOLE[name], WHOLE[name])
    assert field.stride == (32, 32)


def test_each_branch_is_a_path_of_its_own() -> None:
    with torch.device("meta"):
        fields = receptive_fields(build("googlenet"))
    before, after = fields["pool2"], fields["inception_3a"]
    (seen,) = before.sizes
    assert seen == (27, 27)
    steps = {0, 2, 4}  # units beyond the 1x1 that the branches 1x1, 3x3 (and pool), 5x5 look at
    assert after.sizes == tuple((27 + 8 * step, 27 + 8 * step) for step in sorted(steps))
    assert fields["inception_3a.5x5.conv5x5"].size == after.size == (59, 59)
    assert fields["inception_3a.1x1"].paths == before.paths


def test_a_bank_of_flat_and_tall_kernels_sees_a_cross() -> None:
    with torch.device("meta"):
        fields = receptive_fields(build("inception_v3"))
    before, bank = fields["mixed_7b.3x3.conv1x1"], fields["mixed_7b.3x3.branches"]
    flat, tall = fields["mixed_7b.3x3.branches.1x3"], fields["mixed_7b.3x3.branches.3x1"]
    assert flat.size == (before.size[0], before.size[1] + 64)
    assert tall.size == (before.size[0] + 64, before.size[1])
    assert bank.size == (before.size[0] + 64, before.size[1] + 64)
    assert bank.size not in bank.sizes  # the rectangle around a cross is none of its arms


def test_a_shortcut_leaves_the_short_paths_in() -> None:
    with torch.device("meta"):
        residual, plain = build("inception_resnet_v2"), build("inception_resnet_v2", residual=False)
    before = receptive_fields(residual)["mixed_5b"]
    assert before.paths < receptive_fields(residual)["block35_10"].paths
    with_shortcut, without = (receptive_fields(net)["block8_last"] for net in (residual, plain))
    assert with_shortcut.size == without.size
    assert with_shortcut.sizes[0] == without.sizes[0]  # the 1x1 branch is as short as the shortcut


def test_tensorflows_border_depends_on_the_size_of_the_image() -> None:
    with torch.device("meta"):
        net = build("googlenet", padding="tf_same", norm="batch")
    even, odd = (receptive_fields(net, size)["conv1"] for size in (224, 225))
    assert (even.padding, odd.padding) == ((2, 2), (3, 3))
    assert even.size == odd.size == (7, 7)


def test_the_unit_on_row_i_sees_i_strides_further_down() -> None:
    field = Field(grid=(9, 9), stride=(4, 2), paths=frozenset([Rectangle(-3, 5, -1, 1)]))
    assert field.seen_by(2, 5) == Rectangle(5, 13, 9, 11)
    assert (field.size, field.padding) == ((9, 3), (3, 1))


def test_a_table_of_ones_own_has_fields_too() -> None:
    conv = convolution()
    layer = branches({"near": Identity(), "far": chain(conv(2, (3, 1)), max_pool(5))})
    net = Network(Table((("only", layer),), Head()), num_classes=2)
    fields = receptive_fields(net, (20, 30))
    assert fields["only"].paths == {Rectangle(0, 0, 0, 0), Rectangle(-3, 3, -2, 2)}
    assert fields["only"].grid == (20, 30)
    assert list(fields) == ["only.near", "only.far.conv3x1", "only.far.max_pool", "only.far", "only"]


class Blur:
    """A layer nobody has told the window of."""

    name = "blur"

    def build(self, width: int) -> tuple[nn.Module, int]:
        return nn.Identity(), width

    def grid(self, height: int, width: int) -> tuple[int, int]:
        return height, width


def test_an_unknown_layer_and_a_small_image_are_refused_in_words() -> None:
    with pytest.raises(ValueError, match=r"layer odd \(Blur\) is not known"):
        receptive_fields(Network(Table((("odd", Blur()),), Head())))
    with torch.device("meta"), pytest.raises(ValueError, match="at least 75 px a side; got 75 x 20"):
        receptive_fields(build("inception_v3"), (75, 20))
