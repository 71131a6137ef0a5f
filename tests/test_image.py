"""Decoding: every container ends in the same upright 8-bit pixels, or in a reason."""

from __future__ import annotations

import array
import io
import math
import mmap
import struct
import threading
import warnings
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from inceptions.image import MAX_PIXELS, Preprocess, UnreadableImage, opened

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


def png16(values: np.ndarray, color: int, extra: bytes = b"") -> bytes:
    """A 16-bit PNG by hand: Pillow cannot write colored ones."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, color, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "WEBP", "GIF"])
def test_lossless_containers_give_the_same_pixels(format: str) -> None:
    image = Image.fromarray(gradient())
    options = {"lossless": True} if format == "WEBP" else {}
    if format == "GIF":
        image = image.quantize(64)  # 48 colors fit exactly
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
def test_exif_orientation_makes_the_image_upright(format: str, orientation: int) -> None:
    wanted = np.zeros((32, 64, 3), np.uint8)
    wanted[:16, :32] = 255  # white in the upper left corner, and wider than tall
    stored = {  # by the standard's table: which side of the image the first row and the first column are
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
    with opened(content) as image:
        assert image.size == (64, 32)
    shown = pixels(content)
    assert shown.shape == (32, 64, 3)
    assert np.abs(shown.astype(int) - wanted).mean() < 8


def test_damaged_exif_leaves_the_pixels_readable() -> None:
    content = encoded(Image.fromarray(gradient()), "PNG", exif=b"Exif\0\0MM\0*\0\0\xff\xff\xff\xff")
    np.testing.assert_array_equal(pixels(content), gradient())


def test_sixteen_bits_keep_their_high_byte_in_gray_and_color() -> None:
    values = np.linspace(0, 65535, 48).astype(np.uint16).reshape(6, 8)
    expected = (values >> 8).astype(np.uint8)
    gray = pixels(png16(values, color=0))
    np.testing.assert_array_equal(gray, np.dstack([expected] * 3))
    color = pixels(png16(np.dstack([values, values[::-1], values[:, ::-1]]).reshape(6, 24).reshape(6, 8, 3), color=2))
    np.testing.assert_array_equal(color, np.dstack([expected, expected[::-1], expected[:, ::-1]]))
    np.testing.assert_array_equal(pixels(values), np.dstack([expected] * 3))


def test_a_transparent_value_of_sixteen_bit_gray_is_white() -> None:
    values = np.full((6, 8), 300, np.uint16)
    values[0, 0] = 40_000
    extra = struct.pack(">I", 2) + b"tRNS" + struct.pack(">H", 300)
    extra += struct.pack(">I", zlib.crc32(extra[4:]))
    shown = pixels(png16(values, color=0, extra=extra))
    assert tuple(shown[0, 0]) == (156, 156, 156)
    assert (shown.reshape(-1, 3)[1:] == 255).all()


def test_32_bit_values_are_refused_because_their_white_is_unknown() -> None:
    for mode in ("I", "F"):
        with pytest.raises(UnreadableImage, match="32-bit"):
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


def test_half_transparent_black_is_middle_gray() -> None:
    assert pixels(encoded(Image.new("RGBA", (2, 2), (0, 0, 0, 128)), "PNG"))[0, 0, 0] == 127


def test_cmyk_and_gray_become_color_and_color_becomes_gray() -> None:
    red = pixels(encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95))[8, 8]
    assert red[0] > 240
    assert max(red[1:]) < 15
    np.testing.assert_array_equal(pixels(encoded(Image.new("L", (2, 2), 77), "PNG")), np.full((2, 2, 3), 77))
    gray = Preprocess(size=(2, 2), mean=(0.5,), std=(0.5,))
    assert gray.decode(Image.new("RGB", (2, 2), (255, 0, 0))).getpixel((0, 0)) == 76  # 0.299 * 255
    assert gray.image(Image.new("RGB", (9, 9))).shape == (1, 2, 2)


def test_an_animation_shows_its_first_frame() -> None:
    frames = [Image.new("RGB", (8, 6), color) for color in ("red", "blue")]
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
    with pytest.raises(UnreadableImage) as caught:
        RAW.image(path)
    assert caught.value.reason
    assert caught.value.file == str(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"\0", b"no image", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"%!PS-Adobe-3.0 EPSF"]
)
def test_what_is_no_image_is_unreadable(content: bytes) -> None:
    with pytest.raises(UnreadableImage):
        RAW.image(content)


def test_damaged_bytes_never_raise_anything_but_unreadable() -> None:
    random = np.random.default_rng(0)
    for format in ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"):
        good = encoded(Image.fromarray(gradient(32, 24)), format)
        for _ in range(60):
            bad = bytearray(good)
            for place in random.integers(0, len(bad), 4):
                bad[place] = random.integers(0, 256)
            with suppress(UnreadableImage):
                assert RAW.image(bytes(bad)).shape == (3, 6, 8)


def test_what_is_no_file_is_unreadable_at_once(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe.png")  # opening it would wait for ever
    for path, reason in ((tmp_path / "pipe.png", "not a file"), (tmp_path, "not a file"), (tmp_path / "x", "no such")):
        with pytest.raises(UnreadableImage, match=reason):
            RAW.image(path)


@pytest.mark.parametrize("side", [math.isqrt(MAX_PIXELS) + 1, 30_000, 60_000])
def test_decompression_bombs_are_refused_before_they_are_decoded(side: int) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    with pytest.raises(UnreadableImage, match="bomb"):
        RAW.image(bomb)


def test_a_strip_that_would_explode_when_resized_is_refused() -> None:
    with pytest.raises(UnreadableImage, match="elongated"):
        Preprocess(size=(299, 299)).image(Image.new("RGB", (1, 60_000)))
    with pytest.raises(UnreadableImage, match="elongated"):  # 341 wide before it is 341 tall
        Preprocess(size=(299, 299), resize="stretch").image(Image.new("L", (1, 400_000)))


def test_pillows_warnings_do_not_leak_not_even_from_threads() -> None:
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x09"  # promises nine entries and has none
    content = encoded(Image.fromarray(gradient()), "PNG", exif=exif)
    with pytest.warns(UserWarning, match="EXIF"):
        Image.open(io.BytesIO(content)).getexif()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        threads = [threading.Thread(target=RAW.image, args=(content,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [str(warning.message) for warning in caught] == []


def test_an_array_of_another_kind_is_refused_with_what_is_allowed() -> None:
    for values in (np.zeros((4, 4)), np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(UnreadableImage, match="uint8 or uint16"):
            RAW.image(values)


def test_a_given_image_stays_as_it_was() -> None:
    image = Image.fromarray(gradient())
    before = image.tobytes()
    RAW.image(image)
    assert image.tobytes() == before
    assert image.size == (8, 6)


def test_unreadable_survives_pickling() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(UnreadableImage("why", "where")))
    assert (error.reason, error.file, str(error)) == ("why", "where", "where: why")


def test_a_reduced_jpeg_keeps_the_pixels_that_are_needed() -> None:
    content = encoded(Image.new("RGB", (800, 600), "red"), "JPEG")
    with opened(content) as image:
        assert image.pixels("RGB", at_least=0.3).size == (400, 300)
    with opened(content) as image:
        assert image.pixels("RGB").size == (800, 600)


# ---- how much is decoded --------------------------------------------------------------------------------------------


def jpeg(width: int, height: int, **options: object) -> bytes:
    return encoded(Image.new("L", (width, height), 90), "JPEG", quality=10, **options)


def test_a_large_jpeg_is_decoded_at_the_first_reduction_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INCEPTIONS_MAX_MEGAPIXELS", "0.01")
    for size, shown in (
        ((100, 100), (100, 100)),
        ((101, 101), (51, 51)),
        ((399, 399), (100, 100)),
        ((640, 800), (80, 100)),
    ):
        with opened(jpeg(*size)) as image:
            assert image.size == size
            assert image.pixels("RGB").size == shown
            assert image.pixels("RGB", at_least=0.9).size == shown
    assert RAW.image(jpeg(640, 800)).shape == (3, 6, 8)
    with pytest.raises(UnreadableImage, match=r"bomb.*--max-megapixels"):
        RAW.image(jpeg(900, 900))


def test_what_would_be_held_whole_counts_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INCEPTIONS_MAX_MEGAPIXELS", "0.01")
    progressive = jpeg(200, 200, progressive=True)
    with pytest.raises(UnreadableImage, match="200 x 200 pixels, more than 10,000"):
        RAW.image(progressive)
    for format in ("PNG", "WEBP", "TIFF", "BMP", "GIF"):
        with pytest.raises(UnreadableImage, match="200 x 200 pixels, more than 10,000"):
            RAW.image(encoded(Image.new("L", (200, 200)), format))
    color = encoded(Image.new("RGB", (200, 200)), "JPEG")
    at = color.index(b"\xff\xda")
    several = color[:at] + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" + color[at + 14 :]  # its first scan has one band
    with pytest.raises(UnreadableImage, match="bomb"):
        RAW.image(several)


def test_the_limit_can_be_raised_beyond_pillows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    content = [encoded(Image.new("L", (20, 20), 7), format) for format in ("JPEG", "PNG", "TIFF", "BMP", "GIF")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert all(RAW.image(image).shape == (3, 6, 8) for image in content)


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "many"])
def test_a_limit_that_is_none_is_the_settings_fault_not_the_images(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INCEPTIONS_MAX_MEGAPIXELS", value)
    with pytest.raises(ValueError, match=r"INCEPTIONS_MAX_MEGAPIXELS is .*positive number") as caught:
        RAW.image(gradient())
    assert not isinstance(caught.value, UnreadableImage)


# ---- what is an image -----------------------------------------------------------------------------------------------


def test_whatever_holds_bytes_is_an_image() -> None:
    content = encoded(Image.fromarray(gradient()), "PNG")
    read, mapped = io.BytesIO(content), mmap.mmap(-1, len(content))
    read.read()
    mapped.write(content)
    for source in (
        bytearray(content),
        memoryview(content),
        memoryview(b"x" + content)[1:],
        array.array("B", content),
        read,
        mapped,
    ):
        np.testing.assert_array_equal(pixels(source), gradient())
    for _ in range(2):  # reading leaves it as it can be read again
        np.testing.assert_array_equal(pixels(read), gradient())


def test_a_stream_that_cannot_go_back_is_read_on() -> None:
    class Stream(io.RawIOBase):
        content = io.BytesIO(encoded(Image.fromarray(gradient()), "PNG"))

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            return self.content.readinto(buffer)

    np.testing.assert_array_equal(pixels(io.BufferedReader(Stream())), gradient())


def test_arrays_of_either_order_of_bytes_are_read() -> None:
    values = np.arange(48, dtype=np.uint16).reshape(6, 8) * 1000
    np.testing.assert_array_equal(pixels(values.astype(">u2")), pixels(values))


@pytest.mark.parametrize(
    "source", [3, None, 2.5, {}, iter([b"x"]), np.uint8(3), torch.zeros(3, 8, 8), io.StringIO("text"), object(), [b"x"]]
)
def test_what_can_be_no_image_is_a_type_error_that_says_what_can(source: object) -> None:
    with pytest.raises(TypeError, match=r"no image: a path, the bytes|binary mode"):
        RAW.image(source)  # type: ignore[arg-type]  # on purpose
