"""Every format that is read by its suffix and content, and what is said of those that are not."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from inceptions.image import EXTENSIONS, UnreadableImage, opened
from inceptions.image.formats import REMARKS, kind_of

COLOR = (200, 100, 50)
LOSSLESS = [("PPM", ".ppm"), ("PPM", ".pnm"), ("ICO", ".ico"), ("TIFF", ".tif"), ("BMP", ".dib"), ("PNG", ".apng")]


def encoded(form: str, mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (32, 32), COLOR).convert(mode).save(file, form, **options)
    return file.getvalue()


def color(source: Path | bytes) -> tuple[int, ...]:
    with opened(source) as image:
        assert image.size == (32, 32)
        return tuple(int(value) for value in np.asarray(image.pixels("RGB"))[16, 16])


@pytest.mark.parametrize(("form", "suffix"), LOSSLESS)
def test_a_format_is_read_by_its_suffix(form: str, suffix: str, tmp_path: Path) -> None:
    assert suffix in EXTENSIONS
    (tmp_path / f"x{suffix}").write_bytes(encoded(form))
    assert color(tmp_path / f"x{suffix}") == COLOR
    assert color(encoded(form)) == COLOR


def test_maps_of_gray_and_of_bits_are_read() -> None:
    assert color(encoded("PPM", "L")) == (124, 124, 124)  # pgm: 0.299 R + 0.587 G + 0.114 B
    assert set(color(encoded("PPM", "1"))) <= {0, 255}  # pbm
    text = b"P3\n# written by hand\n2 1\n255\n255 0 0  0 0 255\n"
    with opened(text) as image:
        assert np.asarray(image.pixels("RGB")).tolist() == [[[255, 0, 0], [0, 0, 255]]]


@pytest.mark.skipif(not features.check("jpg_2000"), reason="this Pillow has no JPEG 2000")
def test_jpeg_2000_is_read_as_file_and_as_stream(tmp_path: Path) -> None:
    for suffix, options in ((".jp2", {}), (".j2k", {"no_jp2": True})):
        assert suffix in EXTENSIONS
        (tmp_path / f"x{suffix}").write_bytes(encoded("JPEG2000", **options))
        assert color(tmp_path / f"x{suffix}") == COLOR


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_avif_is_read_where_pillow_reads_it() -> None:
    assert ".avif" in EXTENSIONS
    assert np.abs(np.subtract(color(encoded("AVIF", quality=100)), COLOR)).max() <= 3


def test_heic_is_read_or_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # as where it is not installed
    with (
        pytest.raises(UnreadableImage, match="pip install 'inceptions\\[heif\\]'"),
        opened(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40)),
    ):
        pass


def test_heic_is_read_with_its_package() -> None:
    heif = pytest.importorskip("pillow_heif")
    file = io.BytesIO()
    heif.from_pillow(Image.new("RGB", (32, 32), COLOR)).save(file, quality=100)
    assert {".heic", ".heif", ".hif"} <= EXTENSIONS
    assert np.abs(np.subtract(color(file.getvalue()), COLOR)).max() <= 4


def test_what_is_not_read_says_what_to_do() -> None:
    assert not set(REMARKS) & EXTENSIONS
    assert "convert" in REMARKS[".psd"]
    assert "unpack" in REMARKS[".zip"]


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "TIFF", "BMP", "WEBP", "ICO", "PPM"])
def test_a_head_says_the_format(form: str) -> None:
    assert (kind_of(encoded(form)[:32]) or "").upper() == form


@pytest.mark.parametrize(
    "head", [b"", b"x", b"ftyp", b"RIFF....WAVE", b"P5", bytes(32), b"\0\0\0\x18ftypisom" + bytes(20)]
)
def test_other_heads_are_of_no_image(head: bytes) -> None:
    assert kind_of(head) is None
