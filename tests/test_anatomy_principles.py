"""The principles as checks: what is planted is found where it stands, with the numbers of a calculation by hand."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from inceptions.anatomy import Finding, principles
from inceptions.anatomy.principles import narrowest_place
from inceptions.anatomy.rules import Principle
from inceptions.anatomy.trace import trace
from inceptions.layers import Head, Layer, branches, chain, convolution, max_pool
from inceptions.zoo import MEMBERS, Network, Table, build

conv = convolution()


def of(network: nn.Module, principle: Principle, size: int | None = None) -> list[Finding]:
    return [finding for finding in principles(network, size) if finding.principle == principle]


def broken(network: nn.Module, principle: Principle, size: int | None = None) -> list[str]:
    return [finding.stage for finding in of(network, principle, size) if not finding.kept]


def hollow(name: str, **options: Any) -> Network:
    with torch.device("meta"):
        return build(name, **options)


def network(**stages: Layer) -> Network:
    return Network(Table(tuple(stages.items()), Head()), num_classes=2)


def test_the_papers_bottleneck_is_named_and_its_cure_is_not() -> None:
    """35x35x320 pooled to 17x17x320, and a 17x17x640 grid made of a strided convolution beside the pool."""
    planted = network(wide=conv(320), halved=max_pool(3, 2, "valid"), after=conv(640))
    cured = network(wide=conv(320), halved=branches({"3x3": conv(320, 3, 2, "valid"), "pool": max_pool(3, 2, "valid")}))
    (found,) = of(planted, "bottleneck", 35)
    assert (found.stage, found.kept) == ("halved", False)
    assert found.number == 17 * 17 / (35 * 35)
    assert "35x35x320 come in, 17x17x320 leave" in found.text
    assert found.suggestion is not None
    assert "beside the pool" in found.suggestion
    (kept,) = of(cured, "bottleneck", 35)
    assert (kept.stage, kept.kept, kept.suggestion) == ("halved", True, None)
    assert kept.number == 2 * 17 * 17 / (35 * 35)


def test_a_bottleneck_hidden_inside_a_stage_is_named() -> None:
    pooled_first, parallel = hollow("inception_v3", parallel_reduction=False), hollow("inception_v3")
    assert set(broken(pooled_first, "bottleneck")) - set(broken(parallel, "bottleneck")) == {"mixed_6a", "mixed_7a"}
    numbers = {finding.stage: finding.number for finding in of(pooled_first, "bottleneck")}
    assert numbers["mixed_6a"] == 17 * 17 * 288 / (35 * 35 * 288)  # it leaves with 768 channels all the same


def test_a_bottleneck_spread_over_branches_is_named() -> None:
    thin = branches({name: chain(conv(4), conv(40, 3)) for name in "abcd"})
    (found,) = of(network(wide=conv(160), thin=thin), "bottleneck", 20)
    assert (found.stage, found.kept, found.number) == ("thin", False, 4 * 4 / 160)


def test_a_shortcut_around_a_squeeze_saves_it() -> None:
    assert broken(hollow("xception"), "bottleneck") == []


def test_v4s_stem_is_what_cures_v3s() -> None:
    assert broken(hollow("inception_v3"), "bottleneck") == ["pool_3a", "pool_5a"]
    assert broken(hollow("inception_v4"), "bottleneck") == []


def test_the_narrowest_place_is_a_minimum_cut() -> None:
    class Net(nn.Module):
        def forward(self, images: Tensor) -> Tensor:  # 12 -> 8 beside 4, joined to 12, widened to 24
            return torch.cat([images[:, :, :2], images[:, :, :1]], 2).repeat(1, 1, 2, 1)

    ops = trace(Net(), (1, 1, 3, 4))
    assert narrowest_place(ops) == 12


def test_a_grid_that_shrinks_without_more_channels_is_named() -> None:
    narrow = network(a=conv(16), b=conv(16, 3, 2), c=conv(24, 3, 2))
    findings = of(narrow, "widening", 32)
    assert [(finding.stage, finding.kept, finding.number) for finding in findings] == [
        ("b", False, 1.0),
        ("c", True, 1.5),
    ]


def test_a_missing_rim_is_no_smaller_grid() -> None:
    assert of(network(a=conv(16), b=conv(16, 3, 1, "valid")), "widening", 32) == []


def test_the_naive_module_is_named_and_the_reduced_one_says_what_it_saves() -> None:
    naive, reduced = hollow("googlenet", reduce=False), hollow("googlenet")
    assert "inception_3a" in broken(naive, "reduction")
    assert broken(reduced, "reduction") == []
    (kept,) = [finding for finding in of(reduced, "reduction") if finding.stage == "inception_3a"]
    positions = 28 * 28
    with_reduction = positions * (192 * (64 + 96 + 16 + 32) + 9 * 96 * 128 + 25 * 16 * 32)
    without = positions * (192 * (64 + 32) + 9 * 192 * 128 + 25 * 192 * 32)
    assert kept.number == pytest.approx(1 - with_reduction / without)
    assert f"{with_reduction:,} multiply-adds" in kept.text
    assert f"{without:,}" in kept.text


def test_the_cure_of_a_missing_reduction_is_kept() -> None:
    planted = network(a=conv(96), b=conv(16, 3))
    cured = network(a=conv(96), b=chain(conv(16), conv(16, 3)))
    assert broken(planted, "reduction", 16) == ["b"]
    assert broken(cured, "reduction", 16) == []
    (found,) = of(planted, "reduction", 16)
    assert found.number == pytest.approx(1 - (96 * 16 + 9 * 16 * 16) / (9 * 96 * 16))


def test_a_costly_convolution_without_a_reducer_is_named_though_it_narrows_nothing() -> None:
    planted = network(a=conv(96), b=conv(128, 3))
    (found,) = of(planted, "reduction", 16)
    assert (found.stage, found.kept) == ("b", False)
    dear, cheap = 9 * 96 * 128, 96 * 48 + 9 * 48 * 128
    assert found.number == pytest.approx(1 - cheap / dear)
    assert f"reads 96 channels to write 128: {256 * dear:,} multiply-adds" in found.text
    assert found.suggestion == f"a 1x1 convolution to 48 channels in front: {256 * cheap:,} together"
    assert broken(network(a=conv(96), b=chain(conv(48), conv(128, 3))), "reduction", 16) == []


def test_what_follows_a_reducer_in_its_branch_is_reduced_until_it_widens() -> None:
    entering = conv(256)
    pair = chain(conv(64), conv(96, (1, 7)), conv(96, (7, 1)))
    wide = chain(conv(64), conv(320, 3), conv(320, 3))
    assert broken(network(a=entering, b=pair), "reduction", 16) == []
    (found,) = [finding for finding in of(network(a=entering, b=wide), "reduction", 16) if not finding.kept]
    assert "reads 320 channels" in found.text


def test_few_channels_little_work_and_the_first_layer_need_no_reducer() -> None:
    assert of(network(a=conv(48), b=conv(64, 3)), "reduction", 16) == []
    cheap = chain(max_pool(8, 8), conv(64, 3))  # a fortieth of the work
    assert of(network(a=conv(512), b=conv(60), c=conv(64), d=cheap), "reduction", 32) == []
    assert of(nn.Sequential(nn.Conv2d(64, 64, 3), nn.ReLU()), "reduction", 16) == []


def test_what_the_published_networks_do_without_is_named() -> None:
    """v3's reductions read 288 channels with a 3x3; its dearest layer reads the 80 of a 1x1 that widens."""
    assert broken(hollow("inception_v3"), "reduction") == ["conv_4a", "mixed_6a"]
    for name in ("googlenet", "bn_inception", "inception_v4", "xception"):
        assert broken(hollow(name), "reduction") == [], name


