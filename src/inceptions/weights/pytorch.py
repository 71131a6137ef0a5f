"""Tensors out of PyTorch's files: pickled state dicts (both containers) and safetensors. No code of a file is run."""

from __future__ import annotations

import mmap
import re
import warnings
import zipfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from threading import Lock

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from inceptions.errors import DataError
from inceptions.files import text_path
from inceptions.weights.checkpoint import ADVICE, Checkpoint, refuse_large, some_of, without_code, zip_names
from inceptions.weights.labels import labels_in
from inceptions.weights.opcodes import ForeignError, refuse_hostile
from inceptions.weights.standins import stand_ins

_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64)
_MOST_TENSORS = 20_000  # Inception-ResNet v2 has 1,500; an empty one takes 50 bytes of a file, and thousands of memory
_DEEPEST, _MOST_VALUES = 12, 10_000_000  # what is searched for tensors: containers in each other, values in all
_ONE_AT_A_TIME = Lock()  # PyTorch keeps what a file may name in one place for all threads
_PLAIN = "plain floating-point tensors are needed"
_OTHER_TENSORS = {
    "torch._utils._rebuild_q": "quantized tensors",
    "torch._utils._rebuild_sparse": "sparse tensors",
    "torch._utils._rebuild_nested": "nested tensors",
    "torch._utils._rebuild_meta": "tensors without values",
    "torch._utils._rebuild_tensor_v3": "tensors of a number format of fewer bits",
    "torch._utils._rebuild_wrapper_subclass": "tensors of a class of their own",
}
"""What builds tensors that are no plain numbers -> what they are."""
_PICKLE_PARTS = 5  # of the container before 2019: magic number, version, system, object, list of storages


def is_safetensors(path: Path) -> bool:
    """Whether `path` begins as a safetensors file does: the header's length, then a JSON object."""
    with path.open("rb") as file:
        start = file.read(9)
    return len(start) == 9 and start[8:] == b"{" and int.from_bytes(start[:8], "little") <= path.stat().st_size


def is_pickle(path: Path) -> bool:
    """Whether `path` is what `torch.save` writes: a zip archive with a `data.pkl`, or bare pickles."""
    if names := zip_names(path):
        return any(name.endswith("/data.pkl") for name in names)
    with path.open("rb") as file:
        start = file.read(2)
    return start[:1] == b"\x80" and start[1:] in (b"\x02", b"\x03", b"\x04", b"\x05")


def read_safetensors(path: Path) -> Checkpoint:
    """Reads a safetensors file; its header is checked against the file before anything is allocated.

    Raises:
        DataError: damaged, or not a table of plain tensors.
    """
    try:
        with safe_open(text_path(path), framework="pt") as file:
            names = list(file.keys())
            if len(names) > _MOST_TENSORS:
                raise DataError(f"{path}: holds {len(names):,} tensors; at most {_MOST_TENSORS:,} are read")
            return _checkpoint({name: file.get_tensor(name) for name in names}, path, ())
    except (SafetensorError, UnicodeDecodeError, MemoryError) as error:  # a file with holes claims what no memory holds
        raise DataError(f"{path}: not readable as safetensors ({error})") from error


