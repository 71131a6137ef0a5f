"""Maps lie on what they must lie on, and change with the weights; contributions add up to the logit."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from inceptions.cli import main
from inceptions.explain import (
    METHODS,
    Method,
    attribute,
    branch_answers,
    explain,
    feature_maps,
    first_filters,
    grid_stage,
    overlaid,
    sheet,
    shown,
)
from inceptions.image import Preprocess
from inceptions.layers import Head, convolution, initialize, max_pool
from inceptions.models import open_model
from inceptions.weights import artifact
from inceptions.zoo import Network, Table, build
from tests.tiny import exported

SIDE = 32
PIXELS = 48


@pytest.fixture
def red_or_blue() -> Network:
    """Says how much red (class 0) and how much blue (class 1) there is, by weights that are set by hand."""
    conv = convolution()
    net = Network(Table((("colors", conv(2)), ("halved", max_pool(3, 2))), Head()), num_classes=2)
    with torch.no_grad():
        colors, head = net.body.colors.conv, net.head.linear
        colors.weight.copy_(torch.tensor([[1.0, -1.0, -1.0], [-1.0, -1.0, 1.0]])[..., None, None])  # type: ignore[union-attr,operator]  # a Conv2d
        head.weight.copy_(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]))  # type: ignore[union-attr,operator]  # a Linear
    return net.eval()


@pytest.fixture
def squares() -> Tensor:
    """On black, a red square at the top left and a blue one at the bottom right."""
    images = torch.zeros(1, 3, SIDE, SIDE)
    images[0, 0, 4:12, 4:12] = 1
    images[0, 2, 20:28, 18:26] = 1
    return images


def tiny(**options: Any) -> Network:
    torch.manual_seed(0)
    return build("googlenet", width=0.125, depth=0.4, stem="small", norm="batch", num_classes=4, **options).eval()


def an_image(seed: int = 0, count: int = 1) -> Tensor:
    return torch.randn(count, 3, PIXELS, PIXELS, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("target", "rows", "columns"), [(0, (4, 12), (4, 12)), (1, (20, 28), (18, 26))])
def test_the_map_of_a_synthetic_target_lies_on_it(
    red_or_blue: Network, squares: Tensor, method: Method, target: int, rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    (found,) = attribute(red_or_blue, squares, [target], method=method).clamp(min=0)
    blurred = 4 if method == "occlusion" else 3  # a window's side; a pool's reach and a step of the grid
    inside = found[rows[0] - blurred : rows[1] + blurred, columns[0] - blurred : columns[1] + blurred]
    assert inside.sum() > 0.99 * found.sum()
    strongest = divmod(int(found.argmax()), SIDE)
    assert rows[0] - 1 <= strongest[0] <= rows[1]
    assert columns[0] - 1 <= strongest[1] <= columns[1]


@pytest.mark.parametrize("method", ["integrated_gradients", "occlusion"])
def test_what_speaks_against_a_class_is_negative(red_or_blue: Network, squares: Tensor, method: Method) -> None:
    (found,) = attribute(red_or_blue, squares, [0], method=method)
    assert found[20:28, 18:26].sum() < 0 < found[4:12, 4:12].sum()


def test_grad_cam_shows_no_evidence_against(red_or_blue: Network, squares: Tensor) -> None:
    assert attribute(red_or_blue, squares, [0]).min() >= 0


@pytest.mark.parametrize("method", METHODS)
def test_other_weights_give_another_map(method: Method) -> None:
    net = tiny()
    target = [int(net(an_image()).argmax())]
    (before,) = attribute(net, an_image(), target, method=method)
    (again,) = attribute(net, an_image(), target, method=method)
    torch.manual_seed(7)
    initialize(net.modules())
    (after,) = attribute(net, an_image(), [int(net(an_image()).argmax())], method=method)
    assert torch.equal(before, again)
    assert before.abs().sum() > 0
    alike = torch.corrcoef(torch.stack([before.flatten(), after.flatten()]))[0, 1]
    assert abs(alike) < 0.5


@pytest.mark.parametrize("method", METHODS)
def test_images_do_not_change_each_others_maps(method: Method) -> None:
    net, pair = tiny(), an_image(count=2)
    both = attribute(net, pair, [0, 3], method=method)
    assert both.shape == (2, PIXELS, PIXELS)
    for index, target in enumerate([0, 3]):
        alone = attribute(net, pair[index : index + 1], [target], method=method)
        torch.testing.assert_close(both[index], alone[0], rtol=1e-3, atol=1e-4)


def test_integrated_gradients_add_up_to_the_difference_of_the_logits(red_or_blue: Network, squares: Tensor) -> None:
    found = attribute(red_or_blue, squares, [0], method="integrated_gradients")
    with torch.no_grad():
        difference = red_or_blue(squares)[0, 0] - red_or_blue(torch.zeros_like(squares))[0, 0]
    assert found.sum().item() == pytest.approx(difference.item(), abs=1e-4)


def test_the_class_and_the_stage_act() -> None:
    net = tiny()
    best, worst = (int(index) for index in net(an_image())[0].topk(4).indices[[0, 3]])
    maps = [attribute(net, an_image(), [target], stage=stage) for target, stage in (
        (best, "inception_4b"), (worst, "inception_4b"), (best, "inception_3a"))]  # fmt: skip
    assert maps[0].sum() > 0
    assert not torch.equal(maps[0], maps[1])
    assert not torch.equal(maps[0], maps[2])


@pytest.mark.parametrize(("size", "stage"), [(299, "mixed_7c"), (160, "mixed_6e"), (128, "mixed_6e"), (75, "mixed_5d")])
def test_the_default_stage_is_the_last_that_can_say_where(size: int, stage: str) -> None:
    with torch.device("meta"):
        net = build("inception_v3")
    assert grid_stage(net, (size, size)) == stage


def test_the_default_stage_is_the_one_grad_cam_looks_at() -> None:
    net, image = tiny(), an_image()
    target = [int(net(image).argmax())]
    default = attribute(net, image, target)
    assert default.sum() > 0
    assert torch.equal(default, attribute(net, image, target, stage=grid_stage(net, (PIXELS, PIXELS))))


def test_without_a_fine_grid_the_finest_is_taken() -> None:
    net = Network(Table((("a", max_pool(3, 4)), ("b", max_pool(3, 2))), Head()), num_classes=2)
    assert grid_stage(net, (8, 8)) == "a"


def test_the_branches_of_the_last_stage_share_out_the_logit_exactly() -> None:
    net, image = tiny(), an_image()
    answers = branch_answers(net, image, 2, net.stages[-1])
    assert [answer.name for answer in answers] == ["1x1", "3x3", "5x5", "pool"]
    assert sum(answer.channels for answer in answers) == net.num_features
    with torch.no_grad():
        logit = net(image)[0, 2] - net.head.linear.bias[2]  # type: ignore[union-attr,index]  # a Linear
    assert sum(answer.contribution for answer in answers) == pytest.approx(logit.item(), rel=1e-4)
    assert all(answer.map.shape == (PIXELS, PIXELS) for answer in answers)


def test_a_silenced_branch_does_not_answer() -> None:
    net, image = tiny(), an_image()
    for name, parameter in net.body.get_submodule(net.stages[-1]).named_parameters():
        if name.startswith("5x5"):
            torch.nn.init.zeros_(parameter)
    answers = {answer.name: answer for answer in branch_answers(net, image, 2, net.stages[-1])}
    assert answers["5x5"].contribution == 0
    assert answers["5x5"].map.abs().sum() == 0
    assert answers["3x3"].contribution != 0


def test_the_branches_inside_a_residual_block_answer_too() -> None:
    torch.manual_seed(0)
    net = build("inception_resnet_v2", width=0.125, depth=0.05, stem="small", num_classes=3).requires_grad_(False)
    answers = branch_answers(net, an_image(), 0, "block17_1")
    assert [answer.name for answer in answers] == ["1x1", "7x7"]


def test_feature_maps_are_a_stages_output_strongest_first() -> None:
    net, image = tiny(), an_image()
    maps = feature_maps(net, image, "inception_3a")
    with torch.no_grad():
        output = net.forward_stages(image)["inception_3a"][0]
    strengths = maps.abs().mean((1, 2))
    assert (strengths.diff() <= 0).all()
    torch.testing.assert_close(strengths, output.abs().mean((1, 2)).sort(descending=True).values)
    assert {tuple(plane.flatten().tolist()) for plane in maps} == {tuple(plane.flatten().tolist()) for plane in output}


def test_first_filters_are_the_first_layers() -> None:
    net = tiny()
    assert torch.equal(first_filters(net), net.body.conv1.conv.weight.detach())  # type: ignore[union-attr,operator]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"method": "guess"}, "grad_cam, integrated_gradients, occlusion"),
        ({"stage": "mixed_9z"}, "has no stage 'mixed_9z'; it has: conv1"),
        ({"stage": "conv1", "method": "occlusion"}, "leave the stage out"),
        ({"targets": [0, 1]}, "1 images need as many targets"),
    ],
)
def test_impossible_questions_are_refused_in_words(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        attribute(tiny(), an_image(), **{"targets": [0], **arguments})


def test_a_stage_without_branches_is_refused_with_those_that_have_some() -> None:
    with pytest.raises(ValueError, match="has no branches; these have: inception_3a"):
        branch_answers(tiny(), an_image(), 0, "conv1")
    plain = Network(Table((("a", max_pool(3, 4)),), Head()), num_classes=2)
    with pytest.raises(ValueError, match="nor has any other"):
        branch_answers(plain, an_image(), 0, "a")


# --- drawing ------------------------------------------------------------------------------------------------------


def test_an_overlay_is_warm_where_the_map_is_positive_cold_where_negative_and_clear_elsewhere() -> None:
    weights = torch.zeros(8, 8)
    weights[0, 0], weights[7, 7] = 2.0, -2.0
    drawn = np.asarray(overlaid(Image.new("RGB", (8, 8), (90, 90, 90)), weights)).astype(int)
    assert drawn[0, 0, 0] > drawn[0, 0, 2]
    assert drawn[7, 7, 2] > drawn[7, 7, 0]
    assert (drawn[3, 4] == 90).all()


def test_the_only_colors_over_a_image_are_the_maps() -> None:
    """A red flower must not pass for evidence."""
    drawn = np.asarray(overlaid(Image.new("RGB", (4, 4), (250, 30, 10)), torch.zeros(4, 4)))
    assert (drawn == drawn[..., :1]).all()
    assert drawn[0, 0, 0] == np.asarray(Image.new("RGB", (1, 1), (250, 30, 10)).convert("L"))[0, 0]


def test_the_stronger_the_map_the_more_it_covers() -> None:
    drawn = np.asarray(overlaid(Image.new("RGB", (4, 1), (90, 90, 90)), torch.tensor([[0.0, 1.0, 2.0, 4.0]])))
    assert (np.diff(drawn[0, :, 0].astype(int)) > 0).all()
    weaker = np.asarray(overlaid(Image.new("RGB", (4, 1)), torch.tensor([[0.0, 1.0, 2.0, 4.0]]), strongest=8.0))
    assert weaker[0, 3, 0] < drawn[0, 3, 0]


def test_a_small_map_is_drawn_large_enough_to_see() -> None:
    weights = torch.zeros(8, 12)
    weights[:4] = 1.0
    drawn = np.asarray(overlaid(Image.new("RGB", (12, 8)), weights, side=100))
    assert drawn.shape == (8 * 13, 12 * 13, 3)
    assert drawn[:40, :, 0].min() > 100
    assert drawn[-40:].max() == 0
    assert overlaid(Image.new("RGB", (12, 8)), weights, side=5).size == (12, 8)


def test_a_image_is_shown_as_people_see_it() -> None:
    planes = np.zeros((3, 2, 2), dtype=np.uint8)
    planes[0] = 255
    rgb = Preprocess(size=(2, 2), mean=(0.0,) * 3, std=(1.0,) * 3)
    bgr = Preprocess(size=(2, 2), mean=(0.0,) * 3, std=(1.0,) * 3, channel_order="bgr")
    assert shown(planes, rgb).getpixel((0, 0)) == (255, 0, 0)
    assert shown(planes, bgr).getpixel((0, 0)) == (0, 0, 255)
    assert shown(planes[:1], rgb).getpixel((1, 1)) == (255, 255, 255)


def test_a_sheet_stretches_every_map_for_itself() -> None:
    maps = torch.tensor([[[0.0, 1.0]], [[5.0, 9.0]], [[3.0, 3.0]]])
    drawn = np.asarray(sheet(maps, columns=2, scale=3, gap=1))
    assert drawn.shape == (2 * 3 + 1, 2 * 6 + 1, 3)
    assert drawn[0, 0, 0] == drawn[0, 7, 0] == 0
    assert drawn[0, 5, 0] == drawn[0, 12, 0] == 255
    assert drawn[4, 0, 0] == 0


def test_filters_of_color_images_are_shown_in_color() -> None:
    filters = torch.zeros(1, 3, 1, 1)
    filters[0, 0] = 1
    assert tuple(np.asarray(sheet(filters))[0, 0]) == (255, 0, 0)


# --- on the command line ------------------------------------------------------------------------------------------

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    net = tiny()
    net.preprocess = Preprocess(size=(PIXELS, PIXELS), mean=(0.5,) * 3, std=(0.5,) * 3)
    net.classes = (HOSTILE, "b", "c", "d")
    artifact.save(net, tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    draws = np.random.default_rng(0)
    for name in ("one", "two"):
        Image.fromarray(draws.integers(0, 256, (60, 50, 3), dtype=np.uint8)).save(tmp_path / f"{name}.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    return [tmp_path / "one.png", tmp_path / "broken.png", tmp_path / "two.png"]


def test_the_command_writes_a_map_for_each_image_and_a_page(
    model: Path, files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["explain", str(model), *map(str, files), "--output", str(tmp_path / "out"), "--branches", "--json"]
    assert main([*words, "--feature-maps", "--filters", "--top-k", "4"]) == 0
    one, broken, two = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (Path(one["file"]).name, Path(two["file"]).name) == ("one.png", "two.png")
    assert set(broken) == {"file", "error"}
    for found in (one, two):
        assert found["target"] == found["top_k"][0]["label"]
        assert [branch["name"] for branch in found["branches"]] == ["1x1", "3x3", "5x5", "pool"]
        assert [Path(file).name.partition("-")[2] for file in found["written"]] == [
            f"{Path(found['file']).stem}{part}.png"
            for part in ("", "-branch-1x1", "-branch-3x3", "-branch-5x5", "-branch-pool", "-channels")
        ]
        assert found["map"] == found["written"][0]
        for file in found["written"]:
            with Image.open(file) as drawn:
                assert min(drawn.size) >= 256
    with Image.open(tmp_path / "out" / "filters.png") as drawn:
        assert drawn.size[0] > 3 * 48
    page = (tmp_path / "out" / "explained.html").read_text()
    assert page.count("<figure") == 2 * (2 + 4 + 1) + 1  # image, map, branches, channels; the filters once
    assert "<img src=x" not in page
    assert html.escape(HOSTILE) in page


def test_the_commands_options_act(
    model: Path, files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    maps = {}
    for options in (["--target", "b"], ["--target", "c"], ["--target", "b", "--stage", "conv1"],
                    ["--target", "b", "--method", "occlusion"]):  # fmt: skip
        output = tmp_path / "_".join(options)
        assert main(["explain", str(model), str(files[0]), *options, "--output", str(output), "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["target"] == options[1]
        maps[tuple(options)] = Path(found["map"]).read_bytes()
    assert len(set(maps.values())) == 4


def test_the_command_refuses_in_words(
    model: Path, files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, code, said in (
        ([str(model)], 2, "no images given"),
        ([str(model), str(files[0]), "--target", "z"], 2, "no class is called 'z'"),
        ([str(model), str(files[0]), "--stage", "nope"], 2, "has no stage 'nope'; it has: conv1"),
        ([str(model), str(files[0]), "--top-k", "0"], 2, "top_k is 0; it must be at least 1"),
        ([str(model), str(files[1])], 3, "none of the 1 images"),
    ):
        assert main(["explain", *words, "--output", str(tmp_path / "out")]) == code
        assert said in capsys.readouterr().err
        assert not (tmp_path / "out").exists()


def test_an_export_cannot_be_explained(model: Path, files: list[Path], tmp_path: Path) -> None:
    export = open_model(exported(artifact.load(model), tmp_path / "export"))
    with pytest.raises(ValueError, match="export is an export, which has no weights in PyTorch: give the run or model"):
        explain(export, files[0])


def test_at_least_one_class_is_named(model: Path, files: list[Path]) -> None:
    with pytest.raises(ValueError, match="top_k is 0; it must be at least 1"):
        explain(artifact.load(model), files[0], top_k=0)


def test_a_network_without_classes_cannot_explain_itself() -> None:
    with pytest.raises(ValueError, match="class names"):
        explain(tiny(), np.zeros((40, 40, 3), dtype=np.uint8))
