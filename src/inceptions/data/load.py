"""Reading any data set: which kind it is, what its classes are, what is wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from inceptions.data.folders import Found, read_folders
from inceptions.data.manifest import SUFFIXES, read_manifest
from inceptions.data.splits import Dataset, Entry, Split, divide, listing, natural
from inceptions.data.tables import is_table, read_table
from inceptions.data.text import same_name
from inceptions.image import EXTENSIONS
from inceptions.progress import DataError, log


def load(
    source: str | Path,
    *,
    split_seed: int = 0,
    val_fraction: float = 0.2,
    classes: Sequence[str] | None = None,
    label: str | None = None,
) -> Dataset:
    """Reads a data set; pictures are found, not opened.

    Args:
        source: a folder `train|training / val|valid|validation|test / CLASS / picture` or `CLASS / picture`, a manifest
            (.csv, .jsonl), a table of encoded pictures (.parquet, .arrow, a folder of them), or a data set of the
            Hugging Face hub (`owner/name`, `hf://datasets/owner/name`).
        split_seed: chooses the validation pictures, where the user has not.
        val_fraction: their share of each class; 0: all pictures are for training.
        classes: the model's classes: pictures are mapped to them by name; None: the classes found, in natural order.
        label: the label's column in a manifest or a table.

    Raises:
        DataError: the data cannot be used; the message lists everything found wrong.
        ValueError: an argument is out of its range.
    """
    if not 0 <= val_fraction < 1:
        raise ValueError(f"val_fraction is {val_fraction}; a share in [0, 1) expected")
    root, found, content = _read(source, label)
    order, unknown, missing = _classes(source, found, classes)
    if found.problems:
        raise DataError(f"{source} cannot be used:\n{listing(found.problems)}")
    if classes is not None:
        for kind, names in (("the model does not have", unknown), ("of the model that have no picture", missing)):
            if names:
                log.warning("%s: classes %s: %s", source, kind, ", ".join(names))
    for file, reason in found.refused:
        log.warning("left out: %s: %s", file, reason)

    entries = found.entries
    divided = any(entry.split for entry in entries)
    if not any(entry.split == "val" for entry in entries) and val_fraction > 0:
        entries = _with_validation(entries, split_seed, val_fraction)
    index = {name: number for number, name in enumerate(order)}
    parts = {
        name: _split(root, [e for e in entries if (e.split or "train") == name], index, order, content)
        for name in ("train", "val", "test")
    }
    if classes is None:
        _tell_absent(parts, order)
    return Dataset(
        classes=order,
        splits={name: split for name, split in parts.items() if len(split)},
        root=root,
        source=str(Path(source).absolute() if Path(source).exists() else source),
        layout=found.layout,
        divided=divided,
        label=label,
        refused=tuple(found.refused),
        unknown_classes=tuple(unknown),
        missing_classes=tuple(missing),
    )


def _read(source: str | Path, label: str | None) -> tuple[Path, Found, Callable[[int], bytes] | None]:
    """(root, what was found, the content of a table's rows)."""
    path = Path(source)
    if is_table(source):
        return read_table(source, label=label)
    if path.is_dir():
        if label is not None:
            raise ValueError(f"{path} is a folder of classes: it has no column {label!r}")
        return path.absolute(), read_folders(path), None
    if path.is_file() and path.suffix.lower() in SUFFIXES:
        return path.absolute().parent, read_manifest(path, label=label), None
    if path.exists():
        raise DataError(f"{path} is no data set: a folder, a .csv, .jsonl, .parquet or .arrow file expected")
    raise DataError(f"{path}: no such folder or file")


def _classes(
    source: str | Path, found: Found, given: Sequence[str] | None
) -> tuple[tuple[str, ...], list[str], list[str]]:
    """(the classes in order, those the model lacks, those the data lacks); what is wrong goes to `found.problems`."""
    counts = Counter(entry.label for entry in found.entries)
    if not found.entries:
        found.problems.append(f"no pictures ({' '.join(sorted(EXTENSIONS))}) in it")
        return tuple(given or ()), [], []
    if given is not None:
        _respell(found, given)
        counts = Counter(entry.label for entry in found.entries)
        unknown = sorted(set(counts) - set(given), key=natural)
        missing = [name for name in given if name not in counts]
        if len(missing) == len(given):
            found.problems.append(
                f"none of its classes ({_some(unknown)}) is one of the model's ({_some(list(given))}): "
                "folders are mapped to classes by name"
            )
        return tuple(given), unknown, missing
    if len(counts) == 1:
        found.problems.append(
            f"only one class, {next(iter(counts))}: a classifier needs two (is this the folder of one class?)"
        )
    trained = {e.label for e in found.entries if e.split in (None, "train")} or set(counts)
    for split, folders in found.folders.items():
        held = {entry.label for entry in found.entries if entry.split == split}
        empty = [name for name in folders if name not in held]
        if empty and split in (None, "train"):
            found.problems.append(f"no pictures in the folder of class {_some(empty)}: fill or remove it")
    untrained = sorted(set(counts) - trained, key=natural)
    if untrained:
        found.problems.append(f"classes without training pictures: {_some(untrained)}")
    return tuple(sorted(counts, key=natural)), [], []


def _respell(found: Found, given: Sequence[str]) -> None:
    """Calls what is a class of the model but for the space around it or its Unicode form as the model does."""
    own = {same_name(name): name for name in reversed(given)} | {name: name for name in given}
    called = {label: own.get(label) or own.get(same_name(label), label) for label in {e.label for e in found.entries}}
    if any(label != name for label, name in called.items()):
        found.entries = [entry._replace(label=called[entry.label]) for entry in found.entries]


def _with_validation(entries: list[Entry], seed: int, fraction: float) -> list[Entry]:
    """The same entries, some of the training ones moved to "val"."""
    train = [entry for entry in entries if entry.split in (None, "train")]
    chosen = divide(train, seed=seed, fraction=fraction)
    marked = [e._replace(split="val" if val else "train") for e, val in zip(train, chosen, strict=True)]
    return marked + [entry for entry in entries if entry.split == "test"]


def _split(
    root: Path,
    entries: list[Entry],
    index: dict[str, int],
    classes: tuple[str, ...],
    content: Callable[[int], bytes] | None,
) -> Split:
    """Sorted by class and name: a picture's index must not depend on how a disk lists its files."""
    entries = sorted(entries, key=lambda e: (index.get(e.label, -1), e.row, e.file))
    return Split(
        root=root,
        files=np.array([entry.file for entry in entries], dtype=np.bytes_),
        targets=np.array([index.get(entry.label, -1) for entry in entries], dtype=np.int64),
        classes=classes,
        content=content,
        rows=None if content is None else np.array([entry.row for entry in entries], dtype=np.int64),
    )


def _tell_absent(parts: Mapping[str, Split], classes: Sequence[str]) -> None:
    """Names the classes of which a part has no picture: nothing can be said of how well they are recognized."""
    for part, called in (("val", "validation"), ("test", "test")):
        held = set(np.unique(parts[part].targets).tolist())
        absent = [name for index, name in enumerate(classes) if index not in held]
        if absent and held:
            log.warning(
                "no %s pictures of class %s (none there, or too few pictures or groups): its recall is not known, and "
                "averages leave it out",
                *(called, _some(absent)),
            )


def _some(names: Sequence[str], limit: int = 10) -> str:
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
