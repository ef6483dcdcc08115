"""Hands the status of Pods to the server: the newest one of each Pod, again and again until it is accepted.

Written to by the workers, which never wait for it. Guarantees: a status that the server has is not written again; what was superseded
while the line was down is not sent; a Pod that the server does not know (404) is not reported any more. Nothing is sent while frozen.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from lattice.api import errors, names, pod
from lattice.client.client import Client
from lattice.machinery.backoff import Backoff
from lattice.machinery.clock import Clock

logger = logging.getLogger(__name__)


class StatusReporter:
    """Latest wins, per Pod uid."""

    def __init__(self, client: Client, clock: Clock, backoff: Backoff, frozen: Callable[[], str]) -> None:
        self._client = client
        self._clock = clock
        self._backoff = backoff
        self._frozen = frozen
        self._pending: dict[str, tuple[pod.Pod, pod.PodStatus, str]] = {}
        self._accepted: dict[str, tuple[pod.PodStatus, str]] = {}
        self._wake = asyncio.Event()
        self.writes = 0
        """Requests sent, for the proof that an unchanged world causes none."""

    def last(self, wanted: pod.Pod) -> pod.PodStatus:
        """Return the status that counts as written: the newest that was handed in, else the Pod's own."""
        if wanted.uid in self._pending:
            return self._pending[wanted.uid][1]
        return self._accepted[wanted.uid][0] if wanted.uid in self._accepted else wanted.status

    def report(self, wanted: pod.Pod, status: pod.PodStatus, host_ports: str) -> None:
        """Hand a status in. ``host_ports``: text of the annotation, empty for none."""
        known = self._accepted.get(wanted.uid) or (wanted.status, wanted.metadata.annotations.get(names.ANNOTATION_HOST_PORTS, ""))
        if known == (status, host_ports):
            self._pending.pop(wanted.uid, None)
            return
        self._pending[wanted.uid] = (wanted, status, host_ports)
        self._wake.set()

    def forget(self, pod_uid: str) -> None:
        """Stop reporting a Pod."""
        self._pending.pop(pod_uid, None)
        self._accepted.pop(pod_uid, None)

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._frozen():
                await self._clock.sleep(1.0)
                self._wake.set()
                continue
            for uid in tuple(self._pending):
                if uid in self._pending and not await self._send(uid):
                    await self._clock.sleep(self._backoff.next_s())
                    self._wake.set()
                    break

    async def _send(self, uid: str) -> bool:
        """Send one status; return whether the server answered."""
        wanted, status, host_ports = self._pending[uid]
        self.writes += 1
        try:
            await self._client.patch(pod.Pod, wanted.name, wanted.namespace, _patch(wanted, status, host_ports), subresource="status")
        except errors.NotFoundError:
            # Deleted a moment ago, or by force while this agent was away: the watch of the desired state says the rest.
            logger.debug("the server does not know a Pod any more", extra={"pod": f"{wanted.namespace}/{wanted.name}"})
        except (errors.ConflictError, errors.InvalidError, errors.ForbiddenError, errors.BadRequestError) as error:
            # Asking again would give the same answer. A Pod of the same name with another uid answers 409.
            logger.warning(
                "the server refuses a Pod's status", extra={"pod": f"{wanted.namespace}/{wanted.name}", "error": str(error)[:200]}
            )
        except errors.LatticeError as error:
            logger.debug("cannot report a Pod's status, trying again", extra={"error": str(error)[:200]})
            return False
        self._backoff.reset()
        self._accepted[uid] = (status, host_ports)
        if self._pending.get(uid) == (wanted, status, host_ports):
            del self._pending[uid]
        else:
            self._wake.set()
        return True


_MAYBE_GONE = ("reason", "message", "pod_ip", "pod_ips")


def _patch(wanted: pod.Pod, status: pod.PodStatus, host_ports: str) -> dict[str, Any]:
    """Return a merge patch; what the status does not have any more is set to null."""
    body = status.to_dict()
    body.update({pod.PodStatus.model_fields[name].alias or name: None for name in _MAYBE_GONE if getattr(status, name) in (None, ())})
    metadata: dict[str, Any] = {"uid": wanted.uid}
    if host_ports:
        metadata["annotations"] = {names.ANNOTATION_HOST_PORTS: host_ports}
    return {"metadata": metadata, "status": body}
