"""Decoding, geometry and normalisation: every container ends in the same upright 8-bit pixels, or in a reason."""

from __future__ import annotations

import io
import json
import math
import struct
import threading
import warnings
import zlib
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from inceptions.image import MAX_PIXELS, Preprocess, UnreadablePicture, opened, resize_tf1
from inceptions.image.preprocess import RESAMPLING

RAW = Preprocess(size=(6, 8), resize="stretch", crop_pct=1.0, interpolation="nearest")


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def gradient(width: int = 8, height: int = 6) -> np.ndarray:
    """Every pixel differs from every other."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 20 + 10, y * 30 + 5, (x * height + y) * 5 % 256], axis=-1).astype(np.uint8)


def pixels(source: Any, preprocess: Preprocess = RAW) -> np.ndarray:
    return np.asarray(preprocess.decode(source))


def png16(values: np.ndarray, colour: int, extra: bytes = b"") -> bytes:
    """A 16-bit PNG by hand: Pillow cannot write coloured ones."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, colour, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "WEBP", "GIF"])
def test_lossless_containers_give_the_same_pixels(format: str) -> None:
    image = Image.fromarray(gradient())
    options = {"lossless": True} if format == "WEBP" else {}
    if format == "GIF":
        image = image.quantize(64)  # 48 colours fit exactly
    np.testing.assert_array_equal(pixels(encoded(image, format, **options)), gradient())


def test_every_kind_of_source_gives_the_same_pixels(tmp_path: Path) -> None:
    image = Image.fromarray(gradient())
    content = encoded(image, "PNG")
    path = tmp_path / "a.png"
    path.write_bytes(content)
    for source in (path, str(path), content, io.BytesIO(content), image, gradient()):
        np.testing.assert_array_equal(pixels(source), gradient())


def test_file_names_may_be_any_bytes(tmp_path: Path) -> None:
    path = tmp_path / b"\xff\xfe.png".decode(errors="surrogateescape")
    path.write_bytes(encoded(Image.fromarray(gradient()), "PNG"))
    np.testing.assert_array_equal(pixels(path), gradient())


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_orientation_makes_the_picture_upright(format: str, orientation: int) -> None:
    wanted = np.zeros((32, 64, 3), np.uint8)
    wanted[:16, :32] = 255  # white in the upper left corner, and wider than tall
    stored = {  # by the standard's table: which side of the picture the first row and the first column are
        1: wanted,  # top, left
        2: wanted[:, ::-1],  # top, right
        3: wanted[::-1, ::-1],  # bottom, right
        4: wanted[::-1],  # bottom, left
        5: wanted.transpose(1, 0, 2),  # left, top
        6: np.rot90(wanted),  # right, top
        7: np.rot90(wanted, 2).transpose(1, 0, 2),  # right, bottom
        8: np.rot90(wanted, -1),  # left, bottom
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, object] = {"exif": exif.tobytes()}
    if format == "TIFF":
        options = {"tiffinfo": {0x0112: orientation}}
    content = encoded(Image.fromarray(np.ascontiguousarray(stored)), format, **options)
    with opened(content) as picture:
        assert picture.size == (64, 32)
    shown = pixels(content)
    assert shown.shape == (32, 64, 3)
    assert np.abs(shown.astype(int) - wanted).mean() < 8


def test_damaged_exif_leaves_the_pixels_readable() -> None:
    content = encoded(Image.fromarray(gradient()), "PNG", exif=b"Exif\0\0MM\0*\0\0\xff\xff\xff\xff")
    np.testing.assert_array_equal(pixels(content), gradient())


def test_sixteen_bits_keep_their_high_byte_in_grey_and_colour() -> None:
    values = np.linspace(0, 65535, 48).astype(np.uint16).reshape(6, 8)
    expected = (values >> 8).astype(np.uint8)
    grey = pixels(png16(values, colour=0))
    np.testing.assert_array_equal(grey, np.dstack([expected] * 3))
    colour = pixels(png16(np.dstack([values, values[::-1], values[:, ::-1]]).reshape(6, 24).reshape(6, 8, 3), colour=2))
    np.testing.assert_array_equal(colour, np.dstack([expected, expected[::-1], expected[:, ::-1]]))
    np.testing.assert_array_equal(pixels(values), np.dstack([expected] * 3))


