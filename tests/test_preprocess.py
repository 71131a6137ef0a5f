"""Geometry and normalization: the record that says how decoded pixels become a network's input."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image

from inceptions.image import Preprocess, resize_tf1, resize_tf2
from inceptions.image.preprocess import RESAMPLING

RAW = Preprocess(size=(6, 8), resize="stretch", crop_pct=1.0, interpolation="nearest")


def gradient(width: int = 8, height: int = 6) -> np.ndarray:
    """Every pixel differs from every other."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 20 + 10, y * 30 + 5, (x * height + y) * 5 % 256], axis=-1).astype(np.uint8)


# ---- geometry -------------------------------------------------------------------------------------------------------


def test_short_scales_the_shorter_side_and_keeps_the_center() -> None:
    image = Image.fromarray(np.random.default_rng(1).integers(0, 255, (90, 170, 3), np.uint8))
    shown = Preprocess(size=(28, 28), resize="short", crop_pct=0.875, interpolation="bilinear").image(image)
    wide = int(32 * 170 / 90)  # torchvision: Resize(32), CenterCrop(28)
    left = round((wide - 28) / 2)
    expected = image.resize((wide, 32), Image.Resampling.BILINEAR).crop((left, 2, left + 28, 30))
    np.testing.assert_array_equal(shown, np.asarray(expected).transpose(2, 0, 1))


def test_short_of_a_tall_input_covers_it() -> None:
    shown = Preprocess(size=(40, 20), crop_pct=1.0).image(Image.new("RGB", (100, 100), "white"))
    assert shown.shape == (3, 40, 20)
    assert shown.min() == 255  # nothing of the border is padding


