"""Answers ``/openapi/v3`` and what is below; keeps the documents until the resource table changes.

The index names each document with the hash of its text, so a client that has a document asks only for the index again
(``If-Modified-Since``). Guarantees: a document fetched under its hash never changes; the index changes with the table, and so does its
Last-Modified, even twice in a second (it then runs ahead by a second), or a kind that was just defined would stay unknown to a client
that asks "since". ``/openapi/v2`` is left to :mod:`.version2`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any, Final
from urllib.parse import unquote

import orjson

from controller.apiserver.openapi import document, version2
from controller.apiserver.request import JSON, TEXT, ApiRequest, ApiResponse
from controller.apiserver.resources import Resource, ResourceTable
from lattice.machinery.clock import Clock

_ROOT: Final = "/openapi/v3"
_VERSION_2: Final = "/openapi/v2"
_REVALIDATED: Final = {"Cache-Control": "no-cache, private"}
_KEPT: Final = timedelta(days=365)
"""For how long a document under its hash may be kept: kube-apiserver says a year."""


@dataclass(frozen=True, slots=True)
class _Document:
    rows: tuple[Resource, ...]
    body: bytes
    hash: str
    modified: datetime


class OpenApi:
    """The OpenAPI documents of a resource table. Documents are made when somebody asks."""

    def __init__(self, table: ResourceTable, clock: Clock) -> None:
        self._table = table
        self._clock = clock
        self._generation = -1
        self._documents: dict[str, _Document] = {}
        self._index = b""
        self._modified = datetime.fromtimestamp(0, UTC)

    @property
    def stale(self) -> bool:
        """Whether the next answer takes longer, because documents have to be made."""
        return self._generation != self._table.generation

    def answer(self, request: ApiRequest) -> ApiResponse | None:
        """Return the answer to a request for a document, or ``None`` where the path is not one of these."""
        path = unquote(request.path).rstrip("/")
        if request.method in {"GET", "HEAD"} and path == _VERSION_2:
            return version2.answer(request)
        if request.method not in {"GET", "HEAD"} or not (path == _ROOT or path.startswith(f"{_ROOT}/")):
            return None
        if self.stale:
            generation = self._table.generation
            self._rebuild()
            self._generation = generation  # only now: whoever asks meanwhile waits for it
        if path == _ROOT:
            return self._answer_index(request)
        found = self._documents.get(path.removeprefix(f"{_ROOT}/"))
        if found is None:
            return ApiResponse(404, b"", "", dict(_REVALIDATED))
        return self._answer_document(request, path, found)

    def _answer_index(self, request: ApiRequest) -> ApiResponse:
        headers = {**_REVALIDATED, "Last-Modified": _http_date(self._modified)}
        if _unchanged_since(request.headers.get("if-modified-since", ""), self._modified):
            return ApiResponse(304, b"", TEXT, headers)
        return ApiResponse(200, self._index, TEXT, headers)

    def _answer_document(self, request: ApiRequest, path: str, found: _Document) -> ApiResponse:
        etag = f'"{found.hash}"'
        headers = {"Etag": etag, "Vary": "Accept"}
        asked = request.query.get("hash", "")
        if asked and asked != found.hash:
            return ApiResponse(301, b"", JSON, {**headers, **_REVALIDATED, "Location": f"{path}?hash={found.hash}"})
        headers["Last-Modified"] = _http_date(found.modified)
        if asked:
            headers |= {"Cache-Control": "public, immutable", "Expires": _http_date(self._clock.now() + _KEPT)}
        else:
            headers |= _REVALIDATED
        if etag in (given.strip().removeprefix("W/") for given in request.headers.get("if-none-match", "").split(",")):
            return ApiResponse(304, b"", JSON, headers)
        return ApiResponse(200, found.body, JSON, headers)

    def _rebuild(self) -> None:
        """Bring the documents up to the table; those whose resources are the same objects stay."""
        now = self._clock.now().replace(microsecond=0)
        groups = self._table.groups()
        built_in = [(group, version) for group, versions in groups.items() for version, rows in versions.items() if not _custom(rows)]
        documents: dict[str, _Document] = {}
        for group, versions in groups.items():
            for version, rows in versions.items():
                name = f"apis/{group}/{version}" if group else f"api/{version}"
                known = self._documents.get(name)
                if known is not None and known.rows == tuple(rows):
                    documents[name] = known
                else:
                    documents[name] = _make(tuple(rows), document.build_document(group, version, rows, built_in), known, now)
        for name, plain in document.build_plain_documents(dict(built_in)).items():
            if name != "apis/":
                documents[name] = self._documents.get(name) or _make((), plain, None, now)
        self._documents = dict(sorted(documents.items()))
        paths = {name: {"serverRelativeURL": f"{_ROOT}/{name}?hash={found.hash}"} for name, found in self._documents.items()}
        index = orjson.dumps({"paths": paths})
        if index != self._index:
            self._index = index
            self._modified = max(now, self._modified + timedelta(seconds=1))


def _custom(rows: Sequence[Resource]) -> bool:
    return all(row.custom for row in rows)


def _make(rows: tuple[Resource, ...], content: dict[str, Any], known: _Document | None, now: datetime) -> _Document:
    body = orjson.dumps(content)
    digest = hashlib.sha512(body).hexdigest().upper()
    same = known is not None and known.hash == digest
    return _Document(rows, body, digest, known.modified if known is not None and same else now)


def _http_date(moment: datetime) -> str:
    return format_datetime(moment.astimezone(UTC), usegmt=True)


def _unchanged_since(header: str, modified: datetime) -> bool:
    try:
        since = parsedate_to_datetime(header)
    except (ValueError, OverflowError):
        return False
    return modified <= (since if since.tzinfo is not None else since.replace(tzinfo=UTC))