def test_what_factorizing_saves_is_told_of_pairs() -> None:
    found = {finding.stage: finding for finding in of(hollow("inception_v3"), "factorisation")}
    # 1 x 7 and 7 x 1 of 192 channels for 7 x 7: 14 weights instead of 49.
    assert found["mixed_7a"].kept
    assert found["mixed_7a"].number == pytest.approx(1 - 14 / 49)
    assert "1x7 and 7x1 for 7x7" in found["mixed_7a"].text


def test_a_large_kernel_is_named_with_what_would_be_cheaper() -> None:
    whole, factorized = hollow("inception_v3", factorize=False), hollow("inception_v3")
    sevens = [f for f in of(whole, "factorisation") if f.stage == "mixed_6e"]
    assert len(sevens) == 3
    for found in sevens:
        assert (found.kept, found.suggestion) == (False, "1x7 and 7x1")
        assert found.number == pytest.approx(1 - 14 / 49)
    assert "mixed_6e" not in broken(factorized, "factorisation")


def test_a_large_kernel_with_few_channels_is_left_alone() -> None:
    """GoogLeNet's first layer: three 3x3 in its place would cost more, for they would work on the large grid."""
    (first,) = [finding for finding in of(hollow("googlenet"), "factorisation") if finding.stage == "conv1"]
    assert first.kept
    assert first.number < 0


