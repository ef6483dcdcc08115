"""Makes the record of a failure when a container has ended: reads its log while it is there, hides secrets, keeps it, says it as an Event.

Called by the worker of a Pod (``seams.Endings``) right after it saw the end, before the container is removed. A record that cannot be made
whole is kept without what is missing: nothing here fails the Pod or holds its restart for longer than ``LOG_TIMEOUT_S``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from lattice.api import errors
from lattice.machinery.clock import Clock
from lattice.machinery.tasks import TimeLimit
from nodeagent.controls.stamps import stamp
from nodeagent.desired import Desired
from nodeagent.failures import record, redaction
from nodeagent.failures.record import Failure
from nodeagent.failures.store import FailureStore
from nodeagent.podevents import PodEvents
from nodeagent.runtime import base
from nodeagent.workloads.seams import Ending

logger = logging.getLogger(__name__)

LOG_TIMEOUT_S: Final = 3.0
REASON: Final = "ContainerFailed"
"""Of the Event. Kubelet has none for an end; ``Failed`` is what it says of pulls and starts."""
MAX_ANSWER: Final = 20
"""Records in one answer on the control line: below its 1 MiB, for a record is below 24 KiB."""
_SIGTERM: Final = 143


class FailureKeeper:
    """Implements ``seams.Endings``, and answers who asks for records.

    Args:
        runtime: where the logs are.
        store: where records are kept.
        desired: the Secrets whose values are hidden.
        clock: bounds the reading of a log.
        events: where a failure is said.
        asked_to_end: whether the agent is stopping this container for its own reasons (pause).
    """

    def __init__(
        self,
        runtime: base.Runtime,
        store: FailureStore,
        desired: Desired,
        clock: Clock,
        events: PodEvents,
        asked_to_end: Callable[[base.ContainerId], bool],
    ) -> None:
        self._runtime = runtime
        self._store = store
        self._desired = desired
        self._clock = clock
        self._events = events
        self._asked_to_end = asked_to_end

    async def ended(self, ending: Ending) -> None:
        """Note an end, if it is a failure."""
        container, wanted = ending.container, ending.wanted
        asked = wanted.metadata.deletion_timestamp is not None or container.exit_code == _SIGTERM or self._asked_to_end(container.id)
        if not record.is_failure(
            exit_code=container.exit_code, oom_killed=container.oom_killed, probe_output=ending.probe_output, asked_to_end=asked
        ):
            return
        values = redaction.secret_values(
            secret for secret in self._desired.secrets.values() if secret.metadata.namespace == wanted.metadata.namespace
        )
        log, cut = record.last_lines(redaction.redact(await self._log(container.id), values))
        restarts = container.labels.get(base.LABEL_RESTARTS, "0")
        made = Failure(
            namespace=wanted.metadata.namespace or "",
            pod=wanted.name,
            pod_uid=wanted.uid,
            container=ending.name,
            container_id=container.id,
            image=container.image,
            image_digest=await self._digest(container),
            exit_code=container.exit_code if container.exit_code is not None else -1,
            signal=ending.terminated.signal or 0,
            oom_killed=container.oom_killed,
            reason=ending.terminated.reason or "",
            message=record.cut_text(redaction.redact(ending.terminated.message or "", values), 4096),
            started_at=stamp(container.started_at),
            finished_at=stamp(container.finished_at),
            restarts=int(restarts) if restarts.isdigit() else 0,
            probe_output=record.cut_text(redaction.redact(ending.probe_output, values), record.MAX_PROBE_BYTES),
            log=log,
            log_cut=cut,
        )
        if self._store.add(made):
            self._events.say(wanted, ending.name, "Warning", REASON, record.event_message(made))

    async def answer(self, question: Mapping[str, Any]) -> Any:
        """Answer the server's question ``failures`` about one Pod."""
        uid = question.get("podUid")
        if not isinstance(uid, str) or not uid:
            raise errors.BadRequestError("the question names no Pod")
        return {"failures": [each.to_dict() for each in self._store.of_pod(uid)[-MAX_ANSWER:]]}

    async def _log(self, container_id: base.ContainerId) -> str:
        try:
            async with TimeLimit(self._clock, LOG_TIMEOUT_S):
                return await self._runtime.logs(container_id, tail=record.MAX_LINES + 1)
        except (errors.LatticeError, TimeoutError) as error:
            logger.info("no log for the record of a failure", extra={"container": container_id[:12], "error": str(error)[:200]})
            return ""

    async def _digest(self, container: base.Container) -> str:
        try:
            found = await self._runtime.inspect_image(container.image_id or container.image)
        except errors.LatticeError:
            found = None
        if found is None:
            return container.image_id
        return found.digests[0] if found.digests else found.id