@pytest.mark.parametrize("interpolation", ["nearest", "box", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("mean", [(0.5,), (0.5, 0.5, 0.5)])
def test_the_view_is_what_resizing_at_once_and_cropping_gives(interpolation: str, mean: tuple[float, ...]) -> None:
    preprocess = Preprocess(size=(96, 80), resize="stretch", interpolation=interpolation, mean=mean, std=mean)
    rng = np.random.default_rng(0)
    for width, height in ((500, 375), (375, 500), (91, 300), (300, 109), (91, 109), (1, 7), (900, 30)):
        image = Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).convert(preprocess.mode)
        expected = image.resize((91, 109), RESAMPLING[interpolation]).crop((6, 6, 86, 102))
        np.testing.assert_array_equal(np.asarray(preprocess.view(image)), np.asarray(expected))


def test_stretch_ignores_the_aspect() -> None:
    image = Image.fromarray(np.random.default_rng(1).integers(0, 255, (90, 170, 3), np.uint8))
    shown = Preprocess(size=(28, 28), resize="stretch", crop_pct=0.875, interpolation="bicubic").image(image)
    expected = image.resize((32, 32), Image.Resampling.BICUBIC).crop((2, 2, 30, 30))
    np.testing.assert_array_equal(shown, np.asarray(expected).transpose(2, 0, 1))


def test_central_crops_first_then_stretches() -> None:
    image = Image.fromarray(np.random.default_rng(1).integers(0, 255, (90, 170, 3), np.uint8))
    shown = Preprocess(size=(28, 28), resize="central", crop_pct=0.875, interpolation="bilinear").image(image)
    top, left = int((90 - 90 * 0.875) / 2), int((170 - 170 * 0.875) / 2)
    expected = image.crop((left, top, 170 - left, 90 - top)).resize((28, 28), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(shown, np.asarray(expected).transpose(2, 0, 1))


def test_each_interpolation_is_seen_to_act() -> None:
    image = Image.fromarray(np.random.default_rng(1).integers(0, 255, (50, 70, 3), np.uint8))
    names = list(RESAMPLING)
    results = [Preprocess(size=(20, 20), interpolation=name).image(image).astype(float) for name in names]
    for a in range(len(names)):
        for b in range(a):
            assert np.abs(results[a] - results[b]).max() > 1, (names[a], names[b])


def by_hand(pixels: np.ndarray, height: int, width: int, half: Fraction = Fraction(0)) -> np.ndarray:
    """TensorFlow's resizing without antialiasing in exact arithmetic, pixel by pixel; `half` is where centers are."""
    rows, columns = pixels.shape[:2]
    out = np.empty((height, width, pixels.shape[2]))
    for i in range(height):
        for j in range(width):
            # beyond the border lies the border
            y = min(max((i + half) * rows / height - half, 0), rows - 1)
            x = min(max((j + half) * columns / width - half, 0), columns - 1)
            y0, x0 = int(y), int(x)
            y1, x1 = min(y0 + 1, rows - 1), min(x0 + 1, columns - 1)
            for c in range(pixels.shape[2]):
                a, b, d, e = (Fraction(int(pixels[p, q, c])) for p, q in ((y0, x0), (y0, x1), (y1, x0), (y1, x1)))
                above, below = a + (b - a) * (x - x0), d + (e - d) * (x - x0)
                out[i, j, c] = float(above + (below - above) * (y - y0))
    return out


@pytest.mark.parametrize(("height", "width"), [(3, 5), (14, 9), (7, 11), (1, 1)])
def test_tf1_bilinear_equals_the_calculation_by_hand(height: int, width: int) -> None:
    image = np.random.default_rng(2).integers(0, 256, (7, 11, 3), np.uint8)
    shown = resize_tf1(image, height, width)
    assert shown.dtype == np.float32
    np.testing.assert_allclose(shown, by_hand(image, height, width), atol=1e-4)
    part = (0, 0, max(1, width - 1), height)
    np.testing.assert_array_equal(resize_tf1(image, height, width, part), shown[:, : part[2]])


def test_tf1_bilinear_of_a_published_example() -> None:
    """[[0, 2], [4, 6]] doubled: the last row and column repeat, because nothing is shifted by half a pixel."""
    doubled = resize_tf1(np.array([[0, 2], [4, 6]], np.uint8), 4, 4)
    np.testing.assert_array_equal(doubled, [[0, 1, 2, 2], [2, 3, 4, 4], [4, 5, 6, 6], [4, 5, 6, 6]])


@pytest.mark.parametrize(("height", "width"), [(3, 5), (14, 9), (7, 11), (1, 1)])
def test_tf2_bilinear_equals_the_calculation_by_hand(height: int, width: int) -> None:
    image = np.random.default_rng(2).integers(0, 256, (7, 11, 3), np.uint8)
    shown = resize_tf2(image, height, width)
    np.testing.assert_allclose(shown, by_hand(image, height, width, Fraction(1, 2)), atol=1e-3)
    whole = Preprocess(size=(height, width), resize="stretch", crop_pct=1.0, interpolation="tf2_bilinear")
    np.testing.assert_array_equal(whole.image(image), shown.transpose(2, 0, 1))


def test_tf2_bilinear_of_a_published_example() -> None:
    """[[0, 2], [4, 6]] doubled with half-pixel centers: a quarter and three quarters of the way."""
    doubled = resize_tf2(np.array([[0, 2], [4, 6]], np.uint8), 4, 4)
    expected = [[0, 0.5, 1.5, 2], [1, 1.5, 2.5, 3], [3, 3.5, 4.5, 5], [4, 4.5, 5.5, 6]]
    np.testing.assert_array_equal(doubled, expected)


def test_tf2_bilinear_is_torchs_without_antialiasing() -> None:
    image = np.random.default_rng(3).integers(0, 256, (90, 170, 3), np.uint8)
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].double()
    expected = torch.nn.functional.interpolate(pixels, (29, 41), mode="bilinear", align_corners=False)[0]
    np.testing.assert_allclose(resize_tf2(image, 29, 41).transpose(2, 0, 1), expected, atol=5e-3)


def test_nearest_is_the_pixel_below_the_center() -> None:
    """What Keras's `load_img` reads: floor((i + 1/2) * in / out)."""
    image = np.random.default_rng(3).integers(0, 256, (90, 170, 3), np.uint8)
    shown = Preprocess(size=(29, 37), resize="stretch", crop_pct=1.0, interpolation="nearest").image(image)
    rows = [int(Fraction(2 * i + 1, 2) * 90 / 29) for i in range(29)]
    columns = [int(Fraction(2 * i + 1, 2) * 170 / 37) for i in range(37)]
    np.testing.assert_array_equal(shown, image[np.ix_(rows, columns)].transpose(2, 0, 1))


@pytest.mark.parametrize(("width", "height"), [(90, 170), (170, 90), (64, 64)])
@pytest.mark.parametrize("resize", ["short", "stretch", "central"])
def test_the_part_that_is_seen_is_what_the_network_gets(resize: str, width: int, height: int) -> None:
    preprocess = Preprocess(size=(28, 28), resize=resize, crop_pct=0.75)
    ramp = np.zeros((height, width, 3), np.uint8)
    ramp[..., 0], ramp[..., 1] = np.arange(width), np.arange(height)[:, None]  # each pixel says where it is
    left, top, right, bottom = preprocess.seen(width, height)
    shown = preprocess.image(ramp).astype(float)
    step = (right - left) / 28, (bottom - top) / 28
    np.testing.assert_allclose(shown[0].mean(), (left + right) / 2 - 0.5, atol=0.6)
    np.testing.assert_allclose(shown[1].mean(), (top + bottom) / 2 - 0.5, atol=0.6)
    np.testing.assert_allclose(shown[0, 0, 20] - shown[0, 0, 8], 12 * step[0], atol=1)
    np.testing.assert_allclose(shown[1, 20, 0] - shown[1, 8, 0], 12 * step[1], atol=1)


def test_large_parts_are_cut_out_like_small_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image.fromarray(np.random.default_rng(1).integers(0, 255, (90, 170, 3), np.uint8))
    small = [Preprocess(size=(28, 28), resize=resize).image(image) for resize in ("short", "central")]
    monkeypatch.setattr("inceptions.image.preprocess._LARGE", 1)
    large = [Preprocess(size=(28, 28), resize=resize).image(image) for resize in ("short", "central")]
    np.testing.assert_array_equal(small, large)


@pytest.mark.parametrize("resize", ["short", "stretch", "central"])
def test_tf1_images_are_fractional_and_placed_like_the_others(resize: str) -> None:
    smooth = Image.fromarray(gradient(8, 6)).resize((160, 120), Image.Resampling.BICUBIC)
    options = {"size": (80, 100), "resize": resize, "crop_pct": 0.8}
    fractional = Preprocess(interpolation="tf1_bilinear", **options).image(smooth)
    rounded = Preprocess(interpolation="bilinear", **options).image(smooth)
    assert fractional.dtype == np.float32
    assert (fractional != fractional.round()).any()
    assert fractional.shape == rounded.shape
    assert np.abs(fractional - rounded).mean() < 4  # half a pixel apart


# ---- normalization --------------------------------------------------------------------------------------------------


def test_normalizing_is_the_published_formula() -> None:
    images = torch.randint(0, 256, (2, 3, 4, 5), dtype=torch.uint8)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    ours = Preprocess(size=(4, 5), mean=mean, std=std).normalize(images)
    expected = (images.double() / 255 - torch.tensor(mean).double()[:, None, None]) / torch.tensor(std).double()[
        :, None, None
    ]
    torch.testing.assert_close(ours.double(), expected, atol=1e-6, rtol=0)
    assert ours.dtype == torch.float32


def test_value_range_255_leaves_raw_pixels() -> None:
    images = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).expand(1, 3, 16, 16)
    raw = Preprocess(size=(16, 16), value_range=255.0, mean=(0, 0, 0), std=(1, 1, 1))
    torch.testing.assert_close(raw.normalize(images), images.float(), atol=0, rtol=0)
    caffe = Preprocess(size=(16, 16), value_range=255.0, mean=(104, 117, 123), std=(1, 1, 1), channel_order="bgr")
    assert caffe.normalize(images)[0, :, 0, 0].tolist() == [-104, -117, -123]


