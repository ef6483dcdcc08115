r"""Kubernetes' JSONPath, as far as printer columns and selectable fields use it. Pure; a path is compiled once a column.

``.a.b``, ``.a\.b`` (an escaped dot), ``['a']``, ``[0]``, ``[-1]``, ``[1:3]``, ``[0,2]``, ``['a','b']``, ``[*]``, ``.*``, ``..name`` and
``[?(@.type=="Ready")]`` with ``== != < <= > >=`` or a path alone (it must lead somewhere). Called by ``tables.py`` for every cell, so a
plain chain of fields, nearly every column there is, takes a short way. What leads nowhere, or meets a value of another type than it
expects, finds nothing; it never raises.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

_Step: TypeAlias = Callable[[Any], Iterable[Any]]

_FIELD = re.compile(r"(?:\\.|[^.\[\]\\\s])+")
_INDEX = re.compile(r"^\s*(-?\d+)\s*$")
_SLICE = re.compile(r"^\s*(-?\d*)\s*:\s*(-?\d*)\s*(?::\s*(-?\d*))?\s*$")
_QUOTED = re.compile(r"^\s*(?:'((?:\\.|[^'\\])*)'|\"((?:\\.|[^\"\\])*)\")\s*$", re.DOTALL)
_UNION = re.compile(r"""(?:[^,'"]|'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")+""")
_FILTER = re.compile(r"""^\s*((?:[^=!<>'"]|'[^']*'|"[^"]*")+?)\s*(?:(==|!=|<=|>=|<|>)\s*(.+?))?\s*$""", re.DOTALL)
_OPERATORS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_MAX_LENGTH: Final = 4_096
_MAX_FOUND: Final = 10_000
"""More than this is cut off: ``..a..b`` over a hostile object multiplies, and only the first value is ever shown."""


class Path:
    """A compiled path. ``find`` returns all values, in document order.

    Raises:
        ValueError: the text is not such a path.
    """

    def __init__(self, text: str) -> None:
        if len(text) > _MAX_LENGTH:
            raise ValueError(f"a JSONPath may not be longer than {_MAX_LENGTH} characters")
        self.text = text
        self.fields: tuple[str, ...] | None = ()
        """The plain chain of fields that the path is, ``None`` where it is more."""
        self._steps: list[_Step] = []
        self._parse(text.strip())

    def find(self, value: Any) -> list[Any]:
        """Return every value that the path leads to."""
        if self.fields is not None:
            for name in self.fields:
                if not isinstance(value, Mapping) or name not in value:
                    return []
                value = value[name]
            return [value]
        found = [value]
        for step in self._steps:
            found = [after for before in found for after in step(before)][:_MAX_FOUND]
        return found

    def _parse(self, text: str) -> None:
        if text.startswith("{") and text.endswith("}"):
            text = text[1:-1].strip()
        if text[:1] in {"$", "@"}:
            text = text[1:]
        position = 0
        while position < len(text):
            if text.startswith("..", position):
                self._add(_descend)
                position += 1 if text[position + 2 : position + 3] != "[" else 2
                if position >= len(text) - 1:
                    raise ValueError(f"{self.text!r}: nothing follows '..'")
            elif text[position] == ".":
                position += 1
                if position == len(text) and position == 1:
                    return  # "." is the object itself
                if text[position : position + 1] == "[":
                    continue
                match = _FIELD.match(text, position)
                if match is None:
                    raise ValueError(f"{self.text!r}: a field name is missing at character {position + 1}")
                name = re.sub(r"\\(.)", r"\1", match[0])
                self._add(_children if match[0] == "*" else _field(name), name if match[0] != "*" else None)
                position = match.end()
            elif text[position] == "[":
                end = _closing(text, position)
                self._bracket(text[position + 1 : end])
                position = end + 1
            else:
                match = _FIELD.match(text, position)
                if match is None or position:
                    raise ValueError(f"{self.text!r}: unexpected {text[position]!r} at character {position + 1}")
                self._add(_field(match[0]), match[0])
                position = match.end()

    def _add(self, step: _Step, name: str | None = None) -> None:
        self._steps.append(step)
        self.fields = (*self.fields, name) if name is not None and self.fields is not None else None

    def _bracket(self, inside: str) -> None:
        if inside.strip() == "*":
            self._add(_children)
        elif inside.startswith("?(") and inside.endswith(")"):
            self._add(_filter(inside[2:-1], self.text))
        elif match := _QUOTED.match(inside):
            name = re.sub(r"\\(.)", r"\1", match[1] if match[1] is not None else match[2])
            self._add(_field(name), name)
        elif match := _INDEX.match(inside):
            self._add(_index(int(match[1])))
        elif match := _SLICE.match(inside):
            self._add(_slice(*(int(part) if part else None for part in match.groups())))
        elif len(parts := _UNION.findall(inside)) > 1:
            branches = [Path(f"[{part.strip()}]") for part in parts]
            self._add(lambda value: [found for branch in branches for found in branch.find(value)])
        else:
            raise ValueError(f"{self.text!r}: [{inside}] is not understood")


def _closing(text: str, start: int) -> int:
    """Return where the bracket that opens at ``start`` closes."""
    quote, depth = "", 0
    for position in range(start, len(text)):
        character = text[position]
        if quote:
            if character == quote and text[position - 1] != "\\":
                quote = ""
        elif character in "'\"":
            quote = character
        elif character == "[":
            depth += 1
        elif character == "]":
            depth -= 1
            if not depth:
                return position
    raise ValueError(f"{text!r}: a bracket is not closed")


def _field(name: str) -> _Step:
    return lambda value: (value[name],) if isinstance(value, Mapping) and name in value else ()


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list) else ()


