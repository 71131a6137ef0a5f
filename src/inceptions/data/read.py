"""Reading any data set: which kind it is, what its classes are, what is wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from inceptions.data.contents import with_hashes
from inceptions.data.dataset import Dataset, Entry, Refused, Split, divide, natural
from inceptions.data.readers.folders import Found, read_folders
from inceptions.data.readers.manifest import SUFFIXES, read_manifest
from inceptions.data.readers.names import folded, label_of
from inceptions.data.readers.parquet import is_table, read_table
from inceptions.data.readers.walk import say_skipped
from inceptions.data.text import same_name
from inceptions.errors import DataError, some
from inceptions.image import EXTENSIONS
from inceptions.image.formats import ARCHIVES
from inceptions.progress import log


def load(
    source: str | Path,
    *,
    split_seed: int = 0,
    val_fraction: float = 0.2,
    classes: Sequence[str] | None = None,
    label: str | None = None,
) -> Dataset:
    """Reads a data set; images are found, not opened.

    Args:
        source: a folder `SPLIT / CLASS / image` (splits by any of the names people give them, see
            `data.readers.names`) or `CLASS / image`, a manifest (.csv, .jsonl), a table of encoded images
            (.parquet, .arrow, a folder of them), or a data set of the Hugging Face hub (`owner/name`,
            `hf://datasets/owner/name`).
        split_seed: chooses the validation images, where the user has not.
        val_fraction: their share of each class; 0: all images are for training.
        classes: the model's classes: images are mapped to them by name; None: the classes found, in natural order.
        label: the label's column in a manifest or a table.

    Raises:
        DataError: the data cannot be used; the message lists everything found wrong.
        ValueError: an argument is out of its range.
    """
    if not 0 <= val_fraction < 1:
        raise ValueError(f"val_fraction is {val_fraction}; a share in [0, 1) expected")
    root, found, content = _read(source, label)
    _set_unanswered_apart(found)
    if classes is not None:
        found.entries = _as_called(found.entries, classes)
    order, unknown, missing = _classes(source, found, classes)
    _refuse_or_tell(str(source), found, [] if classes is None else [unknown, missing])
    entries = found.entries
    divided = any(entry.split for entry in entries)
    if not any(entry.split == "val" for entry in entries) and val_fraction > 0:
        entries = _with_validation(with_hashes(entries, root, content), split_seed, val_fraction)
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
        unlabeled=dict(found.unlabeled),
        skipped=found.skipped.to_dict(),
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
    if path.suffix.lower() in ARCHIVES:
        raise DataError(f"{path} is an archive: unpack it, and give the folder")
    if path.exists():
        raise DataError(f"{path} is not a data set: a folder, a .csv, .jsonl, .parquet or .arrow file expected")
    raise DataError(f"{path}: no such folder or file")


def _refuse_or_tell(source: str, found: Found, unmapped: Sequence[Sequence[str]]) -> None:
    """Everything found wrong, as one error or as lines of the log.

    Args:
        source: what is read.
        found: what was found in it.
        unmapped: (classes the model does not have, its classes that have no image), where there is a model.
    """
    left_out = _by_reason(found.refused)
    if found.problems:
        skipped = found.skipped.line()[1]
        told = [*left_out, *([f"not taken: {skipped}"] if skipped else [])]
        raise DataError("\n".join([f"{source} cannot be used:", some(found.problems, 20, lines=True), *told]))
    say_skipped(source, found.skipped)
    for part, count in found.unlabeled.items():
        log.warning("left out: %d images of %s, which have no class", count, part)
    for kind, names in zip(("the model does not have", "of the model that have no image"), unmapped, strict=False):
        if names:
            log.warning("%s: classes %s: %s", source, kind, ", ".join(names))
    for line in left_out:
        log.warning("%s", line)


def _classes(
    source: str | Path, found: Found, given: Sequence[str] | None
) -> tuple[tuple[str, ...], list[str], list[str]]:
    """(the classes in order, those the model lacks, those the data lacks); what is wrong goes to `found.problems`."""
    counts = Counter(entry.label for entry in found.entries)
    advice = f"; {found.advice}" if found.advice else ""
    if not found.entries:
        if not found.problems and found.refused:
            found.problems.append(f"none of its {len(found.refused)} images can be used")
        elif not found.problems:
            found.problems.append(f"no images ({' '.join(sorted(EXTENSIONS))}) in it")
        return tuple(given or ()), [], []
    if given is not None:
        _respell(found, given)
        counts = Counter(entry.label for entry in found.entries)
        unknown = sorted(set(counts) - set(given), key=natural)
        missing = [name for name in given if name not in counts]
        if len(missing) == len(given):
            found.problems.append(
                f"none of its classes ({some(unknown, 10)}) is one of the model's ({some(list(given), 10)}): "
                f"they are mapped to classes by name{advice}"
            )
        return tuple(given), unknown, missing
    if len(counts) == 1:
        found.problems.append(
            f"only one class, {next(iter(counts))}: a classifier needs two"
            + (advice or (" (is this the folder of one class?)" if found.layout == "classes" else ""))
        )
    same: dict[str, list[str]] = {}
    for name in sorted(counts, key=natural) if found.layout in ("manifest", "table") else ():
        same.setdefault(folded(name), []).append(name)
    if twins := [name for names in same.values() if len(names) > 1 for name in names]:
        log.warning("%s: classes that differ only in capitals or accents: %s", source, some(twins, 10))
    trained = {e.label for e in found.entries if e.split in (None, "train")} or set(counts)
    for split, folders in found.folders.items():
        held = {entry.label for entry in found.entries if entry.split == split}
        empty = [name for name in folders if name not in held]
        if empty and split in (None, "train"):
            found.problems.append(f"no images in the folder of class {some(empty, 10)}: fill or remove it")
    untrained = sorted(set(counts) - trained, key=natural)
    if untrained:
        found.problems.append(f"classes without training images: {some(untrained, 10)}")
    return tuple(sorted(counts, key=natural)), [], []


def _as_called(entries: list[Entry], classes: Sequence[str]) -> list[Entry]:
    """The same entries, labels as the model spells them: one trained when 1.0 was no 1 still finds its classes."""
    spelled = {label_of(name, typed=False): name for name in classes}
    if len(spelled) < len(classes) or all(label == name for label, name in spelled.items()):
        return entries
    known = set(classes)
    return [e if e.label in known else e._replace(label=spelled.get(e.label, e.label)) for e in entries]


def _set_unanswered_apart(found: Found) -> None:
    """A class "-1" that only a test set has is no class: so are answers written that are not published."""
    if found.layout in ("manifest", "table") and {e.split for e in found.entries if e.label == "-1"} == {"test"}:
        kept = [entry for entry in found.entries if entry.label != "-1"]
        found.unlabeled["test"] += len(found.entries) - len(kept)
        found.entries = kept


def _by_reason(refused: Iterable[Refused]) -> list[str]:
    """A line for each reason, with the first file and how many more."""
    files: dict[str, list[str]] = {}
    for file, reason in refused:
        files.setdefault(reason, []).append(file)
    lines = []
    for reason, names in files.items():
        more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
        lines.append(f"left out: {names[0]}: {reason}{more}")
    return some(lines, 20, lines=True).splitlines() if lines else []


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
    """Sorted by class and name: an image's index must not depend on how a disk lists its files."""
    entries = sorted(entries, key=lambda e: (index.get(e.label, -1), e.row, e.file))
    return Split(
        root=root,
        files=np.array([entry.file for entry in entries], dtype=np.bytes_),
        targets=np.array([index.get(entry.label, -1) for entry in entries], dtype=np.int64),
        classes=classes,
        hashes=np.array([(entry.sha256 or "").encode("ascii") for entry in entries], dtype="S64")
        if any(entry.sha256 for entry in entries)
        else None,
        content=content,
        rows=None if content is None else np.array([entry.row for entry in entries], dtype=np.int64),
    )


def _tell_absent(parts: Mapping[str, Split], classes: Sequence[str]) -> None:
    """Names the classes of which a part has no image: nothing can be said of how well they are recognized."""
    for part, called in (("val", "validation"), ("test", "test")):
        held = set(np.unique(parts[part].targets).tolist())
        absent = [name for index, name in enumerate(classes) if index not in held]
        if absent and held:
            log.warning(
                "no %s images of class %s (none there, or too few images or groups): its recall is not known, and "
                "averages leave it out",
                *(called, some(absent, 10)),
            )