def test_a_grid_that_does_nearly_all_the_work_is_named() -> None:
    heavy = network(a=conv(64, 3), b=conv(64, 3), c=conv(80, 3, 2))
    (found,) = of(heavy, "balance", 32)
    assert (found.stage, found.kept) == ("a to b", False)
    work = [32 * 32 * 9 * (3 * 64 + 64 * 64), 16 * 16 * 9 * 64 * 80]
    assert found.number == pytest.approx(work[0] / sum(work))
    assert broken(hollow("xception65"), "balance") == ["block3 to block19"]  # sixteen middle blocks
    assert broken(hollow("inception_v4"), "balance") == []


class Foreign(nn.Module):
    """The two reductions of the paper, written by hand in somebody else's style."""

    def __init__(self, parallel: bool) -> None:
        super().__init__()
        self.parallel = parallel
        self.stem = nn.Conv2d(3, 32, 1)
        self.pool = nn.MaxPool2d(2)
        self.thin = nn.Conv2d(32, 7, 3, stride=2, padding=1)
        self.conv = nn.Conv2d(32, 32, 3, stride=2, padding=1)
        self.late = nn.Conv2d(32, 64, 3, padding=1)
        self.fc = nn.Linear(71 if parallel else 64, 10)

    def forward(self, images: Tensor) -> Tensor:
        images = torch.relu(self.stem(images))
        if self.parallel:
            images = torch.cat([self.pool(images), self.thin(images), self.conv(images)], 1)
        else:
            images = self.late(self.pool(images))
        return self.fc(torch.relu(images).mean((2, 3)))  # type: ignore[no-any-return]


def test_foreign_modules_are_checked_like_ours() -> None:
    assert broken(Foreign(parallel=False), "bottleneck", 16) == ["pool"]
    assert broken(Foreign(parallel=True), "bottleneck", 16) == []


class Inverted(nn.Module):
    """MobileNet's block with its gate, on half the grid."""

    def __init__(self, reads: int, expansion: int, writes: int) -> None:
        super().__init__()
        inner = reads * expansion
        self.expand = nn.Conv2d(reads, inner, 1)
        self.depthwise = nn.Conv2d(inner, inner, 3, 2, 1, groups=inner)
        self.gate = nn.Conv2d(inner, inner, 1)
        self.project = nn.Conv2d(inner, writes, 1)

    def forward(self, images: Tensor) -> Tensor:
        images = self.depthwise(self.expand(images))
        return self.project(images * self.gate(images.mean((2, 3), keepdim=True)).sigmoid())  # type: ignore[no-any-return]


def test_an_inverted_bottleneck_is_none() -> None:
    net = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU6(), Inverted(16, 4, 24))
    assert all(finding.kept for finding in principles(net, 32) if finding.principle != "balance")
    (found,) = of(net, "bottleneck", 32)
    assert (found.stage, found.number) == ("2", 8 * 8 * 24 / (16 * 16 * 16))
    assert of(net, "reduction", 32) == []  # a depthwise convolution has nothing to reduce


