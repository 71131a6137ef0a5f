"""Tables of encoded pictures: parquet and arrow files, and data sets of the Hugging Face hub, through `datasets`."""

from __future__ import annotations

import atexit
import re
import shutil
from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inceptions.data.folders import Found
from inceptions.data.splits import SPLITS, Entry, Refused
from inceptions.progress import DataError, log, writable

if TYPE_CHECKING:
    import datasets

_HUB = "hf://datasets/"
_FILES = frozenset({".parquet", ".arrow"})
_SAVED = ("dataset_dict.json", "state.json")  # what `datasets.save_to_disk` leaves


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
        folders = [entry.name for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
        return any((path / name).is_file() for name in _SAVED) or (set(folders) <= {"data"} and bool(_files(path)))
    return bool(re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", text)) and not path.parent.exists()


def read_table(source: str | Path, *, label: str | None = None) -> tuple[Path, Found, Callable[[int], bytes]]:
    """Reads the labels of a table; pictures are read when they are needed, from a memory-mapped file.

    Args:
        source: as for `is_table`.
        label: the label's column; None: "label", or the only one that holds class names.

    Returns:
        (the table's place, what was found, the encoded picture of a row; empty where the table has none).

    Raises:
        DataError: `datasets` is not installed, or cannot read it.
    """
    found = Found(layout="table")
    parts = _open(source, found)
    starts: list[int] = []
    pictures: list[Any] = []  # arrow's columns: five times as fast as rows of `datasets`
    rows = 0
    for name, table in parts:
        columns = _columns(table, label)
        if isinstance(columns, str):
            found.problems.append(f"{name}: {columns}")
            continue
        _read_labels(name, table, columns[1], rows, found)
        starts.append(rows)
        pictures.append(_encoded(table, columns[0]))
        rows += len(table)

    def content(row: int) -> bytes:
        part = bisect_right(starts, row) - 1
        cell = pictures[part][row - starts[part]].as_py()
        if cell is None:
            return b""
        if cell["bytes"] is None and cell["path"] and Path(cell["path"]).is_file():
            return Path(cell["path"]).read_bytes()
        return cell["bytes"] or b""

    return (Path(source).absolute() if Path(source).exists() else Path(source)), found, content


def _open(source: str | Path, found: Found) -> list[tuple[str, datasets.Dataset]]:
    """(name, table) of each part; a part called like a split is that split."""
    try:
        import datasets
    except ImportError as error:
        raise DataError(f"{source} is a table, which needs the extra `data`: pip install 'inceptions[data]'") from error
    datasets.disable_progress_bars()
    path = Path(source)
    try:
        if not path.exists():
            name, _, config = str(source).removeprefix(_HUB).partition(":")
            loaded = datasets.load_dataset(name, config or None, cache_dir=_cache())
            return sorted((str(part), table) for part, table in loaded.items())
        if path.is_dir() and any((path / name).is_file() for name in _SAVED):
            saved = datasets.load_from_disk(str(path))
            return sorted(saved.items()) if isinstance(saved, datasets.DatasetDict) else [("all", saved)]
        parts: dict[str, list[Path]] = {}
        for file in [path] if path.is_file() else _files(path):
            parts.setdefault(_part(file), []).append(file)
        return [(part, _concatenated(files)) for part, files in sorted(parts.items())]
    except Exception as error:  # the library raises its own, arrow's, the network's; to the user all mean the same
        found.problems.append(f"`datasets` cannot read it: {type(error).__name__}: {error}")
        return []


def _concatenated(files: Sequence[Path]) -> datasets.Dataset:
    import datasets

    parquet = [str(file) for file in files if file.suffix.lower() == ".parquet"]
    tables = [datasets.Dataset.from_parquet(parquet, cache_dir=_cache())] if parquet else []
    tables += [datasets.Dataset.from_file(str(file)) for file in files if file.suffix.lower() == ".arrow"]
    return datasets.concatenate_datasets(tables)


@cache
def _cache() -> str:
    """Where `datasets` keeps what it has decoded; where that cannot be written, a folder for this run only."""
    import datasets

    own = Path(datasets.config.HF_DATASETS_CACHE)
    folder = writable(own, "HF_HOME")
    if folder != own:
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return str(folder)


def _files(folder: Path) -> list[Path]:
    """Its .parquet and .arrow files, also those in `data/` (as the hub's repositories have them)."""
    places = [place for place in (folder, folder / "data") if place.is_dir()]
    files = [file for place in places for file in place.iterdir()]
    return sorted(file for file in files if file.suffix.lower() in _FILES and not file.name.startswith("."))


def _part(file: Path) -> str:
    """The split a file's name begins with (train-00000-of-00002.parquet), or "all"."""
    first = re.split(r"[-_.]", file.name.lower())[0]
    return SPLITS.get(first, "all")


def _columns(table: datasets.Dataset, label: str | None) -> tuple[str, str] | str:
    """(the pictures' column, the labels' column), or what is wrong."""
    import datasets

    features = table.features
    pictures = [name for name, kind in features.items() if isinstance(kind, datasets.Image)] or [
        name
        for name, kind in features.items()
        if (isinstance(kind, dict) and "bytes" in kind) or (isinstance(kind, datasets.Value) and kind.dtype == "binary")
    ]
    named = [name for name, kind in features.items() if isinstance(kind, datasets.ClassLabel)]
    if len(pictures) != 1:
        return f"{len(pictures)} columns of pictures among {list(features)}; exactly one is needed"
    if label is None and "label" in features:
        label = "label"
    if label is None and len(named) == 1:
        label = named[0]
    if label is None or label not in features:
        return f"no column {label or 'label'!r} among {list(features)}: say which one holds the class (label=...)"
    return pictures[0], label


def _read_labels(part: str, table: datasets.Dataset, column: str, first: int, found: Found) -> None:
    import datasets

    split = SPLITS.get(part.lower())
    if split is None and part != "all":
        log.warning("ignored: part %s, which is none of %s", part, ", ".join(SPLITS))
        return
    kind = table.features[column]
    names = kind.names if isinstance(kind, datasets.ClassLabel) else None
    for row, value in enumerate(table.with_format("arrow")[:][column].to_pylist()):
        name = f"{part}/{row:06d}"
        label = _label(value, names)
        if label is None:
            found.refused.append(Refused(name, f"no class: {column} is {value!r}"))
        else:
            found.entries.append(Entry(name.encode(), label, split, row=first + row))


def _label(value: Any, names: list[str] | None) -> str | None:
    if names is not None:
        return names[value] if isinstance(value, int) and 0 <= value < len(names) else None
    if isinstance(value, (int, str)) and not isinstance(value, bool):
        return str(value).strip() or None
    return None


def _encoded(table: datasets.Dataset, column: str) -> Any:
    """The column as it is stored: `datasets` must not decode, that is `Preprocess`'s work."""
    import datasets

    only = table.select_columns([column]).with_format(None)
    return only.cast_column(column, datasets.Image(decode=False)).data.column(column)
