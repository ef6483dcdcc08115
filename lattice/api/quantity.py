"""Kubernetes resource quantities: ``100m``, ``1.5``, ``512Mi``, ``2G``, ``1e3``.

Source: k8s.io/apimachinery ``pkg/api/resource``: a decimal number with an optional binary (Ki..Ei), decimal (n, u, m, k..E) or exponent
suffix. Values are exact (:class:`fractions.Fraction`) and rounded away from zero where a unit is asked for, as Kubernetes does.
:func:`canonical` is the text that a kube-apiserver would store for a built-in kind.
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
_MAX_BINARY: Final = 2**63 - 1
_FAST_DIGITS: Final = 18
"""As many decimal digits as always fit into 64 bits."""
_EXPONENTS: Final = tuple(f"e{power}" for power in range(3, 100, 3))
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
    """Return thousandths (millicores), rounded away from zero, at most ``MAX_AMOUNT`` either way."""
    return _whole(parse_quantity(text) * 1000)


def to_units(text: str) -> int:
    """Return whole units (bytes, pods), rounded away from zero, at most ``MAX_AMOUNT`` either way."""
    return _whole(parse_quantity(text))


def _whole(value: Fraction) -> int:
    amount = min(MAX_AMOUNT, -(-abs(value) // 1))
    return amount if value >= 0 else -amount


def canonical(text: str) -> str:
    """Return the same amount in Kubernetes' canonical form: no fraction, the largest suffix of its kind that leaves a whole number.

    Finer than nano is rounded away from zero; binary amounts end at ``2**63 - 1``. Text that the real parser recognises as canonical
    enough stays as it is, as there (``1.500``, ``+1``); so does an amount whose canonical digits are more than we parse.

    Raises:
        ValueError: ``text`` is not a quantity.
    """
    amount = parse_quantity(text)
    match = _NUMBER.fullmatch(text)
    assert match is not None
    number, exponent, suffix = match.group(1), match.group(2), match.group(3) or ""
    if text == "0" or _kept(number, exponent, suffix):
        return text
    nanos = -(-abs(amount) * 10**9 // 1)
    if suffix.endswith("i"):
        nanos = min(nanos, _MAX_BINARY * 10**9)
    if nanos == 0:
        return "0"
    if suffix.endswith("i") and nanos % 10**9 == 0 and nanos >= 1024 * 10**9:
        digits = _scaled(nanos // 10**9, 1024, ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"))
    elif exponent:
        digits = _scaled(nanos, 1000, ("e-9", "e-6", "e-3", "", *_EXPONENTS))
    else:
        digits = _scaled(nanos, 1000, ("n", "u", "m", "", "k", "M", "G", "T", "P", "E", *_EXPONENTS[6:]))
    return f"{'-' if amount < 0 else ''}{digits}" if _NUMBER.fullmatch(digits) else text


def _kept(number: str, exponent: str | None, suffix: str) -> bool:
    """Return whether apimachinery's fast path keeps the text: its test for "is canonical" is a guess, but part of the wire."""
    whole, _, fraction = number.lstrip("+-").partition(".")
    whole = whole.lstrip("0") or "0"
    digits = whole + fraction
    if suffix.endswith("i"):
        power = 10 * ("KMGTPE".index(suffix[0]) + 1)
        room = 14 - len(whole) - power * 3 // 10
        return not fraction and room >= 0 and int(whole) % 8 != 0
    scale = (int(exponent[1:]) if exponent else 3 * "num kMGTPE".index(suffix or " ") - 9) - len(fraction)
    return scale % 3 == 0 and scale >= -9 and len(digits) <= _FAST_DIGITS and not digits.endswith("000") and digits[0] != "0"


def _scaled(amount: int, step: int, suffixes: tuple[str, ...]) -> str:
    index = 0
    while amount % step == 0 and index < len(suffixes) - 1:
        amount, index = amount // step, index + 1
    return f"{amount}{suffixes[index]}"


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
