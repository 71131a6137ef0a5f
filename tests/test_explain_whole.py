"""The map on the whole image lies where the network looked."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from inceptions.cli import main
from inceptions.explain import explain, overlaid_whole, shown
from inceptions.image import Preprocess
from inceptions.weights import artifact
from inceptions.zoo import Network, build


def tiny() -> Network:
    torch.manual_seed(0)
    net = build("googlenet", num_classes=2, stem="small", width=0.1, depth=0.3).eval()
    net.preprocess, net.classes = Preprocess(size=(32, 32), crop_pct=0.8), ("a", "b")
    return net


def test_the_whole_is_upright_and_the_map_lies_on_the_part_that_was_seen() -> None:
    weights = torch.zeros(8, 8)
    weights[:4, :4] = 1  # the upper left quarter of what the network saw
    whole = Image.new("RGB", (200, 400), (90, 90, 90))
    drawn = np.asarray(overlaid_whole(whole, (0.1, 0.3, 0.9, 0.7), weights)).astype(int)
    assert drawn.shape == (400, 200, 3)
    red = drawn[..., 0] - drawn[..., 2]
    assert red[125:190, 25:90].min() > 50  # inside the quarter
    assert np.abs(red[:120]).max() == np.abs(red[280:]).max() == np.abs(red[:, :20]).max() == 0
    assert (drawn[60, 100] > drawn[250, 150]).all()  # what was not seen is faded
    assert drawn[120, 100].max() < 60  # the frame


def test_a_large_whole_is_drawn_smaller() -> None:
    drawn = overlaid_whole(Image.new("RGB", (6000, 3000)), (0.25, 0, 0.75, 1), torch.zeros(8, 8))
    assert drawn.size == (2048, 1024)


@pytest.mark.parametrize("seen", [(0.0, 0.0, 1.0, 1.0), (0.0, 0.4999, 1.0, 0.5), (0.999, 0.999, 1.0, 1.0)])
def test_a_part_of_any_size_can_be_drawn(seen: tuple[float, float, float, float]) -> None:
    assert overlaid_whole(Image.new("L", (30, 20)), seen, torch.ones(4, 4)).size == (30, 20)


def test_the_command_writes_the_whole_upright_in_its_own_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = tiny()
    artifact.save(net, tmp_path / "model")
    photo, exif = np.random.default_rng(0).integers(0, 255, (54, 96, 3), np.uint8), Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(photo).save(tmp_path / "photo.jpg", exif=exif)
    words = [
        "explain",
        str(tmp_path / "model"),
        str(tmp_path / "photo.jpg"),
        "--output",
        str(tmp_path / "out"),
        "--json",
    ]
    assert main([*words, "--whole"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [Path(file).name for file in found["written"]] == ["1-photo.png", "1-photo-whole.png"]
    with Image.open(found["written"][1]) as drawn:
        assert drawn.size == (54, 96)
    assert main(words) == 0
    assert len(json.loads(capsys.readouterr().out)["written"]) == 1
    answer = explain(net, tmp_path / "photo.jpg", whole=True)
    assert answer.whole is not None
    assert answer.whole.size == (54, 96)
    assert answer.seen == pytest.approx((0.1, 0.5 - 0.4 * 54 / 96, 0.9, 0.5 + 0.4 * 54 / 96), abs=0.02)
    np.testing.assert_array_equal(answer.image, shown(net.preprocess.image(tmp_path / "photo.jpg"), net.preprocess))
