r"""``continue`` tokens of lists, in kube-apiserver's form: base64url of ``{"v":"meta.k8s.io/v1","rv":261,"start":"/p2\u0000"}``.

``start`` is where the next page begins, below the prefix of the collection: a key with a zero byte stands for everything after that key.
Ours also carries ``rc``, how many objects are left, so that a later page can say it without counting. Made and read by ``reading.py``
only; to clients a token is opaque, but they bring tokens of any origin. Pure.
"""

from __future__ import annotations

import base64
import string
from dataclasses import dataclass
from typing import Any, Final

import orjson

from controller.apiserver import gojson
from lattice.api import errors

_VERSION: Final = "meta.k8s.io/v1"
_ALPHABET: Final = frozenset(string.ascii_letters + string.digits + "-_")
_BEFORE: Final = "\U0010ffff"
_MAX_CHARACTERS: Final = 8_192


@dataclass(frozen=True, slots=True)
class Place:
    """Where a list goes on. ``revision`` -1: at the present one. ``after``: the path below the collection that the page begins behind.

    ``remaining``: how many objects are behind it, ``None`` where the token does not say.
    """

    revision: int
    after: str
    remaining: int | None = None


def encode(place: Place) -> str:
    """Return the token of a place."""
    data: dict[str, Any] = {"v": _VERSION, "rv": place.revision, "start": f"/{place.after}\0"}
    if place.remaining is not None:
        data["rc"] = place.remaining
    return base64.urlsafe_b64encode(orjson.dumps(data)).rstrip(b"=").decode()


def decode(token: str) -> Place:
    """Return the place of a token.

    Raises:
        errors.BadRequestError: it is none.
    """
    raw = _unpacked(token)
    try:
        data = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise _invalid(f": {gojson.problem_of(raw) or 'invalid UTF-8'}") from None
    if not isinstance(data, dict):
        raise _invalid(f": json: cannot unmarshal {gojson.type_of(data)} into Go value of type storage.continueToken")
    version, revision, start = (_typed(data, *field) for field in (("v", "string", ""), ("rv", "int64", 0), ("start", "string", "")))
    if version != _VERSION:
        raise _invalid(f": server does not recognize this encoded version {orjson.dumps(version).decode()}")
    if not revision:
        raise _invalid(f": incorrect encoded start resourceVersion (version {_VERSION})")
    if not start:
        raise _invalid(f": encoded start key empty (version {_VERSION})")
    path = start.removeprefix("/")
    if not all(part not in {"", ".", ".."} for part in path.split("/")):
        raise _invalid(f": {start}")  # or it could begin in another collection
    remaining = data.get("rc")
    known = isinstance(remaining, int) and not isinstance(remaining, bool) and remaining >= 0
    return Place(max(revision, -1), path[:-1] if path.endswith("\0") else _before(path), remaining if known else None)


def _unpacked(token: str) -> bytes:
    if len(token) > _MAX_CHARACTERS:
        raise _invalid(": it is too long")
    for position, character in enumerate(token):
        if character not in _ALPHABET:
            raise _invalid(f": illegal base64 data at input byte {position}")
    if len(token) % 4 == 1:
        raise _invalid(f": illegal base64 data at input byte {len(token) - 1}")
    return base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))


def _typed(data: dict[str, Any], name: str, go_type: str, zero: Any) -> Any:
    value = data.get(name)
    if value is None:
        return zero
    if type(value) is not type(zero):
        raise _invalid(f": json: cannot unmarshal {gojson.type_of(value)} into Go struct field continueToken.{name} of type {go_type}")
    return value


def _before(path: str) -> str:
    """Return a path that nothing lies between and ``path``: names have no characters as high as the one that it ends with."""
    return path[:-1] + chr(ord(path[-1]) - 1) + _BEFORE


def _invalid(what: str) -> errors.BadRequestError:
    return errors.BadRequestError(f"invalid continue token: continue key is not valid{what}")
