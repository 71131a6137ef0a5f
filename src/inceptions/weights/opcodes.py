"""What a pickle would do, told from its opcodes before any of it is done.

PyTorch's restricted unpickler executes no code of a file, but a short file can make it allocate or compute without end:
`encode(encode(..., "hex"), "hex")` doubles each time, `bytearray` takes any number, and what becomes a dictionary's key
is hashed: sixty times a tuple of the last tuple twice takes for ever, and a million tuples in each other overflow the
stack. State dicts need none of that.

A number is compared with the file only where it can size something: in what a storage is told by, in what is called
with it, in the state of a tensor. Seeds, time stamps and counters are as large as they like.
"""

from __future__ import annotations

import io
import mmap
import pickletools
import re
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from dataclasses import dataclass
from typing import Any

from inceptions.errors import DataError

_NEEDED = re.compile(
    r"collections (OrderedDict|Counter)|builtins (set|complex)"
    r"|torch(\.cuda)? \w+Storage|torch\.storage (Typed|Untyped)Storage|torch\.nn\.parameter Parameter"
    r"|torch\._utils _rebuild_(tensor|tensor_v2|parameter|parameter_with_state)"
    r"|torch (Size|device|b?float\d+|u?int\d+|bool|double|half|long)"
)
"""The globals of state dicts, and of the plain values that training scripts keep beside them."""
_ENCODE = "_codecs encode"
"""How the bytes of a NumPy number are kept: as text, and this turns them back; harmless with Latin 1 alone."""
_SIZES_NOTHING = re.compile(r"collections \w+|builtins (set|complex)|torch (Size|device)")
"""What is needed and allocates nothing for a number that it is called with."""
_NEVER = re.compile(
    r"(torch|torch\._.*|torch\.(storage|serialization|cuda|sparse|nested|package|jit|hub)(\..*)?|torch\.nn\.parameter"
    r"|_codecs|codecs|os|posix|nt|sys|subprocess|shutil|pty|runpy|importlib(\..*)?|ctypes(\..*)?|socket|pickle|marshal"
    r"|code|bdb|pdb|timeit|webbrowser|builtins) .*"
)
"""Globals that nothing stands for: PyTorch would really call them, or a file with them is an attack."""
_HARMLESS = re.compile(
    r"builtins (object|bytes|slice|range|frozenset|dict|list|tuple|int|float|str|bool|type"
    r"|abs|all|any|len|max|min|print|round|sorted|sum|\w+Error|Ellipsis|NotImplemented)"
)
"""Of Python's own, what settings name, and what nothing happens by: a stand-in takes its place anyway."""
_MOST_FOREIGN = 100
"""Names of other programs' in a file; the unpickler goes through all of them for each object."""
_INTO = ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "BUILD")
"""Opcodes that put what they take into the object below it."""
_CALLS = ("REDUCE", "NEWOBJ")
_DEEPEST = 1000  # tuples in tuples


class ForeignError(DataError):
    """A pickle holds objects that no state dict needs; the message is their class's or function's name."""


def refuse_hostile(content: bytes | mmap.mmap, size: int, parts: int) -> dict[str, str]:
    """Refuses pickles that ask for more than a state dict does.

    Args:
        content: one pickle, or several one after the other; of a map no more is read than they take.
        size: bytes of the file.
        parts: how many pickles are there; several make the container before 2019.

    Returns:
        The classes and functions of other programs that it names ("argparse.Namespace"), for which something has to
        stand that runs nothing, and how their objects are filled: as a dictionary ("items"), a "list", or neither ("").

    Raises:
        ForeignError: it calls for something that no state dict needs, and for which nothing can stand.
        DataError: a number that sizes something exceeds the file, or objects contain each other too often.
        Exception: whatever `pickletools` makes of damaged bytes.
    """
    stream: Any = io.BytesIO(content) if isinstance(content, bytes) else content
    foreign: dict[str, str] = {}
    for part in range(parts):
        work = _Work(size, foreign)
        for opcode, argument, _ in pickletools.genops(stream):
            work.follow(opcode, argument)
        if 0 < part == parts - 1:
            work.check(work.last)  # the list of storages
    return foreign


@dataclass(slots=True)
class _Object:
    """What stands for an object on the unpickler's stack."""

    visited: int = 1
    """Objects that going through all of it visits, each as often as it is met."""
    depth: int = 0
    """Tuples in tuples."""
    largest: int = 0
    """The largest number in it."""
    length: int = 0
    """Characters of the text in it."""
    text: str = ""
    """Of a text: itself; of a pair: its second text."""
    name: str = ""
    """Of a class or function, and of what it made: where it comes from."""
    taken: bool = False
    """It is a part of another object by now."""