def test_bgr_turns_the_channels_before_mean_and_std() -> None:
    image = Image.new("RGB", (4, 4), (10, 20, 30))
    bgr = Preprocess(size=(4, 4), channel_order="bgr", mean=(30 / 255, 0, 0), std=(1, 1, 1))
    assert bgr.image(image)[:, 0, 0].tolist() == [30, 20, 10]
    assert abs(float(bgr(image)[0, 0, 0])) < 1e-7


def test_one_image_equals_itself_in_a_batch() -> None:
    image = Image.fromarray(gradient())
    batch = torch.from_numpy(np.stack([RAW.image(image)] * 3))
    assert torch.equal(RAW.normalize(batch)[1], RAW(image))


def test_channels_last_stays_channels_last() -> None:
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8).to(memory_format=torch.channels_last)
    assert RAW.normalize(images).is_contiguous(memory_format=torch.channels_last)


def test_another_number_of_channels_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(1, 1, 4, 4\) given, \(..., 3, H, W\) expected"):
        RAW.normalize(torch.zeros(1, 1, 4, 4))


# ---- the record -----------------------------------------------------------------------------------------------------


def test_the_record_survives_json() -> None:
    record = Preprocess(
        size=(299, 200),
        resize="central",
        crop_pct=0.9,
        interpolation="lanczos",
        mean=(0.1, 0.2, 0.3),
        std=(1.0, 2.0, 3.0),
        value_range=255.0,
        channel_order="bgr",
    )
    assert Preprocess.from_dict(json.loads(json.dumps(record.to_dict()))) == record


def test_a_record_with_other_keys_is_refused() -> None:
    values = RAW.to_dict()
    del values["mean"]
    with pytest.raises(ValueError, match=r"unknown keys \['foo'\], missing keys \['mean'\]"):
        Preprocess.from_dict(values | {"foo": 1})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("size", (0, 3)),
        ("size", 299),
        ("size", (299.0, 299)),
        ("resize", "crop"),
        ("crop_pct", 1.5),
        ("crop_pct", float("nan")),
        ("interpolation", "hamming"),
        ("mean", (0.5, 0.5)),
        ("mean", "abc"),
        ("std", (1, 1, 0)),
        ("value_range", 0),
        ("value_range", 10**400),
        ("size", (True, 8)),
        ("channel_order", "rbg"),
    ],
)
def test_a_field_out_of_range_is_named_with_what_is_allowed(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{field} is .*expected"):
        Preprocess(**({"size": (8, 8)} | {field: value}))


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(ValueError, match=r"(?s)size.*resize.*crop_pct"):
        Preprocess(size=(0, 0), resize="x", crop_pct=0)


def test_timm_keys_hold_the_same_facts() -> None:
    raw = Preprocess(
        size=(299, 299), value_range=255.0, mean=(127.5,) * 3, std=(51.0,) * 3, interpolation="tf1_bilinear"
    )
    assert raw.timm() == {
        "input_size": [3, 299, 299],
        "mean": [0.5, 0.5, 0.5],
        "std": [0.2, 0.2, 0.2],
        "interpolation": "bilinear",
        "crop_pct": 0.875,
        "crop_mode": "center",
    }
    assert Preprocess(size=(9, 9), interpolation="tf2_bilinear").timm()["interpolation"] == "bilinear"
