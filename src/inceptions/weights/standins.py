"""What stands for the objects of other programs that a checkpoint keeps beside its tensors.

Training scripts save their settings with the weights: an `argparse.Namespace`, Lightning's `AttributeDict`, a NumPy
number, a path. Nothing of these programs is imported or called: an object that is filled like a dictionary or a list
becomes one, any other becomes `None`'s like, and whatever it is given is dropped.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any


class Left:
    """An object of another program; all that are left out are this one."""

    __slots__ = ()
    _only: Left | None = None

    def __new__(cls, *given: object) -> Left:
        if cls._only is None:
            cls._only = super().__new__(cls)
        return cls._only

    def __setstate__(self, state: object) -> None:
        """Drops what it is given."""


class _Items:
    def __new__(cls, *given: object) -> Any:
        return OrderedDict()  # the one kind of dictionary that PyTorch lets have attributes


class _List:
    def __new__(cls, *given: object) -> Any:
        return []


_KINDS: Mapping[str, type] = {"": Left, "items": _Items, "list": _List}


def stand_ins(foreign: Mapping[str, str]) -> list[Any]:
    """What PyTorch's restricted unpickler is to find under the names of `refuse_hostile`."""
    names = [(_KINDS[kind], name) for name, kind in foreign.items()]
    return [*names, Left] if names else []
