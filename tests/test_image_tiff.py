"""TIFF: bits, photometric interpretation and transparency come from the file's own tags, or the file is refused."""

from __future__ import annotations

import io
import struct
import warnings
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from inceptions.image import Preprocess, UnreadableImage, opened
from tiffs import tiff

RAW = Preprocess(size=(4, 4))


def pixels(source: bytes | Image.Image) -> np.ndarray:
    return np.asarray(RAW.decode(source))


def gray(source: bytes | Image.Image) -> list[int]:
    return pixels(source)[..., 0].ravel().tolist()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [1, 2, 4, 6, 8, 10, 12, 14, 16])
def test_black_and_white_are_the_ends_of_what_the_bits_can_hold(bits: int, order: str) -> None:
    ends = np.array([[0, (1 << bits) - 1]])
    assert gray(tiff(ends, bits, 1, order=order)) == [0, 255]
    assert gray(tiff(ends, bits, 0, order=order)) == [255, 0]  # WhiteIsZero


@pytest.mark.parametrize("compression", [1, 5, 8, 32773])
@pytest.mark.parametrize("tile", [None, (16, 32)])
@pytest.mark.parametrize("planar", [False, True])
def test_samples_are_the_same_however_they_are_stored(
    compression: int, tile: tuple[int, int] | None, planar: bool
) -> None:
    for bits, order in ((8, "<"), (12, ">"), (16, "<"), (16, ">")):
        values = np.random.default_rng(bits).integers(0, 1 << bits, (37, 21, 3))
        predictor = 2 if compression in (5, 8) and bits != 12 else 1
        options = {"compression": compression, "predictor": predictor, "order": order}
        content = tiff(values, bits, 2, tile=tile, planar=planar, rows=10, big=bits == 12, **options)
        np.testing.assert_array_equal(pixels(content), values >> (bits - 8))


@pytest.mark.parametrize("bits", [8, 16])
def test_only_a_band_that_is_called_alpha_is_transparency(bits: int) -> None:
    white = (1 << bits) - 1
    for photometric, color, kept in ((1, [0], 0), (0, [white], 0), (2, [0, 0, 0], 0), (5, [0, 0, 0, white], 0)):
        values = np.array([[[*color, 0], [*color, white]]])
        for extra in ((1,), (2,)):
            expected = [255, kept] if extra == (2,) or photometric in (1, 2) else [kept, kept]
            assert gray(tiff(values, bits, photometric, extra=extra)) == expected, (photometric, extra)
        assert gray(tiff(values, bits, photometric, extra=(0,))) == [kept, kept]
        if photometric in (2, 5):
            assert gray(tiff(values, bits, photometric)) == [kept, kept]


def test_colors_multiplied_with_alpha_are_not_multiplied_again() -> None:
    half = np.array([[[64, 0, 128, 128]]])
    assert pixels(tiff(half, 8, 2, extra=(1,)))[0, 0].tolist() == pytest.approx([191, 127, 255], abs=1)
    assert pixels(tiff(half * 256, 16, 2, extra=(1,)))[0, 0].tolist() == pytest.approx([191, 127, 255], abs=1)


