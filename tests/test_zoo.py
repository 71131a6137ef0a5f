"""The family: published counts, options that act by hand-calculated amounts, heads that are reset together."""

from __future__ import annotations

import importlib
import inspect
import itertools
import re
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from inceptions.zoo import ALIASES, MEMBERS, Network, build, list_models, parse_options

# architectures: (parameters at the published number of classes, multiply-adds of convolutions and classifier)
PUBLISHED = {
    "googlenet": (6_998_552, 1_582_671_872),
    "bn_inception": (11_295_240, 2_032_600_064),
    "inception_v3": (23_834_568, 5_713_216_096),
    "inception_v4": (42_679_816, 12_253_974_624),
    "inception_resnet_v1": (24_357_096, None),
    "inception_resnet_v2": (55_843_464, 13_155_794_016),
    "xception": (22_855_952, 8_357_403_496),
    "xception41": (26_969_560, 9_204_134_312),
    "xception65": (39_916_312, 13_852_682_216),
    "xception71": (42_338_736, 17_946_553_928),
    "xception_stride16": (21_013_988, None),
}


def meta(name: str, **options: Any) -> Network:
    with torch.device("meta"):
        return build(name, **options)


def parameters(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def multiply_adds(net: Network, size: int | None = None) -> int:
    """An independent count: PyTorch's counter, which counts a multiply-add as two."""
    size = size or net.input_size
    with FlopCounterMode(display=False) as counter, torch.device("meta"):
        net.eval()(torch.empty(1, net.in_channels, size, size))
    return int(counter.get_total_flops()) // 2


@pytest.mark.parametrize("name", list_models())
def test_counts_are_the_published_ones(name: str) -> None:
    expected, operations = PUBLISHED[name]
    net = meta(name)
    assert parameters(net) == expected
    assert operations is None or multiply_adds(net) == operations


def test_published_variants_have_their_counts() -> None:
    torchvision: dict[str, Any] = {"norm": "batch", "five": "3x3", "fourth_pool": "2x2"}
    assert parameters(meta("googlenet", **torchvision)) == 6_624_904
    assert parameters(meta("googlenet", **torchvision, aux=True)) == 13_004_888
    assert parameters(meta("googlenet", aux=True)) == 13_378_280
    assert parameters(meta("inception_v3", aux=True)) == 27_161_264
    # facenet's embedding: trunk and bottleneck without a classifier.
    facenet = meta("inception_resnet_v1", bottleneck=512, num_classes=8631)
    assert parameters(facenet) == 27_910_327
    assert parameters(facenet) - parameters(facenet.head.linear) == 23_482_624
    # TF-slim's Inception v2 counts kernels, the bias of its first layer and three numbers a normalized channel.
    slim = meta("bn_inception", first_conv="separable", late_pool_width=96, conv_bias=False, num_classes=1)
    normalized = sum(module.num_features for module in slim.modules() if isinstance(module, nn.BatchNorm2d))
    assert parameters(slim) - parameters(slim.head) + normalized == 10_173_112


@pytest.mark.parametrize("name", list_models())
def test_any_size_from_the_minimum_up_any_classes_any_channels(name: str) -> None:
    net = meta(name, num_classes=7, in_channels=4)
    for size in (net.min_size, net.min_size + 1, net.min_size + 38):
        with torch.device("meta"):
            features = net.forward_features(torch.empty(2, 4, size, size + 3))
            assert net(torch.empty(2, 4, size, size + 3)).shape == (2, 7)
        assert tuple(features.shape[2:]) == net.table.grid(size, size + 3)
        assert features.shape[1] == net.num_features
    if net.min_size > 1:
        with pytest.raises(ValueError, match=f"at least {net.min_size} x {net.min_size}"):
            net(torch.empty(1, 4, net.min_size - 1, net.min_size, device="meta"))


@pytest.mark.parametrize("name", list_models())
def test_small_stems_keep_a_grid_at_32_px(name: str) -> None:
    small = meta(name, stem="small")
    assert min(small.table.grid(32, 32)) >= 3
    assert min(small.table.grid(96, 96)) > min(meta(name).table.grid(96, 96))
    with torch.device("meta"):
        assert small(torch.empty(1, 3, 32, 32)).shape == (1, small.num_classes)


def test_images_of_the_wrong_shape_are_refused() -> None:
    net = meta("googlenet", width=0.25)
    with pytest.raises(ValueError, match=r"\(N, 3, H, W\)"):
        net(torch.empty(1, 1, 64, 64, device="meta"))
    with pytest.raises(ValueError, match=r"\(N, 3, H, W\)"):
        net(torch.empty(3, 64, 64, device="meta"))


@pytest.mark.parametrize("name", [name for name, member in MEMBERS.items() if "aux" in member.options])
def test_the_model_returns_one_tensor_and_auxiliary_logits_come_only_on_request(name: str) -> None:
    net = build(name, aux=True, width=0.125, depth=0.2, num_classes=5)
    images = torch.randn(2, 3, 107, 107)
    for mode in (True, False):
        net.train(mode)
        assert isinstance(net(images), torch.Tensor)
        logits, aux = net.forward_with_aux(images)
        assert list(aux) == [tap for tap, _ in net.table.aux]
        assert {tuple(value.shape) for value in (logits, *aux.values())} == {(2, 5)}
    assert torch.equal(net(images), net.forward_with_aux(images)[0])
    assert any(key.startswith("aux") for key in net.state_dict())
    assert not any(key.startswith("aux") for key in build(name, width=0.125, depth=0.2).state_dict())


def test_auxiliary_heads_tap_where_the_papers_say_and_weigh_what_they_say() -> None:
    assert [tap for tap, _ in meta("googlenet", aux=True).table.aux] == ["inception_4a", "inception_4d"]
    assert [tap for tap, _ in meta("inception_v3", aux=True).table.aux] == ["mixed_6e"]
    assert [tap for tap, _ in meta("inception_v4", aux=True).table.aux] == ["mixed_6h"]
    assert [tap for tap, _ in meta("inception_resnet_v2", aux=True).table.aux] == ["block17_20"]
    assert [tap for tap, _ in meta("googlenet", aux=True, depth=2).table.aux] == ["inception_4a", "inception_4i"]
    assert [tap for tap, _ in meta("googlenet", aux=True, depth=0.2).table.aux] == ["inception_4a"]
    assert meta("googlenet").aux_weight == 0.3
    assert meta("inception_v3").aux_weight == 0.4


@pytest.mark.parametrize(("grid", "papers"), [(14, True), (12, False), (20, False)])
def test_an_auxiliary_head_pools_as_the_paper_where_that_makes_its_grid(grid: int, papers: bool) -> None:
    features = torch.randn(2, 512, grid, grid)
    head = build("googlenet", aux=True).aux["inception_4a"].eval()
    adaptive = build("googlenet", aux=True, aux_pool="adaptive").aux["inception_4a"].eval()
    adaptive.load_state_dict(head.state_dict())
    assert torch.allclose(head(features), adaptive(features)) != papers


def test_every_head_is_reset_together() -> None:
    net = build("googlenet", aux=True, width=0.125, num_classes=9)
    net.classes = tuple("abcdefghi")
    net.reset_classifier(4)
    logits, aux = net.forward_with_aux(torch.randn(2, 3, 64, 64))
    assert logits.shape == (2, 4)
    assert all(value.shape == (2, 4) for value in aux.values())
    assert net.num_classes == net.options["num_classes"] == 4
    assert net.classes is None
    with pytest.raises(ValueError, match="at least 1"):
        net.reset_classifier(0)


def test_stages_are_the_rows_of_the_table_and_add_up_to_the_network() -> None:
    net = build("inception_v3", width=0.125, depth=0.3).eval()
    images = torch.randn(1, 3, 96, 96)
    outputs = net.forward_stages(images)
    assert tuple(outputs) == net.stages
    assert torch.equal(net.forward_head(outputs[net.stages[-1]]), net(images))
    assert net.forward_head(net.forward_features(images), pre_logits=True).shape == (1, net.num_features)


# --- options: each acts, by the amount a hand calculation says ----------------------------------------------------

INCEPTION_V1 = (  # grid, incoming, 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool
    (28, 192, 64, 96, 128, 16, 32, 32),
    (28, 256, 128, 128, 192, 32, 96, 64),
    (14, 480, 192, 96, 208, 16, 48, 64),
    (14, 512, 160, 112, 224, 24, 64, 64),
    (14, 512, 128, 128, 256, 24, 64, 64),
    (14, 512, 112, 144, 288, 32, 64, 64),
    (14, 528, 256, 160, 320, 32, 128, 128),
    (7, 832, 256, 160, 320, 32, 128, 128),
    (7, 832, 384, 192, 384, 48, 128, 128),
)


def difference(name: str, **options: Any) -> tuple[int, int]:
    """What the options change in parameters and multiply-adds."""
    plain, changed = meta(name), meta(name, **options)
    return parameters(changed) - parameters(plain), multiply_adds(changed) - multiply_adds(plain)


def test_3x3_for_5x5_saves_sixteen_weights_a_pair_of_channels() -> None:
    saved = [(row[0] ** 2, row[5] * row[6] * (25 - 9)) for row in INCEPTION_V1]
    assert difference("googlenet", five="3x3") == (
        -sum(weights for _, weights in saved),
        -sum(cells * weights for cells, weights in saved),
    )


def test_batch_norm_puts_two_numbers_for_each_bias() -> None:
    # 64 + 64 + 192 in the stem, every convolution of every block: a bias goes, gamma and beta come.
    channels = 64 + 64 + 192 + sum(sum(row[2:]) for row in INCEPTION_V1)
    assert difference("googlenet", norm="batch") == (channels, 0)


def test_the_naive_module_costs_what_figure_2a_costs() -> None:
    weights = operations = 0
    width = 192
    for grid, incoming, one, reduce3, three, reduce5, five, pool in INCEPTION_V1:
        reduced = incoming * (one + reduce3 + reduce5 + pool) + reduce3 * three * 9 + reduce5 * five * 25
        naive = width * (one + three * 9 + five * 25)
        weights += naive + one + three + five - reduced - (one + reduce3 + three + reduce5 + five + pool)
        operations += grid**2 * (naive - reduced)
        width = one + three + five + width
    classifier = (width - 1024) * 1000
    assert difference("googlenet", reduce=False) == (weights + classifier, operations + classifier)


def test_the_fourth_pool_and_the_borders_change_no_count_but_the_grid_or_the_values() -> None:
    assert difference("googlenet", fourth_pool="2x2") == (0, 0)
    assert meta("googlenet", fourth_pool="2x2").table.grid(240, 240) != meta("googlenet").table.grid(208, 208)


def test_without_batch_norm_v2_keeps_its_biases_only() -> None:
    normalized = sum(m.num_features for m in meta("bn_inception").modules() if isinstance(m, nn.BatchNorm2d))
    assert normalized == 10_016
    assert difference("bn_inception", norm=None) == (-2 * 10_016, 0)
    assert difference("bn_inception", conv_bias=False) == (-10_016, 0)


def test_slims_narrower_pools_save_their_projection_and_what_reads_it() -> None:
    # 4c and 4d (14x14, 576 and 608 channels in) project to 96 instead of 128; 4d and 4e read 32 channels less.
    projections = (128 - 96) * 576 + 128 * 608 - 96 * 576
    fourd = 32 * (96 + 128 + 160)
    foure = 32 * (128 + 192)
    fivea = 32 * (352 + 192 + 160 + 128)
    expected = -(projections + fourd + foure + fivea)
    numbers = -(32 + 32) * 3  # bias, gamma, beta
    assert difference("bn_inception", late_pool_width=96) == (
        expected + numbers,
        -(14**2) * (projections + fourd + foure) - 7**2 * fivea,
    )


def test_a_separable_first_layer_costs_its_two_parts() -> None:
    separable = 7 * 7 * 3 * 8 + 24 * 64
    dense = 7 * 7 * 3 * 64
    assert difference("bn_inception", first_conv="separable") == (
        separable + 64 - dense - 3 * 64,
        112**2 * (separable - dense),
    )


def test_unfactorized_kernels_of_v3() -> None:
    weights35 = 3 * (64 * 96 * 25 - (64 * 96 + 96 * 96) * 9)
    weights17 = 0
    for inner in (128, 160, 160, 192):
        one = inner * 192 * 49 - (inner * inner + inner * 192) * 7
        two = inner * inner * 49 + inner * 192 * 49 - (3 * inner * inner + inner * 192) * 7
        weights17 += one + two
    reduction8 = 192 * 192 * 49 - 2 * 192 * 192 * 7
    bank = 2 * 2 * (384 * 768 * 9 - 2 * 384 * 384 * 3)
    weights = weights35 + weights17 + reduction8 + bank
    # Norms: the 3x3 or the first of each pair of asymmetric convolutions loses its gamma and beta.
    norms = 3 * 96 + sum(inner + 2 * inner for inner in (128, 160, 160, 192)) + 192
    operations = 35**2 * weights35 + 17**2 * (weights17 + reduction8) + 8**2 * bank
    assert difference("inception_v3", factorize=False) == (weights - 2 * norms, operations)


def test_pooling_first_keeps_the_weights_and_saves_the_fine_grid() -> None:
    # The 1x1 and 3x3 in front of the strided convolution now run on the halved grid.
    first = 288 * 64 + 64 * 96 * 9
    second = 768 * 192 * 2 + 2 * 192 * 192 * 7
    assert difference("inception_v3", parallel_reduction=False) == (
        0,
        (17**2 - 35**2) * first + (8**2 - 17**2) * second,
    )


@pytest.mark.parametrize("name", ["inception_resnet_v1", "inception_resnet_v2"])
def test_shortcuts_cost_nothing_and_act(name: str) -> None:
    assert difference(name, residual=False) == (0, 0)


def test_regular_convolutions_for_xceptions_separable_ones() -> None:
    pairs = [(64, 128, 147), (128, 128, 147), (128, 256, 74), (256, 256, 74), (256, 728, 37), (728, 728, 37)]
    pairs += [(728, 728, 19)] * 25 + [(728, 1024, 19), (1024, 1536, 10), (1536, 2048, 10)]
    extra = [(9 * a * b - 9 * a - a * b, grid) for a, b, grid in pairs]
    assert difference("xception", separable=False) == (
        sum(weights for weights, _ in extra),
        sum(weights * grid**2 for weights, grid in extra),
    )
    moved = [(9 * (b - a), grid) for a, b, grid in pairs]
    assert difference("xception", order="channel_first") == (
        sum(weights for weights, _ in moved),
        sum(weights * grid**2 for weights, grid in moved),
    )


def test_xceptions_shortcuts_are_1x1_convolutions() -> None:
    shortcuts = [(64, 128, 74), (128, 256, 37), (256, 728, 19), (728, 1024, 10)]
    assert difference("xception", residual=False) == (
        -sum(a * b + 2 * b for a, b, _ in shortcuts),
        -sum(a * b * grid**2 for a, b, grid in shortcuts),
    )
    assert difference("xception", shortcut_bias=True) == (sum(b for _, b, _ in shortcuts), 0)


def test_hidden_layers_stand_between_pooling_and_classifier() -> None:
    weights = 2048 * 64 + 64 * 32 + 32 * 1000 - 2048 * 1000
    assert difference("xception", hidden=(64, 32)) == (weights + 64 + 32, weights)


def test_width_scales_channels_and_depth_repeats_blocks() -> None:
    wide = meta("googlenet", width=0.5)
    assert wide.num_features == 512
    assert meta("inception_resnet_v2", depth=0.5).stages.count("block35_5") == 1
    assert "block35_6" not in meta("inception_resnet_v2", depth=0.5).stages
    # A middle block of Xception: three separable convolutions of 728, their norms.
    block = 3 * (728 * 9 + 728 * 728 + 2 * 728)
    assert difference("xception", depth=2.0) == (8 * block, 8 * 3 * 19**2 * (728 * 9 + 728 * 728))


@pytest.mark.parametrize(
    ("depth", "rows"), [(0.4, "ce"), (0.01, "e"), (1, "abcde"), (2, "aabbccddee"), (1.2, "abcdee")]
)
def test_depth_thins_or_repeats_a_run_and_keeps_its_last_row(depth: float, rows: str) -> None:
    stages = {letter: dict(meta("googlenet").table.stages)[f"inception_4{letter}"] for letter in "abcde"}
    table = meta("googlenet", depth=depth).table
    run = [row for name, row in table.stages if name.startswith("inception_4")]
    assert run == [stages[letter] for letter in rows]
    assert [name for name, _ in table.stages if name.startswith("inception_4")] == [
        f"inception_4{chr(ord('a') + index)}" for index in range(len(rows))
    ]


# --- options that change values only ------------------------------------------------------------------------------

VALUES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("googlenet", {}, {"norm": "batch"}),
    ("googlenet", {}, {"padding": "tf_same"}),
    ("googlenet", {"norm": "batch"}, {"norm_eps": 1e-1}),
    ("googlenet", {}, {"activation": "sigmoid"}),
    ("bn_inception", {}, {"include_border": False}),
    ("bn_inception", {}, {"last_pool": "avg"}),
    ("bn_inception", {}, {"padding": "tf_same"}),
    ("inception_v3", {}, {"include_border": True}),
    ("inception_v3", {}, {"last_pool": "max"}),
    ("inception_v3", {}, {"norm_eps": 1e-1}),
    ("inception_v4", {}, {"asymmetric_order": "paper"}),
    ("inception_v4", {}, {"include_border": True}),
    ("inception_resnet_v1", {}, {"scales": (0.5, 0.5, 0.5)}),
    ("inception_resnet_v1", {}, {"residual": False}),
    ("inception_resnet_v2", {}, {"include_border": True}),
    ("inception_resnet_v2", {}, {"scales": (0.17, 0.1, 0.3)}),
    ("inception_resnet_v2", {}, {"residual": False}),
    ("xception", {}, {"padding": "symmetric"}),
    ("xception", {}, {"stem_padding": "same"}),
    ("xception", {}, {"block4_stride": 1}),
    ("xception", {}, {"rectify": True}),
    ("xception", {}, {"middle_activation": True}),
    ("xception", {}, {"order": "channel_first"}),
    ("xception41", {}, {"middle_activation": True}),
    ("xception41", {}, {"order": "channel_first"}),
    ("xception41", {}, {"separable": False}),
    ("xception41", {}, {"residual": False}),
]


