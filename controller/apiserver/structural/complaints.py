"""What a value does wrong against its schema, as the cause that a kube-apiserver answers with.

The texts are those of kube-openapi's validator, which clients and people compare. ``where`` is the path inside the validated body;
``base`` (``status`` for writes of the status alone) stands before it in the cause's field and not in its text, as the wire has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from controller.apiserver import shaping
from controller.apiserver.structural import gotext
from lattice.api.errors import Cause

_SHOWN: Final = 256
"""Longer values are cut in messages: nobody's megabyte is echoed."""


class Complainer:
    """Makes causes for the parts of one body."""

    def __init__(self, base: str = "") -> None:
        self._base = base

    def field(self, where: str) -> str:
        """Return the cause's field for a path inside the body."""
        where = where.removeprefix(".")
        if not where:
            return self._base or "<nil>"
        return f"{self._base}.{where}" if self._base else where

    def invalid(self, where: str, value: Any, rule: str) -> Cause:
        """Return the cause for a value that breaks a rule: ``spec.x in body should ...``."""
        return shaped(self.field(where), value, f"{where} in body {rule}")

    def wrong_type(self, where: str, wanted: str, found: str) -> Cause:
        """Return the cause for a value of a wrong type or format."""
        text = shown(found)
        return Cause("FieldValueTypeInvalid", f"Invalid value: {text}: {where} in body must be of type {wanted}: {text}", self.field(where))

    def loose(self, message: str) -> Cause:
        """Return a cause that names its place only in its text; Kubernetes gives such for combinations and number ranges."""
        return Cause("FieldValueInvalid", f'Invalid value: "": {message}', self._base or "<nil>")

    def required(self, where: str) -> Cause:
        """Return the cause for a missing field."""
        return shaping.required(self.field(where))

    def unsupported(self, where: str, value: Any, options: Sequence[Any]) -> Cause:
        """Return the cause for a value that is not in the enum."""
        listed = ", ".join(shown(option if isinstance(option, str) else shown(option)) for option in options)
        return Cause("FieldValueNotSupported", f"Unsupported value: {shown(value)}: supported values: {listed}", self.field(where))

    def too_long(self, where: str, limit: int) -> Cause:
        """Return the cause for a text over its limit, which is never echoed."""
        return Cause("FieldValueTooLong", f"Too long: may not be more than {limit} byte{'' if limit == 1 else 's'}", self.field(where))

    def too_many(self, where: str, count: int, limit: int) -> Cause:
        """Return the cause for too many items or properties."""
        message = f"Too many: {count}: must have at most {limit} item{'' if limit == 1 else 's'}"
        return Cause("FieldValueTooMany", message, self.field(where))


def shown(value: Any) -> str:
    """Return a value as messages show it."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return gotext.number(value)
    text = gotext.canonical(value).decode()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def duplicate(field: str, text: str) -> Cause:
    """Return the cause for an element whose JSON text occurred before."""
    return Cause("FieldValueDuplicate", f"Duplicate value: {text if len(text) <= _SHOWN else f'{text[:_SHOWN]}…'}", field)


def shaped(field: str, value: Any, message: str) -> Cause:
    """Return an Invalid cause."""
    return Cause("FieldValueInvalid", f"Invalid value: {shown(value)}: {message}", field)
