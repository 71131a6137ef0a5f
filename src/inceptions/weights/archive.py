"""The `.tar.gz` in which TensorFlow's publishers put a checkpoint or a graph."""

from __future__ import annotations

import gzip
import re
import shutil
import tarfile
import tempfile
import zlib
from dataclasses import replace
from pathlib import Path, PurePosixPath

from inceptions.errors import DataError
from inceptions.weights.checkpoint import Checkpoint
from inceptions.weights.saved_model import METADATA, PROGRAM
from inceptions.weights.tensorflow import read_tensorflow

_WANTED = re.compile(r"[\w.-]+\.(ckpt(-\d+)?(\.index|\.data-\d{5}-of-\d{5})?|pb|index|data-\d{5}-of-\d{5})")
_MAX_RATIO = 100  # weights hardly shrink; what unpacks to more is no weights
_MAX_MEMBERS = 1000
_MAX_READ = 1 << 20  # bytes at a time: `tarfile` takes names and headers whole, however long they claim to be


class _Stream(gzip.GzipFile):
    """The unpacked archive, which gives nobody more than a little at a time."""

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= _MAX_READ:
            raise tarfile.ReadError(f"a name or a header in it claims {size} bytes")
        return super().read(size)


def is_archive(path: Path) -> bool:
    """Whether the file is compressed by gzip."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def read_archive(path: Path) -> Checkpoint:
    """Reads the one checkpoint or frozen graph in an archive; nothing else of it is unpacked, and only to a temporary
    folder.

    Raises:
        DataError: damaged, none or several in it, or far larger unpacked than weights can be.
    """
    with tempfile.TemporaryDirectory(prefix="inceptions-") as temporary:
        try:
            files = _unpack(path, Path(temporary))
        except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
            told = "if it is a single file that was compressed, unpack it"
            raise DataError(f"{path}: not readable as a .tar.gz archive ({error}); {told}") from error
        models = [file for file in files if ".data-" not in file.name]
        if len(models) > 1:  # of a SavedModel its variables are read
            models = [file for file in models if file.name not in (PROGRAM, METADATA)]
        if len(models) != 1:
            held = ", ".join(sorted(file.name for file in models)) or "no checkpoint and no frozen graph"
            raise DataError(f"{path} holds {held}; one is needed: unpack it and give the right file")
        try:
            checkpoint = read_tensorflow(models[0])
        except (DataError, FileNotFoundError) as error:
            raise DataError(f"{path}: {str(error).replace(temporary + '/', '')}") from error
    return replace(checkpoint, source=str(path))


def _unpack(path: Path, folder: Path) -> list[Path]:
    """The weight files of the archive, put into `folder` under the last parts of their names."""
    left, files = _MAX_RATIO * path.stat().st_size, []
    with _Stream(path) as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
        for number, member in enumerate(archive):
            left -= member.size  # compressed bytes are read past, wanted or not
            if left < 0 or number >= _MAX_MEMBERS:
                raise DataError(f"{path}: unpacks to more than {_MAX_RATIO} times its size, or {_MAX_MEMBERS} files")
            name = PurePosixPath(member.name).name
            if not member.isreg() or not _WANTED.fullmatch(name):
                continue
            content = archive.extractfile(member)
            if content is None or (folder / name) in files:
                raise DataError(f"{path} holds several files called {name}")
            with content, (folder / name).open("xb") as file:
                shutil.copyfileobj(content, file)
            files.append(folder / name)
    return files
