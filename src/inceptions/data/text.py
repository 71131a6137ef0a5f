"""Text that users give: one reader for all of it, and what a class's name may be.

Labels, class weights, manifests and settings come out of editors, spreadsheets and shells, which write UTF-8 with or
without a byte-order mark, UTF-16 and UTF-32 with one, and all three ends of a line. Everything else is refused with its
place: which of the eight-bit encodings a file is in cannot be known, and a guess would make another class's name of it.
"""

from __future__ import annotations

import codecs
import csv
import json
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from inceptions.errors import DataError, some

LARGEST = 1 << 28
"""Bytes of a text that `read_text` takes unless it is told otherwise."""
SEPARATORS = ",;\t|"

_MARKS = (  # UTF-32's little-endian mark begins with UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def read_text(path: str | os.PathLike[str], *, any_bytes: bool = False, largest: int | None = LARGEST) -> str:
    """The text of a file that a user gave: without its byte-order mark, every end of a line a `\\n`.

    Args:
        path: a file in UTF-8, or in UTF-16 or UTF-32 with a byte-order mark.
        any_bytes: in UTF-8, bytes that are no text become surrogate escapes, as Python has them in file names.
        largest: bytes that are read at most; None: any number.

    Raises:
        DataError: it is no such text; the message names the file, the line and the byte.
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        content = file.read() if largest is None else file.read(largest + 1)
    if largest is not None and len(content) > largest:
        raise DataError(f"{os.fspath(path)} is no list of names: it holds more than {largest:,} bytes")
    mark, encoding = next((pair for pair in _MARKS if content.startswith(pair[0])), (b"", "utf-8"))
    lenient = "surrogateescape" if any_bytes and encoding == "utf-8" else "strict"
    try:
        text = content[len(mark) :].decode(encoding, lenient)
    except UnicodeDecodeError as error:
        raise DataError(_no_text(path, content, encoding, len(mark) + error.start)) from error
    if "\0" in text:
        raise DataError(_no_text(path, content, encoding, content.index(b"\0")))
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_json(path: str | os.PathLike[str], *, meant: str = "JSON") -> Any:
    """The JSON value in a file that a user gave; a name that stands twice in an object and NaN are refused.

    Raises:
        DataError: it holds none; the message names the file and what was `meant` to be in it.
        OSError: it cannot be read.
    """

    def whole(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        counts = Counter(name for name, _ in pairs)
        if twice := [name for name, count in counts.items() if count > 1]:
            raise ValueError(f"{', '.join(map(repr, twice[:10]))} stands in it twice")
        return dict(pairs)

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    try:
        return json.loads(read_text(path), object_pairs_hook=whole, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{os.fspath(path)} is no {meant}: {error}") from error


def separator(header: str, needed: Iterable[str]) -> str:
    """What separates the cells of a table whose first line is `header`: that under which it has all `needed` columns.

    Spreadsheets write `;` where the decimal separator is a comma, and tabs as "text". A comma where none fits.
    """
    wanted = set(needed)
    for one in SEPARATORS:
        cells = next(csv.reader([header], delimiter=one, skipinitialspace=True), [])
        if wanted <= {cell.strip() for cell in cells}:
            return one
    return ","


def class_problems(names: Iterable[str]) -> list[str]:
    """Why these cannot be the names of a model's classes, in words; empty where they can.

    A name is written to files, tables and pages, read back from lists of one a line, and compared with folders' names:
    it must be text that can be seen, and stay itself when the space around it and its Unicode form change.
    """
    found: list[str] = []
    alike: dict[str, list[str]] = defaultdict(list)
    for name in dict.fromkeys(names):
        if reason := _unfit(name):
            found.append(f"class {_shown(name)} {reason}")
        else:
            alike[same_name(name)].append(name)
    found += [
        f"classes {', '.join(map(_shown, group))} differ only in the space around them or in their Unicode form: "
        "merge or rename them"
        for group in alike.values()
        if len(group) > 1
    ]
    return found


def refuse_names(source: str | os.PathLike[str], names: Iterable[str]) -> None:
    """Raises `DataError` for a data set whose classes no model can have, see `class_problems`."""
    if problems := class_problems(names):
        raise DataError(f"{os.fspath(source)} cannot be used:\n{some(problems, 10, lines=True)}")


def same_name(name: str) -> str:
    """What two spellings of one class's name share: macOS decomposes what other systems compose (NFD, NFC)."""
    return name.strip() if name.isascii() else unicodedata.normalize("NFC", name).strip()


def read_names(spec: str) -> tuple[str, ...]:
    """The names of classes in order: `a,b,c`, or a file.

    Args:
        spec: a file with one name a line, or a JSON file: a list, or an object from index to name as on the Hugging
            Face hub (`{"0": "cat"}`) or with Keras's pairs (`{"0": ["n02123045", "tabby"]}`); or the names themselves.

    Raises:
        DataError: the file is no text, or a JSON file of another kind; a name in it that no class can have.
        ValueError: the same of a name that was typed.
    """
    path = Path(spec)
    if in_file := path.exists() and not path.is_dir():
        if path.suffix.lower() == ".json":
            names = _listed(read_json(path, meant="JSON list of names"), spec)
        else:
            names = [line.strip() for line in read_text(path).split("\n") if line.strip()]
    else:
        names = [name.strip() for name in spec.split(",") if name.strip()]
    problems = class_problems(names)
    problems += [f"class {_shown(name)} is named twice" for name, count in Counter(names).items() if count > 1]
    if problems:
        raise (DataError if in_file else ValueError)(f"{spec}: {'; '.join(problems[:10])}")
    return tuple(names)


def _listed(value: Any, spec: str) -> Sequence[str]:
    """The names in a JSON value, in the order of their indices."""
    if isinstance(value, dict) and set(value) == {str(index) for index in range(len(value))}:
        value = [value[str(index)] for index in range(len(value))]
    elif isinstance(value, dict) and set(map(repr, value.values())) == set(map(repr, range(len(value)))):
        value = sorted(value, key=value.__getitem__)  # {class: index}, as Keras's `class_indices`
    if isinstance(value, list):
        value = [one[-1] if isinstance(one, list) and one else one for one in value]
        if all(isinstance(one, str) for one in value):
            return [one.strip() for one in value]
    raise DataError(f'{spec} must hold a list of names, or an object {{"0": name, "1": name, ...}} without gaps')


def _unfit(name: str) -> str | None:
    if name.isascii() and name.isprintable() and not name.isspace() and name:
        return None
    kinds = {unicodedata.category(character) for character in name}
    if "Cs" in kinds:
        return "is not text: its bytes are not UTF-8; rename it"
    if all(kind[0] in "CZ" for kind in kinds):
        return "is empty, or nothing that can be seen: rename it"
    if "Cc" in kinds or "\ufeff" in name or kinds & {"Zl", "Zp"}:
        return "holds a control character: rename it"
    return None


def _shown(name: str) -> str:
    """A name in a message, in quotes; a byte that is no text as `\\xe9`."""
    return re.sub(r"\\udc([89a-f][0-9a-f])", r"\\x\1", repr(name))


def _no_text(path: str | os.PathLike[str], content: bytes, encoding: str, place: int) -> str:
    line = content.count(b"\n", 0, place) + 1
    where = f"{os.fspath(path)}: byte {place:,} (line {line}) is {content[place : place + 1].hex() or 'missing'}"
    if b"\0" in content[:64] or content[place : place + 1] == b"\0":
        return (
            f"{where}, so this is not text, or UTF-16 without a byte-order mark; save it as UTF-8 (in Windows "
            '"UTF-8" or "CSV UTF-8")'
        )
    if encoding != "utf-8":
        return f"{where}, which {encoding.upper()}, what its byte-order mark says, does not allow: is it cut short?"
    start = max(content.rfind(b"\n", 0, place) + 1, place - 20)
    near = content[start : place + 20].split(b"\n")[0].decode("cp1252", "replace").strip()
    return (
        f"{where}, which is not UTF-8 (as Windows-1252 it would read {near!r}); other encodings cannot be told apart: "
        'save it as UTF-8 (in spreadsheets "CSV UTF-8")'
    )
