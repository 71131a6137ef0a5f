"""Hostile weight files get an error: nothing of them runs, nothing beyond their size is allocated, nothing crashes."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import resource
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save as safetensors_bytes

from inceptions.errors import DataError
from inceptions.weights.keras import read_keras
from inceptions.weights.keras_graph import read_model
from inceptions.weights.locate import read
from inceptions.weights.pytorch import read_pickle, read_safetensors

GOLDEN = Path(__file__).parent / "golden" / "weights"
MEMORY = 1 << 30  # bytes that a refusal may need beyond what the tests themselves use


@pytest.fixture(autouse=True)
def little_memory() -> Iterator[None]:
    """Whoever allocates what a file claims fails here, instead of being lucky on a large machine."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    old = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, old[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, old)


def write(folder: Path, content: bytes) -> Path:
    path = folder / "weights"
    path.write_bytes(content)
    return path


# --- PyTorch ----------------------------------------------------------------------------------------------------------


class _Runs:
    def __init__(self, touch: Path) -> None:
        self.touch = touch

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.touch),)


@pytest.mark.parametrize("new_container", [True, False])
def test_code_in_a_pickle_is_never_run(new_container: bool, tmp_path: Path) -> None:
    content = {"weight": torch.zeros(3), "evil": _Runs(tmp_path / "it ran")}
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=new_container)
    with pytest.raises(DataError, match=r"Python objects.*state_dict"):
        read_pickle(tmp_path / "w.pth")
    assert not (tmp_path / "it ran").exists()


def test_a_bare_pickle_is_never_run(tmp_path: Path) -> None:
    path = write(tmp_path, pickle.dumps(_Runs(tmp_path / "it ran"), protocol=2))
    with pytest.raises(DataError):
        read(path)
    assert not (tmp_path / "it ran").exists()


def test_a_whole_pickled_module_is_refused_with_advice(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "w.pth")
    with pytest.raises(DataError, match=r"state_dict"):
        read_pickle(tmp_path / "w.pth")


def test_a_view_that_repeats_one_number_for_ever_is_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(1).expand(1 << 40)}, tmp_path / "w.pth")
    with pytest.raises(DataError, match=r"claims|exceeds"):
        read_pickle(tmp_path / "w.pth")


def test_a_number_larger_than_the_file_is_refused_in_the_old_container(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(300)}, tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    content = (tmp_path / "w.pth").read_bytes()
    small, large = b"M" + struct.pack("<H", 300), b"J" + struct.pack("<i", 1 << 30)  # BININT2, BININT
    assert content.count(small) >= 2
    with pytest.raises(DataError, match=r"1,073,741,824, exceeds"):
        read_pickle(write(tmp_path, content.replace(small, large)))


def test_a_compressed_record_that_expands_is_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(1 << 16)}, tmp_path / "w.pth")
    with zipfile.ZipFile(tmp_path / "w.pth") as old, zipfile.ZipFile(tmp_path / "bomb.pth", "w") as bomb:
        for entry in old.infolist():
            bomb.writestr(entry.filename, old.read(entry), zipfile.ZIP_DEFLATED)
    with pytest.raises(DataError, match="claims"):
        read_pickle(tmp_path / "bomb.pth")


@pytest.mark.parametrize(
    "content",
    [
        lambda: {"weight": torch.zeros(3, dtype=torch.complex64)},
        lambda: {"weight": torch.zeros(3).to_sparse()},
        lambda: {"weight": torch.quantize_per_tensor(torch.zeros(3), 0.1, 0, torch.qint8)},
        lambda: {3: torch.zeros(3)},
        lambda: {"epoch": 3},
        dict,
        lambda: [torch.zeros(3)],
        lambda: torch.zeros(3),
    ],
    ids=["complex", "sparse", "quantized", "names", "no tensors", "empty", "list", "tensor"],
)
@pytest.mark.filterwarnings("ignore::UserWarning")  # PyTorch's, about sparse and quantized tensors
def test_pickles_of_something_else_are_refused(content: Callable[[], Any], tmp_path: Path) -> None:
    torch.save(content(), tmp_path / "w.pth")
    with pytest.raises(DataError, match=r"w\.pth"):
        read_pickle(tmp_path / "w.pth")


def _header(header: dict[str, Any] | bytes, length: int | None = None, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


SAFETENSORS = {
    "claims more than the file has": _header({"w": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 4 << 40]}}),
    "shape and offsets disagree": _header({"w": {"dtype": "F32", "shape": [9], "data_offsets": [0, 4]}}, data=b"1234"),
    "offsets backwards": _header({"w": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}, data=b"1234"),
    "overlap": _header(
        {n: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for n in ("a", "b")}, data=b"1234"
    ),
    "negative shape": _header({"w": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, data=b"1234"),
    "header longer than the file": _header({}, length=1 << 62),
    "not JSON": _header(b"{nonsense"),
    "another dtype": _header({"w": {"dtype": "BOOL", "shape": [4], "data_offsets": [0, 4]}}, data=b"\0\1\0\1"),
    "no tensors": _header({}),
}  # fmt: skip