def read_pickle(path: Path) -> Checkpoint:
    """Reads what `torch.save` wrote: a state dict, or a checkpoint that holds one.

    Settings and counters that are objects of some program's are left out, and nothing of that program is run.

    Raises:
        DataError: damaged, larger than the file can be, or without tensors that can be had without the file's code.
    """
    foreign = _refuse_bombs(path)
    allowed = torch.serialization.safe_globals(stand_ins(foreign))
    try:
        with path.open("rb") as file, _ONE_AT_A_TIME, warnings.catch_warnings(), allowed:
            warnings.simplefilter("ignore")  # of what is refused below
            # by its name PyTorch would take a pickle called .safetensors for what it is not
            given = file if path.suffix == ".safetensors" else path
            content = torch.load(given, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler meets arbitrary bytes and answers with any kind of error
        raise DataError(f"{path}: not readable as PyTorch weights ({_reason(error)})") from error
    return _checkpoint(content, path, foreign)


def _reason(error: Exception) -> str:
    """What PyTorch says of a file, without its advice to run the file's code."""
    text = str(error)
    if "TorchScript" in text:
        return f"TorchScript; {ADVICE}"
    if "Unsupported operand" in text:
        return f"a pickle of a later protocol than torch.save's own, 2; {ADVICE}"
    if found := re.search(r"WeightsUnpickler error: *([^\n]+)", text):
        return found[1]
    return text.split("\n")[0] or type(error).__name__


def _refuse_bombs(path: Path) -> dict[str, str]:
    """Refuses what would make the unpickler allocate more than the file holds, or work for ever, before it sees it.

    Returns what `refuse_hostile` does.
    """
    size, foreign = path.stat().st_size, dict[str, str]()
    try:
        if zip_names(path):
            with zipfile.ZipFile(path) as archive:
                entries = archive.infolist()
                if _stated_contents(path) != archive.start_dir:
                    raise DataError("its table of contents is not where it says, and readers may find different ones")
                refuse_large(((entry.filename, entry.file_size) for entry in entries), size, str(path))
                for entry in entries:
                    if entry.filename.endswith("/data.pkl"):
                        foreign |= refuse_hostile(archive.read(entry), size, 1)
        else:
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                foreign |= refuse_hostile(content, size, _PICKLE_PARTS)
    except ForeignError as error:
        kind = next((kind for name, kind in _OTHER_TENSORS.items() if str(error).startswith(name)), None)
        told = f"it holds {kind}; {_PLAIN}" if kind else without_code([str(error)])
        raise DataError(f"{path}: {told}") from None
    except DataError as error:
        raise DataError(f"{path}: {error}" if str(path) not in str(error) else str(error)) from None
    except Exception as error:  # zipfile and pickletools meet arbitrary bytes as well
        told = f"{error or type(error).__name__}: cut off, or not written by torch.save?"
        raise DataError(f"{path}: not readable as PyTorch weights ({told})") from error
    return foreign


def _stated_contents(path: Path) -> int | None:
    """Where a zip archive says that its table of contents begins; None where what closes it is not at its very end.

    PyTorch looks there, `zipfile` at what ends the file: of one file they could read different contents.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - 98))
        end = file.read().rjust(98, b"\0")
    large, locator, closing = end[:56], end[56:76], end[76:]
    if closing[:4] != b"PK\5\6" or closing[-2:] != b"\0\0":
        return None
    if locator[:4] != b"PK\6\7":
        return int.from_bytes(closing[16:20], "little")
    return int.from_bytes(large[48:], "little") if int.from_bytes(locator[8:16], "little") == size - 98 else None


def _tensors_in(content: object, path: Path) -> Iterator[tuple[str, Tensor]]:
    """Every named tensor in a checkpoint, however deep, with the names of all containers around it.

    Dictionaries, lists and tuples are gone through; a tensor without a name of its own is nobody's weight.
    """
    waiting: list[tuple[str, object, int]] = [("", content, 0)]
    left = _MOST_VALUES
    while waiting:
        place, value, depth = waiting.pop()
        if not isinstance(value, Mapping | list | tuple):
            continue
        left -= 1 + len(value)
        if left < 0:
            raise DataError(f"{path}: holds more than {_MOST_VALUES:,} values; {ADVICE}")
        inner: Iterable[tuple[object, object]] = value.items() if isinstance(value, Mapping) else enumerate(value)
        containers = []
        for key, item in inner:
            if isinstance(item, Tensor) and isinstance(key, str):
                yield place + key, item
            elif isinstance(item, Mapping | list | tuple) and isinstance(key, str | int) and depth < _DEEPEST:
                containers.append((f"{place}{key}.", item, depth + 1))
        waiting += reversed(containers)


def _checkpoint(content: object, path: Path, foreign: Collection[str]) -> Checkpoint:
    tensors: dict[str, Tensor] = {}
    unreadable: dict[str, str] = {}
    claimed: dict[tuple[object, ...], tuple[str, int]] = {}
    for name, value in _tensors_in(content, path):
        if name in tensors or name in unreadable:
            raise DataError(f"{path}: two of its tensors are called {name[:100]}")
        if value.layout != torch.strided or value.is_quantized or value.dtype not in _DTYPES or value.is_meta:
            unreadable[name] = "quantized" if value.is_quantized else f"{value.dtype}, {value.layout}"
            continue
        tensors[name] = value.detach()
        # one tensor may stand under several names; a view can repeat a few stored numbers for ever: what it claims
        # counts, not what it occupies
        stored = (value.data_ptr(), value.dtype, tuple(value.shape), value.stride())
        claimed[stored] = name, value.numel() * value.element_size()
    if not tensors:
        raise DataError(f"{path}: {_without_tensors(content, unreadable, foreign)}")
    refuse_large(claimed.values(), path.stat().st_size, str(path))
    modules = tuple(sorted(name for name in foreign if name.startswith("torch.nn.modules.")))
    return Checkpoint(
        source=str(path),
        dialect="torch",
        tensors=tensors,
        labels=labels_in(content),
        unreadable=unreadable,
        pickled=modules,
    )


def _without_tensors(content: object, unreadable: Mapping[str, str], foreign: Collection[str]) -> str:
    for name, kind in unreadable.items():
        return f"{name} is {kind}; {_PLAIN}"
    if foreign:  # a whole module, pickled: its tensors are inside of objects that only its own code can build
        return without_code(sorted(foreign))
    held = some_of([str(key) for key in content]) if isinstance(content, Mapping) else type(content).__name__
    return f"no state dict in it (found: {held or 'nothing'}); {ADVICE}"
