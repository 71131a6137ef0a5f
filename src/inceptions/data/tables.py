"""Tables of encoded pictures: parquet and arrow files, and data sets of the Hugging Face hub, through `datasets`."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from inceptions.data.folders import Found

_HUB = "hf://datasets/"
_FILES = frozenset({".parquet", ".arrow"})


def is_table(source: str | Path) -> bool:
    """Whether `source` is a .parquet or .arrow file, a folder of them, or names a data set of the hub.

    A bare `owner/name` is taken for a hub id only where nothing here has that name, not even the folder `owner`: a
    mistyped path must not be asked of a server.
    """
    text = str(source)
    if text.startswith(_HUB):
        return True
    path = Path(source)
    if path.is_file():
        return path.suffix.lower() in _FILES
    if path.is_dir():
        return any(_table_files(path))
    return bool(re.fullmatch(r"[\w.-]+/[\w.-]+", text)) and not text.startswith(".") and not path.parent.exists()


def _table_files(folder: Path) -> list[Path]:
    """Its .parquet and .arrow files, also those in `data/` (as the hub's repositories have them)."""
    places = [folder, folder / "data"]
    files = [file for place in places if place.is_dir() for file in place.iterdir()]
    return sorted(file for file in files if file.suffix.lower() in _FILES and not file.name.startswith("."))


def read_table(source: str | Path, *, label: str | None = None) -> tuple[Path, Found, Callable[[int], bytes]]:
    raise NotImplementedError