@pytest.mark.parametrize("how", SAFETENSORS)
def test_headers_of_safetensors_that_lie_are_refused(how: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="weights"):
        read_safetensors(write(tmp_path, SAFETENSORS[how]))


# --- Keras ------------------------------------------------------------------------------------------------------------


def _hdf5(make: Callable[[h5py.File], object]) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        make(file)
    return buffer.getvalue()


def _keras(config: bytes | str = "{}", weights: bytes = b"", extra: dict[str, bytes] | None = None) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in {"config.json": config, "model.weights.h5": weights, **(extra or {})}.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _loop(file: h5py.File) -> None:
    file.create_group("a")["b"] = file["/"]


def _deep(file: h5py.File) -> None:
    file.create_group("/".join("a" * 100))


def _virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout(shape=(4,), dtype="f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", shape=(4,))
    file.create_virtual_dataset("dense/kernel", layout)


def _filled(file: h5py.File) -> None:
    file.create_dataset("dense/kernel", (1 << 40,), "f4", chunks=(1024,), fillvalue=1)


def _compressed(file: h5py.File) -> None:
    file["dense/kernel"] = np.zeros(1)
    file.create_dataset("dense/large", data=np.zeros(1 << 20, "f4"), compression="gzip")


HDF5: dict[str, tuple[Callable[[h5py.File], object], str]] = {
    "external link": (lambda f: f.__setitem__("dense", h5py.ExternalLink("/etc/passwd", "/")), "dense is a link"),
    "soft link": (lambda f: f.__setitem__("dense", h5py.SoftLink("/elsewhere")), "dense is a link"),
    "external storage": (
        lambda f: f.create_dataset("dense/kernel", (4,), "u1", external=[("/etc/passwd", 0, 4)]), "another file"),
    "virtual": (_virtual, "another file"),
    "loop": (_loop, "stored twice"),
    "deep": (_deep, "deeper"),
    "shape that is stored nowhere": (_filled, "claims"),
    "compressed": (_compressed, "claims"),
    "text": (lambda f: f.__setitem__("dense/kernel", "words"), "no weights"),
    "references": (lambda f: f.create_dataset("dense/kernel", data=[f.ref], dtype=h5py.ref_dtype), "no weights"),
    "nothing": (lambda f: f.create_group("dense"), "no weights"),
    "a model that is no JSON": (lambda f: f.attrs.__setitem__("model_config", "{"), "not JSON"),
    "a model that is a list": (lambda f: f.attrs.__setitem__("model_config", "[]"), "not understood"),
    "a model in a table": (lambda f: f.attrs.__setitem__("model_config", np.zeros((9, 9))), "model_config"),
}  # fmt: skip


@pytest.mark.parametrize("how", HDF5)
def test_hdf5_that_points_elsewhere_or_lies_is_refused(how: str, tmp_path: Path) -> None:
    make, named = HDF5[how]
    with pytest.raises(DataError, match=named):
        read_keras(write(tmp_path, _hdf5(make)))


def test_links_that_leave_an_archives_weights_are_refused(tmp_path: Path) -> None:
    weights = _hdf5(HDF5["external link"][0])
    model = {"class_name": "Sequential", "config": {"layers": [{"class_name": "InputLayer", "config": {"name": "i"}}]}}
    with pytest.raises(DataError, match="dense is a link"):
        read_keras(write(tmp_path, _keras(json.dumps(model), weights)))


@pytest.mark.parametrize("name", ["../../evil", "/etc/evil", "a/../../evil", "..\\evil"])
def test_archives_with_entries_outside_of_them_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="outside of the archive"):
        read_keras(write(tmp_path, _keras(extra={name: b"x"})))


def test_archives_that_expand_are_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", bytes(64 << 20))
    with pytest.raises(DataError, match="claims 67,108,864 bytes"):
        read_keras(write(tmp_path, buffer.getvalue()))


def test_configurations_that_expand_are_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", b" " * (65 << 20))
        archive.writestr("model.weights.h5", b"")
    with pytest.raises(DataError, match=r"config\.json claims"):
        read_keras(write(tmp_path, buffer.getvalue()))


