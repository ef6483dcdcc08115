"""Syntax trees of CEL expressions, read from cel-cpp's serialised form (``cel.expr.CheckedExpr``, a protobuf message).

Only what the cost estimate needs: constants' sizes, names, field selections, calls, literals and loops (comprehensions, which is what
the macros ``all``, ``exists``, ``map`` and ``filter`` become). Reads bytes of our own library, never of a client.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_ANY_VALUE: Final = 2
_CHECKED_EXPR: Final = 4


@dataclass(frozen=True, slots=True)
class Constant:
    """A literal; ``size`` is the length of a text or bytes."""

    size: int


@dataclass(frozen=True, slots=True)
class Name:
    """A variable."""

    name: str


@dataclass(frozen=True, slots=True)
class Select:
    """``operand.field``, or ``has(operand.field)``."""

    operand: Tree
    field: str
    test: bool


@dataclass(frozen=True, slots=True)
class Call:
    """A function or operator; the target of a member call is the first argument."""

    function: str
    arguments: tuple[Tree, ...]


@dataclass(frozen=True, slots=True)
class Literal:
    """A list or map written out."""

    parts: tuple[Tree, ...]


@dataclass(frozen=True, slots=True)
class Loop:
    """A comprehension: ``result`` of folding ``step`` over ``over``, from ``start``."""

    variable: str
    over: Tree
    accumulator: str
    start: Tree
    condition: Tree
    step: Tree
    result: Tree


Tree = Constant | Name | Select | Call | Literal | Loop


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    position = 0

    def varint() -> int:
        nonlocal position
        value = shift = 0
        while True:
            byte = data[position]
            position += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while position < len(data):
        tag = varint()
        wire = tag & 7
        if wire == 0:
            yield tag >> 3, varint()
            continue
        length = varint() if wire == 2 else 8 if wire == 1 else 4
        yield tag >> 3, data[position : position + length]
        position += length


def _one(data: bytes, number: int) -> bytes:
    return next((value for found, value in _fields(data) if found == number and isinstance(value, bytes)), b"")


def _all(data: bytes, number: int) -> list[bytes]:
    return [value for found, value in _fields(data) if found == number and isinstance(value, bytes)]


def parse(serialised: bytes) -> Tree:
    """Return the tree of a checked expression that was packed into a ``google.protobuf.Any``."""
    return _tree(_one(_one(serialised, _ANY_VALUE), _CHECKED_EXPR))


def _tree(data: bytes) -> Tree:
    for number, value in _fields(data):
        if not isinstance(value, bytes):
            continue
        if number == 3:
            return Constant(sum(len(part) for found, part in _fields(value) if found in {6, 7} and isinstance(part, bytes)))
        if number == 4:
            return Name(_one(value, 1).decode())
        if number == 5:
            test = any(found == 3 and part == 1 for found, part in _fields(value))
            return Select(_tree(_one(value, 1)), _one(value, 2).decode(), test)
        if number == 6:
            target = [_tree(part) for part in _all(value, 1)]
            return Call(_one(value, 2).decode(), (*target, *(_tree(part) for part in _all(value, 3))))
        if number == 7:
            return Literal(tuple(_tree(part) for part in _all(value, 1)))
        if number == 8:
            entries = _all(value, 2)
            return Literal(tuple(_tree(part) for entry in entries for part in (*_all(entry, 3), *_all(entry, 4))))
        if number == 9:
            over, start, condition, step, result = (_tree(_one(value, place)) for place in (2, 4, 5, 6, 7))
            return Loop(_one(value, 1).decode(), over, _one(value, 3).decode(), start, condition, step, result)
    return Constant(0)
