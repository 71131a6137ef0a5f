"""Augmentation: each option is seen to act, within its limits, as a function of (seed, epoch, index)."""

from __future__ import annotations

import colorsys
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inceptions.data import Augment, augmented
from inceptions.data.augment import _choose_part
from inceptions.data.color_jitter import distorted
from inceptions.data.keyed_random import AUGMENT, ORDER, Draws
from inceptions.data.trivial_augment import OPERATIONS, trivial_augment
from inceptions.image import Preprocess, UnreadableImage

SMALL = Preprocess(size=(32, 32), crop_pct=1.0)
STILL = Augment(crop="none", flip=False)


def scene(width: int = 48, height: int = 48) -> Image.Image:
    """Smooth, colored, nowhere symmetric."""
    y, x = np.mgrid[:height, :width] / height
    planes = [40 + 150 * x, 30 + 160 * y * y, 200 - 120 * x * y]
    return Image.fromarray(np.stack(planes, axis=-1).clip(0, 255).astype(np.uint8))


def many(
    augment: Augment, n: int = 60, source: Image.Image | None = None, preprocess: Preprocess = SMALL
) -> np.ndarray:
    source = source or scene()
    return np.stack([augmented(source, preprocess, augment, seed=0, epoch=0, index=i) for i in range(n)])


def draws(index: int = 0) -> Draws:
    return Draws(0, 0, index, stream=AUGMENT)


# ---- randomness -----------------------------------------------------------------------------------------------------


def test_a_image_is_a_function_of_seed_epoch_and_index() -> None:
    augment = Augment(brightness=0.4, hue=0.2, trivial=True, erase=1.0)
    first = augmented(scene(), SMALL, augment, seed=1, epoch=2, index=3)
    np.testing.assert_array_equal(first, augmented(scene(), SMALL, augment, seed=1, epoch=2, index=3))
    for other in ((2, 2, 3), (1, 3, 3), (1, 2, 4), (2, 1, 3), (3, 2, 1)):
        seed, epoch, index = other
        assert (augmented(scene(), SMALL, augment, seed=seed, epoch=epoch, index=index) != first).any()


def test_draws_are_uniform_and_their_streams_differ() -> None:
    values = np.array(
        [[Draws(0, epoch, index, stream=AUGMENT).uniform() for index in range(50)] for epoch in range(50)]
    )
    assert abs(values.mean() - 0.5) < 4 * np.sqrt(1 / 12 / 2500)
    assert abs(np.corrcoef(values[0], values[1])[0, 1]) < 0.5
    assert len(np.unique(values)) == 2500
    assert Draws(0, 0, 0, stream=AUGMENT).uniform() != Draws(0, 0, 0, stream=ORDER).uniform()
    noise = draws().noise(3, 50, 50)
    assert abs(noise.mean() - 127.5) < 4 * 74 / np.sqrt(7500)
    assert {draws(i).below(3) for i in range(60)} == {0, 1, 2}


# ---- the crop -------------------------------------------------------------------------------------------------------


def test_parts_keep_to_area_and_aspect_and_lie_inside() -> None:
    augment = Augment(scale=(0.2, 0.5), ratio=(0.5, 2.0))
    shares, ratios = [], []
    for i in range(500):
        left, top, wide, tall = _choose_part((400, 300), augment, draws(i))
        assert left >= 0 <= top
        assert left + wide <= 400
        assert top + tall <= 300
        shares.append(wide * tall / 120_000)
        ratios.append(wide / tall)
    assert 0.195 < min(shares) < 0.22 < 0.48 < max(shares) < 0.505
    assert 0.49 < min(ratios) < 0.55 < 1.8 < max(ratios) < 2.02


def test_the_default_crop_is_googlenets() -> None:
    assert Augment().scale == (0.08, 1.0)
    assert Augment().ratio == (3 / 4, 4 / 3)


def test_a_strip_gets_its_largest_centerd_part() -> None:
    augment = Augment(scale=(0.9, 1.0))
    assert _choose_part((1000, 10), augment, draws()) == (493, 0, 13, 10)
    assert _choose_part((10, 1000), augment, draws()) == (0, 493, 10, 13)
    assert _choose_part((1, 1), augment, draws()) == (0, 0, 1, 1)
    assert many(augment, 1, Image.new("RGB", (1, 3000))).shape == (1, 3, 32, 32)


