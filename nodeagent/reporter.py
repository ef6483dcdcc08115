"""Hands the status of Pods to the server: results once and in order, of everything else the newest.

Written to by the workers, which never wait for it. Each status gets a number from the journal when it is handed in, and they are sent in
the order of their numbers. Guarantees:

* a status that the server has is not written again; one that was superseded while the line was down is not sent, unless it is a result
  (a container, or the Pod, has ended): those wait in the journal, on the disk, until the server has each of them;
* a result that the server refuses, or whose Pod it says not to know, is kept and tried again, until the desired state shows that the Pod
  is gone: a wrong answer loses nothing;
* an overtaken request changes nothing: the server refuses a number lower than the one it has (409);
* nothing is sent while frozen.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from lattice.api import errors, meta, names, pod
from lattice.client.client import STRATEGIC_MERGE_PATCH, Client
from lattice.machinery.backoff import Backoff
from lattice.machinery.clock import Clock
from lattice.machinery.tasks import TimeLimit
from nodeagent.journal import Journal, Result, results_of
from nodeagent.workloads.status import OURS

logger = logging.getLogger(__name__)

_REFUSED_S: Final = 30.0
"""A refused result is tried again after this time: whoever is in the way may be gone."""
_OVERTAKEN_S: Final = 1.0
"""After a 409 for the number: the watch shows the Pod with the number that the server has, within about this time."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """A status to be sent."""

    what: Result
    is_result: bool


class StatusReporter:
    """See the module's docstring.

    Args:
        client: to the API server.
        clock: measures delays.
        backoff: delays between tries while nobody answers.
        frozen: why nothing is sent now, empty if it is.
        journal: open; keeps results and gives numbers.
        known: returns the Pods that the server shows, or showed last, by uid; one that is missing is gone.
    """

    def __init__(
        self,
        client: Client,
        clock: Clock,
        backoff: Backoff,
        frozen: Callable[[], str],
        journal: Journal,
        known: Callable[[], Mapping[str, pod.Pod]],
    ) -> None:
        self._client = client
        self._clock = clock
        self._backoff = backoff
        self._frozen = frozen
        self._journal = journal
        self._known = known
        self._queue: dict[int, _Entry] = {number: _Entry(result, True) for number, result in journal.pending.items()}
        """By number, which is also the order."""
        self._newest: dict[str, int] = {entry.what.uid: number for number, entry in self._queue.items()}
        """Pod uid to the number of its last entry in the queue."""
        self._accepted: dict[str, tuple[pod.PodStatus, str]] = {}
        self._parked: dict[str, float] = {}
        """Pod uid to the monotonic time before which nothing of it is sent."""
        self._sending = -1
        self._wake = asyncio.Event()
        if self._queue:
            self._wake.set()
        self.writes = 0
        """Requests sent, for the proof that an unchanged world causes none."""

    def last(self, wanted: pod.Pod) -> pod.PodStatus:
        """Return the status that counts as written: the newest that was handed in, else the Pod's own."""
        if (number := self._newest.get(wanted.uid)) is not None:
            return self._queue[number].what.status
        return self._accepted[wanted.uid][0] if wanted.uid in self._accepted else wanted.status

    def report(self, wanted: pod.Pod, status: pod.PodStatus, host_ports: str) -> None:
        """Hand a status in. ``host_ports``: text of the annotation, empty for none."""
        uid = wanted.uid
        newest = self._newest.get(uid)
        if newest is not None and not self._queue[newest].is_result and newest != self._sending:
            if (self._queue[newest].what.status, self._queue[newest].what.ports) == (status, host_ports):
                return
            self._drop(newest)  # superseded
            newest = self._newest.get(uid)
        if newest is not None:
            held = (self._queue[newest].what.status, self._queue[newest].what.ports)
        else:
            published = wanted.metadata.annotations.get(names.ANNOTATION_HOST_PORTS, "")
            held = self._accepted.get(uid) or (wanted.status, published)
        if _unordered(held[0]) == _unordered(status) and held[1] == host_ports:
            return
        is_result = bool(results_of(status) - results_of(held[0]))
        number = self._journal.number()
        what = Result(uid=uid, namespace=wanted.namespace, name=wanted.name, status=status, ports=host_ports)
        self._queue[number] = _Entry(what, is_result)
        self._newest[uid] = number
        if is_result:
            self._journal.add(number, what)
            for dropped in [n for n, entry in self._queue.items() if entry.is_result and n not in self._journal.pending]:
                self._drop(dropped)
        self._wake.set()

    def forget(self, pod_uid: str) -> None:
        """Stop reporting a Pod."""
        for number in [number for number, entry in self._queue.items() if entry.what.uid == pod_uid]:
            self._drop(number)
        self._accepted.pop(pod_uid, None)
        self._parked.pop(pod_uid, None)

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with TimeLimit(self._clock, self._delay_s()):
                    await self._wake.wait()
            self._wake.clear()
            if self._frozen():
                await self._clock.sleep(1.0)
                self._wake.set()
                continue
            while (number := self._next()) is not None:
                if not await self._send(number):
                    await self._clock.sleep(self._backoff.next_s())
                    self._wake.set()
                    break

    def _delay_s(self) -> float | None:
        """Return the time until something that is parked can be sent, ``None`` if nothing is."""
        waiting = [self._parked[uid] for uid in self._newest if uid in self._parked]
        return max(0.0, min(waiting) - self._clock.monotonic()) if waiting else None

    def _next(self) -> int | None:
        now_s = self._clock.monotonic()
        for number, entry in self._queue.items():
            if self._parked.get(entry.what.uid, now_s) <= now_s:
                return number
        return None

    async def _send(self, number: int) -> bool:
        """Send one status; return whether the server answered."""
        entry = self._queue[number]
        what, uid = entry.what, entry.what.uid
        said = {"pod": f"{what.namespace}/{what.name}"}
        if entry.is_result:
            await self._journal.sync()  # on the disk first: what the server was told is not unsaid by a power cut
        if self._queue.get(number) is not entry:
            return True  # forgotten meanwhile
        self.writes += 1
        self._sending = number
        try:
            await self._client.patch(
                pod.Pod, what.name, what.namespace, _patch(what, number), subresource="status", content_type=STRATEGIC_MERGE_PATCH
            )
        except errors.NotFoundError:
            # Deleted a moment ago, or by force while this agent was away: the watch of the desired state says the rest.
            logger.debug("the server does not know a Pod any more", extra=said)
            if entry.is_result and uid in self._known():
                self._park(uid, _REFUSED_S)
                return True
        except errors.ConflictError as error:
            if is_overtaken(error):
                self._overtaken(number, entry)
                return True
            logger.warning("the server refuses a Pod's status", extra={**said, "error": str(error)[:200]})  # of that name is another Pod
            if entry.is_result and uid in self._known():
                self._park(uid, _REFUSED_S)
                return True
        except (errors.InvalidError, errors.ForbiddenError, errors.BadRequestError) as error:
            # Asking again would give the same answer, from this server.
            logger.warning("the server refuses a Pod's status", extra={**said, "error": str(error)[:200]})
            if entry.is_result and uid in self._known():
                self._park(uid, _REFUSED_S)
                return True
        except errors.LatticeError as error:
            logger.debug("cannot report a Pod's status, trying again", extra={"error": str(error)[:200]})
            return False
        finally:
            self._sending = -1
        self._backoff.reset()
        self._parked.pop(uid, None)
        if number in self._queue:
            self._accepted[uid] = (what.status, what.ports)
            self._drop(number)
        return True

    def _overtaken(self, number: int, entry: _Entry) -> None:
        """Act on a refused number, by what the watch shows: a later status of ours is there, or numbers have to rise."""
        uid = entry.what.uid
        shown = self._known().get(uid)
        if shown is None:
            self._drop(number)
            return
        held = record_of(shown.metadata.annotations)
        if number <= held <= self._journal.last_number:
            self._drop(number)
        elif held > self._journal.last_number:
            # This data directory is older than what it wrote: it was restored, say. What it sees now is newer than what the server has.
            self._journal.raise_to(held)
            self._renumber(uid)
        else:
            self._park(uid, _OVERTAKEN_S)  # the watch is behind

    def _renumber(self, uid: str) -> None:
        for number in [number for number, entry in self._queue.items() if entry.what.uid == uid]:
            entry = self._queue[number]
            fresh = self._journal.number()
            self._queue[fresh] = entry
            self._newest[uid] = fresh
            if entry.is_result:
                self._journal.add(fresh, entry.what)
            self._drop(number)

    def _park(self, uid: str, delay_s: float) -> None:
        self._parked[uid] = self._clock.monotonic() + delay_s

    def _drop(self, number: int) -> None:
        entry = self._queue.pop(number, None)
        if entry is None:
            return
        self._journal.done(number)
        if self._newest.get(entry.what.uid) == number:
            earlier = [n for n, held in self._queue.items() if held.what.uid == entry.what.uid]
            if earlier:
                self._newest[entry.what.uid] = earlier[-1]
            else:
                del self._newest[entry.what.uid]


