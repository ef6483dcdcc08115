"""Lists: from the cache's bytes, or at an old revision from the store. Each answer is of one revision.

The cache remembers its recent events, so pages of a list that began a moment ago, and lists at an exact revision, are made in memory;
the store is asked only for what is older. Which options go together, and what is said where they do not, is kube-apiserver's.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson

from controller.apiserver import selection, shaping, tokens
from controller.apiserver.compiled import codec_of
from controller.apiserver.registry import Registry
from controller.apiserver.request import ApiResponse
from controller.apiserver.resources import Resource
from controller.apiserver.watchcache import Entry
from controller.store import base
from lattice.api import errors, selectortext

_EXPIRED_TEXT: Final = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue "
    "parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided "
    "token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was "
    "returned and now may show up in the list."
)
_PAGE: Final = 1_000
_MAX_REVISION: Final = 2**64 - 1
_MAX_DIGITS: Final = 64
_SHOWN: Final = 64
"""Characters of a wrong value that an error repeats."""


class Page(NamedTuple):
    """Entries and the metadata of the list that they make."""

    entries: list[Entry]
    metadata: dict[str, Any]


class ExpiredTokenError(errors.GoneError):
    """A continue token is too old; the Status carries one that goes on at the present revision."""

    def __init__(self, token: str) -> None:
        super().__init__(_EXPIRED_TEXT)
        self._token = token

    def to_status(self) -> dict[str, Any]:
        """See the base class."""
        return {**super().to_status(), "metadata": {"continue": self._token}}


class Reader:
    """Answers lists."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def list(self, resource: Resource, chosen: selection.Selection, query: Mapping[str, str]) -> Page:
        """Return the selected entries and the list's metadata.

        Raises:
            errors.BadRequestError, errors.InvalidError, errors.GoneError, errors.TimeoutStatusError: of revision, limit and token.
        """
        limit = max(0, parse_number(query.get("limit", "")))
        token, version = query.get("continue", ""), query.get("resourceVersion", "")
        match = query.get("resourceVersionMatch", "")
        check_list(query)
        if token:
            if version not in {"", "0"}:
                raise errors.BadRequestError("specifying resource version is not allowed when using continue")
            return await self._at(resource, chosen, limit, tokens.decode(token))
        wanted = parse_revision(version)
        if match == "Exact" or (limit and wanted and not match):
            return await self._at(resource, chosen, limit, tokens.Place(wanted, ""))
        feed = self._registry.feed(resource)
        if not version or not feed.synced:
            await feed.fresh()
        elif wanted:
            await feed.wait(wanted)
        entries = list(self._registry.cache(resource).select(chosen))
        if version == "0":
            limit = 0  # the whole list is at hand; kube-apiserver ignores the limit here too
        return _page(entries, limit, feed.revision, _root(resource, chosen), chosen)

    async def _at(self, resource: Resource, chosen: selection.Selection, limit: int, place: tokens.Place) -> Page:
        """Return a page at one revision: from the cache as far as its memory goes back, else from the store."""
        feed = self._registry.feed(resource)
        if place.revision < 0:
            await feed.fresh()
        else:
            await feed.wait(place.revision)
        cache = self._registry.cache(resource)
        revision = feed.revision if place.revision < 0 else place.revision
        root = _root(resource, chosen)
        if revision < cache.floor:
            return await self._stored(resource, chosen, limit, place)
        entries = cache.select_at(chosen, revision)
        if place.after:
            del entries[: bisect.bisect_right(entries, f"{root}{place.after}", key=lambda entry: entry.key)]
        return _page(entries, limit, revision, root, chosen)

    async def _stored(self, resource: Resource, chosen: selection.Selection, limit: int, place: tokens.Place) -> Page:
        """Return a page at an old revision from the store."""
        store = self._registry.feed(resource).store
        cache = self._registry.cache(resource)
        root = _root(resource, chosen)
        at = base.Revision(place.revision)
        found: list[Entry] = []
        position: str | None = f"{root}{place.after}" if place.after else None
        while True:
            size = _PAGE if limit <= 0 or not chosen.everything else min(_PAGE, limit - len(found) + 1)
            try:
                page = await store.list(root, limit=size, start_after=position, revision=at)
            except base.CompactedError as error:
                raise _expired(place) from error
            except base.FutureRevisionError as error:
                raise too_new(place.revision, self._registry.feed(resource).revision) from error
            for record in page.records:
                entry = cache.projector.entry(record)
                if chosen.matches(entry):
                    found.append(entry)
            if not page.more or (limit and len(found) > limit):
                break
            position = page.records[-1].key
        remaining = None if place.remaining is None else place.remaining - min(limit, len(found))
        if limit and len(found) > limit and chosen.everything and remaining is None:
            remaining = len(found) - limit + await self._count(store, root, found[-1].key, at)
        return _page(found, limit, at, root, chosen, remaining)

    @staticmethod
    async def _count(store: base.Store, prefix: str, after: str, revision: base.Revision) -> int:
        """Return how many keys come after ``after``."""
        count = 0
        while True:
            page = await store.list(prefix, limit=_PAGE, start_after=after, revision=revision)
            count += len(page.records)
            if not page.more:
                return count
            after = page.records[-1].key


def _root(resource: Resource, chosen: selection.Selection) -> str:
    """Return what all keys of a collection begin with; continue tokens are relative to it."""
    return resource.prefix(chosen.namespace if resource.namespaced else "_")


