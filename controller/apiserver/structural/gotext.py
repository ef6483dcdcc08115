"""Values as a kube-apiserver prints them in its messages: Go's ``%v`` and ``%T`` for decoded JSON, which clients may compare."""

from __future__ import annotations

import json
import math
from typing import Any

import orjson

MAX_INT64 = 2**63 - 1
MIN_INT64 = -(2**63)


def is_integer(value: Any) -> bool:
    """Return whether Go's decoder makes an ``int64`` of this JSON value: whole, without a fraction in the text, and in range."""
    return type(value) is int and MIN_INT64 <= value <= MAX_INT64


def canonical(value: Any) -> bytes:
    """Return a JSON value as text that is the same for equal values: keys sorted.

    Numbers of any size and broken Unicode are taken; what is nested beyond reason is an ellipsis.
    """
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        pass
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "backslashreplace")
    except RecursionError:
        return b'"\xe2\x80\xa6"'


def json_type(value: Any) -> str:
    """Return the JSON type of a value as messages name it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "integer" if is_integer(value) else "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def go_type(value: Any) -> str:
    """Return the Go type of a decoded value (``%T``)."""
    names = {"null": "<nil>", "boolean": "bool", "integer": "int64", "number": "float64", "string": "string"}
    kind = json_type(value)
    return names.get(kind) or ("[]interface {}" if kind == "array" else "map[string]interface {}")


def number(value: float) -> str:
    """Return a number as ``%v`` prints it: ``1.5``, ``3``, ``1e+21``."""
    if isinstance(value, int) and is_integer(value):
        return str(value)
    value = float(value)
    if math.isnan(value) or value in {float("inf"), float("-inf")}:
        return {"inf": "+Inf", "-inf": "-Inf"}.get(str(value), "NaN")
    if value == 0 or 1e-4 <= abs(value) < 1e21:
        text = repr(value)
        if "e" in text:
            text = f"{value:.0f}" if abs(value) >= 1 else f"{value:f}"
        return text.removesuffix(".0")
    mantissa, _, exponent = repr(value).partition("e")
    return f"{mantissa.removesuffix('.0')}e{exponent[0]}{exponent[1:]:0>2}" if exponent else mantissa


def plain(value: Any) -> str:
    """Return a decoded value as ``%v`` prints it: ``map[a:1]``, ``[x y]``, ``<nil>``."""
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return number(value)
    if isinstance(value, dict):
        return f"map[{' '.join(f'{name}:{plain(value[name])}' for name in sorted(value))}]"
    if isinstance(value, list):
        return f"[{' '.join(plain(item) for item in value)}]"
    return str(value)
