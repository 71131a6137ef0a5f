"""TensorFlow's files give TensorFlow's numbers: tests/golden/tensorflow was written by TensorFlow
(tests/parity/tensorflow_fixtures.py). Damaged and hostile ones give an error that names the file."""

from __future__ import annotations

import gzip
import json
import shutil
import tarfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inceptions.errors import DataError
from inceptions.weights import create_model, load_weights
from inceptions.weights.crc32c import crc32c, masked
from inceptions.weights.sstable import snappy
from inceptions.weights.tensor_protos import read_shape, read_tensor
from inceptions.weights.tensorflow import read_checkpoint, read_tensorflow
from inceptions.weights.wire import fields, varint

GOLDEN = Path(__file__).parent / "golden" / "tensorflow"
NETWORKS = sorted(path.name.removesuffix(".tar.gz") for path in GOLDEN.glob("*.tar.gz"))
MULTIPLE_WAYS = ("v1", "v2", "sharded")


def pixels(size: tuple[int, int]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The fixture program's image, (H, W, 3)."""
    numbers = np.arange(size[0] * size[1] * 3, dtype=np.int64)
    return (numbers * 7919 % 2003 % 256).reshape(*size, 3).astype(np.uint8)


def short(logits: torch.Tensor) -> torch.Tensor:
    return torch.cat([logits[0, :8], logits[0, -4:]])


def assert_same(logits: torch.Tensor, expected: list[float]) -> None:
    wanted = torch.tensor(expected, dtype=torch.float64)
    assert (short(logits) - wanted).norm() <= 1e-5 * wanted.norm()


@pytest.mark.parametrize("name", NETWORKS)
def test_tensorflows_network_and_ours_agree(name: str) -> None:
    for case in json.loads((GOLDEN / f"{name}.json").read_text()):
        options = {"width": 0.01, **({"aux": True} if "aux" in case else {})}
        net = load_weights(GOLDEN / f"{name}.tar.gz", options=options).net
        assert net.preprocess is not None
        image = pixels(tuple(case["size"]))
        if name == "inception_2015":  # the graph resizes by itself: so does its Preprocess
            images = net.preprocess(image)[None]
        else:
            images = net.preprocess.normalize(torch.from_numpy(image).permute(2, 0, 1)[None])
        with torch.no_grad():
            logits, aux = net.double().forward_with_aux(images.double())
        assert_same(logits, case["logits"])
        for tapped in aux.values():
            assert_same(tapped, case["aux"])
        assert len(aux) == ("aux" in case)


@pytest.mark.parametrize(("name", "option", "value"), [
    ("inception_v1", "padding", "caffe"),
    ("inception_v1", "fourth_pool", "3x3"),
    ("inception_v2", "include_border", True),
    ("inception_v2", "padding", "caffe"),
    ("inception_v3", "include_border", True),
    ("inception_2015", "last_pool", "avg"),
    ("xception_41", "norm_eps", 1e-5),
])  # fmt: skip
def test_the_options_that_come_with_a_file_cannot_be_contradicted(name: str, option: str, value: object) -> None:
    with pytest.raises(ValueError, match=option):
        load_weights(GOLDEN / f"{name}.tar.gz", options={"width": 0.01, option: value})


def test_the_background_class_goes_when_a_thousand_are_asked_for() -> None:
    whole = create_model("googlenet", weights=GOLDEN / "inception_v1.tar.gz", width=0.01)
    without = create_model("googlenet", weights=GOLDEN / "inception_v1.tar.gz", width=0.01, num_classes=1000)
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert whole.classes is not None
    assert whole.classes[0] == "background"
    assert without.classes == whole.classes[1:]
    torch.testing.assert_close(without(images), whole(images)[:, 1:])


def test_slims_preprocessing_comes_with_slims_files() -> None:
    preprocess = load_weights(GOLDEN / "inception_v3.tar.gz", options={"width": 0.01}).net.preprocess
    assert preprocess is not None
    assert (preprocess.interpolation, preprocess.resize, preprocess.crop_pct) == ("tf1_bilinear", "central", 0.875)
    assert preprocess.mean == preprocess.std == (0.5, 0.5, 0.5)


def test_what_training_adds_to_a_checkpoint_is_left_out(tmp_path: Path) -> None:
    (index,) = unpacked("inception_v2", tmp_path, ".index")
    names = set(read_checkpoint(index))
    assert {"global_step", "InceptionV2/Conv2d_2b_1x1/weights/Momentum"} <= names
    kept = read_tensorflow(index).tensors
    assert not any(name.endswith(("global_step", "Momentum", "ExponentialMovingAverage")) for name in kept)
    assert "InceptionV2/Conv2d_2b_1x1/weights" in kept


@pytest.mark.parametrize("way", MULTIPLE_WAYS)
def test_every_type_partition_and_shard_is_read_as_tensorflow_wrote_it(way: str) -> None:
    expected = json.loads((GOLDEN / "expected.json").read_text())
    tensors = read_checkpoint(GOLDEN / f"{way}.ckpt")
    assert set(tensors) >= {"float", "double", "int", "long", "empty", "part"}
    assert "text" not in tensors
    for name, tensor in tensors.items():
        assert np.ravel(tensor).astype(float).tolist() == expected[name], name
    assert tensors["float"].shape == (3, 200, 2)
    assert tensors["empty"].shape == (0, 4)


@pytest.mark.parametrize("ending", [".index", ".data-00000-of-00001", ""])
def test_a_bundle_goes_by_its_prefix_and_by_each_of_its_files(ending: str) -> None:
    assert "float" in read_checkpoint(GOLDEN / f"v2.ckpt{ending}")


def test_tensorflow_2s_objects_go_by_their_variables_names() -> None:
    assert "InceptionV1/Conv2d_1a_7x7/weights" in read_checkpoint(GOLDEN / "objects-1")


# -- parts, against published vectors


@pytest.mark.parametrize(("data", "crc"), [
    (b"123456789", 0xE3069283), (bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43), (bytes(range(32)), 0x46DD794E),
])  # fmt: skip
def test_crc32c_gives_the_vectors_of_rfc_3720(data: bytes, crc: int) -> None:
    assert crc32c(data) == crc


@given(st.binary(max_size=64), st.integers(0, 5000))
def test_crc32c_of_long_data_is_that_of_its_bytes_one_by_one(seed: bytes, length: int) -> None:
    data = (seed + b"x") * (length // (len(seed) + 1) + 1)
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
    assert crc32c(data) == register ^ 0xFFFFFFFF


def test_snappy_repeats_what_a_copy_overlaps() -> None:
    # written by Google's snappy (python-cramjam): snappy.compress_raw(b"abcd" * 20)
    assert snappy(memoryview(bytes.fromhex("500c61626364fe04002e0400"))) == b"abcd" * 20


@pytest.mark.parametrize("stream", ["", "05", "ffffffffff01", "04f461", "0401", "04000501"])
def test_a_broken_snappy_stream_is_refused(stream: str) -> None:
    with pytest.raises(ValueError, match=r"snappy|number"):
        snappy(memoryview(bytes.fromhex(stream)))


@pytest.mark.parametrize("number", ["80", "ff" * 10, "80" * 11 + "01"])
def test_a_number_without_an_end_or_of_more_than_64_bits_is_refused(number: str) -> None:
    with pytest.raises(ValueError, match=r"past the end|64 bits"):
        varint(memoryview(bytes.fromhex(number)), 0)


def test_a_message_nested_without_end_costs_no_stack(tmp_path: Path) -> None:
    graph = b""
    for _ in range(50_000):
        graph = b"\x0a" + _size(len(graph)) + graph[:200]
    (tmp_path / "graph.pb").write_bytes(graph)
    with pytest.raises(DataError, match=r"graph\.pb"):
        read_tensorflow(tmp_path / "graph.pb")


def test_a_shape_beyond_reason_is_refused_before_anything_is_allocated() -> None:
    dimension = b"\x08" + _size(1 << 40)
    with pytest.raises(ValueError, match="allowed"):
        read_shape(memoryview(b"\x12" + _size(len(dimension)) + dimension))


def test_one_number_that_stands_for_billions_takes_no_memory() -> None:
    dimension = b"\x08" + _size(1 << 15)
    shape = (b"\x12" + _size(len(dimension)) + dimension) * 2
    message = b"\x08\x01" + b"\x12" + _size(len(shape)) + shape + b"\x2a\x04" + np.float32(2).tobytes()
    tensor = read_tensor(memoryview(message))
    assert tensor is not None
    assert tensor.shape == (1 << 15, 1 << 15)
    assert tensor.strides == (0, 0)


# -- damage


def unpacked(name: str, folder: Path, ending: str = "") -> list[Path]:
    with tarfile.open(GOLDEN / f"{name}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return sorted(path for path in folder.iterdir() if path.name.endswith(ending))


@pytest.mark.parametrize("kind", ["pb", "v1", "index", "data", "tar"])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), cut=st.booleans())
@settings(max_examples=25, deadline=None)
def test_a_flipped_bit_or_a_cut_gives_an_error_or_the_same_names(
    kind: str, place: float, bit: int, cut: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content, name, others = sample(kind)
    folder = tmp_path_factory.mktemp("damaged")
    for other in others:
        shutil.copy(other, folder)
    damaged = bytearray(content)
    position = int(place * len(damaged))
    if cut:
        del damaged[position:]
    else:
        damaged[position] ^= 1 << bit
    (folder / name).write_bytes(damaged)
    try:
        said = f"{folder} holds {len(load_damaged(folder / name))} tensors"
    except (DataError, FileNotFoundError) as error:
        said = str(error)
    assert str(folder) in said  # an error says which file
    shutil.rmtree(folder)


def load_damaged(path: Path) -> Any:
    from inceptions.weights.locate import read

    return read(path).tensors if path.suffix == ".gz" or path.suffix == ".pb" else read_checkpoint(path)


@cache
def sample(kind: str) -> tuple[bytes, str, tuple[Path, ...]]:
    """A good file's bytes, its name, and the files that belong beside it."""
    if kind == "pb":
        with tarfile.open(GOLDEN / "inception_v3_frozen.tar.gz") as archive:
            (member,) = [item for item in archive if item.name.endswith(".pb")]
            file = archive.extractfile(member)
            assert file is not None
            return file.read(), "graph.pb", ()
    if kind == "tar":
        return (GOLDEN / "facenet.tar.gz").read_bytes(), "facenet.tar.gz", ()
    if kind == "v1":
        return (GOLDEN / "v1.ckpt").read_bytes(), "v1.ckpt", ()
    index, data = GOLDEN / "v2.ckpt.index", GOLDEN / "v2.ckpt.data-00000-of-00001"
    changed, beside = (index, data) if kind == "index" else (data, index)
    return changed.read_bytes(), changed.name, (beside,)


@given(st.binary(max_size=300))
@settings(deadline=None)
def test_any_bytes_at_all_are_fields_or_an_error(data: bytes) -> None:
    said, numbers = "", []
    try:
        numbers = [number for number, _ in fields(memoryview(data))]
    except ValueError as error:
        said = str(error)
    assert "byte" in said or all(0 < number < 1 << 29 for number in numbers)


@pytest.mark.parametrize("flip", [40, 3000, 7000])
def test_a_changed_byte_of_a_tensor_is_noticed_by_its_checksum(flip: int, tmp_path: Path) -> None:
    for file in GOLDEN.glob("v2.ckpt*"):
        shutil.copy(file, tmp_path)
    path = tmp_path / "v2.ckpt.data-00000-of-00001"
    content = bytearray(path.read_bytes())
    content[flip] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="checksum"):
        read_checkpoint(tmp_path / "v2.ckpt")


def rewritten(index: Path, change: Callable[[bytes], bytes]) -> None:
    """Changes the one block of entries of an index and puts its checksum right again."""
    content = index.read_bytes()
    footer = memoryview(content)[-48:]
    at = 0
    numbers = []
    for _ in range(4):
        value, at = varint(footer, at)
        numbers.append(value)
    listing = memoryview(content)[numbers[2] : numbers[2] + numbers[3]]
    # one entry: shared 0, key length, value length, key, handle
    (_, at), (key_size, at2) = varint(listing, 0), varint(listing, 1)
    _, at3 = varint(listing, at2)
    handle = listing[at3 + key_size :]
    offset, after = varint(handle, 0)
    length, _ = varint(handle, after)
    block = change(content[offset : offset + length])
    assert len(block) == length
    crc = masked(crc32c(block + b"\0")).to_bytes(4, "little")
    index.write_bytes(content[:offset] + block + b"\0" + crc + content[offset + length + 5 :])


@pytest.mark.parametrize(("old", "new", "complaint"), [
    # entry of "float": dtype 1, shape (3, 200, 2), at an offset, 4800 bytes
    (b"\x28\xc0\x25", b"\x28\xc0\x24", "needs 4800 bytes"),
    (b"\x12\x02\x08\x03\x12\x03\x08\xc8\x01", b"\x12\x02\x08\x03\x12\x03\x08\xc8\x7f", "bytes, the index says 4800"),
])  # fmt: skip
def test_an_index_that_contradicts_its_data_is_refused(old: bytes, new: bytes, complaint: str, tmp_path: Path) -> None:
    for file in GOLDEN.glob("v2.ckpt*"):
        shutil.copy(file, tmp_path)

    def change(block: bytes) -> bytes:
        assert old in block
        return block.replace(old, new)

    rewritten(tmp_path / "v2.ckpt.index", change)
    with pytest.raises(DataError, match=complaint):
        read_checkpoint(tmp_path / "v2.ckpt")


def test_tensors_that_share_bytes_are_refused(tmp_path: Path) -> None:
    for file in GOLDEN.glob("sharded.ckpt*"):
        shutil.copy(file, tmp_path)
    offsets = []

    def change(block: bytes) -> bytes:
        place = block.index(b"\x20", block.index(b"float"))  # field 4, the offset, of the entry of "float"
        offsets.append(block[place + 1])
        return block[: place + 1] + bytes([block[place + 1] - 8]) + block[place + 2 :]

    rewritten(tmp_path / "sharded.ckpt.index", change)
    with pytest.raises(DataError, match="overlap"):
        read_checkpoint(tmp_path / "sharded.ckpt")
    assert offsets


def test_a_missing_data_file_is_named(tmp_path: Path) -> None:
    shutil.copy(GOLDEN / "sharded.ckpt.index", tmp_path)
    shutil.copy(GOLDEN / "sharded.ckpt.data-00000-of-00002", tmp_path)
    with pytest.raises(FileNotFoundError, match="data-00001-of-00002"):
        read_checkpoint(tmp_path / "sharded.ckpt")


def test_another_networks_checkpoint_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"TF-slim's inception_v3, not xception"):
        create_model("xception", weights=GOLDEN / "inception_v3.tar.gz", width=0.01)


