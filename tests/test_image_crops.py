"""The papers' crops: each equals what Pillow cuts by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from inceptions.data import batches
from inceptions.data.dataset import Split
from inceptions.image import Preprocess, UnreadableImage, with_crops
from inceptions.image.crops import scales

BILINEAR = Image.Resampling.BILINEAR


def photograph(width: int, height: int) -> Image.Image:
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def planes(image: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(image).transpose(2, 0, 1)


def six_by_hand(square: Image.Image, whole: Image.Image, size: int) -> list[Image.Image]:
    room = square.width - size
    corners = [(0, 0), (room, 0), (0, room), (room, room), (room // 2, room // 2)]
    return [square.crop((x, y, x + size, y + size)) for x, y in corners] + [whole.resize((size, size), BILINEAR)]


def test_the_scales_are_the_papers() -> None:
    assert scales(224) == (256, 288, 320, 352)
    assert scales(299) == (320, 352, 384, 416)
    assert scales(32) == (36, 40, 44, 48)


@pytest.mark.parametrize("crops", [10, 12])
@pytest.mark.parametrize(("width", "height"), [(96, 64), (64, 96), (80, 80)])
def test_ten_and_twelve_crops_are_corners_center_whole_and_mirrors(crops: int, width: int, height: int) -> None:
    image = photograph(width, height)
    result = with_crops(Preprocess(size=(28, 28), crop_pct=0.875), crops).image(image)
    wide, tall = (round(32 * width / min(width, height)), round(32 * height / min(width, height)))
    scaled = image.resize((wide, tall), BILINEAR)
    left, top = (wide - 32) // 2, (tall - 32) // 2
    square = scaled.crop((left, top, left + 32, top + 32))
    short = min(width, height)
    whole = image.crop(((width - short) // 2, (height - short) // 2, (width + short) // 2, (height + short) // 2))
    by_hand = six_by_hand(square, whole, 28)[: crops // 2]
    assert result.shape == (crops, 3, 28, 28)
    for i, crop in enumerate(by_hand):
        assert (result[2 * i] == planes(crop)).all()
        assert (result[2 * i + 1] == planes(crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT))).all()


def test_the_center_of_ten_crops_is_the_ordinary_crop() -> None:
    preprocess = Preprocess(size=(28, 28), crop_pct=0.875)
    image = photograph(96, 64)
    assert (with_crops(preprocess, 10).image(image)[8] == preprocess.image(image)).all()


@pytest.mark.parametrize("upright", [False, True])
def test_144_crops_are_four_scales_of_three_squares_of_six_views_of_two_mirrors(upright: bool) -> None:
    image = photograph(64, 96) if upright else photograph(96, 64)
    result = with_crops(Preprocess(size=(32, 32)), 144).image(image)
    assert result.shape == (144, 3, 32, 32)
    by_hand: list[Image.Image] = []
    for scale in (36, 40, 44, 48):
        long = int(scale * 1.5)
        scaled = image.resize((scale, long) if upright else (long, scale), BILINEAR)
        for at, first in ((0, 0), ((long - scale) // 2, 16), (long - scale, 32)):
            box, original = (at, 0, at + scale, scale), (first, 0, first + 64, 64)
            if upright:
                box, original = (0, at, scale, at + scale), (0, first, 64, first + 64)
            by_hand += six_by_hand(scaled.crop(box), image.crop(original), 32)
    assert all((result[2 * i] == planes(crop)).all() for i, crop in enumerate(by_hand))
    assert (result[1::2] == result[::2][..., ::-1]).all()


def test_where_the_network_crops_nothing_the_first_scale_gives_room() -> None:
    tight = Preprocess(size=(32, 32), crop_pct=1.0)
    result = with_crops(tight, 10).image(photograph(64, 64))
    assert (result[0] == planes(photograph(64, 64).resize((36, 36), BILINEAR).crop((0, 0, 32, 32)))).all()
    assert not (result[0] == result[2]).all()


def test_stretching_networks_crop_from_the_stretched_whole() -> None:
    image = photograph(96, 64)
    result = with_crops(Preprocess(size=(28, 28), crop_pct=0.875, resize="stretch"), 12).image(image)
    by_hand = six_by_hand(image.resize((32, 32), BILINEAR), image, 28)
    assert all((result[2 * i] == planes(crop)).all() for i, crop in enumerate(by_hand))


def test_a_photograph_turned_by_its_exif_is_cropped_upright_once(tmp_path: Path) -> None:
    image, exif = photograph(96, 64), Image.Exif()
    exif[0x0112] = 6
    image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    twelve = with_crops(Preprocess(size=(28, 28)), 12)
    assert (twelve.image(tmp_path / "turned.png") == twelve.image(image)).all()


def test_channel_order_and_fractional_values_are_the_networks() -> None:
    image = photograph(96, 64)
    rgb = with_crops(Preprocess(size=(28, 28)), 12).image(image)
    bgr = with_crops(Preprocess(size=(28, 28), channel_order="bgr"), 12).image(image)
    assert (rgb == bgr[:, ::-1]).all()
    assert with_crops(Preprocess(size=(28, 28), interpolation="tf1_bilinear"), 12).image(image).dtype == np.float32
    gray = with_crops(Preprocess(size=(28, 28), mean=(0.5,), std=(0.5,)), 12).image(image)
    assert gray.shape == (12, 1, 28, 28)


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_carry_all_crops_of_their_images(workers: int, tmp_path: Path) -> None:
    names = [f"{i}.png" for i in range(3)]
    for i, name in enumerate(names):
        photograph(40 + 8 * i, 40).save(tmp_path / name)
    twelve = with_crops(Preprocess(size=(28, 28)), 12)
    split = Split(root=tmp_path, files=np.array(names, np.bytes_), targets=np.zeros(3, np.int64), classes=("a",))
    first, last = batches(split, twelve, batch_size=2, workers=workers)
    assert (tuple(first.images.shape), len(last)) == ((2, 12, 3, 28, 28), 1)
    assert (first.images[1].numpy() == twelve.image(tmp_path / names[1])).all()


@pytest.mark.parametrize(("crops", "size"), [(11, (28, 28)), (0, (28, 28)), (10, (28, 32))])
def test_what_is_no_protocol_is_refused(crops: int, size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"1, 10, 12, 144|square images"):
        with_crops(Preprocess(size=size), crops)


def test_too_elongated_images_are_refused_by_name_not_by_a_crash() -> None:
    with pytest.raises(UnreadableImage, match="too elongated"):
        with_crops(Preprocess(size=(28, 28)), 12).image(np.zeros((2, 4000, 3), np.uint8))
