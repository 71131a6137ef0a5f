"""The protobuf wire format, read without generated code: enough for TensorFlow's and Caffe's weight files.

A reader of ours walks a message field by field and descends only into the fields it knows, so the depth is that of our
code and never that of the file: a message nested a million deep costs nothing. Nothing is copied: a length-delimited
field is a view of the bytes it came from.

Source: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator

Field = int | memoryview
"""A varint or fixed-width field's bits as an unsigned int; a length-delimited one's bytes."""

_MAX_VARINT = 10  # bytes that 64 bits need in groups of 7
_MAX_FIELDS = 1 << 18  # of one message: a field of two bytes becomes an object of two hundred
_MAX_INTS = 1 << 23  # of one list: they are read one by one, and no tensor of the family has more


def varint(data: memoryview, at: int) -> tuple[int, int]:
    """The unsigned 64-bit varint at byte `at`, and the place after it.

    Raises:
        ValueError: it runs past the end, or takes more than 64 bits.
    """
    value = 0
    for position in range(_MAX_VARINT):
        if at + position >= len(data):
            raise ValueError(f"the number at byte {at} runs past the end")
        byte = data[at + position]
        value |= (byte & 0x7F) << (7 * position)
        if byte < 0x80:
            if value >= 1 << 64:
                break
            return value, at + position + 1
    raise ValueError(f"the number at byte {at} has more than 64 bits")


def fields(data: memoryview) -> Iterator[tuple[int, Field]]:
    """The fields of one message in file order, as (field number, value).

    Raises:
        ValueError: a field runs past the end, has number 0, or is of a kind that proto files stopped using (groups), or
            there are too many.
    """
    at = count = 0
    while at < len(data):
        start, count = at, count + 1
        if count > _MAX_FIELDS:
            raise ValueError(f"a message has more than {_MAX_FIELDS:,} fields")
        key, at = varint(data, at)
        number, kind = key >> 3, key & 7
        if not 0 < number < 1 << 29:
            raise ValueError(f"byte {start} holds field number {number}; 1 to 2^29 - 1 are allowed")
        value: Field
        match kind:
            case 0:
                value, at = varint(data, at)
            case 1 | 5:
                size = 8 if kind == 1 else 4
                if at + size > len(data):
                    raise ValueError(f"field {number} at byte {start} needs {size} bytes, {len(data) - at} are left")
                value, at = int.from_bytes(data[at : at + size], "little"), at + size
            case 2:
                size, at = varint(data, at)
                if size > len(data) - at:
                    raise ValueError(f"field {number} at byte {start} needs {size} bytes, {len(data) - at} are left")
                value, at = data[at : at + size], at + size
            case _:
                raise ValueError(f"field {number} at byte {start} has wire type {kind}; 0, 1, 2 and 5 are allowed")
        yield number, value


def as_bytes(value: Field, *, what: str) -> memoryview:
    """A field that must be length-delimited. `what` names it in the error."""
    if isinstance(value, int):
        raise ValueError(f"{what} must be bytes, and is a number")
    return value


def as_text(value: Field, *, what: str) -> str:
    """A field that must be UTF-8 text. `what` names it in the error."""
    try:
        return bytes(as_bytes(value, what=what)).decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{what} is not UTF-8 text") from error


def as_int(value: Field, *, what: str) -> int:
    """A field that must be a number, as a signed 64-bit one. `what` names it in the error."""
    if not isinstance(value, int):
        raise ValueError(f"{what} must be a number, and is {len(value)} bytes")
    return value - (1 << 64) if value >= 1 << 63 else value


def ints(value: Field, *, what: str) -> Iterator[int]:
    """A repeated number, packed or one at a time, as signed 64-bit numbers. `what` names it in the error."""
    if isinstance(value, int):
        yield as_int(value, what=what)
        return
    at = count = 0
    while at < len(value):
        number, at = varint(value, at)
        yield as_int(number, what=what)
        count += 1
        if count > _MAX_INTS:
            raise ValueError(f"{what}: more than {_MAX_INTS:,} numbers")