@pytest.mark.parametrize(("name", "base", "option"), VALUES, ids=lambda value: str(value))
def test_every_option_is_seen_to_act(name: str, base: dict[str, Any], option: dict[str, Any]) -> None:
    images = torch.rand(1, 3, 107, 107, generator=torch.Generator().manual_seed(1)) - 0.5
    logits = []
    for options in (base, {**base, **option}):
        torch.manual_seed(0)
        net = build(name, width=0.125, depth=0.2, num_classes=6, **options).eval()
        logits.append(net(images))
    assert not torch.allclose(logits[0], logits[1], rtol=1e-4, atol=1e-6)


def test_options_that_act_in_training_act_in_training() -> None:
    images = torch.rand(2, 3, 80, 80)
    for name in list_models():
        net = build(name, width=0.125, depth=0.1, num_classes=4, drop_rate=0.9).train()
        features = net.forward_features(images)
        assert not torch.equal(net.forward_head(features), net.forward_head(features)), name
        net.head.dropout.p = 0.0
        assert torch.equal(net.forward_head(features), net.forward_head(features)), name
    norm = next(m for m in build("xception", width=0.125, norm_momentum=0.7).modules() if isinstance(m, nn.BatchNorm2d))
    assert norm.momentum == 0.7
    frozen = build("inception_v3", width=0.125, norm_scale=False)
    assert not any(m.weight.requires_grad for m in frozen.modules() if isinstance(m, nn.BatchNorm2d))