class _Work:
    """The unpickler's stack and memo, to add up what going through its objects would cost."""

    def __init__(self, size: int, foreign: dict[str, str]) -> None:
        self._size = size
        self._most = (1 << 20) + 16 * size
        self._foreign = foreign
        self._stack: list[_Object] = []
        self._marks: list[int] = []
        self._memo: dict[object, _Object] = {}
        self.last = _Object()
        """What the pickle is of."""

    def follow(self, opcode: pickletools.OpcodeInfo, argument: object) -> None:
        """Takes one opcode into account.

        Raises:
            DataError: by now the objects contain each other too often, or a number sizes more than the file holds.
            LookupError: it finds nothing where it takes something.
        """
        name = opcode.name
        if name == "MARK":
            self._marks.append(len(self._stack))
        elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self._memo[len(self._memo) if argument is None else argument] = self._stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            self._stack.append(self._memo[argument])
        elif name == "GLOBAL":
            self._stack.append(_Object(name=self._named(str(argument))))
        else:
            taken = self._take(opcode)
            into = taken.pop(0) if name in _INTO else None
            self._most -= sum(item.visited for item in taken)
            made = into or _Object()
            if name in _CALLS or name == "BINPERSID" or into is not None:
                self._refuse_sizes(name, taken, into)
            _put(made, taken, opcode, argument)
            self._stack += [made] * len(opcode.stack_after)
            if self._most < 0 or made.depth > _DEEPEST:
                raise DataError("its objects contain each other too often")

    def check(self, item: _Object) -> None:
        """Refuses an object with a number that is larger than the file."""
        if item.largest > self._size:
            raise DataError(f"a number in it, {item.largest:,}, exceeds the file's {self._size:,} bytes")

    def _named(self, text: str) -> str:
        """The global as Python 3 calls it, allowed or noted as foreign."""
        module, _, name = text.partition(" ")
        module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
        full = f"{module} {name}"
        if _NEEDED.fullmatch(full) or full == _ENCODE:
            return full
        if (_NEVER.fullmatch(full) and not _HARMLESS.fullmatch(full)) or len(self._foreign) >= _MOST_FOREIGN:
            raise ForeignError(f"{module}.{name}")
        self._foreign.setdefault(f"{module}.{name}", "")
        return full

    def _refuse_sizes(self, opcode: str, taken: list[_Object], into: _Object | None) -> None:
        if into is not None:
            kind = "items" if opcode.startswith("SETITEM") else "list" if opcode.startswith("APPEND") else ""
            if kind and into.name.replace(" ", ".") in self._foreign:
                self._foreign[into.name.replace(" ", ".")] = kind
            # what was looked at as a part of another object is looked at no more: it may not grow behind one's back
            if into.taken or (opcode == "BUILD" and not self._sizes_nothing(into.name)):
                for item in taken:
                    self.check(item)
            return
        called = taken[0].name if opcode in _CALLS else ""
        if called == _ENCODE:
            if taken[1].text not in ("latin1", "latin-1"):
                raise ForeignError(_ENCODE.replace(" ", "."))
            self._most -= taken[1].length
        elif not self._sizes_nothing(called):
            for item in taken:
                self.check(item)

    def _sizes_nothing(self, name: str) -> bool:
        return bool(_SIZES_NOTHING.fullmatch(name)) or name.replace(" ", ".") in self._foreign

    def _take(self, opcode: pickletools.OpcodeInfo) -> list[_Object]:
        before = opcode.stack_before
        if pickletools.markobject in before:
            start = self._marks.pop() - before.index(pickletools.markobject)
        else:
            start = len(self._stack) - len(before)
        if start < 0:
            raise IndexError(f"{opcode.name} finds nothing on the stack")
        taken = self._stack[start:]
        del self._stack[start:]
        if opcode.name == "STOP":
            self.last = taken[0]
        return taken


def _put(made: _Object, taken: list[_Object], opcode: pickletools.OpcodeInfo, argument: object) -> None:
    """Makes `made` what an opcode makes of the objects that it takes."""
    for item in taken:
        item.taken = True
        made.visited += item.visited
        made.largest = max(made.largest, item.largest)
        made.length += item.length
    if opcode.name.startswith("TUPLE"):
        made.depth = 1 + max((item.depth for item in taken), default=0)
        made.text = taken[1].text if opcode.name == "TUPLE2" else ""
    elif opcode.name in _CALLS:
        made.name = taken[0].name
    elif isinstance(argument, str):
        made.text, made.length = argument, len(argument)
    elif isinstance(argument, int):
        made.largest = abs(argument)
