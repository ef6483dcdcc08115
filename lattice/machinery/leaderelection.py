"""One leader among several processes, by a Lease that the holder renews.

The composition root runs the reconcilers and the scheduler inside :meth:`LeaderElector.run`, where several control planes share one
etcd. Requests go through :class:`LeaseClient` (``lattice.client.leases.ClientLeases``); each write names the revision it has read, so of
two candidates one gets a conflict.

Guarantees:

* Clocks of two machines are never compared. A candidate counts, on its own monotonic clock, from when *it* last saw the record change;
  the times in the record are for people.
* The holder counts from *before* it sent the last accepted request, by the clock that goes on while the machine sleeps. It stops leading
  ``renew_deadline_s`` after that; others start ``lease_duration_s`` after they saw the result: the difference is what is left to end in.
* ``lead`` is cancelled and waited for before the elector campaigns again or gives the lease back. So one process never leads twice at
  once, and a released lease means that the work has ended.

Not guaranteed, by no lease at all: that the old leader has noticed before the new one starts (it may be stopped, its machine may sleep).
Therefore every write of a leader carries the revision it was decided on; the election saves work, the revisions keep it right.

State is owned by the task in ``run`` and the two that it starts while leading; ``is_leader`` and ``leader`` may be read by anyone.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NoReturn, Protocol

from lattice.api import errors, meta
from lattice.api.lease import Lease, LeaseSpec
from lattice.machinery import tasks
from lattice.machinery.clock import Clock

logger = logging.getLogger(__name__)


class LeaseClient(Protocol):
    """Reads and writes leases. Raises errors of ``lattice.api.errors``."""

    async def get(self, name: str, namespace: str, /) -> Lease:
        """Return the lease as it is now, not from a cache.

        Raises:
            NotFoundError: there is none.
        """
        ...

    async def create(self, lease: Lease, /) -> Lease:
        """Store a new lease and return it as stored.

        Raises:
            AlreadyExistsError: somebody was faster.
        """
        ...

    async def replace(self, lease: Lease, /) -> Lease:
        """Store a lease if its resourceVersion is still the present one, and return it as stored.

        Raises:
            ConflictError: it is not.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ElectionSettings:
    """The three durations, client-go's by default, and a deadline for one request."""

    lease_duration_s: float = 15.0
    """How long candidates wait after the last change that they saw. What a crash of the leader costs."""

    renew_deadline_s: float = 10.0
    """How long the holder goes on without an accepted renewal. 5 s less than the duration: the time to end in."""

    retry_s: float = 2.0
    """Pause between two renewals or two looks (plus up to a fifth). Five tries fit into the deadline."""

    request_timeout_s: float = 4.0
    """Deadline of one try: a dead connection leaves time for another."""

    release_timeout_s: float = 3.0
    """How long giving the lease back may hold up the end of the process."""

    def __post_init__(self) -> None:
        """Refuse durations that cannot work.

        Raises:
            ValueError: they are not in the order retry < deadline < duration.
        """
        if not 0 < self.retry_s * 1.2 < self.renew_deadline_s < self.lease_duration_s:
            raise ValueError("leader election needs 0 < 1.2 * retry_s < renew_deadline_s < lease_duration_s")


class _LostLeaseError(errors.LatticeError):
    """We hold the lease no longer, or cannot know whether we do."""