def test_the_crop_shows_the_part_it_chose_also_of_a_reduced_jpeg() -> None:
    """A part of a linear ramp is a linear ramp: its ends say where it was."""
    ramp = np.broadcast_to(np.linspace(0, 255, 1200)[None, :, None], (1000, 1200, 3)).astype(np.uint8)
    content = io.BytesIO()
    Image.fromarray(ramp).save(content, "JPEG", quality=95)
    augment = Augment(scale=(0.3, 0.9), flip=False)
    for i in range(10):
        left, _, wide, _ = _choose_part((1200, 1000), augment, draws(i))
        shown = augmented(content.getvalue(), SMALL, augment, seed=0, epoch=0, index=i)[0].mean(axis=0)
        pixel = wide / 32 * 255 / 1200
        assert abs(shown[0] - (left / 1200 * 255 + pixel / 2)) < 4
        assert abs(shown[-1] - ((left + wide) / 1200 * 255 - pixel / 2)) < 4


def test_the_crop_of_a_turned_photograph_is_upright() -> None:
    """Stored lying, upright by its EXIF: rows get brighter downwards, whatever part is shown."""
    upright = np.broadcast_to(np.linspace(0, 255, 300)[:, None, None], (300, 200, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    content = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(np.rot90(upright))).save(content, "JPEG", exif=exif.tobytes())
    for i in range(10):
        shown = augmented(content.getvalue(), SMALL, Augment(), seed=0, epoch=0, index=i)[0].astype(int)
        assert shown[-1].mean() > shown[0].mean() + 20
        assert np.ptp(shown.mean(axis=0)) < 3


def test_no_crop_is_the_evaluations_view() -> None:
    np.testing.assert_array_equal(many(STILL, 1)[0], SMALL.image(scene()))


def test_pad_moves_the_view_by_up_to_so_many_pixels() -> None:
    view = SMALL.image(scene())
    larger = np.pad(view, [(0, 0), (3, 3), (3, 3)], mode="reflect")
    shifts = {larger[:, y : y + 32, x : x + 32].tobytes(): (y, x) for y in range(7) for x in range(7)}
    seen = [shifts[shown.tobytes()] for shown in many(Augment(crop="pad", pad=3, flip=False), 400)]
    assert len(set(seen)) == 49


def test_flip_mirrors_every_second_image_and_none_without_it() -> None:
    view = SMALL.image(scene())
    shown = many(Augment(crop="none", flip=True), 400)
    mirrored = sum(np.array_equal(image, view[:, :, ::-1]) for image in shown)
    assert mirrored + sum(np.array_equal(image, view) for image in shown) == 400
    assert 150 < mirrored < 250
    assert all(np.array_equal(image, view) for image in many(STILL, 20))


# ---- colors --------------------------------------------------------------------------------------------------------


def color_change(**strengths: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """(before, after) as floats, for 40 draws, on an image whose values cannot reach 0 or 255."""
    calm = np.random.default_rng(0).integers(100, 140, (16, 16, 3)).astype(np.uint8)
    settings = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0} | strengths
    results = [np.asarray(distorted(Image.fromarray(calm), **settings, draws=draws(i))) for i in range(40)]
    return [(calm.astype(float), result.astype(float)) for result in results]


GREY = np.array([0.299, 0.587, 0.114])


def test_brightness_multiplies_within_its_strength() -> None:
    factors = [after.mean() / before.mean() for before, after in color_change(brightness=0.3)]
    assert 0.695 < min(factors) < 0.75 < 1.25 < max(factors) < 1.305


def test_contrast_scales_about_the_mean_gray() -> None:
    factors = []
    for before, after in color_change(contrast=0.3):
        gray = (before @ GREY).mean()
        factors.append(((after - gray) * (before - gray)).sum() / ((before - gray) ** 2).sum())
        assert abs((after @ GREY).mean() - gray) < 0.6
    assert 0.69 < min(factors) < 0.75 < 1.25 < max(factors) < 1.31


def test_saturation_scales_about_each_pixels_gray() -> None:
    factors = []
    for before, after in color_change(saturation=0.3):
        gray = (before @ GREY)[..., None]
        factors.append(((after - gray) * (before - gray)).sum() / ((before - gray) ** 2).sum())
        assert np.abs((after @ GREY)[..., None] - gray).max() < 0.7
    assert 0.69 < min(factors) < 0.75 < 1.25 < max(factors) < 1.31


def test_hue_turns_the_colors_and_keeps_gray_gray() -> None:
    angles = []
    for before, after in color_change(hue=0.2):
        assert np.abs(after @ GREY - before @ GREY).max() < 0.7
        hues = [[colorsys.rgb_to_hsv(*(pixel / 255))[0] for pixel in image.reshape(-1, 3)] for image in (before, after)]
        turned = (np.array(hues[1]) - hues[0] + 0.5) % 1 - 0.5
        angles.append(abs(np.median(turned)))
    assert 0.1 < max(angles) < 0.27
    gray = Image.new("RGB", (4, 4), (90, 90, 90))
    assert distorted(gray, 0, 0, 0, 0.5, draws()).getpixel((0, 0)) == (90, 90, 90)


def test_gray_images_have_brightness_and_contrast_only() -> None:
    gray = scene().convert("L")
    np.testing.assert_array_equal(distorted(gray, 0, 0, 0.9, 0.5, draws()), gray)
    bright = np.asarray(distorted(gray, 0.3, 0, 0, 0, draws(1))).astype(float)
    color = np.asarray(distorted(gray.convert("RGB"), 0.3, 0, 0, 0, draws(1))).astype(float)
    assert np.abs(bright - color[..., 0]).max() <= 1
    assert np.abs(bright - np.asarray(gray)).mean() > 1
    network = Preprocess(size=(32, 32), mean=(0.5,), std=(0.5,))
    augment = Augment(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, trivial=True, erase=1.0)
    assert many(augment, 30, preprocess=network).shape == (30, 1, 32, 32)


@pytest.mark.parametrize("option", ["brightness", "contrast", "saturation", "hue", "erase"])
def test_each_strength_acts_through_augment(option: str) -> None:
    still, moved = many(STILL, 5), many(Augment(crop="none", flip=False, **{option: 0.5}), 5)
    assert (still != moved).any()


# ---- TrivialAugment and erasing -------------------------------------------------------------------------------------


def test_trivial_augment_has_the_papers_fourteen_operations_equally_often() -> None:
    assert len(OPERATIONS) == 14
    chosen = np.bincount([draws(i).below(14) for i in range(2800)], minlength=14)
    assert (abs(chosen - 200) < 5 * np.sqrt(200)).all()


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name != "identity"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_every_operation_changes_a_image_at_full_strength(name: str, mode: str) -> None:
    image = scene()
    image.paste((250, 240, 20), (10, 10, 20, 25))  # an edge to sharpen
    image = image.convert(mode)
    changed = OPERATIONS[name][0](image, 1.0)
    assert (changed.size, changed.mode) == (image.size, mode)
    if (name, mode) == ("color", "L"):
        np.testing.assert_array_equal(changed, image)  # gray has no saturation
    else:
        assert (np.asarray(changed) != np.asarray(image)).any()


@pytest.mark.parametrize(
    "name", [name for name in OPERATIONS if name not in ("identity", "autocontrast", "equalize", "solarize")]
)
def test_operations_without_strength_leave_the_image(name: str) -> None:
    np.testing.assert_array_equal(OPERATIONS[name][0](scene(), 0.0), scene())


def test_translation_moves_by_at_most_32_pixels_and_rotation_by_135_degrees() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(1, 255, (80, 80), np.uint8))
    moved = np.asarray(OPERATIONS["translate_x"][0](image, 1.0))
    np.testing.assert_array_equal(moved[:, :48], np.asarray(image)[:, 32:])
    np.testing.assert_array_equal(OPERATIONS["rotate"][0](image, 90 / 135), np.rot90(image))