def test_a_transparent_value_of_sixteen_bit_grey_is_white() -> None:
    values = np.full((6, 8), 300, np.uint16)
    values[0, 0] = 40_000
    extra = struct.pack(">I", 2) + b"tRNS" + struct.pack(">H", 300)
    extra += struct.pack(">I", zlib.crc32(extra[4:]))
    shown = pixels(png16(values, colour=0, extra=extra))
    assert tuple(shown[0, 0]) == (156, 156, 156)
    assert (shown.reshape(-1, 3)[1:] == 255).all()


def test_32_bit_values_are_refused_because_their_white_is_unknown() -> None:
    for mode in ("I", "F"):
        with pytest.raises(UnreadablePicture, match="32-bit"):
            pixels(encoded(Image.new(mode, (4, 4), 7), "TIFF"))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_lies_over_white(mode: str) -> None:
    image = Image.new("RGBA", (8, 6), (100, 100, 100, 255))
    image.putpixel((0, 0), (100, 100, 100, 0))
    if mode == "LA":
        image = image.convert("LA")
    if mode == "P":
        image = image.quantize(4)
    shown = pixels(encoded(image, "PNG"))
    assert tuple(shown[0, 0]) == (255, 255, 255)
    assert tuple(shown[3, 3]) == (100, 100, 100)


def test_half_transparent_black_is_middle_grey() -> None:
    assert pixels(encoded(Image.new("RGBA", (2, 2), (0, 0, 0, 128)), "PNG"))[0, 0, 0] == 127


def test_cmyk_and_grey_become_colour_and_colour_becomes_grey() -> None:
    red = pixels(encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95))[8, 8]
    assert red[0] > 240
    assert max(red[1:]) < 15
    np.testing.assert_array_equal(pixels(encoded(Image.new("L", (2, 2), 77), "PNG")), np.full((2, 2, 3), 77))
    grey = Preprocess(size=(2, 2), mean=(0.5,), std=(0.5,))
    assert grey.decode(Image.new("RGB", (2, 2), (255, 0, 0))).getpixel((0, 0)) == 76  # 0.299 * 255
    assert grey.picture(Image.new("RGB", (9, 9))).shape == (1, 2, 2)


def test_an_animation_shows_its_first_frame() -> None:
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue")]
    for format in ("GIF", "WEBP", "TIFF", "PNG"):
        content = encoded(frames[0], format, save_all=True, append_images=frames[1:])
        assert tuple(pixels(content)[0, 0]) == (255, 0, 0) or format == "WEBP"
        assert pixels(content)[0, 0, 0] > 240


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"])
def test_a_truncated_file_is_unreadable(format: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    content = encoded(Image.fromarray(noise), format)
    path = tmp_path / "short"
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UnreadablePicture) as caught:
        RAW.picture(path)
    assert caught.value.reason
    assert caught.value.file == str(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"\0", b"no picture", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"%!PS-Adobe-3.0 EPSF"]
)
def test_what_is_no_picture_is_unreadable(content: bytes) -> None:
    with pytest.raises(UnreadablePicture):
        RAW.picture(content)


def test_damaged_bytes_never_raise_anything_but_unreadable() -> None:
    random = np.random.default_rng(0)
    for format in ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"):
        good = encoded(Image.fromarray(gradient(32, 24)), format)
        for _ in range(60):
            bad = bytearray(good)
            for place in random.integers(0, len(bad), 4):
                bad[place] = random.integers(0, 256)
            with suppress(UnreadablePicture):
                assert RAW.picture(bytes(bad)).shape == (3, 6, 8)


