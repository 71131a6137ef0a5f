"""PyTorch's exported programs. Such an archive can carry pickles and expressions that loading it would evaluate; ours
carry neither, and one that does is refused before PyTorch sees it."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from pathlib import Path

import torch
from torch import Tensor

from inceptions.engines.prepared import quiet
from inceptions.errors import DataError

_TENSOR = re.compile(r"(weight|tensor)_\d+")
_SIZE = re.compile(r"(?:Symbol\('[a-z]+\d+'(?:, [a-z]+=True)*\)|Integer|Add|Mul|Pow|Max|Min|Mod|\d+|[ (),+*/-])*")


def open_pt2(file: Path) -> Callable[[Tensor], Tensor]:
    """The exported program in `file`, as a function of its input.

    Raises:
        DataError: the archive is damaged, or could run code.
    """
    refuse_code(file)
    with quiet():
        module = torch.export.load(file).module()

    def run(images: Tensor) -> Tensor:
        with torch.inference_mode():
            answer: Tensor = module(images)
        return answer.float()

    return run


def refuse_code(file: Path) -> None:
    """Raises `DataError` where loading the archive `file` could run code that is hidden in it."""
    try:
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                if name.endswith(".json"):
                    problems = [
                        problem for item in _items(json.loads(archive.read(name))) for problem in _danger(*item)
                    ]
                    if problems:
                        raise DataError(f"{file}: {name} {problems[0]}; refused, it could run code")
                elif "sample_inputs" in name:
                    torch.load(BytesIO(archive.read(name)), weights_only=True)
    except DataError:
        raise
    except Exception as error:  # zip, JSON and unpickling each fail in their own ways on a damaged archive
        raise DataError(f"{file}: not readable as an exported program ({type(error).__name__}: {error})") from error


def _danger(key: str, value: object) -> Iterator[str]:
    if key == "use_pickle" and value is not False:
        yield "holds a pickle"
    if key == "path_name" and not _TENSOR.fullmatch(str(value)):
        yield f"holds an object that is no tensor ({value!r:.60})"
    if key in ("expr_str", "as_expr") and isinstance(value, str) and not _SIZE.fullmatch(value):
        yield f"holds an expression that is no size ({value!r:.60})"


def _items(value: object) -> Iterator[tuple[str, object]]:
    """Every key of nested JSON with its value."""
    nested: Iterable[object] = ()
    if isinstance(value, dict):
        yield from value.items()
        nested = value.values()
    elif isinstance(value, list):
        nested = value
    for item in nested:
        yield from _items(item)