def test_configurations_nested_without_end_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"not JSON|not understood"):
        read_keras(write(tmp_path, _keras("[" * 200_000)))
    layer: Any = {"class_name": "InputLayer", "config": {"name": "x"}}
    for _ in range(40):
        layer = {"class_name": "Sequential", "config": {"name": "x", "layers": [layer]}}
    with pytest.raises(DataError, match="deeper"):
        read_model(layer, "file")


# --- fuzzing: whatever the bytes, an error for people or a checkpoint -------------------------------------------------


def _golden(name: str) -> bytes:
    return gzip.decompress((GOLDEN / f"{name}.gz").read_bytes())


def _torch_bytes(new_container: bool) -> bytes:
    buffer = io.BytesIO()
    state = {"conv1.weight": torch.ones(4, 3, 3, 3), "bn1.running_mean": torch.zeros(4)}
    torch.save({"state_dict": state, "epoch": 3}, buffer, _use_new_zipfile_serialization=new_container)
    return buffer.getvalue()


def _small_h5(file: h5py.File) -> None:
    config = {"class_name": "Sequential", "config": {"layers": [{"class_name": "InputLayer", "config": {"name": "i"}}]}}
    file.attrs["model_config"] = json.dumps(config)
    for layer in ("conv2d", "conv2d_1", "dense"):
        file[f"model_weights/{layer}/{layer}/kernel:0"] = np.ones((3, 3, 4, 4), "f4")


SEEDS: dict[str, Callable[[], bytes]] = {
    "torch": lambda: _torch_bytes(True),
    "old torch": lambda: _torch_bytes(False),
    "safetensors": lambda: safetensors_bytes({"a": torch.ones(2, 3), "b": torch.zeros(4)}),
    "h5": lambda: _hdf5(_small_h5),
    "keras": lambda: _golden("xception_nested.keras"),
}


def test_what_makes_the_hdf5_library_crash_is_an_error(tmp_path: Path) -> None:
    """Found by flipping bits: reading an attribute of this file ends the process with a segmentation fault."""
    with pytest.raises(DataError, match=r"library fails on it|weights: "):
        read_keras(write(tmp_path, _golden("crashes_hdf5.h5")))


@pytest.mark.parametrize(
    ("kind", "examples"),
    [*((kind, 8 if kind in ("h5", "keras") else 60) for kind in SEEDS),  # those start a process each time
     *(pytest.param(kind, 400, marks=pytest.mark.slow) for kind in SEEDS)],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore")  # of the libraries below, about bytes that they do not understand
def test_damaged_files_are_an_error_or_read(kind: str, examples: int, tmp_path: Path) -> None:
    original = SEEDS[kind]()
    size = len(original)
    # damage where the structure is, at both ends, as often as among the numbers
    places = st.one_of(
        st.integers(0, size - 1), st.integers(0, min(size, 600) - 1), st.integers(max(0, size - 600), size - 1)
    )
    path = tmp_path / "weights"

    @settings(max_examples=examples, deadline=None, database=None, derandomize=True,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(
        flips=st.lists(st.tuples(places, st.integers(0, 255)), max_size=6),
        cut=st.one_of(st.none(), places),
        insert=st.tuples(places, st.binary(max_size=12)),
    )
    def damage(flips: list[tuple[int, int]], cut: int | None, insert: tuple[int, bytes]) -> None:
        content = bytearray(original)
        for place, value in flips:
            content[place] = value
        content[insert[0] : insert[0]] = insert[1]
        path.write_bytes(content[:cut])
        try:
            checkpoint = read(path)
        except (ValueError, OSError):  # DataError is a ValueError
            return
        assert sum(tensor.nbytes for tensor in checkpoint.tensors.values()) <= 4 * len(content)

    damage()


@pytest.mark.parametrize("start", [b"", b"\x80\x02", b"PK\x03\x04", b"\x08\0\0\0\0\0\0\0{"], ids=range(4))
@pytest.mark.filterwarnings("ignore")
def test_random_bytes_are_an_error(start: bytes, tmp_path: Path) -> None:
    @settings(max_examples=30, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.binary(max_size=400))
    def attempt(content: bytes) -> None:
        with pytest.raises((ValueError, OSError)):
            read(write(tmp_path, start + content))

    attempt()


_JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from(["Functional"])
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.sampled_from(["class_name", "config", "layers", "name", "inbound_nodes", "batch_shape", "args"]), inner
        ),
    ),
    max_leaves=12,
)


@settings(max_examples=80, deadline=None, database=None, derandomize=True)
@given(_JSON, _JSON)
def test_any_configuration_is_an_error_or_understood(first: Any, second: Any) -> None:
    layers = [{"class_name": "InputLayer", "config": {"name": "i"}}, first, second]
    for config in (first, {"class_name": "Functional", "config": {"layers": layers}}):
        try:
            read_model(config, "file")
        except ValueError:
            continue
