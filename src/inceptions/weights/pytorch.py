"""Tensors out of PyTorch's files: pickled state dicts (both containers) and safetensors. No code of a file is run."""

from __future__ import annotations

import mmap
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from inceptions.progress import DataError, text_path
from inceptions.weights.checkpoint import Checkpoint, refuse_large, zip_names
from inceptions.weights.opcodes import ForeignError, refuse_hostile

_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64)
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "weights", "params")
"""Where training scripts keep the state dict inside of what they save."""
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.")
"""What DataParallel, `torch.compile` and wrapper classes put in front of every name."""
_ADVICE = "save model.state_dict() where the file comes from and use that"
_MOST_TENSORS = 20_000  # Inception-ResNet v2 has 1,500; an empty one takes 50 bytes of a file, and thousands of memory
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
            return _checkpoint({name: file.get_tensor(name) for name in names}, path)
    except (SafetensorError, UnicodeDecodeError, MemoryError) as error:  # a file with holes claims what no memory holds
        raise DataError(f"{path}: not readable as safetensors ({error})") from error


def read_pickle(path: Path) -> Checkpoint:
    """Reads what `torch.save` wrote: a state dict, or a checkpoint that holds one.

    Raises:
        DataError: damaged, larger than the file can be, or holding objects other than tensors and plain values.
    """
    _refuse_bombs(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler meets arbitrary bytes and answers with any kind of error
        text = str(error).split("\n")[0]
        text = f"TorchScript; {_ADVICE}" if "TorchScript" in text else text or type(error).__name__
        raise DataError(f"{path}: not readable as PyTorch weights ({text})") from error
    return _checkpoint(_state_dict(content, path), path)


def _refuse_bombs(path: Path) -> None:
    """Refuses what would make the unpickler allocate more than the file holds, or work for ever, before it sees it."""
    size = path.stat().st_size
    try:
        if zip_names(path):
            with zipfile.ZipFile(path) as archive:
                entries = archive.infolist()
                if _stated_contents(path) != archive.start_dir:
                    raise DataError("its table of contents is not where it says, and readers may find different ones")
                refuse_large(((entry.filename, entry.file_size) for entry in entries), size, str(path))
                for entry in entries:
                    if entry.filename.endswith("/data.pkl"):
                        refuse_hostile(archive.read(entry), size, 1)
        else:
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                refuse_hostile(content, size, _PICKLE_PARTS)
    except ForeignError as error:
        raise DataError(f"{path}: it holds Python objects ({error}), not only tensors; {_ADVICE}") from None
    except DataError as error:
        raise DataError(f"{path}: {error}" if str(path) not in str(error) else str(error)) from None
    except Exception as error:  # zipfile and pickletools meet arbitrary bytes as well
        raise DataError(f"{path}: not readable as PyTorch weights ({error or type(error).__name__})") from error


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


def _state_dict(content: object, path: Path) -> Mapping[str, object]:
    for _ in range(3):  # {"state_dict": {...}}, and scripts that wrap twice
        if not isinstance(content, Mapping):
            break
        if any(isinstance(value, Tensor) for value in content.values()):
            return content
        inner = next((content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        content = inner
    held = ", ".join(str(key) for key in content)[:200] if isinstance(content, Mapping) else type(content).__name__
    raise DataError(f"{path}: no state dict in it (found: {held}); one of {', '.join(_WRAPPERS)} may hold it")


def _checkpoint(content: Mapping[str, object], path: Path) -> Checkpoint:
    tensors: dict[str, Tensor] = {}
    for name, value in content.items():
        if not isinstance(name, str):
            raise DataError(f"{path}: a name in it is {name!r:.80}; names must be text")
        if not isinstance(value, Tensor):
            continue  # versions and counters that some scripts mix in
        if value.layout != torch.strided or value.is_quantized or value.dtype not in _DTYPES or value.is_meta:
            kind = "quantised" if value.is_quantized else f"{value.dtype}, {value.layout}"
            raise DataError(f"{path}: {name} is {kind}; plain floating-point tensors are needed")
        tensors[name] = value.detach()
    if not tensors:
        raise DataError(f"{path}: holds no tensors")
    # a view can repeat a few stored numbers for ever: what it claims counts, not what it occupies
    sizes = ((name, tensor.numel() * tensor.element_size()) for name, tensor in tensors.items())
    refuse_large(sizes, path.stat().st_size, str(path))
    return Checkpoint(source=str(path), dialect="torch", tensors=_without_prefixes(tensors))


def _without_prefixes(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    while prefix := next((p for p in _PREFIXES if all(name.startswith(p) for name in tensors)), None):
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors
