"""Bodies in Kubernetes' protobuf envelope, right and wrong. Only as much of protobuf as is needed to lie in it."""

from __future__ import annotations

from random import Random
from typing import Final

from lattice.testing.fuzz.mutation import corrupt

_MAGIC: Final = b"k8s\0"


def varint(number: int) -> bytes:
    """Return a number as protobuf writes it."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def member(number: int, value: bytes) -> bytes:
    """Return a field of length-delimited content."""
    return varint(number << 3 | 2) + varint(len(value)) + value


def envelope(api_version: str, kind: str, raw: bytes, content_type: str = "") -> bytes:
    """Return a ``runtime.Unknown`` behind its magic."""
    head = member(1, member(1, api_version.encode()) + member(2, kind.encode()))
    return _MAGIC + head + member(2, raw) + (member(4, content_type.encode()) if content_type else b"")


def message(api_version: str, kind: str, random: Random, json_body: bytes) -> bytes:
    """Return a body for a kind: correct, plausible, or garbage."""
    metadata = member(1, b"pb-fuzz") + member(3, b"fuzz") + member(11, member(1, b"a") + member(2, b"b"))
    correct = member(1, metadata) + member(2, member(1, b"fuzz"))
    match random.randrange(9):
        case 0 | 1:
            return envelope(api_version, kind, correct)
        case 2:
            return envelope(api_version, kind, json_body, "application/json")
        case 3:
            return corrupt(envelope(api_version, kind, correct), random)
        case 4:
            return _MAGIC + random.randbytes(random.randrange(200))
        case 5:
            return envelope(api_version, kind, b"\x0a" * 3000)  # nested lengths that never end
        case 6:
            deep = b""
            for _ in range(random.choice((50, 2000))):
                deep = member(1, deep)
            return envelope(api_version, kind, deep)
        case 7:
            return envelope(api_version, kind, member(1, b"\xff\xfe" * 20) + varint(99 << 3) + varint(2**70))
        case _:
            return envelope("\udcff".encode("utf-8", "surrogateescape").decode("latin-1") + api_version, kind * 100, correct)