class LeaderElector:
    """See the module.

    Args:
        leases: reads and writes.
        name: of the lease.
        namespace: of the lease.
        identity: of this candidate, never that of another one that may live: who finds its own identity takes the lease at once. It may
            outlive the process (then a killed leader leads again at once), if something proves that the process before has ended: a lock.
        clock: measures and waits.
        rng: for jitter.
        settings: see :class:`ElectionSettings`.
        on_new_leader: told of each change of the holder that is seen; must not block.
    """

    def __init__(
        self,
        leases: LeaseClient,
        *,
        name: str,
        namespace: str,
        identity: str,
        clock: Clock,
        rng: random.Random,
        settings: ElectionSettings | None = None,
        on_new_leader: Callable[[str], None] | None = None,
    ) -> None:
        self._leases = leases
        self._name = name
        self._namespace = namespace
        self._identity = identity
        self._clock = clock
        self._rng = rng
        self._settings = settings or ElectionSettings()
        self._on_new_leader = on_new_leader
        self._seen: Lease | None = None
        """The record when it last differed from what we had seen before."""
        self._seen_at_s = 0.0
        """When that was, on the monotonic clock."""
        self._renewed_at_s: float | None = None
        """When the last accepted request was *sent*, by boot time. ``None`` while we hold nothing."""
        self._leading = False
        self._told_leader = ""

    @property
    def is_leader(self) -> bool:
        """Whether this process leads now. Exact also right after the machine has slept: ask before an act that hurts if done twice."""
        return self._leading and self._left_s() > 0

    @property
    def leader(self) -> str:
        """The holder as last seen, empty if nobody holds the lease or none was seen yet."""
        return _holder(self._seen)

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Campaign, and run ``lead()`` whenever the lease is ours, until it returns by itself or this call is cancelled.

        When the lease is lost, ``lead`` is cancelled, and after its end the campaign goes on. An error of the server ends nothing.

        Raises:
            Exception: what ``lead`` raised. The lease has been given back.
        """
        try:
            while True:
                await self._acquire()
                logger.info("became leader", extra={"lease": self._name, "identity": self._identity})
                if await self._lead(lead):
                    return
                logger.warning("lost the lease, the leader's work has ended", extra={"lease": self._name, "identity": self._identity})
                if (task := asyncio.current_task()) is not None and task.cancelling():
                    raise asyncio.CancelledError  # NB: a TaskGroup of Python 3.11 drops it if the loss comes at the same moment
        finally:
            if self._renewed_at_s is not None:
                await self._release()

    async def _acquire(self) -> None:
        while not await self._try_to_hold():
            await self._clock.sleep(self._pause_s())

    async def _lead(self, lead: Callable[[], Awaitable[None]]) -> bool:
        """Run ``lead`` while the lease is held. Say whether it ended by itself; afterwards it has ended in any case."""
        failure: Exception | None = None
        self._leading = True
        try:
            async with asyncio.TaskGroup() as group:
                renewing = group.create_task(self._renew(), name=f"election.{self._name}.renew")
                watching = group.create_task(self._end_at_deadline(), name=f"election.{self._name}.deadline")
                try:
                    await lead()
                except Exception as error:  # noqa: BLE001 - raised again below; here it would come out wrapped in a group
                    failure = error
                self._leading = False
                renewing.cancel()
                watching.cancel()
        except* _LostLeaseError:
            self._renewed_at_s = None
            if failure is not None:
                logger.exception("leader failed while it was stopped", extra={"lease": self._name}, exc_info=failure)
            ended_by_itself = False
        else:
            if failure is not None:
                raise failure
            ended_by_itself = True
        finally:
            self._leading = False
        return ended_by_itself

    async def _renew(self) -> None:
        while True:
            await self._clock.sleep(self._pause_s())
            if not await self._try_to_hold() and self.leader != self._identity:
                raise _LostLeaseError(f"lease {self._name} is held by {self.leader or 'nobody'}")

    async def _end_at_deadline(self) -> NoReturn:
        # In steps: a sleep runs by the clock that stands still while the machine sleeps, the deadline does not.
        while (left_s := self._left_s()) > 0:
            await self._clock.sleep(min(left_s, self._settings.retry_s / 2))
        raise _LostLeaseError(f"lease {self._name} could not be renewed for {self._settings.renew_deadline_s:g} s")

    def _left_s(self) -> float:
        if self._renewed_at_s is None:
            return 0.0
        return self._renewed_at_s + self._settings.renew_deadline_s - self._clock.boottime()

    def _pause_s(self) -> float:
        return self._settings.retry_s * (1.0 + 0.2 * self._rng.random())

    async def _try_to_hold(self) -> bool:
        """Take or renew the lease, if that is possible now. Never raises but ``CancelledError``."""
        try:
            async with tasks.TimeLimit(self._clock, self._settings.request_timeout_s):
                return await self._take_or_renew()
        except (errors.ConflictError, errors.AlreadyExistsError) as error:
            logger.debug("another candidate was faster", extra={"lease": self._name, "error": str(error)})
        except Exception as error:  # noqa: BLE001 - the server is away: candidates wait, the holder has its deadline
            logger.warning("lease could not be read or written", extra={"lease": self._name, "error": repr(error)})
        return False

    async def _take_or_renew(self) -> bool:
        sent_at_s = self._clock.boottime()
        try:
            present = await self._leases.get(self._name, self._namespace)
        except errors.NotFoundError:
            metadata = meta.ObjectMeta(name=self._name, namespace=self._namespace)
            stored = await self._leases.create(Lease(metadata=metadata, spec=self._claim(None)))
        else:
            self._observe(present)
            if _holder(present) not in ("", self._identity) and not self._has_expired(present):
                return False
            sent_at_s = self._clock.boottime()
            stored = await self._leases.replace(meta.changed(present, spec=self._claim(present.spec)))
        self._observe(stored)
        self._renewed_at_s = sent_at_s
        return True

    def _observe(self, lease: Lease) -> None:
        if self._seen is None or _version(self._seen) != _version(lease):
            self._seen = lease
            self._seen_at_s = self._clock.monotonic()
        if (holder := _holder(lease)) != self._told_leader:
            self._told_leader = holder
            logger.info("lease has a new holder", extra={"lease": self._name, "holder": holder})
            if self._on_new_leader is not None and holder:
                try:
                    self._on_new_leader(holder)
                except Exception:  # foreign code; the election does not depend on it
                    logger.exception("callback for a new leader failed", extra={"lease": self._name})

    def _has_expired(self, present: Lease) -> bool:
        # The longer one of both durations: the holder may be configured otherwise than we are.
        duration_s = max(self._settings.lease_duration_s, float(present.spec.lease_duration_seconds or 0))
        return self._clock.monotonic() >= self._seen_at_s + duration_s

    def _claim(self, present: LeaseSpec | None) -> LeaseSpec:
        now = self._clock.now()
        renewal = present is not None and present.holder_identity == self._identity
        transitions = 0 if present is None else (present.lease_transitions or 0) + (0 if renewal else 1)
        return LeaseSpec(
            holder_identity=self._identity,
            lease_duration_seconds=max(1, round(self._settings.lease_duration_s)),
            acquire_time=present.acquire_time if present is not None and renewal else now,
            renew_time=now,
            lease_transitions=transitions,
        )

    async def _release(self) -> None:
        """Give the lease back, so that the next one need not wait. Tries once: otherwise it expires."""
        self._renewed_at_s = None
        try:
            async with tasks.TimeLimit(self._clock, self._settings.release_timeout_s):
                present = await self._leases.get(self._name, self._namespace)
                if _holder(present) != self._identity:
                    return
                free = meta.changed(present.spec, holder_identity="", renew_time=self._clock.now())
                self._observe(await self._leases.replace(meta.changed(present, spec=free)))
            logger.info("lease released", extra={"lease": self._name, "identity": self._identity})
        except Exception as error:  # noqa: BLE001 - nothing depends on it; it must not hide why we end
            logger.warning("lease could not be released, it will expire", extra={"lease": self._name, "error": repr(error)})


def _holder(lease: Lease | None) -> str:
    return "" if lease is None else lease.spec.holder_identity or ""


def _version(lease: Lease) -> tuple[str | None, LeaseSpec]:
    # Both: a holder whose wall clock stands still renews too.
    return lease.metadata.resource_version, lease.spec
