"""What Go's ``encoding/json`` says about a text that is no JSON: clients and people compare error messages.

Called by ``bodies.py`` and ``request.py`` only after orjson has refused a text. Pure. The scan costs Python time for each token, so texts
over :data:`MAX_SCAN_BYTES` get a message without one.
"""

from __future__ import annotations

import re
from typing import Final

MAX_SCAN_BYTES: Final = 64 * 1024
_MAX_DEPTH: Final = 10_000
"""Go's limit."""

_SPACE: Final = re.compile(rb"[ \t\r\n]*")
_STRING: Final = re.compile(rb'"(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*+')
_DIGITS: Final = re.compile(rb"[0-9]*")
_LITERALS: Final = {ord("t"): b"true", ord("f"): b"false", ord("n"): b"null"}
_NAMED: Final = {7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r", 39: "\\'", 34: '"', 92: "\\\\"}
_END: Final = "unexpected end of JSON input"


class _BadJsonError(Exception):
    """The text is not JSON; the message is Go's."""


def problem_of(text: bytes) -> str | None:
    """Return Go's message about ``text``, ``None`` where it is JSON to Go (which forgives bytes that are not UTF-8)."""
    if len(text) > MAX_SCAN_BYTES:
        return f"the text of {len(text)} bytes is not JSON"
    try:
        _Scanner(text).scan()
    except _BadJsonError as error:
        return str(error)
    return None


def type_of(value: object) -> str:
    """Return what Go calls the type of a decoded value in ``cannot unmarshal``."""
    names = {bool: "bool", int: "number", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "null")


class _Scanner:
    def __init__(self, text: bytes) -> None:
        self._text = text
        self._at = 0

    def scan(self) -> None:
        """Go over one value and the end of the text."""
        closers: list[int] = []
        self._value(closers)
        while closers:
            self._space()
            if closers[-1] == 0x5D:
                self._element(closers)
            else:
                self._pair(closers)
        self._space()
        if self._at < len(self._text):
            self._fail("after top-level value")

    def _value(self, closers: list[int]) -> None:
        """Go over a scalar or an empty list or object; of others, over all that opens before the first scalar."""
        while True:
            self._space()
            first = self._peek()
            if first not in {0x5B, 0x7B}:
                self._scalar(first)
                return
            if len(closers) >= _MAX_DEPTH:
                raise _BadJsonError("exceeded max depth")
            self._at += 1
            self._space()
            if self._peek() == first + 2:
                self._at += 1
                return
            closers.append(first + 2)
            if first == 0x7B:
                self._key()

    def _scalar(self, first: int) -> None:
        if first == 0x22:
            self._string()
        elif first in _LITERALS:
            self._literal(_LITERALS[first])
        elif first == 0x2D or 0x30 <= first <= 0x39:
            self._number()
        else:
            self._fail("looking for beginning of value")

    def _element(self, closers: list[int]) -> None:
        """Go over what follows an element of a list."""
        found = self._peek()
        if found == 0x5D:
            self._at += 1
            closers.pop()
        elif found == 0x2C:
            self._at += 1
            self._value(closers)
        else:
            self._fail("after array element")

    def _pair(self, closers: list[int]) -> None:
        """Go over what follows a value in an object."""
        found = self._peek()
        if found == 0x7D:
            self._at += 1
            closers.pop()
        elif found == 0x2C:
            self._at += 1
            self._space()
            self._key()
            self._value(closers)
        else:
            self._fail("after object key:value pair")

    def _key(self) -> None:
        if self._peek() != 0x22:
            self._fail("looking for beginning of object key string")
        self._string()
        self._space()
        if self._peek() != 0x3A:
            self._fail("after object key")
        self._at += 1

    def _string(self) -> None:
        match = _STRING.match(self._text, self._at)
        assert match is not None
        self._at = match.end()
        if self._peek() == 0x22:
            self._at += 1
        elif self._peek() != 0x5C:
            self._fail("in string literal")
        else:
            self._at += 1
            if self._peek() != 0x75:
                self._fail("in string escape code")
            for _ in range(4):
                self._at += 1
                if self._peek() not in b"0123456789abcdefABCDEF":
                    self._fail("in \\u hexadecimal character escape")

    def _literal(self, word: bytes) -> None:
        for expected in word:
            if self._peek() != expected:
                self._fail(f"in literal {word.decode()} (expecting '{chr(expected)}')")
            self._at += 1

    def _number(self) -> None:
        if self._text[self._at] == 0x2D:
            self._at += 1
            self._digit("in numeric literal")
        if self._text[self._at] == 0x30:
            self._at += 1
        else:
            self._digits()
        if self._text[self._at : self._at + 1] == b".":
            self._at += 1
            self._digit("after decimal point in numeric literal")
            self._digits()
        if self._text[self._at : self._at + 1] in {b"e", b"E"}:
            self._at += 1
            if self._peek() in b"+-":
                self._at += 1
            self._digit("in exponent of numeric literal")
            self._digits()

    def _digit(self, where: str) -> None:
        if not 0x30 <= self._peek() <= 0x39:
            self._fail(where)

    def _digits(self) -> None:
        match = _DIGITS.match(self._text, self._at)
        assert match is not None
        self._at = match.end()

    def _space(self) -> None:
        match = _SPACE.match(self._text, self._at)
        assert match is not None
        self._at = match.end()

    def _peek(self) -> int:
        if self._at >= len(self._text):
            raise _BadJsonError(_END)
        return self._text[self._at]

    def _fail(self, where: str) -> None:
        raise _BadJsonError(f"invalid character {quoted(self._text[self._at])} {where}")


def quoted(byte: int) -> str:
    """Return a byte as Go shows a character in these messages."""
    character = chr(byte)
    if byte in _NAMED:
        shown = _NAMED[byte]
    elif byte < 0x20 or byte == 0x7F:
        shown = f"\\x{byte:02x}"
    else:
        shown = character if character.isprintable() and byte != 0xA0 else f"\\u{byte:04x}"
    return f"'{shown}'"
