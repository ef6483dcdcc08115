"""Views: the same object as itself, as a row of a ``Table``, or as its ``PartialObjectMetadata``; in answers, lists and watches.

``handlers.py`` asks :func:`choose` once a request; ``None`` means that the bytes of the objects go out as they are, which is what nearly
all requests want and what must stay fast. A view never sees a Status: errors, also the ERROR line of a watch, are not converted.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from datetime import datetime
from typing import Any, Final, Protocol

import orjson

from controller.apiserver.negotiation import Form
from controller.apiserver.resources import Resource
from controller.apiserver.tables import TableMaker
from lattice.api import errors

_ERROR: Final = b'{"type":"ERROR"'
_MEMO_LINES: Final = 256
_MEMO_LINE_BYTES: Final = 64 * 1024
"""All watchers of one kind read an event at about the same time, so few lines need to be remembered: at most 16 MiB."""


class View(Protocol):
    """How objects of one resource are shown in one answer."""

    def object(self, raw: bytes) -> bytes:
        """Return the answer for one object."""

    def head(self, metadata: Mapping[str, Any]) -> bytes:
        """Return what stands before the items in the answer for a list with its metadata."""

    def item(self, raw: bytes) -> bytes:
        """Return one object of a list."""

    def line(self, line: bytes) -> bytes:
        """Return a line of a watch with its object converted."""


def choose(
    form: Form,
    resource: Resource,
    query: Mapping[str, str],
    now: Callable[[], datetime],
    *,
    listed: bool = False,
    watched: bool = False,
    subresource: str = "",
) -> View | None:
    """Return the view that a request asks for, ``None`` for the objects themselves.

    Args:
        form: what was negotiated.
        resource: whose objects.
        query: for ``includeObject``.
        now: present time, for ages; a watch asks again for every event.
        listed: the answer is a list.
        watched: the answer is a watch.
        subresource: what of the object is asked for.

    Raises:
        errors.NotAcceptableError: a list is asked for where one object is answered, or the other way round.
        errors.BadRequestError: ``includeObject`` has an unknown value.
    """
    if not form.target:
        return None
    if form.target == "Table":
        return _TableView(TableMaker(resource, query.get("includeObject", ""), now(), form.version, subresource), now)
    as_list = form.target == "PartialObjectMetadataList"
    if not watched and as_list is not listed:
        what = "the requested object is a list" if listed else "the requested object is not a list"
        shown = (
            f"*unstructured.Unstructured{'List' if listed else ''}"
            if resource.custom
            else f"*{_package(resource)}.{_type(resource, listed)}"
        )
        raise errors.NotAcceptableError(f"you requested {form.target}, but {what} ({shown})")
    return MetadataView(form.version)


def _package(resource: Resource) -> str:
    return resource.group.partition(".")[0] or "core"


def _type(resource: Resource, listed: bool) -> str:
    return f"{resource.kind}List" if listed else resource.kind


def shown(view: View, resource: Resource, body: bytes) -> bytes:
    """Return the answer about one object or its Scale as ``view`` shows it; a Status, or an object of another kind, stays what it is."""
    obj = orjson.loads(body)
    return view.object(body) if obj.get("kind") in {resource.kind, "Scale"} and "metadata" in obj else body


async def convert(batches: AsyncGenerator[list[bytes]], view: View) -> AsyncGenerator[list[bytes]]:
    """Yield a watch's lines as ``view`` shows them."""
    async with aclosing(batches):
        async for lines in batches:
            yield [line if line.startswith(_ERROR) else view.line(line) for line in lines]


class _TableView:
    """Rows. Ages make each watcher's table its own, so nothing is remembered."""

    def __init__(self, maker: TableMaker, now: Callable[[], datetime]) -> None:
        self._maker = maker
        self._now = now
        self._first = True
        self.object = maker.object
        self.head = maker.head
        self.item = maker.row

    def line(self, line: bytes) -> bytes:
        """See :class:`View`. Only the first line says what the columns are."""
        event = orjson.loads(line)
        table = self._maker.event(event["object"], self._now(), first=self._first)
        self._first = False
        return orjson.dumps({"type": event["type"], "object": table}, option=orjson.OPT_APPEND_NEWLINE)


class MetadataView:
    """Metadata alone, for those who count, label or collect garbage."""

    def __init__(self, version: str = "v1") -> None:
        self._version = version

    def object(self, raw: bytes) -> bytes:
        """See :class:`View`."""
        return orjson.dumps(_partial(orjson.loads(raw), self._version))

    def head(self, metadata: Mapping[str, Any]) -> bytes:
        """See :class:`View`."""
        kept = {key: value for key, value in metadata.items() if value != ""}
        head = {"kind": "PartialObjectMetadataList", "apiVersion": f"meta.k8s.io/{self._version}", "metadata": kept}
        return orjson.dumps({**head, "items": []})[:-2]

    def item(self, raw: bytes) -> bytes:
        """See :class:`View`."""
        return self.object(raw)

    def line(self, line: bytes) -> bytes:
        """See :class:`View`. However many watch, an event is decoded once."""
        return _partial_line(line, self._version) if len(line) <= _MEMO_LINE_BYTES else _partial_line.__wrapped__(line, self._version)


def _partial(obj: Mapping[str, Any], version: str) -> dict[str, Any]:
    return {"kind": "PartialObjectMetadata", "apiVersion": f"meta.k8s.io/{version}", "metadata": obj["metadata"]}


@functools.lru_cache(maxsize=_MEMO_LINES)
def _partial_line(line: bytes, version: str) -> bytes:
    event = orjson.loads(line)
    return orjson.dumps({"type": event["type"], "object": _partial(event["object"], version)}, option=orjson.OPT_APPEND_NEWLINE)