def _page(entries: list[Entry], limit: int, revision: int, root: str, chosen: selection.Selection, remaining: int | None = None) -> Page:
    """Return the first ``limit`` of some entries; how many are left is said only where nothing is selected, as kube-apiserver does."""
    metadata: dict[str, Any] = {"resourceVersion": str(revision)}
    if limit and len(entries) > limit:
        left = None if not chosen.everything else len(entries) - limit if remaining is None else max(remaining, 1)
        entries = entries[:limit]
        metadata["continue"] = tokens.encode(tokens.Place(revision, entries[-1].key.removeprefix(root), left))
        if left is not None:
            metadata["remainingItemCount"] = left
    return Page(entries, metadata)


def _expired(place: tokens.Place) -> errors.GoneError:
    if not place.after:
        return errors.GoneError("The resourceVersion for the provided list is too old.")
    return ExpiredTokenError(tokens.encode(tokens.Place(-1, place.after)))


def too_new(revision: int, current: int) -> errors.TimeoutStatusError:
    """Return the error for a revision that has not been written yet."""
    details = {"causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}], "retryAfterSeconds": 1}
    return errors.TimeoutStatusError(f"Timeout: Too large resource version: {revision}, current: {current}", details=details)


def parse_number(text: str) -> int:
    """Return a whole number of a query, 0 where there is none.

    Raises:
        errors.BadRequestError: it is something else, or does not fit into 64 bits.
    """
    if not text:
        return 0
    number = selectortext.parse_int64(text)
    if number is None:
        raise errors.BadRequestError(
            f"strconv.ParseInt: parsing {_quoted(text)}: {_why_no_number(text.removeprefix('-').removeprefix('+'))}"
        )
    return number


def parse_revision(text: str) -> int:
    """Return the resourceVersion of a list, 0 for none.

    Raises:
        errors.BadRequestError: it is not a number.
    """
    revision = _revision_of(text)
    if isinstance(revision, str):
        raise errors.BadRequestError(f"invalid resource version: {revision}")
    return revision


def parse_position(text: str) -> int:
    """Return the resourceVersion of a get or a watch, 0 for none.

    Raises:
        errors.InternalError: it is not a number; kube-apiserver too blames itself.
    """
    revision = _revision_of(text)
    if isinstance(revision, str):
        raise errors.InternalError(revision, reason="")
    return revision


def _revision_of(text: str) -> int | str:
    """Return a resourceVersion as a number, or what is wrong with it."""
    if not text:
        return 0
    if text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS and int(text) <= _MAX_REVISION:
        return int(text)
    shown = _quoted(text)
    return f"resourceVersion: Invalid value: {shown}: strconv.ParseUint: parsing {shown}: {_why_no_number(text)}"


def _quoted(text: str) -> str:
    return orjson.dumps(text[:_SHOWN].encode(errors="replace").decode()).decode()


def _why_no_number(text: str) -> str:
    return "value out of range" if text.isascii() and text.isdigit() else "invalid syntax"


def check_list(query: Mapping[str, str]) -> None:
    """Check how the options of a list go together.

    Raises:
        errors.InvalidError: they do not.
    """
    field, causes = "resourceVersionMatch", []
    version, match = query.get("resourceVersion", ""), query.get(field, "")
    if match:
        if not version:
            causes.append(shaping.forbidden(field, "resourceVersionMatch is forbidden unless resourceVersion is provided"))
        if query.get("continue"):
            causes.append(shaping.forbidden(field, "resourceVersionMatch is forbidden when continue is provided"))
        if match not in {"Exact", "NotOlderThan"}:
            causes.append(shaping.unsupported(field, match[:_SHOWN], ["Exact", "NotOlderThan", ""]))
        if match == "Exact" and version == "0":
            causes.append(shaping.forbidden(field, 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'))
    if "sendInitialEvents" in query:
        causes.append(shaping.forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    if causes:
        raise errors.InvalidError.of(kind="ListOptions", group="meta.k8s.io", name="", causes=causes)


def check_watch(query: Mapping[str, str]) -> None:
    """Check how the options of a watch go together.

    Raises:
        errors.InvalidError: they do not.
    """
    field, causes = "resourceVersionMatch", []
    match, initial = query.get(field, ""), "sendInitialEvents" in query
    if initial and match != "NotOlderThan":
        causes.append(shaping.forbidden(field, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"))
    if match and not initial:
        causes.append(shaping.forbidden(field, "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"))
    if match and match != "NotOlderThan":
        causes.append(shaping.unsupported(field, match[:_SHOWN], ["NotOlderThan"]))
    if match and query.get("continue"):
        causes.append(shaping.forbidden(field, "resourceVersionMatch is forbidden when continue is provided"))
    if causes:
        raise errors.InvalidError.of(kind="ListOptions", group="meta.k8s.io", name="", causes=causes)


def list_response(resource: Resource, entries: Sequence[Entry], metadata: Mapping[str, Any]) -> ApiResponse:
    """Return a list made of the entries' bytes. As in Kubernetes, items of built-in kinds leave apiVersion and kind to the list."""
    head = {"kind": resource.list_kind, "apiVersion": resource.group_version}
    data = dict(metadata)
    if resource.custom:
        data.setdefault("continue", "")
    items = [entry.raw for entry in entries]
    codec = codec_of(resource)
    if resource.converted:
        items = list(map(codec.view, items))
    if not resource.custom:
        items = list(map(codec.without_head, items))
    return ApiResponse(200, b'%b,"metadata":%b,"items":[' % (orjson.dumps(head)[:-1], orjson.dumps(data)), items=items)
