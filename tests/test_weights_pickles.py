"""What a pickle would do is told from its opcodes: what sizes something is compared with the file, and nothing runs."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from inceptions.errors import DataError
from inceptions.weights.opcodes import refuse_hostile
from inceptions.weights.pytorch import read_pickle
from test_weights_attacks import START, old_torch, torch_zip

SIZE = 1000  # bytes of the file that these pickles would be in
BIG = b"J" + struct.pack("<i", 1 << 30)
BIGGER = b"\x8a\x08" + struct.pack("<q", 1 << 62)
HEX, LATIN = b"X\x03\0\0\0hex", b"X\x06\0\0\0latin1"
TEXT = b"X\x08\0\0\0" + b"a" * 8


def called(name: bytes, arguments: bytes) -> bytes:
    """A pickle of one call."""
    return START + b"c" + name + arguments + b"R."


SIZED = {
    "a storage": called(b"torch.storage\nUntypedStorage\n", BIG + b"\x85"),
    "a storage, by a long number": called(b"torch.storage\nTypedStorage\n", BIGGER + b"\x85"),
    "a tensor's shape": called(b"torch._utils\n_rebuild_tensor_v2\n", b"(NK\0" + BIG + b"\x85K\1\x85\x89Nt"),
    "a shape in a list": called(b"torch._utils\n_rebuild_tensor\n", b"(NK\0](" + BIG + b"e](K\1et"),
    "a shape by way of torch.Size": called(
        b"torch._utils\n_rebuild_tensor\n", b"(NK\0ctorch\nSize\n" + BIG + b"\x85\x85RK\1\x85t"
    ),
    "where a storage is": START + b"(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0000X\3\0\0\0cpu" + BIG + b"tQ.",
    "the state of a tensor": START + b"ctorch._utils\n_rebuild_tensor_v2\n)R(NK\0" + BIG + b"\x85K\1\x85tb.",
    "a list that grows behind one's back": START + b"]q\0\x85q\1h\0" + BIG + b"a.",
    "a dictionary that grows behind one's back": START + b"}q\0\x85q\1h\0K\1" + BIG + b"s.",
}  # fmt: skip


@pytest.mark.parametrize("how", SIZED)
def test_a_number_that_sizes_something_is_compared_with_the_file(how: str) -> None:
    with pytest.raises(DataError, match="exceeds the file's 1,000 bytes"):
        refuse_hostile(SIZED[how], SIZE, 1)


COUNTED = {
    "a seed": START + b"}X\4\0\0\0seed" + BIGGER + b"s.",
    "numbers in lists and tuples": START + b"](" + BIG + BIGGER + b"\x86e.",
    "a counter": called(b"collections\nCounter\n", b"}K\1" + BIG + b"s\x85"),
    "settings of a program": START + b"cargparse\nNamespace\n)\x81}X\4\0\0\0seed" + BIGGER + b"sb.",
    "a class of a program": called(b"numpy.random\nGenerator\n", BIGGER + b"\x85"),
    "attributes of a dictionary": START + b"ccollections\nOrderedDict\n)R}X\1\0\0\0v" + BIG + b"sb.",
}


@pytest.mark.parametrize("how", COUNTED)
def test_a_number_that_sizes_nothing_may_be_of_any_size(how: str) -> None:
    refuse_hostile(COUNTED[how], SIZE, 1)


FOREIGN = {
    "evaluates": called(b"builtins\neval\n", TEXT + b"\x85"),
    "evaluates, in Python 2's words": called(b"__builtin__\neval\n", TEXT + b"\x85"),
    "gets attributes": called(b"builtins\ngetattr\n", TEXT + TEXT + b"\x86"),
    "a command": called(b"os\nsystem\n", TEXT + b"\x85"),
    "a process": called(b"subprocess\nPopen\n", TEXT + b"\x85"),
    "byte arrays": called(b"builtins\nbytearray\n", BIG + b"\x85"),
    "what PyTorch itself would call": called(b"torch._tensor\n_rebuild_from_type_v2\n", b")"),
    "text that doubles": called(b"_codecs\nencode\n", TEXT + HEX + b"\x86"),
    "text that doubles, with a third argument": called(b"_codecs\nencode\n", b"(" + TEXT + HEX + LATIN + b"t"),
    "text that doubles, in a list": called(b"_codecs\nencode\n", b"](" + TEXT + HEX + b"e"),
    "more programs than anybody uses": START + b"".join(b"cm\nC%d\n" % number for number in range(101)) + b".",
}


@pytest.mark.parametrize("how", FOREIGN)
@pytest.mark.parametrize("container", [torch_zip, old_torch], ids=["new", "old"])
def test_what_could_run_or_grow_is_refused_by_its_name(how: str, container: object, tmp_path: Path) -> None:
    path = torch_zip(tmp_path, FOREIGN[how]) if container is torch_zip else old_torch(tmp_path, FOREIGN[how])
    with pytest.raises(DataError, match=r"w.*\.pth: it holds Python objects \("):
        read_pickle(path)


def test_text_that_is_turned_into_bytes_again_and_again_is_refused() -> None:
    text = b"X" + struct.pack("<I", 1 << 16) + b"a" * (1 << 16) + LATIN + b"\x86q\0"
    repeated = START + b"c_codecs\nencode\nq\1" + text + b"R" + b"h\1h\0R" * 40_000 + b"."
    with pytest.raises(DataError, match="contain each other"):
        refuse_hostile(repeated, len(repeated), 1)


def test_what_is_foreign_is_told_with_how_it_is_filled() -> None:
    content = START + b"(cmine\nSettings\n)\x81K\1K\2scmine\nHistory\n)\x81K\1acmine\nThing\n)\x81t."
    assert refuse_hostile(content, SIZE, 1) == {"mine.Settings": "items", "mine.History": "list", "mine.Thing": ""}


def test_numbers_of_numpy_are_no_attack() -> None:
    buffer = io.BytesIO()
    torch.save({"best": np.float64(0.5), "w": torch.ones(3)}, buffer)
    with zipfile.ZipFile(buffer) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("data.pkl"))
        foreign = refuse_hostile(archive.read(name), len(buffer.getvalue()), 1)
    assert {name.rpartition(".")[2] for name in foreign} == {"scalar", "dtype"}
