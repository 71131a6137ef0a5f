"""Files: written whole or not at all, names and cells that others can read, and where caches lie."""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from inceptions.errors import DataError
from inceptions.progress import log
from inceptions.system import flush, sync

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what makes a spreadsheet compute a cell instead of showing it


def write_atomically(path: Path, data: bytes | str) -> None:
    """Writes `data` so that `path` holds either its old content or all of the new one, even after a power cut.

    A str is written as UTF-8; file names that are not UTF-8 (surrogate escapes) keep their bytes.

    Raises:
        OSError: the folder is missing, full or not writable; `path` is then as it was.
    """
    with open_atomically(path) as file:
        file.write(data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data)


def to_json(value: object, *, indent: int | None = None) -> str:
    """`value` as JSON that people can read: letters of every script as they are; a byte of a file's name that is no
    UTF-8 becomes an escape, which reads back as the same name.

    Raises:
        TypeError, ValueError: JSON cannot hold it; NaN and infinities are not JSON.
    """
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    return re.sub("[\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", text)


def writable(folder: Path, variable: str) -> Path:
    """`folder`, made where it is missing; a new temporary one, with a warning, where it cannot be written to.

    Args:
        folder: of a cache.
        variable: of the environment, that puts the cache elsewhere.

    Raises:
        OSError: the disk is full.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # what `os.access` says of network folders need not be true
            return folder
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        other = Path(tempfile.mkdtemp(prefix="inceptions-"))
        log.warning("%s: %s: using %s; %s names a folder that keeps", folder, error.strerror or error, other, variable)
        return other


def text_path(path: Path) -> Path:
    """`path`, for the libraries of tensors and exports, which take no other names of files than UTF-8.

    Raises:
        DataError: it is not, or the folder is not in which it lies.
    """
    whole = os.fsencode(os.path.abspath(path))
    try:
        whole.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{whole.decode('utf-8', 'backslashreplace')}: files of tensors can be neither written nor read where a "
            "folder's name is not UTF-8: rename it, or choose another place"
        ) from error
    return path


def safe_cell(text: str) -> str:
    """`text` as a CSV cell: no formula to a spreadsheet (a leading apostrophe), bytes that are not UTF-8 as `\\xff`."""
    readable = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return f"'{readable}" if readable.startswith(FORMULA) else readable


def safe_path(path: str | os.PathLike[str]) -> str:
    """A file name for a CSV cell: like `safe_cell`, but `./` does the work of the apostrophe and the path stays one."""
    text = os.fspath(path)
    return safe_cell(f"./{text}" if text.startswith(FORMULA) else text)


@contextmanager
def open_atomically(path: Path) -> Iterator[BinaryIO]:
    """A new file that takes the name `path` when the block ends well; until then, and after an error, nothing changes.

    Raises:
        OSError: the folder is missing, full or not writable; `path` is then as it was.
    """
    temporary = path.with_name(f".{os.getpid()}-{secrets.token_hex(8)}.tmp")
    try:
        raw = temporary.open("xb")
    except OSError as error:  # which names a file that nobody has heard of
        raise type(error)(error.errno, error.strerror, os.fspath(path)) from error
    try:
        with raw as file:
            yield file
            file.flush()
            sync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    flush(path.parent)  # the rename itself must reach the disk


_STARTS = (
    (b"version https://git-lfs", "a pointer of Git LFS, not the file itself: git lfs pull fetches that"),
    (b"PK\3\4", "a zip archive: unpack it first"),
    (b"PK\5\6", "an empty zip archive"),
    (b"\x1f\x8b", "compressed by gzip: unpack it first"),
    (b"BZh", "compressed by bzip2: unpack it first"),
    (b"\xfd7zXZ\0", "compressed by xz: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "compressed by Zstandard: unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it first"),
    (b"Rar!\x1a\x07", "a RAR archive: unpack it first"),
    (b"\0\5\x16\7", "what macOS keeps beside a file (._NAME), not the file itself"),
    (b"%PDF-", "a PDF document"),
    (b"8BPS", "a Photoshop document (PSD)"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\x93NUMPY", "an array of NumPy's (.npy)"),
    (b"GGUF", "GGUF"),
)
_PAGE = re.compile(rb"<(!doctype html|html|head|body)\b", re.IGNORECASE)
_BRACES = re.compile(rb"[{\[]\s*[\"'{\[\]}]")


def foreign_kind(head: bytes) -> str | None:
    """What a file is that somebody gave for another one, in words; None: nothing that is known here.

    Args:
        head: its first bytes; 512 are enough.
    """
    if not head:
        return "an empty file"
    told = next((kind for start, kind in _STARTS if head.startswith(start)), None)
    if told is not None:
        return told
    if head[257:262] == b"ustar":
        return "a tar archive: unpack it first"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"<"):
        if b"<svg" in head:
            return "an SVG drawing"
        page = _PAGE.search(head)
        return "a web page (HTML)" if page else "an XML document" if text.startswith(b"<?xml") else None
    return "text in JSON" if _BRACES.match(text) else None


def user_cache() -> Path | None:
    """The folder of this user's caches: XDG_CACHE_HOME, else ~/.cache; None for a user who has no home."""
    if given := os.environ.get("XDG_CACHE_HOME"):
        return Path(given)
    home = os.path.expanduser("~")  # pathlib's raises where there is none
    return None if home == "~" else Path(home) / ".cache"
