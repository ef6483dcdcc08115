"""The text of label and field selectors, as ``kubectl -l`` and ``--field-selector`` send it: parse, match, write.

Used by the API server for every list, watch and deletecollection. Grammar, meaning and the sentences of errors are those of
k8s.io/apimachinery ``pkg/labels`` and ``pkg/fields``; what a label selector means inside an object (``spec.selector``) is in
``lattice.api.selectors``. Pure. A parsed selector is immutable and hashable, and its text parses to an equal one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from lattice.api import validation

_TOKEN: Final = re.compile(r"[ \t\r\n]*(?:(?P<symbol>==|!=|[=!(),<>])|(?P<word>[^=!(),<> \t\r\n]+)|(?P<end>\Z))")
_BINARY: Final = {"=": "=", "==": "=", "!=": "!=", "in": "in", "notin": "notin", ">": ">", "<": "<"}
_BINARY_TEXT: Final = "in, notin, =, ==, !=, gt, lt"
_SYMBOLS: Final = frozenset({"=", "==", "!=", "!", "(", ")", ",", "<", ">", ""})
_FIELD_OPERATOR: Final = re.compile(r"!=|==?")
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,63}", re.ASCII)
_INDEXED_FROM: Final = 8
"""Demands of a selector that are simply tried one after the other."""
_INT64: Final = range(-(2**63), 2**63)


@dataclass(frozen=True, slots=True)
class Requirement:
    """One part of a selector. ``operator`` is one of ``=``, ``!=``, ``in``, ``notin``, ``exists``, ``!``, ``>``, ``<``."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Return whether ``labels`` meet this demand."""
        value = labels.get(self.key)
        match self.operator:
            case "=" | "in":
                return value is not None and value in self.values
            case "!=" | "notin":
                return value is None or value not in self.values
            case "exists":
                return value is not None
            case ">" | "<":
                number, bound = parse_int64(value or ""), parse_int64(next(iter(self.values)))
                if number is None or bound is None:
                    return False
                return number > bound if self.operator == ">" else number < bound
            case _:
                return value is None

    def __str__(self) -> str:
        match self.operator:
            case "exists":
                return self.key
            case "!":
                return f"!{self.key}"
            case "in" | "notin":
                return f"{self.key} {self.operator} ({','.join(sorted(self.values))})"
            case _:
                return f"{self.key}{self.operator}{''.join(self.values)}"


def _tighter(one: Requirement, other: Requirement) -> Requirement:
    """Return which of two bounds of a label lets less through."""
    first, second = (parse_int64(next(iter(bound.values))) or 0 for bound in (one, other))
    return one if (first > second) is (one.operator == ">") else other


