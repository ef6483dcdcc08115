"""Events: what has happened to an object, told to the user without ever holding up who tells it.

Reconcilers, the scheduler and the node agent call :meth:`EventRecorder.event` and go on. One background task sends, through an
:class:`EventSink` (``lattice.client.eventsink.ClientEventSink`` writes to the API).

Guarantees:

* ``event`` is synchronous, does no I/O and raises nothing: events are for people, no work may depend on them.
* The same event (object, type, reason, message) is one object with a count, as client-go's correlator makes it: while it waits, repeats
  are merged; once stored, it is patched.
* One object cannot flood the store: a token bucket for each (25 at once, then one in five minutes, client-go's figures).
* Everything is bounded: events that wait, remembered events, buckets. What does not fit is dropped, counted and logged once.
* A sink that is away is retried with backoff; an answer that a retry cannot change drops the event. A create whose answer was lost is
  repeated under the same name, so it cannot double.
* ``stop`` sends what is left, for at most ``drain_s``.

Leaves to callers: an event says that something *has changed* (none for a no-op), a stable message, and no secret in it.

One event loop, no locks: ``event`` must be called in the loop's thread. ``_pending`` is filled by callers and emptied by the one task; the
rest of the state belongs to that task or to ``event`` alone.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter, OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Generic, Literal, NamedTuple, Protocol, Self, TypeAlias, TypeVar

from lattice.api import errors, meta
from lattice.api.event import Event, EventSource, ObjectReference
from lattice.machinery import backoff, tasks
from lattice.machinery.clock import Clock

logger = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

EventType: TypeAlias = Literal["Normal", "Warning"]
NORMAL: Final = "Normal"
WARNING: Final = "Warning"

_MAX_MESSAGE_CHARS: Final = 1024
"""A kube-apiserver refuses longer ones."""

_MAX_NAME_PREFIX_CHARS: Final = 236
"""253, the limit of a name, less a dot and 16 hexadecimal digits."""

_RETRYABLE = (
    errors.UnavailableError,
    errors.TooManyRequestsError,
    errors.InternalError,
    errors.ServiceUnavailableError,
    errors.TimeoutStatusError,
    TimeoutError,
)


class EventSink(Protocol):
    """Stores events. Raises errors of ``lattice.api.errors``."""

    async def create(self, event: Event, /) -> object:
        """Store a new event."""
        ...

    async def patch(self, name: str, namespace: str, patch: Mapping[str, Any], /) -> object:
        """Apply a JSON merge patch to a stored event.

        Raises:
            NotFoundError: it is gone (events are kept for an hour).
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSettings:
    """How a recorder behaves."""

    max_pending: int = 1000
    """Different events that may wait. A round of scheduling in which nothing fits, and some; about 1 MB."""

    max_remembered: int = 4096
    """Stored events and token buckets that are remembered, the most recently used ones (client-go's figure)."""

    burst: int = 25
    """Events of one object that pass at once."""

    refill_per_s: float = 1.0 / 300.0
    """Events of one object that pass in the long run: one in five minutes."""

    send_timeout_s: float = 15.0
    """Deadline of one call of the sink."""

    max_tries: int = 12
    """Tries to send one event; with the backoff below, about four minutes: longer than a restart of the server."""

    backoff: backoff.BackoffPolicy = field(default_factory=lambda: backoff.BackoffPolicy(base_s=0.5, cap_s=30.0))
    """Delays between the tries."""

    drain_s: float = 3.0
    """How long ``stop`` waits for what is left. Shorter than the patience of any init system."""


class _Key(NamedTuple):
    """What makes two events the same."""

    reference: tuple[str, str, str, str]
    """Kind, namespace, name, uid: the uid alone would do, but an object that is not stored yet has none."""
    field_path: str
    type: str
    reason: str
    message: str


@dataclass(slots=True)
class _Pending:
    """An event that waits to be sent."""

    reference: ObjectReference
    first: datetime
    last: datetime
    count: int = 1


@dataclass(slots=True)
class _Stored:
    """An event that the sink has accepted."""

    name: str
    namespace: str
    count: int


