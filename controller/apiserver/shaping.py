"""Causes of a 422, in kube-apiserver's words: one function for each kind of complaint. Pure; used by everything that validates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import orjson

from lattice.api.errors import Cause

_SHOWN: Final = 256
"""Longer values are cut in messages: a message is for a person, and nobody's megabyte is echoed."""
_SHOWN_PATCHED: Final = 64 * 1024


def shown(value: Any) -> str:
    """Return a value as error messages show it: JSON, cut where it is long."""
    text = orjson.dumps(value).decode()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def invalid(field: str, value: Any, message: str) -> Cause:
    """Return the cause for a wrong value."""
    return Cause("FieldValueInvalid", f"Invalid value: {shown(value)}: {message}", field)


def patched(text: str, message: str) -> Cause:
    """Return the cause for a patch whose result cannot be taken; unlike other values its result (JSON text) is shown whole."""
    shown_text = orjson.dumps(text if len(text) <= _SHOWN_PATCHED else f"{text[:_SHOWN_PATCHED]}…").decode()
    return Cause("FieldValueInvalid", f"Invalid value: {shown_text}: {message}", "patch")


def required(field: str, message: str = "") -> Cause:
    """Return the cause for a missing value."""
    return Cause("FieldValueRequired", f"Required value: {message}" if message else "Required value", field)


def forbidden(field: str, message: str) -> Cause:
    """Return the cause for a value that may not be set here."""
    return Cause("FieldValueForbidden", f"Forbidden: {message}", field)


def unsupported(field: str, value: Any, options: Sequence[Any]) -> Cause:
    """Return the cause for a value that is not one of ``options``."""
    listed = ", ".join(shown(option) for option in options)
    return Cause("FieldValueNotSupported", f"Unsupported value: {shown(value)}: supported values: {listed}", field)


def duplicate(field: str, value: Any) -> Cause:
    """Return the cause for a value that occurs twice."""
    return Cause("FieldValueDuplicate", f"Duplicate value: {shown(value)}", field)
