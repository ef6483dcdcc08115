"""The string formats that Kubernetes checks, by name as they stand in ``format``. Every other format is ignored.

What each accepts follows the format registry of kube-openapi, not the RFCs, where the two differ (a ``uuid`` may lack its dashes, a
``hostname`` may hold letters of any script). Matching is bounded: no pattern here can backtrack far.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from datetime import date
from typing import Final
from urllib.parse import urlsplit


def _matcher(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern, re.ASCII)
    return lambda text: compiled.fullmatch(text) is not None


_TIME: Final = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)[Tt](?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_LABEL: Final = re.compile(r"[^\W_](?:[\w-]{0,61}[^\W_])?")
_DURATION: Final = re.compile(
    r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|μs|ms|s|m|h)(?:(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))*|[+-]?0"
)
_WORDS: Final = re.compile(r"\d+ *(?:nanoseconds?|nanos?|ns|microseconds?|micros?|us|milliseconds?|millis?|ms|"
                           r"seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h|days?|d|weeks?|wks?|w)")  # fmt: skip
_BYTE_CLASS: Final = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})", re.ASCII)
_EMAIL: Final = re.compile(r"(?:[^<>@]*<)?[^\s<>@,;:\\\"\[\]()]+@[^\s<>@,;:\\\"()]+>?")


def _is_date(text: str) -> bool:
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII) is None:
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _is_time(text: str) -> bool:
    found = _TIME.fullmatch(text)
    if found is None:
        return False
    in_range = int(found["hour"]) < 24 and int(found["minute"]) < 60 and int(found["second"]) < 60
    return in_range and _is_date(found["date"])


def _is_hostname(text: str) -> bool:
    return 0 < len(text) <= 255 and all(len(part.encode()) <= 63 and _LABEL.fullmatch(part) for part in text.split("."))


def _is_ipv4(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def _is_ipv6(text: str) -> bool:
    if "%" in text:
        return False
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _is_cidr(text: str) -> bool:
    address, slash, length = text.partition("/")
    if not slash or not length.isascii() or not length.isdigit() or (len(length) > 1 and length[0] == "0"):
        return False
    return int(length[:4]) <= (32 if _is_ipv4(address) else 128 if _is_ipv6(address) else -1)


def _is_uri(text: str) -> bool:
    if not text or any(ord(c) < 0x21 or ord(c) == 0x7F for c in text):
        return False
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 - raises on a bad port
    except ValueError:
        return False
    return bool(parts.scheme) or text.startswith("/")


def _is_email(text: str) -> bool:
    return len(text) <= 1024 and _EMAIL.fullmatch(text) is not None and text.count("<") == text.count(">")


def _digits(text: str) -> str:
    return re.sub(r"[\s-]", "", text)


def _is_isbn10(text: str) -> bool:
    digits = _digits(text)
    if re.fullmatch(r"\d{9}[\dX]", digits, re.ASCII) is None:
        return False
    return sum((10 - place) * (10 if c == "X" else int(c)) for place, c in enumerate(digits)) % 11 == 0


def _is_isbn13(text: str) -> bool:
    digits = _digits(text)
    if re.fullmatch(r"\d{13}", digits, re.ASCII) is None:
        return False
    return sum((3 if place % 2 else 1) * int(c) for place, c in enumerate(digits)) % 10 == 0


def _is_credit_card(text: str) -> bool:
    digits = _digits(text)
    if re.fullmatch(r"\d{12,19}", digits, re.ASCII) is None:
        return False
    doubled = [int(c) * 2 if place % 2 else int(c) for place, c in enumerate(reversed(digits))]
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def _is_duration(text: str) -> bool:
    return len(text) <= 256 and (_DURATION.fullmatch(text) is not None or _WORDS.fullmatch(text.strip().lower()) is not None)


_UUID: Final = r"(?i:[0-9a-f]{8}-?[0-9a-f]{4}-?%s-?%s-?[0-9a-f]{12})"
_ANY_PART: Final = "[0-9a-f]{4}"
_VARIANT: Final = "[89ab][0-9a-f]{3}"
_SHORT_NAME: Final = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"

CHECKS: Final[Mapping[str, Callable[[str], bool]]] = {
    "bsonobjectid": _matcher(r"[0-9a-fA-F]{24}"),
    "byte": lambda text: _BYTE_CLASS.fullmatch(text) is not None,
    "cidr": _is_cidr,
    "creditcard": _is_credit_card,
    "date": _is_date,
    "date-time": _is_time,
    "datetime": _is_time,
    "duration": _is_duration,
    "email": _is_email,
    "hexcolor": _matcher(r"#?(?:[0-9a-fA-F]{3}|[0-9a-fA-F]{6})"),
    "hostname": _is_hostname,
    "ipv4": _is_ipv4,
    "ipv6": _is_ipv6,
    "isbn": lambda text: _is_isbn10(text) or _is_isbn13(text),
    "isbn10": _is_isbn10,
    "isbn13": _is_isbn13,
    "k8s-long-name": lambda text: len(text) <= 253 and re.fullmatch(rf"{_SHORT_NAME}(\.{_SHORT_NAME})*", text, re.ASCII) is not None,
    "k8s-short-name": _matcher(_SHORT_NAME),
    "mac": _matcher(r"(?i:[0-9a-f]{2}(?:[:-][0-9a-f]{2}){5}(?:(?:[:-][0-9a-f]{2}){2})?|[0-9a-f]{4}(?:\.[0-9a-f]{4}){2,3})"),
    "password": lambda _text: True,
    "rgbcolor": _matcher(r"rgb\(\s*(?:\d{1,2}|1\d\d|2[0-4]\d|25[0-5])(?:\s*,\s*(?:\d{1,2}|1\d\d|2[0-4]\d|25[0-5])){2}\s*\)"),
    "ssn": _matcher(r"\d{3}[- ]?\d{2}[- ]?\d{4}"),
    "uri": _is_uri,
    "uuid": _matcher(_UUID % (_ANY_PART, _ANY_PART)),
    "uuid3": _matcher(_UUID % ("3[0-9a-f]{3}", _ANY_PART)),
    "uuid4": _matcher(_UUID % ("4[0-9a-f]{3}", _VARIANT)),
    "uuid5": _matcher(_UUID % ("5[0-9a-f]{3}", _VARIANT)),
}
