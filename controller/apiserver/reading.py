"""Lists: from the cache's bytes, or at an old revision from the store. Each answer is of one revision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import orjson

from controller.apiserver import selection
from controller.apiserver.compiled import codec_of
from controller.apiserver.registry import Registry
from controller.apiserver.request import decode_token, encode_token
from controller.apiserver.resources import Resource
from controller.apiserver.watchcache import Entry
from controller.store import base
from lattice.api import errors
from lattice.api.errors import Cause

_EXPIRED_TEXT: Final = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue "
    "parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided "
    "token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was "
    "returned and now may show up in the list."
)
_PAGE: Final = 1_000

Page: TypeAlias = tuple[list[Entry], dict[str, Any]]
"""Entries and the metadata of the list that they make."""


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
        limit = parse_limit(query.get("limit", ""))
        token, version = query.get("continue", ""), query.get("resourceVersion", "")
        match = query.get("resourceVersionMatch", "")
        check_match(version, match)
        if token:
            if version and version != "0":
                raise errors.BadRequestError("specifying resource version is not allowed when using continue")
            revision, start = decode_token(token)
            if not start.startswith(resource.prefix(chosen.namespace)):
                raise errors.BadRequestError("invalid continue token: it is of another collection")
            return await self._page(resource, chosen, limit, start, revision)
        feed = self._registry.feed(resource)
        wanted = parse_revision(version)
        if match == "Exact":
            return await self._page(resource, chosen, limit, "", wanted, exact=True)
        if not version:
            await feed.fresh()
        elif wanted:
            await feed.wait(wanted)
        elif not feed.synced:
            await feed.fresh()
        entries = list(self._registry.cache(resource).select(chosen))
        metadata: dict[str, Any] = {"resourceVersion": str(feed.revision)}
        if limit and len(entries) > limit and version != "0":
            metadata["continue"] = encode_token(feed.revision, entries[limit - 1].key)
            if chosen.everything:
                metadata["remainingItemCount"] = len(entries) - limit
            entries = entries[:limit]
        return entries, metadata

    async def _page(
        self, resource: Resource, chosen: selection.Selection, limit: int, start: str, revision: int, *, exact: bool = False
    ) -> Page:
        """Return a page at an old revision from the store."""
        store = self._registry.feed(resource).store
        cache = self._registry.cache(resource)
        prefix = resource.prefix(chosen.namespace)
        at = None if revision == -1 else base.Revision(revision)
        found: list[Entry] = []
        position: str | None = start or None
        while True:
            size = _PAGE if limit <= 0 or not chosen.everything else limit - len(found) + 1
            try:
                page = await store.list(prefix, limit=size, start_after=position, revision=at)
            except base.CompactedError as error:
                raise self._expired(start, exact=exact) from error
            except base.FutureRevisionError as error:
                raise too_new(revision, self._registry.feed(resource).revision) from error
            at = page.revision
            for record in page.records:
                entry = cache.projector.entry(record)
                if chosen.matches(entry):
                    found.append(entry)
            if not page.more or (limit and len(found) > limit):
                break
            position = page.records[-1].key
        metadata: dict[str, Any] = {"resourceVersion": str(at)}
        if limit and len(found) > limit:
            metadata["continue"] = encode_token(int(at), found[limit - 1].key)
            found = found[:limit]
        return found, metadata

    @staticmethod
    def _expired(start: str, *, exact: bool) -> errors.GoneError:
        if exact:
            return errors.GoneError("The resourceVersion for the provided list is too old.")
        return ExpiredTokenError(encode_token(-1, start))


def too_new(revision: int, current: int) -> errors.TimeoutStatusError:
    """Return the error for a revision that has not been written yet."""
    details = {"causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}], "retryAfterSeconds": 1}
    return errors.TimeoutStatusError(f"Timeout: Too large resource version: {revision}, current: {current}", details=details)


def parse_limit(text: str) -> int:
    """Return the page size, 0 for none."""
    if not text:
        return 0
    try:
        return max(0, int(text[:20]))
    except ValueError:
        raise errors.BadRequestError(f'strconv.ParseInt: parsing "{text[:64]}": invalid syntax') from None


def parse_revision(text: str) -> int:
    """Return a resourceVersion as a number, 0 for none.

    Raises:
        errors.BadRequestError: it is not a number.
    """
    if not text:
        return 0
    if not (text.isascii() and text.isdigit()) or len(text) > 19:
        raise errors.BadRequestError(f'invalid resource version: resourceVersion: Invalid value: "{text[:64]}": invalid syntax')
    return int(text)


def check_match(version: str, match: str) -> None:
    """Check ``resourceVersionMatch``.

    Raises:
        errors.InvalidError: it does not go with the resourceVersion.
    """
    field = "resourceVersionMatch"
    if not match:
        return
    if match not in {"Exact", "NotOlderThan"}:
        cause = Cause("FieldValueNotSupported", f'Unsupported value: "{match[:64]}": supported values: "Exact", "NotOlderThan", ""', field)
    elif not version:
        cause = Cause("FieldValueForbidden", "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided", field)
    elif match == "Exact" and version == "0":
        cause = Cause("FieldValueForbidden", 'Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0"', field)
    else:
        return
    raise errors.InvalidError.of(kind="ListOptions", group="meta.k8s.io", name="", causes=[cause])


def list_body(resource: Resource, entries: Sequence[Entry], metadata: Mapping[str, Any]) -> bytes:
    """Return a list made of the entries' bytes."""
    head = {"kind": resource.list_kind, "apiVersion": resource.group_version}
    data = dict(metadata)
    if resource.custom:
        data.setdefault("continue", "")
    raws = (entry.raw for entry in entries)
    items = b",".join(raws if not resource.converted else map(codec_of(resource).view, raws))
    return b'%b,"metadata":%b,"items":[%b]}' % (orjson.dumps(head)[:-1], orjson.dumps(data), items)
