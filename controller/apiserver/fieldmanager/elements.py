"""One step of a field path, as ``fieldsV1`` writes it: ``f:name``, ``k:{"name":"A"}``, ``v:"x"``, ``i:0``.

A step is kept as that text everywhere, so a set of paths needs no decoding and comparing two steps is comparing two strings. That
works because every text made here is canonical: the keys of ``k:`` sorted, JSON without spaces, ``<``, ``>`` and ``&`` escaped as Go
does. Text from clients goes through :func:`canonical` first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import orjson

MEMBER: Final = "."
"""Says that the node which has it is in the set itself, besides what is below it."""
_ESCAPES: Final = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026", 0x2028: "\\u2028", 0x2029: "\\u2029"}


class ElementError(ValueError):
    """A text is no step of a path."""


def json_text(value: Any) -> str:
    """Return ``value`` as canonical JSON, as Go's encoder writes it."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # 1.0 and 1 are one value
    try:
        text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    except TypeError:  # an integer of more than 64 bits
        text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    if "<" in text or ">" in text or "&" in text or "\u2028" in text or "\u2029" in text:
        return text.translate(_ESCAPES)
    return text


def key(pairs: Mapping[str, Any]) -> str:
    """Return the step to the item of a list-map that has these key fields."""
    return "k:{" + ",".join(f"{json_text(name)}:{json_text(pairs[name])}" for name in sorted(pairs)) + "}"


def value(item: Any) -> str:
    """Return the step to an item of a list-set."""
    return f"v:{json_text(item)}"


def canonical(text: str) -> str | None:
    """Return the one way to write a step; ``None`` for a kind of step that a later version may know.

    Raises:
        ElementError: it is not a step.
    """
    if len(text) < 2:
        raise ElementError("key must be 2 characters long")
    if text[1] != ":":
        raise ElementError(f"missing colon: {text}")
    kind, rest = text[0], text[2:]
    if kind == "f":
        return text
    if kind == "k":
        pairs = _load(rest)
        if not isinstance(pairs, dict):
            raise ElementError(f"not an object: {text}")
        return key(pairs)
    if kind == "v":
        return value(_load(rest))
    if kind == "i":
        if not rest.lstrip("-").isdecimal() or not rest.isascii():
            raise ElementError(f"not an index: {text}")
        return f"i:{int(rest[:20])}"
    return None


def order(text: str) -> tuple[int, str]:
    """Return what to sort steps by: fields, then keys, values and indices."""
    return "fkvi".find(text[0]), text


def shown(text: str) -> str:
    """Return a step as a person reads it: ``.name``, ``[name="A"]``, ``[="x"]``, ``[0]``."""
    rest = text[2:]
    match text[0]:
        case "f":
            return f".{rest}"
        case "k":
            return "[" + ",".join(f"{name}={_shown_value(item)}" for name, item in _load(rest).items()) + "]"
        case "v":
            return f"[={_shown_value(_load(rest))}]"
        case _:
            return f"[{rest}]"


def _shown_value(item: Any) -> str:
    return orjson.dumps(item).decode()


def _load(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(text)  # takes what orjson does not: half of a surrogate pair
    except (ValueError, RecursionError) as error:
        raise ElementError(f"not JSON: {text[:64]}") from error