class _Recent(Generic[K, V]):
    """A mapping that forgets the least recently used."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._items: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._items)

    def get(self, key: K) -> V | None:
        value = self._items.get(key)
        if value is not None:
            self._items.move_to_end(key)
        return value

    def put(self, key: K, value: V) -> None:
        self._items[key] = value
        self._items.move_to_end(key)
        if len(self._items) > self._size:
            self._items.popitem(last=False)

    def forget(self, key: K) -> None:
        self._items.pop(key, None)


def reference_to(obj: meta.Object | ObjectReference) -> ObjectReference:
    """Return a reference to ``obj``, which may be one already."""
    if isinstance(obj, ObjectReference):
        return obj
    return ObjectReference(
        api_version=obj.api_version,
        kind=obj.kind,
        namespace=obj.namespace or None,
        name=obj.name,
        uid=obj.uid or None,
        resource_version=obj.metadata.resource_version,
    )


class EventRecorder:
    """See the module. Use it as ``async with``, or call :meth:`start` and :meth:`stop`.

    Args:
        sink: stores.
        component: who reports, such as ``scheduler``; in ``source.component`` and ``reportingComponent``.
        clock: stamps, measures and waits.
        rng: for names and jitter.
        host: the node that the component runs on; empty for the control plane.
        settings: see :class:`EventSettings`.
    """

    def __init__(
        self,
        sink: EventSink,
        component: str,
        *,
        clock: Clock,
        rng: random.Random,
        host: str = "",
        settings: EventSettings | None = None,
    ) -> None:
        self.counters: Counter[str] = Counter()
        """``created``, ``patched``, ``merged`` (into one that waits), ``throttled`` (bucket), ``overflowed``, ``failed``."""
        self._sink = sink
        self._component = component
        self._host = host
        self._clock = clock
        self._rng = rng
        self._settings = settings or EventSettings()
        self._pending: dict[_Key, _Pending] = {}
        """In order of arrival. One that is being sent is not here any more: repeats of it start a new entry."""
        self._stored: _Recent[_Key, _Stored] = _Recent(self._settings.max_remembered)
        self._buckets: _Recent[tuple[str, str, str, str], backoff.TokenBucket] = _Recent(self._settings.max_remembered)
        self._awake = asyncio.Event()
        """Set when there is something to look at: an event, or the end."""
        self._stopping = False
        self._tasks = tasks.TaskOwner(f"events.{component}")
        self._sender: asyncio.Task[None] | None = None

    def event(self, obj: meta.Object | ObjectReference, event_type: EventType, reason: str, message: str) -> None:
        """Tell that something happened to ``obj``; returns at once. Ignored after :meth:`stop`.

        Args:
            obj: the object, or a reference to it.
            event_type: ``Normal`` or ``Warning``.
            reason: CamelCase, for machines.
            message: a sentence; the same as long as the matter is the same. Cut after 1024 characters.
        """
        if self._stopping:
            return
        reference = reference_to(obj)
        identity = (reference.kind or "", reference.namespace or "", reference.name or "", reference.uid or "")
        key = _Key(identity, reference.field_path or "", event_type, reason, message[:_MAX_MESSAGE_CHARS])
        now = self._clock.now()
        if not self._bucket(identity).try_take():
            self._drop("throttled", key)
        elif (waiting := self._pending.get(key)) is not None:
            waiting.count += 1
            waiting.last = now
            self.counters["merged"] += 1
        elif len(self._pending) >= self._settings.max_pending:
            self._drop("overflowed", key)
        else:
            self._pending[key] = _Pending(reference, now, now)
            self._awake.set()

    @property
    def pending(self) -> int:
        """How many different events wait."""
        return len(self._pending)

    def start(self) -> None:
        """Start to send. What was recorded before is sent now."""
        if self._sender is None:
            self._sender = self._tasks.spawn(self._send_all(), name="sender")

    async def stop(self) -> None:
        """Send what is left, for at most ``drain_s``, then end. Idempotent."""
        self._stopping = True
        self._awake.set()
        try:
            if self._sender is not None:
                async with tasks.TimeLimit(self._clock, self._settings.drain_s):
                    await asyncio.wait({self._sender})
        except TimeoutError:
            logger.warning(
                "events were not sent before the deadline", extra={"component": self._component, "events": len(self._pending) + 1}
            )
        finally:
            await self._tasks.stop()

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _send_all(self) -> None:
        while True:
            while self._pending:
                key = next(iter(self._pending))
                await self._send(key, self._pending.pop(key))
            if self._stopping:
                return
            self._awake.clear()
            await self._awake.wait()

    async def _send(self, key: _Key, waiting: _Pending) -> None:
        delays = backoff.Backoff(self._settings.backoff, self._rng)
        prefix = (waiting.reference.name or "unknown")[:_MAX_NAME_PREFIX_CHARS].rstrip(".-")
        name = f"{prefix}.{self._rng.getrandbits(64):016x}"
        while True:
            try:
                async with tasks.TimeLimit(self._clock, self._settings.send_timeout_s):
                    await self._store(key, waiting, name)
                return
            except _RETRYABLE as error:
                delay_s = delays.next_s()
                if delays.failures >= self._settings.max_tries:
                    self._give_up(key, error)
                    return
                logger.debug("event not sent, retrying", extra={"reason": key.reason, "error": str(error)})
            except Exception as error:  # noqa: BLE001 - the sink is foreign code; an event is not worth the sender's life
                self._give_up(key, error)
                return
            await self._clock.sleep(delay_s)

    async def _store(self, key: _Key, waiting: _Pending, name: str) -> None:
        stored = self._stored.get(key)
        if stored is not None:
            count = stored.count + waiting.count
            # The count is absolute, so a patch whose answer was lost can be sent again.
            patch = {"count": count, "lastTimestamp": waiting.last.strftime("%Y-%m-%dT%H:%M:%SZ")}
            try:
                await self._sink.patch(stored.name, stored.namespace, patch)
            except errors.NotFoundError:  # it has expired: the story starts over
                self._stored.forget(key)
            else:
                stored.count = count
                self.counters["patched"] += 1
                return
        event = self._build(key, waiting, name)
        try:
            await self._sink.create(event)
        except errors.AlreadyExistsError:  # an earlier try has arrived after all: the name is random, it can only be ours
            logger.debug("event was stored by an earlier try", extra={"event": name})
        self._stored.put(key, _Stored(name, event.namespace, waiting.count))
        self.counters["created"] += 1

    def _build(self, key: _Key, waiting: _Pending, name: str) -> Event:
        return Event(
            # Events of objects without a namespace live in "default", as everywhere in Kubernetes.
            metadata=meta.ObjectMeta(name=name, namespace=waiting.reference.namespace or "default"),
            involved_object=waiting.reference,
            reason=key.reason,
            message=key.message,
            type=key.type,
            source=EventSource(component=self._component, host=self._host or None),
            first_timestamp=waiting.first,
            last_timestamp=waiting.last,
            count=waiting.count,
            reporting_component=self._component,
            reporting_instance=self._host,
        )

    def _bucket(self, identity: tuple[str, str, str, str]) -> backoff.TokenBucket:
        bucket = self._buckets.get(identity)
        if bucket is None:
            bucket = backoff.TokenBucket(self._clock, rate_per_s=self._settings.refill_per_s, burst=self._settings.burst)
            self._buckets.put(identity, bucket)
        return bucket

    def _drop(self, why: str, key: _Key) -> None:
        self.counters[why] += 1
        level = logging.WARNING if self.counters[why] == 1 else logging.DEBUG
        logger.log(level, "event dropped", extra={"why": why, "object": "/".join(key.reference[:3]), "reason": key.reason})

    def _give_up(self, key: _Key, error: Exception) -> None:
        self.counters["failed"] += 1
        logger.warning(
            "event could not be stored", extra={"object": "/".join(key.reference[:3]), "reason": key.reason, "error": repr(error)}
        )
