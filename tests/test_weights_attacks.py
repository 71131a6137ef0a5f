"""Small files that would become large or take for ever, and our own artifact under the same fire: always an error."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.torch import save as safetensors_bytes

from inceptions import create_model
from inceptions.cli import main
from inceptions.errors import DataError
from inceptions.image import Preprocess
from inceptions.weights import artifact
from inceptions.weights.locate import hub_facts, read
from inceptions.weights.opcodes import refuse_hostile
from inceptions.zoo import build
from test_weights_hostile import little_memory

__all__ = ["little_memory"]  # every test here has a gigabyte

START, ONE = b"\x80\x02", b"K\x01"
TWICE = ONE + b"\x85q\0" + b"h\0h\0\x86q\0" * 60  # sixty times over, a tuple of the last tuple twice


def torch_zip(folder: Path, pickled: bytes, padding: int = 0) -> Path:
    """A file as `torch.save` writes it, with this pickle in it."""
    path = folder / "weights.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/padding", bytes(padding))
    return path


def old_torch(folder: Path, pickled: bytes) -> Path:
    """The container before 2019, with this pickle in it."""
    path = folder / "weights.pth"
    sizes = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    parts = [pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, sizes)]
    path.write_bytes(b"".join([*parts, pickled, pickle.dumps([], 2)]))
    return path


# --- pickles ----------------------------------------------------------------------------------------------------------


def doubling(name: bytes, word: bytes, times: int = 40) -> bytes:
    """`name(name(... name("aaaa", word) ..., word), word)`."""
    inner = b"X\x04\0\0\0aaaaX\x06\0\0\0latin1\x86R"
    called = b"X" + struct.pack("<I", len(word)) + word + b"\x86R"
    return START + name * (times + 1) + inner + called * times + b"."


PICKLES = {
    "text that doubles": doubling(b"c_codecs\nencode\n", b"hex"),
    "byte arrays": START + b"](" + b"cbuiltins\nbytearray\nJ\x40\x42\x0f\x00\x85R" * 2000 + b"e.",
    "a tensor of any size": START + b"}X\x01\0\0\0wctorch\nFloatTensor\nJ\0\0\x0f\0J\0\0\x0f\0\x86Rs.",
    "a key of tuples twice over": START + b"}q\1" + TWICE + b"h\1h\0" + ONE + b"s.",
    "a key of tuples in tuples": START + b"}" + ONE + b"\x85" * 1_000_000 + ONE + b"s.",
    "a set of tuples twice over": START + TWICE + b"c__builtin__\nset\n]h\0a\x85R.",
}  # fmt: skip


@pytest.mark.parametrize("how", PICKLES)
@pytest.mark.parametrize(
    "container", [lambda *given: torch_zip(*given, padding=1 << 20), old_torch], ids=["new", "old"]
)
def test_a_pickle_that_would_work_without_end_is_refused(
    how: str, container: Callable[[Path, bytes], Path], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"weights\.pth.*(Python objects \(.*state_dict|contain each other)"):
        read(container(tmp_path, PICKLES[how]))


def test_what_training_scripts_keep_beside_their_weights_is_no_attack() -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    history = [{"epoch": epoch, "betas": (0.9, 0.999)} for epoch in range(300)]
    content = {
        "model": {"w": torch.ones(2, 3).half(), "p": parameter},
        "optimizer": {"param_groups": history, "state": {index: {"step": index} for index in range(500)}},
        "scheduler": {"milestones": __import__("collections").Counter([1, 2, 2]), "set": {1, 2}},
        "device": torch.device("cpu"), "dtype": torch.bfloat16, "size": torch.Size([1, 2]), "nested": (((1,),),),
    }  # fmt: skip
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with zipfile.ZipFile(buffer) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("data.pkl"))
        refuse_hostile(archive.read(name), len(buffer.getvalue()), 1)


def two_tables(hidden: bytes, shown: bytes, large: bool) -> bytes:
    """An archive whose closing record states the place of one table of contents, while another one ends the file."""
    parts = []
    for content in (hidden, shown):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("archive/data.pkl", content)
        parts.append((bytearray(buffer.getvalue()[:-22]), archive.start_dir))  # the closing record has 22 bytes
    (front, stated), (behind, start) = parts
    table = len(behind) - start

    def record(place: int) -> bytes:
        return struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, table, place)

    # large: the locator points to the first record, zipfile reads the one in front of the locator
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, len(front), 1)
    front += record(stated) if large else b""
    moved = 0 if large else len(front) + start - stated  # zipfile moves entries by as much as the table is off
    struct.pack_into("<I", behind, start + 42, len(front) - moved)
    closing = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, table, stated, 0)
    return bytes(front + behind) + (record(len(front) + start) + locator if large else b"") + closing


@pytest.mark.parametrize("large", [False, True])
def test_a_second_table_of_contents_is_refused(large: bool, tmp_path: Path) -> None:
    """zipfile believes the table that ends the file, wherever it is said to be; PyTorch goes to the stated place."""
    path = tmp_path / "weights.pth"
    path.write_bytes(two_tables(PICKLES["byte arrays"], START + b"}.", large))
    with zipfile.ZipFile(path) as archive:
        assert archive.read("archive/data.pkl") == START + b"}."
    with pytest.raises(DataError, match="table of contents"):
        read(path)


# --- JSON, protobuf, tar: what a byte of a file becomes in memory -----------------------------------------------------


def keras_zip(folder: Path, config: bytes) -> Path:
    weights, path = io.BytesIO(), folder / "weights.keras"
    with h5py.File(weights, "w") as file:
        file["dense/dense/kernel:0"] = np.zeros((4, 4), "f4")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", config, zipfile.ZIP_DEFLATED)
        archive.writestr("model.weights.h5", weights.getvalue())
    return path


def test_a_configuration_of_millions_of_lists_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"config\.json claims"):
        read(keras_zip(tmp_path, b"[" + b"[]," * 15_000_000 + b"[]]"))


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(number: int) -> bytes:
    return bytes([number]) if number < 128 else bytes([number & 127 | 128]) + varint(number >> 7)


def constant(name: str, listed: int, elements: int) -> bytes:
    """A node of a frozen graph: a constant that lists some numbers and claims more."""
    shape = field(2, b"\x08" + varint(elements))
    tensor = b"\x08\x01" + field(2, shape) + field(5, struct.pack(f"<{listed}f", *[1.0] * listed))
    value = field(5, field(1, b"value") + field(2, field(8, tensor)))
    return field(1, field(1, name.encode()) + field(2, b"Const") + value)


def blob(content: bytes) -> bytes:
    """A Caffe model of one layer with one blob."""
    return field(100, field(1, b"a") + field(2, b"Convolution") + field(7, content))


LARGE: dict[str, tuple[str, Callable[[], bytes]]] = {
    "millions of nodes": ("w.pb", lambda: b"\x0a\0" * 8_000_000),
    "tensors that repeat their last value":
        ("w.pb", lambda: b"".join(constant(f"n{index}/weights", 1000, 250_000) for index in range(1200))),
    "a tensor that repeats its last value": ("w.pb", lambda: constant("n/weights", 1 << 20, 1 << 28)),
    "millions of layers": ("w.caffemodel", lambda: b"\xa2\x06\0" * 8_000_000),
    "a blob of millions of empty lists": ("w.caffemodel", lambda: blob(b"\x2a\0" * 8_000_000)),
    "a shape of millions of sides": ("w.caffemodel", lambda: blob(field(7, field(1, b"\x01" * 30_000_000)))),
}  # fmt: skip


@pytest.mark.parametrize("how", LARGE)
def test_messages_that_multiply_in_memory_are_refused(how: str, tmp_path: Path) -> None:
    name, make = LARGE[how]
    (tmp_path / name).write_bytes(make())
    with pytest.raises(DataError, match=name):
        read(tmp_path / name)


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE], ids=["name", "header"])
def test_an_archive_with_a_name_of_gigabytes_is_refused(kind: bytes, tmp_path: Path) -> None:
    path, info = tmp_path / "w.tar.gz", tarfile.TarInfo("x")
    info.type, info.size = kind, 2 << 30
    with gzip.open(path, "wb") as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        file.write(bytes(4 << 20))
    with pytest.raises(DataError, match=r"w\.tar\.gz.*claims"):
        read(path)


def test_a_header_of_countless_empty_tensors_is_refused(tmp_path: Path) -> None:
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    header = json.dumps({str(index): empty for index in range(30_000)}).encode()
    (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(DataError, match="30,000 tensors"):
        read(tmp_path / "w.safetensors")


def test_a_file_with_holes_is_refused_where_it_claims_more_than_memory(tmp_path: Path) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [1 << 33], "data_offsets": [0, 1 << 35]}}).encode()
    with (tmp_path / "w.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(file.tell() + (1 << 35))
    with pytest.raises(DataError, match=r"w\.safetensors"):
        read(tmp_path / "w.safetensors")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "weights.h5")
    with pytest.raises(DataError, match="not a regular file"):
        create_model("xception", weights=tmp_path / "weights.h5")


# --- our own artifact -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    net = build("xception", width=0.01, depth=0.125, num_classes=3).eval()
    net.preprocess, net.classes = Preprocess(size=(64, 64)), ("a", "b", "c")
    artifact.save(net, tmp_path_factory.mktemp("artifact") / "model")
    return tmp_path_factory.getbasetemp() / "artifact0" / "model"


_ANY = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=6,
)


def loads_or_names(folder: Path) -> bool:
    """Whether an artifact loads, or the error names its file."""
    try:
        artifact.load(folder)
    except DataError as error:
        return str(folder) in str(error)
    return True


def test_any_fact_of_an_artifact_may_be_anything(saved: Path) -> None:
    """A value anywhere in the configuration exchanged: an artifact that loads, or an error that names the file."""
    text = (saved / "config.json").read_text()

    def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        return [path, *(place for key, item in inner for place in places(item, (*path, key)))]

    known = [place for place in places(json.loads(text)) if place]

    @settings(max_examples=80, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(known), _ANY)
    def exchange(place: tuple[Any, ...], value: Any) -> None:
        config = target = json.loads(text)
        for key in place[:-1]:
            target = target[key]
        target[place[-1]] = value
        (saved / "config.json").write_text(json.dumps(config))
        assert loads_or_names(saved)

    try:
        exchange()
    finally:
        (saved / "config.json").write_text(text)


_TIMM = ("input_size", "crop_mode", "crop_pct", "interpolation", "mean", "std", "label_names")


@settings(max_examples=100, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.dictionaries(st.sampled_from(_TIMM), _ANY, min_size=1))
@example({"input_size": [10**9, 299, 299]})
def test_any_config_of_the_hub_is_an_error_or_read(tmp_path: Path, published: dict[str, Any]) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": {"input_size": [3, 64, 64], **published}}))
    with suppress(DataError):
        assert hub_facts(tmp_path).preprocess is not None


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_damaged_bytes_of_an_artifact_are_an_error_or_read(name: str, saved: Path) -> None:
    original = (saved / name).read_bytes()
    places = st.one_of(st.integers(0, len(original) - 1), st.integers(0, min(len(original), 3000) - 1))

    @settings(max_examples=40, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.tuples(places, st.integers(0, 255)), max_size=4), st.one_of(st.none(), places))
    def damage(flips: list[tuple[int, int]], cut: int | None) -> None:
        content = bytearray(original)
        for place, value in flips:
            content[place] = value
        (saved / name).write_bytes(content[:cut])
        assert loads_or_names(saved)

    try:
        damage()
    finally:
        (saved / name).write_bytes(original)


@pytest.mark.parametrize(
    ("option", "value"),
    [("hidden", [1] * 1_000_000), ("hidden", [0]), ("hidden", [-5]), ("scales", [1e999, 0.1, 0.1]),
     ("scales", [10**400, 0.1, 0.1]), ("norm_eps", float("nan")), ("width", float("inf")), ("depth", -1),
     ("in_channels", 10**9)],
    ids=range(9),
)  # fmt: skip
def test_numbers_that_build_no_network_are_refused(option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{option}=.*(out of range|not allowed)") as caught:
        build("inception_resnet_v2", **{option: value})
    assert len(str(caught.value)) < 500


# --- for people: one line, the right exit code, no traceback ----------------------------------------------------------


def test_the_command_line_answers_an_attack_with_one_line_and_exit_code_3(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "w.safetensors").write_bytes(safetensors_bytes({"\x1b[31mred": torch.ones(2)}))
    for path in (
        tmp_path / "w.safetensors",
        torch_zip(tmp_path, PICKLES["byte arrays"], 1 << 20),
        keras_zip(tmp_path, b'{"class_name": "Lambda", "config": {}}'),
    ):
        assert main(["weights", "convert", str(path), str(tmp_path / "out")]) == 3
        said = capsys.readouterr().err.strip()
        assert said.startswith(f"error: {path}")
        assert said.isprintable()
    assert not (tmp_path / "out").exists()
