"""What a pickle would do, told from its opcodes before any of it is done.

PyTorch's restricted unpickler executes no code of a file, but a short file can make it allocate or compute without end:
`encode(encode(..., "hex"), "hex")` doubles each time, `bytearray` takes any number, and what becomes a dictionary's key
is hashed: sixty times a tuple of the last tuple twice takes for ever, and a million tuples in each other overflow the
stack. State dicts need none of that.
"""

from __future__ import annotations

import io
import mmap
import pickletools
import re
from dataclasses import dataclass
from typing import Any

from inceptions.progress import DataError

_NEEDED = re.compile(
    r"collections (OrderedDict|Counter)|(__builtin__|builtins) (set|complex)"
    r"|torch(\.cuda)? \w+Storage|torch\.storage (Typed|Untyped)Storage|torch\.nn\.parameter Parameter"
    r"|torch\._utils _rebuild_(tensor|tensor_v2|parameter|parameter_with_state)"
    r"|torch (Size|device|b?float\d+|u?int\d+|bool|double|half|long)"
)
"""The globals of state dicts, and of the plain values that training scripts keep beside them."""
_INTO = ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "BUILD")
"""Opcodes that put what they take into the object below it."""
_DEEPEST = 1000  # tuples in tuples
_MAGIC_PARTS = 3  # of the container before 2019: a 10-byte constant, a version, facts of the machine


class ForeignError(DataError):
    """A pickle holds objects that no state dict needs; the message is their class's or function's name."""


def refuse_hostile(content: bytes | mmap.mmap, size: int, parts: int) -> None:
    """Refuses pickles that ask for more than a state dict does.

    Args:
        content: one pickle, or several one after the other; of a map no more is read than they take.
        size: bytes of the file.
        parts: how many pickles are there; several make the container before 2019.

    Raises:
        ForeignError: it calls for something that no state dict needs.
        DataError: a number exceeds the file, or objects contain each other too often.
        Exception: whatever `pickletools` makes of damaged bytes.
    """
    stream: Any = io.BytesIO(content) if isinstance(content, bytes) else content
    for part in range(parts):
        limited = parts == 1 or part >= _MAGIC_PARTS
        work = _Work(most=(1 << 20) + 16 * size)
        for opcode, argument, _ in pickletools.genops(stream):
            if limited and isinstance(argument, int) and argument > size and opcode.name != "PROTO":
                raise DataError(f"a number in it, {argument:,}, exceeds the file's {size:,} bytes")
            if opcode.name == "GLOBAL" and not _NEEDED.fullmatch(str(argument)):
                raise ForeignError(str(argument).replace(" ", "."))
            work.follow(opcode, argument)


@dataclass(slots=True)
class _Object:
    """What stands for an object on the unpickler's stack."""

    visited: int = 1
    """Objects that going through all of it visits, each as often as it is met."""
    depth: int = 0
    """Tuples in tuples."""


class _Work:
    """The unpickler's stack and memo, to add up what going through its objects would cost."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._stack: list[_Object] = []
        self._marks: list[int] = []
        self._memo: dict[object, _Object] = {}

    def follow(self, opcode: pickletools.OpcodeInfo, argument: object) -> None:
        """Takes one opcode into account.

        Raises:
            DataError: by now the objects contain each other too often.
            LookupError: it finds nothing where it takes something.
        """
        if opcode.name == "MARK":
            self._marks.append(len(self._stack))
        elif opcode.name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self._memo[len(self._memo) if argument is None else argument] = self._stack[-1]
        elif opcode.name in ("GET", "BINGET", "LONG_BINGET"):
            self._stack.append(self._memo[argument])
        else:
            taken = self._take(opcode)
            into = taken.pop(0) if opcode.name in _INTO else None
            visited = sum(item.visited for item in taken)
            self._most -= visited
            made = into or _Object()
            made.visited += visited
            if opcode.name.startswith("TUPLE"):
                made.depth = 1 + max((item.depth for item in taken), default=0)
            self._stack += [made] * len(opcode.stack_after)
            if self._most < 0 or made.depth > _DEEPEST:
                raise DataError("its objects contain each other too often")

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
        return taken
