"""What is given for weights or an image and is neither says what it is: a failed download, a pointer, an archive."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from pathlib import Path

import pytest

from inceptions import Preprocess
from inceptions.errors import DataError
from inceptions.files import foreign_kind
from inceptions.image import UnreadableImage
from inceptions.weights.locate import read


def zipped() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("weights/best.pth", "x")
    return content.getvalue()


def tarred() -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("best.pth"))
    return content.getvalue()


OTHERS = {
    "HTML": b"<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head></html>",
    "HTML behind spaces": b"\r\n  <HTML>\n<body>404</body>",
    "HTML behind a mark": b"\xef\xbb\xbf<!doctype HTML>",
    "XML": b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>AccessDenied</Code></Error>',
    "SVG": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>',
    "JSON": b'{"error": "Entry not found"}',
    "Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 91234567\n",
    "zip": zipped(),
    "tar": tarred(),
    "bzip2": bz2.compress(b"x"),
    "xz": lzma.compress(b"x"),
    "macOS": b"\0\5\x16\7\0\2\0\0Mac OS X        \0\2",
    "PDF": b"%PDF-1.7\n",
    "PSD": b"8BPS\0\1" + b"\0" * 30,
    "JPEG XL": b"\xff\x0a\xfa\x1f",
}


def said(kind: str) -> str:
    return "HTML" if "HTML" in kind else kind


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_no_weight_file_says_what_it_is(kind: str, tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(OTHERS[kind])
    with pytest.raises(DataError, match=f"w.pth: .*{said(kind)}.*no kind that is read"):
        read(tmp_path / "w.pth")


@pytest.mark.parametrize("kind", [*OTHERS, "gzip"])
def test_what_is_no_image_says_what_it_is(kind: str) -> None:
    content = OTHERS.get(kind) or gzip.compress(b"x")
    with pytest.raises(UnreadableImage, match=f"{said(kind)}.*; no JPEG, PNG"):
        Preprocess(size=(8, 8)).image(content)


@pytest.mark.parametrize("head", [b"\0" * 512, b"P6\n8 8\n255\n", b"<x/>", b"{ wild", b"\x80\x02}q\0."])
def test_what_is_not_known_is_not_guessed(head: bytes) -> None:
    assert foreign_kind(head) is None


def test_an_empty_file_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "w.pth").touch()
    with pytest.raises(DataError, match="an empty file"):
        read(tmp_path / "w.pth")


def test_a_zip_archive_that_was_cut_off_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(zipped()[:-10])
    with pytest.raises(DataError, match="its end is missing"):
        read(tmp_path / "w.pth")