def _descend(value: Any) -> list[Any]:
    """Return the value and everything below it."""
    found: list[Any] = []
    waiting = [value]
    while waiting and len(found) < _MAX_FOUND:
        present = waiting.pop()
        found.append(present)
        waiting.extend(reversed(list(_children(present))))
    return found


def _index(number: int) -> _Step:
    return lambda value: (value[number],) if isinstance(value, list) and -len(value) <= number < len(value) else ()


def _slice(start: int | None, stop: int | None, step: int | None = None) -> _Step:
    if step is not None and step <= 0:
        raise ValueError("the step of a slice must be above 0")
    return lambda value: value[start:stop:step] if isinstance(value, list) else ()


def _filter(text: str, whole: str) -> _Step:
    match = _FILTER.match(text)
    if match is None:
        raise ValueError(f"{whole!r}: the filter ({text}) is not understood")
    left, compare, right = _operand(match[1], whole), match[2], match[3]
    if compare is None:
        return lambda value: [item for item in value if left(item)] if isinstance(value, list) else ()
    other, test = _operand(right, whole), _OPERATORS[compare]

    def step(value: Any) -> Iterable[Any]:
        if not isinstance(value, list):
            return ()
        return [item for item in value if (one := left(item)) and (two := other(item)) and _compare(test, one[0], two[0])]

    return step


def _compare(test: Callable[[Any, Any], bool], left: Any, right: Any) -> bool:
    """Compare two values of one type; numbers are one type, booleans are not numbers."""
    numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in (left, right))
    if not numbers and type(left) is not type(right):
        return False
    if isinstance(left, (Mapping, list)) or (left is None and test not in {operator.eq, operator.ne}):
        return False
    return test(left, right)


def _operand(text: str, whole: str) -> Callable[[Any], list[Any]]:
    text = text.strip()
    if text.startswith("@"):
        return Path(text).find
    if match := _QUOTED.match(text):
        literal: Any = re.sub(r"\\(.)", r"\1", match[1] if match[1] is not None else match[2])
    elif text in {"true", "false"}:
        literal = text == "true"
    else:
        try:
            literal = float(text)
        except ValueError:
            raise ValueError(f"{whole!r}: {text!r} is neither a path, a quoted text nor a number") from None
    return lambda _value: [literal]