class Shortcut(nn.Module):
    """ResNet's block, which halves the grid in both of its arms; and the same without the shortcut."""

    def __init__(self, shortcut: bool) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 64, 1)
        self.block = nn.ModuleDict({"reduce": nn.Conv2d(64, 4, 1), "restore": nn.Conv2d(4, 128, 3, 2, 1)})
        self.project = nn.Conv2d(64, 128, 1, 2) if shortcut else None

    def forward(self, images: Tensor) -> Tensor:
        images = self.stem(images)
        narrow = self.block["restore"](self.block["reduce"](images))
        return narrow + self.project(images) if self.project else narrow


def test_a_foreign_shortcut_saves_what_its_block_squeezes() -> None:
    assert broken(Shortcut(shortcut=False), "bottleneck", 16) == ["block"]
    assert broken(Shortcut(shortcut=True), "bottleneck", 16) == []


class ChannelsLast(nn.Module):
    """ConvNeXt's and Swin's way: linear layers over the last axis, patches merged in the lower half."""

    def __init__(self, out: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 4, 4)
        self.mlp = nn.Sequential(nn.LayerNorm(16), nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))
        self.merge = nn.Linear(64, out)

    def forward(self, images: Tensor) -> Tensor:
        images = self.stem(images).permute(0, 2, 3, 1)
        images = images + self.mlp(images)
        corners = [images[:, row::2, column::2] for row in (0, 1) for column in (0, 1)]
        return self.merge(torch.cat(corners, -1))  # type: ignore[no-any-return]


def test_channels_may_come_last() -> None:
    (found,) = of(ChannelsLast(32), "widening", 32)
    assert "from 8x8 to 4x4; its channels go from 16 to 32" in found.text
    assert broken(ChannelsLast(12), "widening", 32) == ["merge"]


def test_a_stage_that_makes_positions_from_nothing_is_no_bottleneck() -> None:
    class Positioned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.places, self.late = nn.Conv2d(3, 8, 1), nn.Conv2d(1, 8, 1), nn.Conv2d(8, 16, 3)

        def forward(self, images: Tensor) -> Tensor:
            rows = torch.arange(4.0, device=images.device)[None, None, :, None].expand(1, 1, 4, 4)
            features: Tensor = self.late(self.stem(images) + self.places(rows))
            return features

    assert broken(Positioned(), "bottleneck", 4) == []


def test_the_work_of_tokens_weighs_though_they_have_no_grid() -> None:
    class Patches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.cut = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 16, 4, 4)
            self.tokens = nn.Linear(16, 160)

        def forward(self, images: Tensor) -> Tensor:
            return self.tokens(self.cut(self.stem(images)).flatten(2).transpose(1, 2))  # type: ignore[no-any-return]

    (found,) = of(Patches(), "balance", 16)
    work = [16 * 16 * 27 * 8, 16 * 16 * 8 * 16, 4 * 4 * 16 * 160]
    assert (found.stage, found.number) == ("stem", pytest.approx(work[0] / sum(work)))
    assert principles(nn.Sequential(nn.Flatten(2), nn.Linear(64, 8)), 8) == ()


def test_balance_tells_depth_and_width_of_every_grid() -> None:
    (found,) = of(network(a=conv(8), b=branches({"x": conv(4), "y": chain(conv(4), conv(6, 3), conv(7, 3))}),
                          c=conv(16, 3, 2)), "balance", 32)  # fmt: skip
    assert re.search(r"32x32: \d+%, 4 deep, 11 wide; 16x16: \d+%, 1 deep, 16 wide", found.text)


@pytest.mark.parametrize("name", MEMBERS)
def test_every_network_gets_a_verdict_on_every_principle_it_can_break(name: str) -> None:
    found = principles(hollow(name))
    assert {"bottleneck", "widening", "balance"} <= {finding.principle for finding in found}
    assert all((finding.suggestion is None) == finding.kept for finding in found)
