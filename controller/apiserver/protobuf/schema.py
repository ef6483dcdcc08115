"""Messages as tables: field numbers and types as text, parsed once at import. Used by ``codec.py``; the texts are in ``messages*.py``.

A message is one text, ``name=number type`` with commas between. The type is a scalar (``string``, ``bytes``, ``bool``, ``int32``,
``int64``), a special one that has a form of its own in JSON (``Time``, ``MicroTime``, ``Quantity``, ``IntOrString``, ``FieldsV1``,
``ExtraValue``), or another message. What follows it says how Go holds the field, and so when it is on the wire:

* nothing: by value. Always written, also where it is zero; read as absent where it is zero.
* ``?``: by pointer. Written where it is there; kept where it is zero.
* ``*``: a list. ``{}``: a map from strings.
* ``>``: by value, and its fields stand in the enclosing object in JSON (an embedded struct).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Shape = Literal["value", "pointer", "list", "map", "inline"]

SCALARS: Final = frozenset({"string", "bytes", "bool", "int32", "int64"})
SPECIAL: Final = frozenset({"Time", "MicroTime", "Quantity", "IntOrString", "FieldsV1", "ExtraValue"})
_SUFFIXES: Final[tuple[tuple[str, Shape], ...]] = (("{}", "map"), ("?", "pointer"), ("*", "list"), (">", "inline"))


@dataclass(frozen=True, slots=True)
class Field:
    """One field: its name in JSON, its number, its type."""

    name: str
    number: int
    type: str
    shape: Shape


@dataclass(frozen=True, slots=True)
class Message:
    """One message. ``fields`` in the order of their numbers, as Go writes them."""

    name: str
    fields: tuple[Field, ...]
    by_number: Mapping[int, Field]
    names: frozenset[str]
    """The fields' names in JSON, those of embedded structs included."""


def parse_messages(texts: Mapping[str, str]) -> dict[str, Message]:
    """Return the messages that ``texts`` describe.

    Raises:
        ValueError: a text is wrong, or names a message that is not there.
    """
    parsed = {name: tuple(sorted(_parse_fields(text), key=lambda field: field.number)) for name, text in texts.items()}
    for name, fields in parsed.items():
        for field in fields:
            if field.type not in SCALARS and field.type not in SPECIAL and field.type not in parsed:
                raise ValueError(f"{name}.{field.name}: there is no message {field.type}")

    def names_of(name: str) -> frozenset[str]:
        found: set[str] = set()
        for field in parsed[name]:
            found |= names_of(field.type) if field.shape == "inline" else {field.name}
        return frozenset(found)

    return {name: Message(name, fields, {field.number: field for field in fields}, names_of(name)) for name, fields in parsed.items()}


def _parse_fields(text: str) -> list[Field]:
    fields = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        head, _, type_ = part.partition(" ")
        name, _, number = head.partition("=")
        shape: Shape = "value"
        for suffix, meaning in _SUFFIXES:
            if type_.endswith(suffix):
                type_, shape = type_.removesuffix(suffix), meaning
                break
        fields.append(Field(name, int(number), type_, shape))
    return fields