def test_a_checkpoint_without_a_networks_variables_says_what_it_holds() -> None:
    with pytest.raises(DataError, match="none is called like a layer's"):
        read_tensorflow(GOLDEN / "v1.ckpt")


@pytest.mark.parametrize("name", ["../../evil.ckpt", "/evil.ckpt"])
def test_an_archive_cannot_write_outside_its_folder(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a" / "archive.tar.gz"
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as archive:
        info = archive.gettarinfo(GOLDEN / "v1.ckpt")
        info.name = name
        with (GOLDEN / "v1.ckpt").open("rb") as file:
            archive.addfile(info, file)
    with pytest.raises(DataError):
        load_weights(path)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a", "archive.tar.gz"]


def test_an_archive_that_unpacks_without_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "zeros.ckpt").write_bytes(bytes(30_000_000))
    with tarfile.open(tmp_path / "bomb.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "zeros.ckpt", "zeros.ckpt")
    with pytest.raises(DataError, match="times its size"):
        load_weights(tmp_path / "bomb.tar.gz")


def test_a_link_in_an_archive_is_not_followed(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "links.tar.gz", "w:gz") as archive:
        info = tarfile.TarInfo("model.ckpt")
        info.type, info.linkname = tarfile.SYMTYPE, str(GOLDEN / "v1.ckpt")
        archive.addfile(info)
    with pytest.raises(DataError, match="no checkpoint"):
        load_weights(tmp_path / "links.tar.gz")


def test_gzip_that_holds_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.tar.gz").write_bytes(gzip.compress(b"not a tar archive" * 100))
    with pytest.raises(DataError, match=r"weights\.tar\.gz"):
        load_weights(tmp_path / "weights.tar.gz")


def _size(value: int) -> bytes:
    """A number as protobuf writes it."""
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])