def test_a_table_for_every_option() -> None:
    """Whatever option a network has is exercised above, or in the tests of the numerics."""
    exercised = {key for _, base, option in VALUES for key in (*base, *option)}
    exercised |= {"num_classes", "in_channels", "width", "depth", "drop_rate", "aux", "stem", "norm_momentum"}
    exercised |= {"norm_scale", "five", "reduce", "fourth_pool", "aux_pool", "first_conv", "late_pool_width"}
    exercised |= {"conv_bias", "factorize", "parallel_reduction", "bottleneck", "shortcut_bias", "hidden", "table"}
    assert {option for member in MEMBERS.values() for option in member.options} == exercised


# --- names and errors ---------------------------------------------------------------------------------------------


def test_aliases_build_their_network() -> None:
    assert {alias: meta(alias).name for alias in ALIASES} == ALIASES


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("inception_v9", {}, "did you mean 'inception_v"),
        ("googlenet", {"fives": "3x3"}, "did you mean 'five'"),
        ("googlenet", {"five": "4x4"}, "choose '5x5' or '3x3'"),
        ("googlenet", {"width": "wide"}, r"choose a number in \[0.01, 16\]"),
        ("googlenet", {"width": 1e9}, r"choose a number in \[0.01, 16\]"),
        ("googlenet", {"width": float("nan")}, "width=nan is not allowed"),
        ("googlenet", {"aux": 1}, "choose true or false"),
        ("googlenet", {"num_classes": 0}, r"choose a whole number in \[1, 1000000\]"),
        ("googlenet", {"num_classes": True}, "choose a whole number"),
        ("xception", {"aux": True}, "has no option 'aux'"),
        ("inception_resnet_v2", {"scales": (0.1,)}, "three are needed"),
        ("inception_resnet_v2", {"scales": ("a", "b", "c")}, "scales"),
        ("inception_resnet_v1", {"bottleneck": -1}, r"choose a whole number in \[1, 1000000\] or none"),
    ],
)
def test_what_is_wrong_is_said_with_what_is_allowed(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        meta(name, **options)


def test_options_survive_json_and_build_the_same_network() -> None:
    import json

    for name in list_models():
        net = meta(name, width=0.25, num_classes=3)
        again = meta(name, **json.loads(json.dumps(net.options)))
        assert again.table == net.table
        assert list(again.state_dict()) == list(net.state_dict())
        assert again.options == net.options


MODULES = {
    "v1": "googlenet", "v2": "bn_inception", "v3": "inception_v3", "v4": "inception_v4", "v5": "xception",
}  # fmt: skip


def module_of(name: str) -> ModuleType:
    """The module that shows a network."""
    family = "inception_resnet" if "resnet" in name else MODULES[MEMBERS[name].generation]
    return importlib.import_module(f"inceptions.zoo.{family}")


@pytest.mark.parametrize("name", list_models())
def test_each_generation_says_what_it_brought(name: str) -> None:
    text = module_of(name).__doc__ or ""
    assert "brought" in text
    assert MEMBERS[name].paper in text


@pytest.mark.parametrize("name", list_models())
def test_the_grid_behind_each_row_is_the_one_the_row_ends_on(name: str) -> None:
    """The file is held against the paper row by row; its comments must not lie."""
    member = MEMBERS[name]
    source = inspect.getsource(module_of(name))
    (called,) = [key for key, value in vars(module_of(name)).items() if value is member.table]
    written = "".join(re.findall(rf"^(?:STEM: Rows|{called}) = .*?^\)", source, re.MULTILINE | re.DOTALL))
    stated = [tuple(map(int, found)) for found in re.findall(r"# (\d+)x(\d+)x(\d+)$", written, re.MULTILINE)]
    ends, channels = [], 3
    for stage, layer in member.table.stages:
        with torch.device("meta"):
            _, channels = layer.build(channels)
        ends.append((*member.table.grids(member.input_size)[stage], channels))
    assert len(stated) >= 8
    assert [end for end, _ in itertools.groupby(stated)] == [end for end, _ in itertools.groupby(ends)]


def test_options_written_as_text_become_what_they_say() -> None:
    written = {"width": "0.25", "aux": "true", "five": "3x3", "num_classes": "5"}
    assert parse_options(written) == {"width": 0.25, "aux": True, "five": "3x3", "num_classes": 5}
    assert meta("googlenet", **parse_options(written)).options["width"] == 0.25
    assert parse_options({"norm": "null", "scales": "[0.1, 0.2, 0.3]"}) == {"norm": None, "scales": [0.1, 0.2, 0.3]}