@pytest.mark.parametrize(
    ("content", "facts"),
    [
        (
            tiff(np.zeros((2, 2, 12), int), 16, 1, extra=(0,) * 11),
            r"12 bands of 16 bits, photometric 1 \(BlackIsZero\)",
        ),
        (tiff(np.zeros((2, 2, 12), int), 16, 2, extra=(0,) * 9), r"12 bands of 16 bits, photometric 2 \(RGB\)"),
        (tiff(np.zeros((2, 2, 3), int), 16, 1), "3 bands of 16 bits, .*which of the bands are the colors"),
        (tiff(np.zeros((2, 2, 2), int), 8, 1), "2 bands of 8 bits"),
        (tiff(np.zeros((2, 2), int), 16, 1, format=2), "1 band of 16-bit signed integers"),
        (tiff(np.zeros((2, 2), int), 8, 1, format=2), "1 band of 8-bit signed integers"),
        (tiff(np.zeros((2, 2, 3), int), 32, 2, format=3), "3 bands of 32-bit floating-point numbers"),
        (tiff(np.zeros((2, 2), int), 16, 1, format=3), "1 band of 16-bit floating-point numbers"),
        (tiff(np.zeros((2, 2), int), 32, 1), "1 band of 32 bits.*white of 32-bit values is unknown"),
        (tiff(np.zeros((2, 2, 3), int), 8, 2, tags={258: (5, 6, 5)}), "5 and 6 bits.*different bits"),
        (tiff(np.zeros((2, 2), int), 16, 32803), "photometric 32803.*color filter array"),
        (tiff(np.zeros((2, 2), int), 16, 3, tags={320: (0,) * 768}), "photometric 3.*palette"),
        (tiff(np.zeros((2, 2, 12), int), 8, 6), "12 bands of 8 bits, photometric 6.*YCbCr"),
        (tiff(np.zeros((2, 2), int), 8, 1, tags={259: (34712,)}), "JPEG 2000: this compression cannot be read"),
        (tiff(np.zeros((2, 2, 2), int), 8, 2), "2 bands of 8 bits.*3 bands expected"),
    ],
)
def test_what_cannot_be_decoded_right_is_refused_with_the_facts_of_the_file(content: bytes, facts: str) -> None:
    with pytest.raises(UnreadableImage, match=f"a TIFF of .*{facts}"):
        RAW.decode(content)


def test_nothing_is_said_beside_the_error(capfd: pytest.CaptureFixture[str]) -> None:
    for photometric in (1, 2, 3, 5, 6, 8):
        with pytest.raises(UnreadableImage):
            RAW.decode(tiff(np.zeros((2, 2, 12), int), 8, photometric, extra=(0,) * 11))
    assert capfd.readouterr().err == ""


def test_palettes_of_eight_bits_are_no_black_images() -> None:
    values, ramp = np.array([[0, 255]]), tuple(range(256))
    assert gray(tiff(values, 8, 3, tags={320: ramp * 3})) == [0, 255]
    assert gray(tiff(values, 8, 3, tags={320: tuple(v * 257 for v in ramp) * 3})) == [0, 255]


def test_lab_is_shown_in_its_colors() -> None:
    file = io.BytesIO()
    Image.new("LAB", (4, 4), (138, 209, 198)).save(file, "TIFF")  # L 54.3, a 80.8, b 69.9: sRGB's red
    assert np.abs(pixels(file.getvalue())[0, 0].astype(int) - [255, 0, 0]).max() <= 6


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "jpeg"])
def test_ycbcr_is_shown_in_its_colors(compression: str | None) -> None:
    file = io.BytesIO()
    image = Image.new("RGB", (16, 16), (200, 30, 60)).convert("YCbCr")
    image.save(file, "TIFF", compression=compression)
    assert np.abs(pixels(file.getvalue())[8, 8].astype(int) - [200, 30, 60]).max() <= 4


def test_subsampled_ycbcr_without_compression_is_not_torn() -> None:
    y, cb, cr = Image.new("RGB", (1, 1), (200, 30, 60)).convert("YCbCr").getpixel((0, 0))
    stored = np.array([[y, y, y, y, cb, cr]] * 16, np.uint8).reshape(8, 4, 3)  # 16 blocks of 2 x 2
    content = tiff(stored, 8, 6, tags={257: (8,), 256: (8,), 278: (8,), 530: (2, 2)})
    assert np.abs(pixels(content).astype(int) - [200, 30, 60]).max() <= 12


def test_a_image_somebody_else_has_opened_means_the_same() -> None:
    for bits, photometric, expected in ((12, 1, [0, 255]), (16, 0, [255, 0])):
        with Image.open(io.BytesIO(tiff(np.array([[0, (1 << bits) - 1]]), bits, photometric))) as image:
            assert gray(image) == expected


def test_a_file_that_does_not_say_what_zero_is_has_black_at_zero() -> None:
    assert gray(tiff(np.array([[0, 255]]), 8, None)) == [0, 255]


