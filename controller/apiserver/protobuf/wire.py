"""Protobuf's wire format: tags, varints, lengths. Knows no message. Used by ``codec.py``.

Reading is strict: a truncated or overlong varint, a length that points past the end, a group and field number 0 are
:class:`MalformedError`. One :class:`Budget` bounds how many fields one body may have in all its messages.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

VARINT: Final = 0
FIXED64: Final = 1
BYTES: Final = 2
FIXED32: Final = 5

MAX_FIELDS: Final = 20_000
"""Fields of one body, that is a tenth of a second. A Pod of fifty containers has a tenth of them; what is larger can come as JSON."""
_MAX_VARINT_BYTES: Final = 10
_MASK_64: Final = (1 << 64) - 1


class MalformedError(ValueError):
    """The bytes are not a message. The text says where, and quotes nothing: the body may be a Secret."""


class Budget:
    """How many fields may still be read."""

    def __init__(self, fields: int = MAX_FIELDS) -> None:
        self._left = fields

    def spend(self) -> None:
        """Count one field.

        Raises:
            MalformedError: there were too many.
        """
        self._left -= 1
        if self._left < 0:
            raise MalformedError(f"the message has more than {MAX_FIELDS} fields: send the object as JSON")


def read_fields(data: memoryview, budget: Budget) -> Iterator[tuple[int, int, int | memoryview]]:
    """Yield (number, wire type, value) of each field: an unsigned integer for VARINT, the bytes for all others.

    Raises:
        MalformedError: see the module.
    """
    at, end = 0, len(data)
    while at < end:
        budget.spend()
        tag, at = _read_varint(data, at)
        number, wire_type = tag >> 3, tag & 7
        if number == 0 or number >= 1 << 29:
            raise MalformedError(f"illegal field number {number}")
        if wire_type == VARINT:
            value, at = _read_varint(data, at)
            yield number, wire_type, value
            continue
        if wire_type == BYTES:
            size, at = _read_varint(data, at)
        elif wire_type in {FIXED64, FIXED32}:
            size = 8 if wire_type == FIXED64 else 4
        else:
            raise MalformedError(f"illegal wire type {wire_type} of field {number}")
        if size > end - at:
            raise MalformedError("unexpected end of the message")
        yield number, wire_type, data[at : at + size]
        at += size


def read_packed(data: memoryview, budget: Budget) -> Iterator[int]:
    """Yield the integers of a packed list.

    Raises:
        MalformedError: see the module.
    """
    at = 0
    while at < len(data):
        budget.spend()
        value, at = _read_varint(data, at)
        yield value


def _read_varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    for offset in range(_MAX_VARINT_BYTES):
        if at + offset >= len(data):
            raise MalformedError("unexpected end of the message")
        byte = data[at + offset]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & _MASK_64, at + offset + 1
        shift += 7
    raise MalformedError("an integer has more than 64 bits")


def to_signed(value: int, bits: int) -> int:
    """Return the two's complement reading of the low ``bits`` of ``value``."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def varint(value: int) -> bytes:
    """Return an integer as it stands in a message; a negative one takes ten bytes."""
    value &= _MASK_64
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def integer_field(number: int, value: int) -> bytes:
    """Return an integer or boolean field."""
    return varint(number << 3 | VARINT) + varint(value)


def bytes_field(number: int, value: bytes) -> bytes:
    """Return a field of bytes, text or a message."""
    return varint(number << 3 | BYTES) + varint(len(value)) + value
