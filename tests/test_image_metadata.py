"""What carries no pixels never makes an image unreadable, and what carries them is read from the file's own words."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from inceptions.image import Preprocess, UnreadableImage, opened

RAW = Preprocess(size=(4, 4))
TURNED = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
"""EXIF: orientation 6."""


def pixels(source: bytes) -> np.ndarray:
    return np.asarray(RAW.decode(source))


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def gradient() -> Image.Image:
    return Image.fromarray(np.arange(16 * 12 * 3, dtype=np.uint16).astype(np.uint8).reshape(12, 16, 3))


def chunk(kind: bytes, content: bytes, wrong: int = 0) -> bytes:
    check = zlib.crc32(kind + content) + wrong & 0xFFFFFFFF
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


def png(depth: int, color: int, rows: list[bytes], width: int, *more: bytes) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, len(rows), depth, color, 0, 0, 0))
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


LARGE = zlib.compress(b"a" * (3 << 20))


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"zTXt", b"parameters\0\0" + LARGE),
        chunk(b"iTXt", b"parameters\0\1\0\0\0" + LARGE),
        chunk(b"iCCP", b"profile\0\0" + LARGE),
        chunk(b"iCCP", b"profile\0\7nonsense"),
        chunk(b"iCCP", b""),
        chunk(b"pHYs", b"\0"),
        chunk(b"pHYs", struct.pack(">IIB", 2835, 2835, 1), wrong=1),
        chunk(b"tEXt", b"k\0v", wrong=1),
        chunk(b"gAMA", b""),
        chunk(b"acTL", b"\0"),
        chunk(b"acTL", struct.pack(">II", 0, 0)),
        chunk(b"fcTL", b"\0" * 26),
        chunk(b"abCd", b"nobody knows", wrong=7),
        chunk(b"eXIf", b"MM\0*\xff\xff\xff\xff"),
        chunk(b"zTXt", b"Raw profile type exif\0\0" + LARGE),
    ],
)
def test_chunks_without_pixels_change_nothing(extra: bytes, behind: bool) -> None:
    good = encoded(gradient(), "PNG")
    at = len(good) - 12 if behind else 33
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(pixels(good[:at] + extra + good[at:]), pixels(good))


def test_an_animated_png_shows_its_first_frame() -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    for first in (False, True):
        content = encoded(frames[0], "PNG", save_all=True, append_images=frames[1:], default_image=first)
        assert pixels(content)[0, 0].tolist() == [255, 0, 0]


def test_a_chunk_that_says_it_is_longer_than_the_file_loses_only_what_it_hides() -> None:
    good = encoded(gradient(), "PNG")
    end = struct.pack(">I", 1 << 30) + b"tEXt" + b"k\0v"
    np.testing.assert_array_equal(pixels(good[:-12] + end), pixels(good))


@pytest.mark.parametrize("kind", [b"IHDR", b"PLTE", b"tRNS"])
def test_a_chunk_with_pixels_that_is_damaged_is_named(kind: bytes) -> None:
    palette, clear = chunk(b"PLTE", bytes(range(6))), chunk(b"tRNS", b"\0\xff")
    good = png(8, 3, [b"\0\1"], 2, palette, clear)
    bad = bytearray(good)
    bad[good.index(kind) + 4] ^= 1
    with pytest.raises(UnreadableImage, match=f"checksum in .*{kind.decode()}"):
        pixels(bytes(bad))


def test_damaged_pixels_are_damage() -> None:
    good = encoded(gradient(), "PNG")
    bad = bytearray(good)
    bad[good.index(b"IDAT") + 14] ^= 0xFF
    with pytest.raises(UnreadableImage):
        pixels(bytes(bad))


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_a_transparent_value_of_gray_is_white_at_every_depth(depth: int) -> None:
    value = 1 if depth == 1 else 2
    other, top = 0, (1 << depth) - 1
    stored = value << depth | other if depth < 16 else 0
    row = struct.pack(">HH", value, other) if depth == 16 else bytes([value, other])
    if depth < 8:
        row = bytes([stored << (8 - 2 * depth) & 0xFF])
    shown = pixels(png(depth, 0, [row], 2, chunk(b"tRNS", struct.pack(">H", value))))
    assert shown[0, :, 0].tolist() == [255, 0]
    assert pixels(png(depth, 0, [row], 2))[0, 0, 0] == (value >> 8 if depth == 16 else value * 255 // top)


def test_a_transparent_color_of_sixteen_bits_is_white() -> None:
    row = struct.pack(">6H", 300, 400, 500, 60_000, 400, 500)
    shown = pixels(png(16, 2, [row], 2, chunk(b"tRNS", struct.pack(">3H", 300, 400, 500))))
    assert shown[0].tolist() == [[255, 255, 255], [234, 1, 1]]


def test_sixteen_bits_with_alpha_lie_over_white() -> None:
    assert pixels(png(16, 4, [struct.pack(">4H", 0, 0, 0, 65535)], 2))[0, :, 0].tolist() == [255, 0]
    row = struct.pack(">8H", 0, 0, 0, 0, 0, 65535, 0, 65535)
    assert pixels(png(16, 6, [row], 2))[0].tolist() == [[255, 255, 255], [0, 255, 0]]


# ---- which side is up -----------------------------------------------------------------------------------------------


def test_the_orientation_is_found_wherever_it_is_told() -> None:
    good = encoded(Image.new("RGB", (6, 4)), "PNG")
    lines = b"\nexif\n      26\n" + (b"Exif\0\0" + TURNED).hex().encode()
    xmp = b'XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation="6"/>'
    for extra in (
        chunk(b"eXIf", TURNED),
        chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(lines)),
        chunk(b"tEXt", b"Raw profile type exif\0" + lines),
        chunk(b"iTXt", xmp),
    ):
        with opened(good[:33] + extra + good[33:]) as image:
            assert image.size == (4, 6), extra[4:8]
            assert image.pixels("RGB").size == (4, 6)
    with opened(encoded(Image.new("RGB", (6, 4)), "WEBP", exif=b"Exif\0\0" + TURNED)) as image:
        assert image.size == (4, 6)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_what_has_been_turned_upright_is_not_turned_again(format: str) -> None:
    content = encoded(Image.new("RGB", (6, 4)), format, exif=b"Exif\0\0" + TURNED)
    upright = RAW.decode(content)
    assert upright.size == RAW.decode(upright).size == (4, 6)


@pytest.mark.parametrize("cut", [0, 7, 13, 25, 26])
def test_exif_that_is_cut_off_still_tells_what_it_holds(cut: int) -> None:
    exif = TURNED[:9] + b"\x09" + TURNED[10:]  # promises nine entries
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with opened(encoded(Image.new("RGB", (6, 4)), "JPEG", exif=b"Exif\0\0" + exif[:cut])) as image:
            assert image.size == ((4, 6) if cut >= 22 else (6, 4))


# ---- JPEG -----------------------------------------------------------------------------------------------------------


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


@pytest.mark.parametrize(
    "extra",
    [
        segment(0xE0, b"JFIF"),
        segment(0xE1, b"Exif\0\0"),
        segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff"),
        segment(0xE1, b"http://ns.adobe.com/xap/1.0/"),
        segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<broken"),
        segment(0xE2, b"ICC_PROFILE\0"),
        segment(0xE2, b"ICC_PROFILE\0\x01\x05" + b"x" * 60_000),
        segment(0xE2, b"MPF\0broken"),
        segment(0xED, b"Photoshop 3.0\x008BIM"),
        segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04"),
        segment(0xEE, b"Adobe"),
        segment(0xEB, b""),
        segment(0xFE, b"c" * 65_000) * 40,
    ],
)
def test_segments_without_pixels_change_nothing(extra: bytes) -> None:
    good = encoded(gradient(), "JPEG")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(pixels(good[:2] + extra + good[2:]), pixels(good))


def test_the_orientation_survives_a_broken_profile() -> None:
    good = encoded(Image.new("RGB", (6, 4)), "JPEG", exif=b"Exif\0\0" + TURNED)
    with opened(good[:2] + segment(0xE2, b"ICC_PROFILE\0") + good[2:]) as image:
        assert image.size == (4, 6)


def test_adobes_inverted_cmyk_keeps_its_colors_beside_a_broken_profile() -> None:
    good = encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95)
    assert np.abs(pixels(good)[8, 8].astype(int) - [255, 0, 0]).max() < 15
    bad = good[:2] + segment(0xE2, b"ICC_PROFILE\0") + good[2:]
    np.testing.assert_array_equal(pixels(bad), pixels(good))


def test_a_jpeg_of_twelve_bits_is_refused_as_that() -> None:
    bad = bytearray(encoded(gradient(), "JPEG"))
    bad[bad.index(b"\xff\xc0") + 4] = 12
    with pytest.raises(UnreadableImage, match="12-bit"):
        pixels(bytes(bad))


# ---- BMP ------------------------------------------------------------------------------------------------------------


def bmp(values: list[tuple[int, int, int, int]], header: int) -> bytes:
    """32 bits with a mask for alpha: blue, green, red, alpha as stored."""
    data = b"".join(map(bytes, values))
    head = struct.pack("<IiiHHIIiiII", header, len(values), 1, 1, 32, 3, len(data), 2835, 2835, 0, 0)
    head += struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    head = head.ljust(header, b"\0")
    return b"BM" + struct.pack("<IHHI", 14 + header + len(data), 0, 0, 14 + header) + head + data


@pytest.mark.parametrize("header", [56, 108, 124])
def test_a_bitmap_whose_alpha_nobody_has_filled_is_opaque(header: int) -> None:
    assert pixels(bmp([(10, 20, 30, 0), (200, 100, 50, 0)], header))[0].tolist() == [[30, 20, 10], [50, 100, 200]]
    assert pixels(bmp([(10, 20, 30, 255), (200, 100, 50, 0)], header))[0].tolist() == [[30, 20, 10], [255, 255, 255]]


def test_a_png_that_is_transparent_everywhere_is_white() -> None:
    assert pixels(encoded(Image.new("RGBA", (2, 2), (30, 20, 10, 0)), "PNG"))[0, 0].tolist() == [255, 255, 255]


# ---- the process ----------------------------------------------------------------------------------------------------


def test_decoding_leaves_the_process_as_it_was(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("a", "b")
    gradient().save(tmp_path / "a.png", pnginfo=info)
    gradient().save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x09")
    gradient().save(tmp_path / "a.tif")
    code = (
        "import sys, warnings; from PIL import Image; from inceptions.image import Preprocess\n"
        "before = list(warnings.filters), Image.MAX_IMAGE_PIXELS\n"
        "version = warnings._filters_mutated\n"
        "warnings._filters_mutated = lambda: sys.exit('a filter was set')\n"
        "for file in sys.argv[1:]: Preprocess(size=(4, 4)).image(file)\n"
        "assert before == (list(warnings.filters), Image.MAX_IMAGE_PIXELS)\n"
    )
    files = [str(tmp_path / name) for name in ("a.png", "a.jpg", "a.tif")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *files], capture_output=True, text=True, env=environment
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