def test_what_is_no_file_is_unreadable_at_once(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe.png")  # opening it would wait for ever
    for path, reason in ((tmp_path / "pipe.png", "not a file"), (tmp_path, "not a file"), (tmp_path / "x", "no such")):
        with pytest.raises(UnreadablePicture, match=reason):
            RAW.picture(path)


@pytest.mark.parametrize("side", [math.isqrt(MAX_PIXELS) + 1, 30_000, 60_000])
def test_decompression_bombs_are_refused_before_they_are_decoded(side: int) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    with pytest.raises(UnreadablePicture, match="bomb"):
        RAW.picture(bomb)


def test_a_strip_that_would_explode_when_resized_is_refused() -> None:
    with pytest.raises(UnreadablePicture, match="elongated"):
        Preprocess(size=(299, 299)).picture(Image.new("RGB", (1, 60_000)))
    with pytest.raises(UnreadablePicture, match="elongated"):  # 341 wide before it is 341 tall
        Preprocess(size=(299, 299), resize="stretch").picture(Image.new("L", (1, 400_000)))


def test_pillows_warnings_do_not_leak_not_even_from_threads() -> None:
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x09"  # promises nine entries and has none
    content = encoded(Image.fromarray(gradient()), "PNG", exif=exif)
    with pytest.warns(UserWarning, match="EXIF"):
        Image.open(io.BytesIO(content)).getexif()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        threads = [threading.Thread(target=RAW.picture, args=(content,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [str(warning.message) for warning in caught] == []


def test_an_array_of_another_kind_is_refused_with_what_is_allowed() -> None:
    for array in (np.zeros((4, 4)), np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(UnreadablePicture, match="uint8 or uint16"):
            RAW.picture(array)


def test_a_given_picture_stays_as_it_was() -> None:
    image = Image.fromarray(gradient())
    before = image.tobytes()
    RAW.picture(image)
    assert image.tobytes() == before
    assert image.size == (8, 6)


# ---- geometry -------------------------------------------------------------------------------------------------------


def test_short_scales_the_shorter_side_and_keeps_the_centre() -> None:
    image = Image.fromarray(np.random.default_rng(1).integers(0, 255, (90, 170, 3), np.uint8))
    shown = Preprocess(size=(28, 28), resize="short", crop_pct=0.875, interpolation="bilinear").picture(image)
    wide = int(32 * 170 / 90)  # torchvision: Resize(32), CenterCrop(28)
    left = round((wide - 28) / 2)
    expected = image.resize((wide, 32), Image.Resampling.BILINEAR).crop((left, 2, left + 28, 30))
    np.testing.assert_array_equal(shown, np.asarray(expected).transpose(2, 0, 1))


def test_short_of_a_tall_input_covers_it() -> None:
    shown = Preprocess(size=(40, 20), crop_pct=1.0).picture(Image.new("RGB", (100, 100), "white"))
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
    shown = Preprocess(size=(28, 28), resize="stretch", crop_pct=0.875, interpolation="bicubic").picture(image)
    expected = image.resize((32, 32), Image.Resampling.BICUBIC).crop((2, 2, 30, 30))
    np.testing.assert_array_equal(shown, np.asarray(expected).transpose(2, 0, 1))


def test_central_crops_first_then_stretches() -> None:
    image = Image.fromarray(np.random.default_rng(1).integers(0, 255, (90, 170, 3), np.uint8))
    shown = Preprocess(size=(28, 28), resize="central", crop_pct=0.875, interpolation="bilinear").picture(image)
    top, left = int((90 - 90 * 0.875) / 2), int((170 - 170 * 0.875) / 2)
    expected = image.crop((left, top, 170 - left, 90 - top)).resize((28, 28), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(shown, np.asarray(expected).transpose(2, 0, 1))


def test_each_interpolation_is_seen_to_act() -> None:
    image = Image.fromarray(np.random.default_rng(1).integers(0, 255, (50, 70, 3), np.uint8))
    names = ("nearest", "box", "bilinear", "bicubic", "lanczos", "tf1_bilinear")
    results = [Preprocess(size=(20, 20), interpolation=name).picture(image).astype(float) for name in names]
    for a in range(len(names)):
        for b in range(a):
            assert np.abs(results[a] - results[b]).max() > 1, (names[a], names[b])


def by_hand(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """TensorFlow 1's resize_bilinear(align_corners=False) in exact arithmetic, pixel by pixel."""
    rows, columns = pixels.shape[:2]
    out = np.empty((height, width, pixels.shape[2]))
    for i in range(height):
        for j in range(width):
            y, x = Fraction(i * rows, height), Fraction(j * columns, width)
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


@pytest.mark.parametrize("resize", ["short", "stretch", "central"])
def test_tf1_pictures_are_fractional_and_placed_like_the_others(resize: str) -> None:
    smooth = Image.fromarray(gradient(8, 6)).resize((160, 120), Image.Resampling.BICUBIC)
    options = {"size": (80, 100), "resize": resize, "crop_pct": 0.8}
    fractional = Preprocess(interpolation="tf1_bilinear", **options).picture(smooth)
    rounded = Preprocess(interpolation="bilinear", **options).picture(smooth)
    assert fractional.dtype == np.float32
    assert (fractional != fractional.round()).any()
    assert fractional.shape == rounded.shape
    assert np.abs(fractional - rounded).mean() < 4  # half a pixel apart


# ---- normalisation --------------------------------------------------------------------------------------------------


def test_normalising_is_the_published_formula() -> None:
    pictures = torch.randint(0, 256, (2, 3, 4, 5), dtype=torch.uint8)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    ours = Preprocess(size=(4, 5), mean=mean, std=std).normalise(pictures)
    expected = (pictures.double() / 255 - torch.tensor(mean).double()[:, None, None]) / torch.tensor(std).double()[
        :, None, None
    ]
    torch.testing.assert_close(ours.double(), expected, atol=1e-6, rtol=0)
    assert ours.dtype == torch.float32


def test_value_range_255_leaves_raw_pixels() -> None:
    pictures = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).expand(1, 3, 16, 16)
    raw = Preprocess(size=(16, 16), value_range=255.0, mean=(0, 0, 0), std=(1, 1, 1))
    torch.testing.assert_close(raw.normalise(pictures), pictures.float(), atol=0, rtol=0)
    caffe = Preprocess(size=(16, 16), value_range=255.0, mean=(104, 117, 123), std=(1, 1, 1), channel_order="bgr")
    assert caffe.normalise(pictures)[0, :, 0, 0].tolist() == [-104, -117, -123]


def test_bgr_turns_the_channels_before_mean_and_std() -> None:
    image = Image.new("RGB", (4, 4), (10, 20, 30))
    bgr = Preprocess(size=(4, 4), channel_order="bgr", mean=(30 / 255, 0, 0), std=(1, 1, 1))
    assert bgr.picture(image)[:, 0, 0].tolist() == [30, 20, 10]
    assert abs(float(bgr(image)[0, 0, 0])) < 1e-7


def test_one_picture_equals_itself_in_a_batch() -> None:
    image = Image.fromarray(gradient())
    batch = torch.from_numpy(np.stack([RAW.picture(image)] * 3))
    assert torch.equal(RAW.normalise(batch)[1], RAW(image))


def test_channels_last_stays_channels_last() -> None:
    pictures = torch.zeros(2, 3, 8, 8, dtype=torch.uint8).to(memory_format=torch.channels_last)
    assert RAW.normalise(pictures).is_contiguous(memory_format=torch.channels_last)


def test_another_number_of_channels_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(1, 1, 4, 4\) given, \(..., 3, H, W\) expected"):
        RAW.normalise(torch.zeros(1, 1, 4, 4))


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


def test_unreadable_survives_pickling() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(UnreadablePicture("why", "where")))
    assert (error.reason, error.file, str(error)) == ("why", "where", "where: why")


def test_a_reduced_jpeg_keeps_the_pixels_that_are_needed() -> None:
    content = encoded(Image.new("RGB", (800, 600), "red"), "JPEG")
    with opened(content) as picture:
        assert picture.pixels("RGB", at_least=0.3).size == (400, 300)
    with opened(content) as picture:
        assert picture.pixels("RGB").size == (800, 600)