def test_trivial_augment_varies() -> None:
    assert len({trivial_augment(scene(), draws(i)).tobytes() for i in range(100)}) > 50


def test_erasing_makes_a_rectangle_of_noise_with_the_given_probability() -> None:
    view = SMALL.image(scene())
    erased = [(shown != view).any(axis=0) for shown in many(Augment(crop="none", flip=False, erase=0.5), 200)]
    hit = [mask for mask in erased if mask.any()]
    assert 70 < len(hit) < 130
    for mask in hit:
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert box.mean() > 0.9  # noise may hit the old value
        assert 0.01 < box.size / mask.size < 0.45


# ---- the record -----------------------------------------------------------------------------------------------------


def test_the_record_survives_json() -> None:
    record = Augment(
        crop="pad", scale=(0.5, 0.6), ratio=(1.0, 2.0), pad=2, flip=False, hue=0.1, trivial=True, erase=0.25
    )
    assert Augment.from_dict(json.loads(json.dumps(record.to_dict()))) == record
    with pytest.raises(ValueError, match=r"unknown keys \['foo'\]"):
        Augment.from_dict({"foo": 1})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("crop", "random"),
        ("scale", (0.0, 1.0)),
        ("scale", (0.9, 0.1)),
        ("ratio", (1.0,)),
        ("pad", 0),
        ("brightness", -0.1),
        ("hue", 0.6),
        ("erase", 2.0),
        ("erase", float("nan")),
        ("flip", 1),
        ("pad", 1.5),
        ("contrast", "much"),
    ],
)
def test_a_field_out_of_range_is_named_with_what_is_allowed(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{field} is .*expected"):
        Augment(**{field: value})  # type: ignore[arg-type]


def test_an_unreadable_image_is_unreadable_here_too(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"x")
    with pytest.raises(UnreadableImage):
        augmented(tmp_path / "x.png", SMALL, Augment(), seed=0, epoch=0, index=0)
