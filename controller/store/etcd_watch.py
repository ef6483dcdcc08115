"""A watch of all keys of an etcd that never skips: reopened after every failure at the revision after the last event seen.

Used by ``etcd.py`` alone. Why all keys and not our prefix: then every revision of the store is an event, so the watcher knows how far it
has come without asking for progress, which is unsafe before etcd 3.4.25 and 3.5.8 (etcd#15220).

* It resumes from the last event's mod_revision + 1 and from nothing else. The revision in a response's header is that of the store at
  that moment, not of the events: a client that resumes from there loses what it had not caught up with.
* The parts of a fragmented response are put together before anybody sees them.
* A history that is gone is an error, never a gap: also where etcd still has an event but no longer the record before it.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator
from typing import Any, Final

import grpc
import grpc.aio

from controller.store import base, etcd_errors, etcd_messages
from controller.store.etcd_channel import EtcdChannel
from lattice.machinery.backoff import Backoff, BackoffPolicy
from lattice.machinery.clock import Clock

logger = logging.getLogger(__name__)

_ALL: Final = b"\0"
"""As key and as range_end: every key."""
_CREATED_S: Final = 10.0
"""How long etcd may take to confirm a watch before we try another member."""


async def watch_all(channel: EtcdChannel, after: base.Revision, clock: Clock) -> AsyncGenerator[list[Any]]:
    """Yield etcd's events after a revision, in lists of whole revisions, for ever.

    Raises:
        base.CompactedError: they are not all there any more.
        base.StoreUnavailableError: the channel was closed.
    """
    position = int(after)
    backoff = Backoff(BackoffPolicy(base_s=0.05, cap_s=1.0), random.Random())  # noqa: S311 - spreads reconnects, hides nothing
    while True:
        if channel.closed:
            raise base.StoreUnavailableError("the store was closed")
        chosen: int | None = None
        try:
            chosen = await channel.ready()
            async with channel.watching(chosen, _request(position + 1)) as stream:
                events: list[Any] = []
                async with asyncio.timeout(_CREATED_S):
                    response = await stream.read()
                while response is not grpc.aio.EOF:
                    _check(response, position)
                    events.extend(response.events)
                    if events and not response.fragment:
                        backoff.reset()
                        # The position moves before anything is handed out: whoever closes the generator has seen the list.
                        position = events[-1].kv.mod_revision
                        yield events
                        events = []
                    response = await stream.read()
            reason = "the stream ended"
        except grpc.aio.AioRpcError as error:
            reason = f"{error.code().name}: {error.details()}"
            if chosen is not None:
                channel.failed(chosen, token=etcd_errors.stale_token(error))
        except _EndedError as error:
            reason = str(error)
            if chosen is not None:
                channel.failed(chosen)
                # A token that has expired ends a watch with no more than "permission denied": take a new one.
                channel.failed(chosen, token=True)
        except TimeoutError:
            reason = "no answer"
            if chosen is not None:
                channel.failed(chosen)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if channel.closed and task is not None and not task.cancelling():
                raise base.StoreUnavailableError("the store was closed") from None
            raise
        except base.StoreUnavailableError as error:
            reason = str(error)
        if not channel.closed:
            logger.warning("the watch of etcd broke off and resumes", extra={"after": position, "reason": reason})
            await clock.sleep(backoff.next_s())


async def compacted_revision(channel: EtcdChannel) -> base.Revision:
    """Return the revision up to which etcd has compacted, 0 if it never has: what a watch from the beginning is told."""
    chosen = await channel.ready()
    try:
        async with asyncio.timeout(_CREATED_S):
            # One key that does not exist, so that no history is sent where nothing is compacted.
            async with channel.watching(chosen, _request(1, key=b"\0lattice", range_end=b"")) as stream:
                for _ in range(2):
                    response = await stream.read()
                    if response is grpc.aio.EOF:
                        break
                    if response.compact_revision:
                        return base.Revision(response.compact_revision)
    except (grpc.aio.AioRpcError, TimeoutError) as error:
        raise base.StoreUnavailableError(f"etcd did not say up to where it is compacted: {error}") from error
    return base.NO_REVISION


class _EndedError(Exception):
    """etcd cancelled the watch for a reason other than compaction."""


def _request(start_revision: int, key: bytes = _ALL, range_end: bytes = _ALL) -> Any:
    request = etcd_messages.WatchRequest()
    create = request.create_request
    create.key, create.range_end, create.start_revision = key, range_end, start_revision
    create.prev_kv = create.fragment = True
    return request


def _check(response: Any, position: int) -> None:
    """Raise where a response ends the watch, or an event lacks the record before it."""
    if response.compact_revision:
        raise base.CompactedError(base.Revision(response.compact_revision))
    if response.canceled:
        raise _EndedError(response.cancel_reason or "cancelled by etcd")
    for event in response.events:
        if event.kv.mod_revision <= position:
            raise _EndedError(f"etcd sent revision {event.kv.mod_revision} after {position}")
        created = event.type != etcd_messages.DELETE and event.kv.create_revision == event.kv.mod_revision
        if not created and not event.HasField("prev_kv"):
            raise base.CompactedError(base.Revision(event.kv.mod_revision))