class _Index:
    """Many demands by the label that they are about: each object costs what its labels cost, however long the selector is."""

    __slots__ = ("_by_key", "_needed")

    def __init__(self, requirements: Iterable[Requirement]) -> None:
        merged: dict[tuple[str, str], frozenset[str]] = {}
        bounds: dict[tuple[str, str], Requirement] = {}
        for found in requirements:
            operator = {"=": "in", "!=": "notin"}.get(found.operator, found.operator)
            place = (found.key, operator)
            if operator in {">", "<"}:
                bounds[place] = _tighter(found, bounds.get(place, found))
            elif place not in merged:
                merged[place] = found.values
            else:
                merged[place] = merged[place] & found.values if operator == "in" else merged[place] | found.values
        self._by_key: dict[str, list[Requirement]] = {}
        for (key, operator), values in merged.items():
            self._by_key.setdefault(key, []).append(Requirement(key, operator, values))
        for found in bounds.values():
            self._by_key.setdefault(found.key, []).append(found)
        needed = {"in", "exists", ">", "<"}
        self._needed = frozenset(key for key, found in self._by_key.items() if any(each.operator in needed for each in found))

    def matches(self, labels: Mapping[str, str]) -> bool:
        if len(self._needed) > len(labels) or not self._needed <= labels.keys():
            return False
        return all(requirement.matches(labels) for key in labels for requirement in self._by_key.get(key, ()))


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """A parsed label selector; an empty one matches everything."""

    requirements: tuple[Requirement, ...] = ()
    _index: _Index | None = field(init=False, repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        if len(self.requirements) > _INDEXED_FROM:
            object.__setattr__(self, "_index", _Index(self.requirements))

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Return whether ``labels`` meet all demands."""
        if self._index is not None:
            return self._index.matches(labels)
        return all(requirement.matches(labels) for requirement in self.requirements)

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))


def parse_int64(text: str) -> int | None:
    """Return the integer that ``text`` is in decimal, ``None`` if it is none or does not fit into 64 bits."""
    if not _INTEGER.fullmatch(text):
        return None
    number = int(text)
    return number if number in _INT64 else None


def parse_label_selector(text: str) -> LabelSelector:
    """Parse ``a=b,c!=d,e in (x,y),f,!g,h>1``. Demands come out sorted by key.

    Raises:
        ValueError: the text is not a selector; the message is a kube-apiserver's.
    """
    return LabelSelector(tuple(sorted(_Parser(text).parse(), key=lambda requirement: requirement.key))) if text else LabelSelector()


class _Parser:
    """Recursive descent, one token ahead. ``in`` and ``notin`` are words wherever no operator can stand."""

    def __init__(self, text: str) -> None:
        self._tokens = [match["symbol"] or match["word"] or "" for match in _TOKEN.finditer(text)]
        self._position = 0

    def parse(self) -> list[Requirement]:
        found: list[Requirement] = []
        if self._next == "":
            return found
        if self._next in _SYMBOLS - {"!"}:
            raise ValueError(f"found '{self._next}', expected: !, identifier, or 'end of string'")
        while True:
            try:
                found.append(self._requirement())
            except ValueError as error:
                raise ValueError(f"unable to parse requirement: {error}") from error
            match self._take():
                case "":
                    return found
                case ",":
                    if self._next in _SYMBOLS - {"!"}:
                        raise ValueError(f"found '{self._next}', expected: identifier after ','")
                case other:
                    raise ValueError(f"found '{other}', expected: ',' or 'end of string'")

    @property
    def _next(self) -> str:
        return self._tokens[self._position]

    def _take(self) -> str:
        token = self._tokens[self._position]
        self._position = min(self._position + 1, len(self._tokens) - 1)  # the end stays the end
        return token

    def _word(self) -> str:
        token = self._take()
        if token in _SYMBOLS:
            raise ValueError(f"found '{token}', expected: identifier")
        return token

    def _requirement(self) -> Requirement:
        absent = self._next == "!"
        if absent:
            self._take()
        key = self._word()
        if problem := validation.check_qualified_name(key):
            raise ValueError(f'<nil>: Invalid value: "{key}": {problem}')
        if absent:
            return Requirement(key, "!")
        if self._next in {"", ","}:
            return Requirement(key, "exists")
        token = self._take()
        operator = _BINARY.get(token)
        if operator is None:
            raise ValueError(f"found '{token}', expected: {_BINARY_TEXT}")
        values = self._values() if operator in {"in", "notin"} else self._value()
        _check_values(key, operator, values)
        return Requirement(key, operator, values)

    def _value(self) -> frozenset[str]:
        return frozenset({"" if self._next in {"", ","} else self._word()})

    def _values(self) -> frozenset[str]:
        """Parse ``(a,b)``; between two commas, and beside a parenthesis, stands the empty value."""
        if (token := self._take()) != "(":
            raise ValueError(f"found '{token}' expected: '('")
        values = set()
        while True:
            values.add("" if self._next in {",", ")"} else self._word())
            match self._take():
                case ")":
                    return frozenset(values)
                case ",":
                    continue
                case other:
                    raise ValueError(f"found '{other}', expected: ',' or ')'")


def _check_values(key: str, operator: str, values: frozenset[str]) -> None:
    problems = []
    for index, value in enumerate(sorted(values)):
        if operator in {">", "<"} and parse_int64(value) is None:
            problems.append(f"values[{index}]: Invalid value: \"{value}\": for 'Gt', 'Lt' operators, the value must be an integer")
        if problem := validation.check_label_value(value):
            problems.append(f'values[{index}][{key}]: Invalid value: "{value}": {problem}')
    if problems:
        raise ValueError(problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]")


def parse_field_selector(text: str) -> tuple[Requirement, ...]:
    r"""Parse ``metadata.name=x,spec.nodeName!=y``. In a value, ``\,``, ``\=`` and ``\\`` stand for the character.

    Raises:
        ValueError: the text is not a field selector; the message is a kube-apiserver's.
    """
    requirements = []
    for term in filter(None, _terms(text)):
        found = _FIELD_OPERATOR.search(term)
        if found is None:
            raise ValueError(f"invalid selector: '{text}'; can't understand '{term}'")
        value = _unescape(term[found.end() :])
        requirements.append(Requirement(term[: found.start()], "!=" if found[0] == "!=" else "=", frozenset({value})))
    return tuple(requirements)


def escape_field_value(value: str) -> str:
    r"""Write a value so that a field selector can hold it."""
    return re.sub(r"[\\,=]", r"\\\g<0>", value)


def _terms(text: str) -> list[str]:
    """Split at commas that no backslash precedes."""
    terms, start, escaped = [], 0, False
    for position, character in enumerate(text):
        if character == "," and not escaped:
            terms.append(text[start:position])
            start = position + 1
        escaped = character == "\\" and not escaped
    return [*terms, text[start:]]


def _unescape(value: str) -> str:
    result, escaped = [], False
    for character in value:
        if escaped and character not in "\\,=":
            raise ValueError(f"invalid field selector: invalid escape sequence: \\{character}")
        if not escaped and character in ",=":
            raise ValueError(f"invalid field selector: unescaped character in value: {ord(character)}")
        escaped = not escaped and character == "\\"
        if not escaped:
            result.append(character)
    if escaped:
        raise ValueError("invalid field selector: invalid escape sequence: \\")
    return "".join(result)
