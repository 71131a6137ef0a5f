"""Tables of encoded images: parquet and arrow files, and data sets of the Hugging Face hub, through `datasets`."""

from __future__ import annotations

import atexit
import os
import re
import shutil
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inceptions.data.dataset import Entry, Refused
from inceptions.data.readers.folders import Found
from inceptions.data.readers.names import label_of, splits_among
from inceptions.data.readers.walk import Walk
from inceptions.errors import DataError
from inceptions.files import writable
from inceptions.progress import log

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
        if any((path / name).is_file() for name in _SAVED):
            return True
        return bool(_files(path)) and set(Walk(os.fsencode(path)).at(b"").folders) <= {b"data"}
    return bool(re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", text)) and not path.parent.exists()


def read_table(source: str | Path, *, label: str | None = None) -> tuple[Path, Found, Callable[[int], bytes]]:
    """Reads the labels of a table; images are read when they are needed, from a memory-mapped file.

    Args:
        source: as for `is_table`.
        label: the label's column; None: "label", or the only one that holds class names.

    Returns:
        (the table's place, what was found, the encoded image of a row; empty where the table has none).

    Raises:
        DataError: `datasets` is not installed, or cannot read it.
    """
    found = Found(layout="table")
    parts = _open(source, found)
    splits = _splits([name for name, _ in parts], found)
    starts: list[int] = []
    images: list[Any] = []  # arrow's columns: five times as fast as rows of `datasets`
    rows = 0
    for name, table in parts:
        if name not in splits:
            continue
        columns = _columns(table, label)
        if isinstance(columns, str):
            found.problems.append(f"{name}: {columns}")
            continue
        _read_labels((name, splits[name]), table, columns[1], rows, found)
        starts.append(rows)
        images.append(_encoded(table, columns[0]))
        rows += len(table)

    def content(row: int) -> bytes:
        part = bisect_right(starts, row) - 1
        cell = images[part][row - starts[part]].as_py()
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
        files = _parts([path] if path.is_file() else _files(path))
        return [(part, _concatenated(those)) for part, those in sorted(files.items())]
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


def _parts(files: Sequence[Path]) -> dict[str, list[Path]]:
    """Part -> its files: the split that a file's name means (train-00000-of-00002.parquet), else "all"."""
    names = {
        file: re.sub(r"[-_.]\d+[-_]of[-_]\d+.*|[-_.]\d+$", "", file.name.removesuffix(file.suffix)) for file in files
    }
    splits = splits_among(names.values())
    parts: dict[str, list[Path]] = {}
    for file, name in names.items():
        parts.setdefault(splits.get(name, "all"), []).append(file)
    return parts


def _splits(names: Sequence[str], found: Found) -> dict[str, str | None]:
    """Part -> its split (None: it is not divided); what else a part may be is a problem, or told."""
    splits: dict[str, str | None] = {**splits_among(names)}
    strange = [name for name in names if name not in splits]
    if strange and not splits:
        if len(strange) == 1:
            return {strange[0]: None}
        found.problems.append(f"its parts {', '.join(strange)} are not known splits (train, val, test)")
    elif "all" in strange:
        found.problems.append(f"some of its files are called like splits ({', '.join(splits)}) and others are not")
    elif strange:
        log.warning("ignored: the parts %s, which are none of train, val, test", ", ".join(strange))
    twice = Counter(splits.values())
    for split in (split for split, count in twice.items() if count > 1 and split != "test"):
        both = ", ".join(name for name in names if splits.get(name) == split)
        found.problems.append(f"its parts {both} all mean the {split} split")
    return splits


def _columns(table: datasets.Dataset, label: str | None) -> tuple[str, str] | str:
    """(the images' column, the labels' column), or what is wrong."""
    import datasets

    features = table.features
    images = [name for name, kind in features.items() if isinstance(kind, datasets.Image)] or [
        name
        for name, kind in features.items()
        if (isinstance(kind, dict) and "bytes" in kind) or (isinstance(kind, datasets.Value) and kind.dtype == "binary")
    ]
    named = [name for name, kind in features.items() if isinstance(kind, datasets.ClassLabel)]
    if len(images) != 1:
        return f"{len(images)} columns of images among {list(features)}; exactly one is needed"
    if label is None and "label" in features:
        label = "label"
    if label is None and len(named) == 1:
        label = named[0]
    if label is None or label not in features:
        return f"no column {label or 'label'!r} among {list(features)}: say which one holds the class (label=...)"
    return images[0], label


def _read_labels(part: tuple[str, str | None], table: datasets.Dataset, column: str, first: int, found: Found) -> None:
    """Adds the rows of a part (its name, its split) to `found`."""
    import datasets

    name, split = part
    kind = table.features[column]
    names = kind.names if isinstance(kind, datasets.ClassLabel) else None
    for row, value in enumerate(table.with_format("arrow")[:][column].to_pylist()):
        label = _label(value, names)
        file = f"{name}/{row:06d}"
        if label is not None:
            found.entries.append(Entry(file.encode(), label, split, row=first + row))
        elif split == "test" and _is_none(value):  # a test set is often published without its answers
            found.unlabeled[name] += 1
        else:
            said = repr(value) if value is None or isinstance(value, (int, float, str)) else type(value).__name__
            found.refused.append(Refused(file, f"no class: {column} is {said}"))


def _label(value: Any, names: list[str] | None) -> str | None:
    if names is None:
        return label_of(value)
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else None


def _is_none(value: Any) -> bool:
    return value is None or value == -1 or (isinstance(value, str) and not value.strip()) or value != value


def _encoded(table: datasets.Dataset, column: str) -> Any:
    """The column as it is stored: `datasets` must not decode, that is `Preprocess`'s work."""
    import datasets

    only = table.select_columns([column]).with_format(None)
    return only.cast_column(column, datasets.Image(decode=False)).data.column(column)
