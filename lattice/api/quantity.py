"""Kubernetes resource quantities: ``100m``, ``1.5``, ``512Mi``, ``2G``, ``1e3``.

Source: k8s.io/apimachinery ``pkg/api/resource``: a decimal number with an optional binary (Ki..Ei), decimal (n, u, m, k..E) or exponent
suffix. Values are exact (:class:`fractions.Fraction`) and rounded up where a unit is asked for, as Kubernetes does.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field

_SUFFIXES: Final[dict[str, Fraction]] = {
    "n": Fraction(1, 10**9), "u": Fraction(1, 10**6), "m": Fraction(1, 1000), "": Fraction(1),
    "k": Fraction(10**3), "M": Fraction(10**6), "G": Fraction(10**9), "T": Fraction(10**12), "P": Fraction(10**15),
    "E": Fraction(10**18), "Ki": Fraction(2**10), "Mi": Fraction(2**20), "Gi": Fraction(2**30), "Ti": Fraction(2**40),
    "Pi": Fraction(2**50), "Ei": Fraction(2**60),
}  # fmt: skip
PATTERN: Final = r"^[+-]?([0-9]{1,30}(\.[0-9]{0,30})?|\.[0-9]{1,30})([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]{1,2})?$"
"""What the schemas demand: Kubernetes' pattern without fractional exponents and endless digits: what is stored can be parsed."""
_NUMBER = re.compile(r"([+-]?(?:[0-9]{1,30}(?:\.[0-9]{0,30})?|\.[0-9]{1,30}))(?:([eE][+-]?[0-9]{1,2})|([numkMGTPE]|[KMGTPE]i)?)", re.ASCII)
MAX_AMOUNT: Final = 2**53
"""Where amounts are capped, as Kubernetes caps them (there at 2**63 - 1): far above any machine, and sums of many stay exact in 64 bits."""
_MAX_LENGTH: Final = 64
"""Longer text is refused before any arithmetic: no honest quantity is that long."""


@lru_cache(maxsize=4096)
def parse_quantity(text: str) -> Fraction:
    """Return the exact value of a quantity.

    Raises:
        ValueError: ``text`` is not a quantity.
    """
    match = _NUMBER.fullmatch(text) if len(text) <= _MAX_LENGTH else None
    if match is None:
        raise ValueError(
            f"{text[:_MAX_LENGTH]!r} is not a quantity: write a number with an optional suffix, such as 500m, 1.5, 512Mi or 10G"
        )
    number, exponent, suffix = match.groups()
    value = Fraction(number)
    if exponent:
        return value * Fraction(10) ** int(exponent[1:])
    return value * _SUFFIXES[suffix or ""]


def to_millis(text: str) -> int:
    """Return thousandths (millicores), rounded up, at most ``MAX_AMOUNT``."""
    return min(MAX_AMOUNT, -(-parse_quantity(text) * 1000 // 1))


def to_units(text: str) -> int:
    """Return whole units (bytes, pods), rounded up, at most ``MAX_AMOUNT``."""
    return min(MAX_AMOUNT, -(-parse_quantity(text) // 1))


def format_millis(millis: int) -> str:
    """Return the canonical text of a CPU amount: whole cores where possible, else ``m``."""
    return str(millis // 1000) if millis % 1000 == 0 else f"{millis}m"


def format_bytes(size_bytes: int) -> str:
    """Return the canonical text of a memory amount: the largest binary suffix that leaves a whole number."""
    for suffix in ("Ei", "Pi", "Ti", "Gi", "Mi", "Ki"):
        unit = int(_SUFFIXES[suffix])
        if size_bytes and size_bytes % unit == 0:
            return f"{size_bytes // unit}{suffix}"
    return str(size_bytes)


def _accept(value: Any) -> Any:
    """Take numbers too, as Kubernetes does (``cpu: 1``)."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str):
        parse_quantity(value)
    return value


Quantity = Annotated[
    str,
    BeforeValidator(_accept),
    Field(
        json_schema_extra={
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "pattern": PATTERN,
            "x-kubernetes-int-or-string": True,
        }
    ),
]
"""A quantity on the wire; kept as the text that was written."""

ResourceList = dict[str, Quantity]
"""Resource name (``cpu``, ``memory``, ``ephemeral-storage``, ``pods``, or an extended one) to amount."""