def test_damaged_metadata_is_not_even_read() -> None:
    broken = {700: (1, 2), 34665: (0xFFFF,), 34853: (7,), 34675: (1,), 33432: (9,), 282: (1,)}
    content = tiff(np.array([[0, 255]]), 8, 1, tags=broken)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert gray(content) == [0, 255]


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("compression", [1, 5, 8])
def test_a_file_cut_off_is_unreadable(bits: int, compression: int) -> None:
    values = np.random.default_rng(0).integers(0, 1 << bits, (64, 64, 3))
    content = tiff(values, bits, 2, compression=compression)
    # the tags lie behind the pixels here: cut the pixels out of the middle, as a broken copy would
    start = struct.unpack("<I", content[4:8])[0]
    short = content[:4] + struct.pack("<I", 16) + b"\0" * 8 + content[start:]
    with pytest.raises(UnreadableImage):
        RAW.decode(short)


def test_the_mode_and_bits_of_a_file_are_told() -> None:
    for bits, bands, mode in ((12, 1, "I;12"), (16, 1, "I;16"), (16, 3, "RGB"), (8, 1, "L")):
        with opened(tiff(np.zeros((2, 2, bands), int), bits, 2 if bands == 3 else 1)) as image:
            assert (image.mode, image.format, image.depth) == (mode, "TIFF", bits)


def test_claims_of_many_pixels_or_tags_are_refused_before_memory_is_taken() -> None:
    with pytest.raises(UnreadableImage, match="bomb"):
        RAW.decode(tiff(np.zeros((2, 2), int), 12, 1, tags={256: (60_000,), 257: (60_000,)}))
    small = tiff(np.zeros((2, 2), int), 12, 1, tags={256: (10_000,), 257: (10_000,)})
    with pytest.raises(UnreadableImage, match="truncated"):
        RAW.decode(small)
    tiles = tiff(np.zeros((2, 2), int), 12, 1, tile=(16, 16), compression=8, tags={322: (65535,), 323: (65535,)})
    with pytest.raises(UnreadableImage, match="bomb"):
        RAW.decode(tiles)


def test_damaged_tiffs_never_raise_anything_but_unreadable() -> None:
    random = np.random.default_rng(0)
    for options in ({"compression": 5}, {"tile": (16, 16)}, {"planar": True, "big": True}):
        good = tiff(np.random.default_rng(1).integers(0, 4096, (20, 20, 3)), 12, 2, **options)
        for _ in range(80):
            bad = bytearray(good)
            for place in random.integers(0, len(bad), 3):
                bad[place] = random.integers(0, 256)
            bad[len(bad) - 1 - int(random.integers(0, 200))] = random.integers(0, 256)
            with suppress(UnreadableImage):
                assert RAW.decode(bytes(bad)).mode == "RGB"


def test_every_cielab_color_is_what_its_definition_says() -> None:
    """CIE 15's formulas, the D50 matrix of sRGB, IEC 61966-2-1's curve; strong and dark colors too."""
    lightness, a, b = np.meshgrid(np.arange(0, 256, 17), np.arange(-96, 97, 32), np.arange(-96, 97, 32), indexing="ij")
    y = (lightness * 100 / 255 + 16) / 116
    ratios = np.stack([y + a / 500, y, y - b / 200], -1)
    xyz = np.where(ratios > 6 / 29, ratios**3, 3 * (6 / 29) ** 2 * (ratios - 4 / 29)) * (0.9642, 1, 0.8249)
    matrix = np.array(
        [[3.1338561, -1.6168667, -0.4906146], [-0.9787684, 1.9161415, 0.0334540], [0.0719453, -0.2289914, 1.4052427]]
    )
    linear = xyz @ matrix.T
    inside = (linear >= 0).all(-1) & (linear <= 1).all(-1)  # others have no color in sRGB
    expected = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clip(0) ** (1 / 2.4) - 0.055) * 255
    stored = np.stack([lightness, a % 256, b % 256], -1)[inside].astype(np.uint8)
    image = Image.frombytes("LAB", (len(stored), 1), stored.tobytes())
    shown = np.asarray(Preprocess(size=(8, 8)).decode(image))[0]
    assert len(stored) > 100
    np.testing.assert_allclose(shown, expected[inside], atol=1.5)