def record_of(annotations: Mapping[str, str]) -> int:
    """Return the number of the status that a Pod has, 0 for none."""
    text = annotations.get(names.ANNOTATION_STATUS_RECORD, "")
    return int(text) if text.isascii() and text.isdigit() else 0


def is_overtaken(error: errors.ConflictError) -> bool:
    """Return whether a write was refused because the server has a status with a higher number."""
    causes = error.details.get("causes")
    return isinstance(causes, list) and any(
        isinstance(cause, dict) and cause.get("reason") == names.REASON_OLDER_RECORD for cause in causes
    )


_MAYBE_GONE = ("reason", "message", "pod_ip", "pod_ips")


def _unordered(status: pod.PodStatus) -> pod.PodStatus:
    """Return a status whose conditions are in one order: the server keeps its own."""
    return meta.changed(status, conditions=tuple(sorted(status.conditions, key=lambda condition: condition.type)))


def _patch(what: Result, number: int) -> dict[str, Any]:
    """Return a strategic merge patch; what the status does not have any more is set to null.

    Of the conditions only the agent's own: those of others (the scheduler's, readiness gates) are merged by the server, not written over
    with what this node saw last.
    """
    body = what.status.to_dict()
    absent = {"reason": None, "message": None}  # what a merge would leave there of an earlier state
    body["conditions"] = [{**absent, **condition} for condition in body.get("conditions", ()) if condition["type"] in OURS]
    if body.get("podIPs"):
        body["podIPs"] = [{"$patch": "replace"}, *body["podIPs"]]
    gone = [name for name in _MAYBE_GONE if getattr(what.status, name) in (None, ())]
    body.update({pod.PodStatus.model_fields[name].alias or name: None for name in gone})
    annotations = {names.ANNOTATION_STATUS_RECORD: str(number)}
    if what.ports:
        annotations[names.ANNOTATION_HOST_PORTS] = what.ports
    return {"metadata": {"uid": what.uid, "annotations": annotations}, "status": body}
