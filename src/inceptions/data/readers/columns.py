"""What the columns of a manifest mean, and where the files may be that it names and that are not there."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from inceptions.image import EXTENSIONS

EXPECTED = "file_name,label[,split][,group] expected"
_OTHER = {
    "file_name": frozenset(
        {"file", "path", "filepath", "image", "imagefile", "imagefilename", "imagename", "imagepath"}
        | {"img", "imgfile", "imgname", "imgpath"}
    ),
    "label": frozenset({"labels", "class", "classname", "labelname", "category", "categoryname"}),
}
"""What else a column may be called, without capitals, spaces and underscores, where no column is called so."""
_DIVIDING = frozenset(
    {"splits", "set", "subset", "partition", "phase", "fold", "istrain", "istraining", "istest", "isval", "isvalid"}
    | {"train", "usage", "datasplit", "dataset", "traintest", "traintestsplit"}
)
_FOLDERS = 1000  # that are looked into for a missing file


def columns(names: Sequence[str], needed: tuple[str, str]) -> dict[str, int] | str:
    """Where each column stands; or what is wrong with the header.

    Capitals, spaces and underscores do not matter (`File Name`), and other words for the same (`filename`,
    `image_path`, `class`) are taken where they are the only ones.

    Args:
        names: the header's cells.
        needed: what the columns of files and of labels are called.
    """
    found: dict[str, int] = {}
    missing: list[str] = []
    for meant in (*needed, "split", "group"):
        places = _places(names, meant)
        if len(places) > 1:
            return f"column {meant} stands in the header {len(places)} times: {list(names)}"
        if places:
            found[meant] = places[0]
        elif meant in needed:
            missing.append(meant)
    if missing:
        return f"no column {' and '.join(missing)}; the header is {list(names)}, {EXPECTED}"
    return found


def called(names: Sequence[str], meant: str) -> str | None:
    """The one column that means this; None: there is none, or there are several."""
    places = _places(names, meant)
    return names[places[0]] if len(places) == 1 else None


def _places(names: Sequence[str], meant: str) -> list[int]:
    for fits in (
        lambda name: name == meant,
        lambda name: _plain(name) == _plain(meant),
        lambda name: _plain(name) in _OTHER.get(meant, ()),
    ):
        if found := [place for place, name in enumerate(names) if fits(name)]:
            return found
    return []


def remarks(names: Sequence[str], places: Mapping[str, int]) -> dict[str, int]:
    """What to tell of how a header was read -> a level of the log."""
    told: dict[str, int] = {}
    other = [f"{names[place]} = {name}" for name, place in places.items() if _plain(names[place]) != _plain(name)]
    if other:
        told[f"columns taken: {', '.join(other)}"] = logging.INFO
    dividing = [name for name in names if _plain(name) in _DIVIDING]
    if dividing and "split" not in places:
        told[
            f"column {', '.join(dividing)} is not read: if it divides the images, call it split and its values train, "
            "val and test"
        ] = logging.WARNING
    return told


def none_exists(path: Path, missing: Sequence[str]) -> str:
    """What is wrong with a list of files that are all missing; often its paths begin at another folder."""
    folder = path.absolute().parent
    first = next((name for name in missing if "://" not in name[:16]), None)
    if first is None:
        return f"its {len(missing)} images are addresses ({missing[0]}): download them, and list the files"
    return f"none of its {len(missing)} files exists in {folder}, the first being {first}{_hint(folder, Path(first))}"


def _hint(folder: Path, file: Path) -> str:
    """Where a missing file is, as something to do."""
    for count in range(len(file.parts)):
        rest = Path(*file.parts[count:])
        if there := _spelled(folder, rest):
            cut = f"leave {Path(*file.parts[:count])} out: " if count else ""
            added = f"add {there.suffix} to each name: " if there.name == rest.name + there.suffix != rest.name else ""
            return f"; {cut}{added}{there} exists"
    if above := next((parent for parent in folder.parents if (parent / file).is_file()), None):
        return f"; it exists in {above}: put the manifest there"
    for inner in _folders(folder):
        if there := _spelled(inner, file) or _spelled(inner, Path(file.name)):
            return f"; {inner.relative_to(folder) / there} exists: list the files so"
    return ""


def _spelled(folder: Path, file: Path) -> Path | None:
    """The file in `folder` that `file` means: as it is, in other capitals, or without its suffix."""
    if (folder / file).is_file():
        return file
    try:
        names = [entry.name for entry in os.scandir((folder / file).parent)]
    except OSError:  # there is no such folder
        return None
    for name in sorted(names):
        stem, suffix = os.path.splitext(name)
        if name.casefold() == file.name.casefold() or (stem == file.name and suffix.lower() in EXTENSIONS):
            return file.parent / name
    return None


def _folders(folder: Path) -> list[Path]:
    """Folders in a folder, and in these."""
    try:
        inner = [entry for entry in sorted(folder.iterdir()) if entry.is_dir()][:_FOLDERS]
        return inner + [deep for entry in inner for deep in sorted(entry.iterdir()) if deep.is_dir()][:_FOLDERS]
    except OSError:
        return []


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).casefold()
