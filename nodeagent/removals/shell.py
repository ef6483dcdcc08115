"""Tells a person that removals wait, and lets them pass when one agrees: by an annotation on the Node, or because the node is drained.

The Node's annotation ``lattice.dev/removals-held`` names the occasion; ``lattice node approve-removals`` copies it to
``lattice.dev/removals-approved``. So an approval is for what the person has seen, needs no clock, and outlives a restart of the agent: it
finds the occasion on the Node again. A cordoned Node is being drained: its removals are wanted.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from typing import Final

from lattice.api import errors, names, node
from lattice.api.event import ObjectReference
from lattice.client.client import Client
from lattice.machinery.clock import Clock
from lattice.machinery.events import EventRecorder, EventType
from nodeagent import strays
from nodeagent.desired import Desired
from nodeagent.facts import Fact

logger = logging.getLogger(__name__)

_LOOK_S: Final = 2.0


class RemovalGuard:
    """See the module's docstring.

    Args:
        client: to the API server.
        node_name: of the Node.
        desired: holds removals back.
        clock: waits.
        changed: called when held removals were let pass.
        events: records Events of the Node.
    """

    def __init__(
        self,
        client: Client,
        node_name: str,
        desired: Desired,
        clock: Clock,
        changed: Callable[[str | None], None],
        events: EventRecorder,
    ) -> None:
        self._client = client
        self._node_name = node_name
        self._desired = desired
        self._clock = clock
        self._changed = changed
        self._events = events
        self._said = 0

    def fact(self) -> Fact | None:
        """Return what the Node says of removals that wait, ``None`` if none does."""
        held = (self._desired.pods.get(uid) for uid in self._desired.held)
        return strays.held_fact((f"{found.namespace}/{found.name}" for found in held if found is not None), self._node_name)

    async def run(self) -> None:
        """Look after held removals until cancelled."""
        while True:
            await self._desired.holding.wait()
            try:
                if not self._desired.frozen and await self._may_pass():
                    count = len(self._desired.held)
                    self._desired.release_removals()
                    self._changed(None)
                    self._say("Normal", "RemovalsReleased", f"{count} removals that were held back go on")
                    await self._annotate({names.ANNOTATION_REMOVALS_HELD: None, names.ANNOTATION_REMOVALS_APPROVED: None})
                    self._said = 0
                    continue
            except errors.LatticeError as error:
                logger.info("cannot ask whether held removals may pass", extra={"error": str(error)[:200]})
            await self._clock.sleep(_LOOK_S)

    async def _may_pass(self) -> bool:
        found = await self._client.get(node.Node, self._node_name)
        if found.spec.unschedulable:
            logger.info("the node is being drained: held removals pass", extra={"pods": len(self._desired.held)})
            return True
        occasion = found.metadata.annotations.get(names.ANNOTATION_REMOVALS_HELD)
        if not occasion:
            await self._annotate({names.ANNOTATION_REMOVALS_HELD: secrets.token_hex(4)})
        elif found.metadata.annotations.get(names.ANNOTATION_REMOVALS_APPROVED) == occasion:
            logger.info("held removals were approved", extra={"pods": len(self._desired.held)})
            return True
        if len(self._desired.held) != self._said:
            self._said = len(self._desired.held)
            if (fact := self.fact()) is not None:
                self._say("Warning", fact.reason, fact.message)
            logger.warning("too many removals at once: they wait for a person", extra={"pods": self._said, "node": self._node_name})
        return False

    def _say(self, event_type: EventType, reason: str, message: str) -> None:
        about = ObjectReference(kind="Node", api_version="v1", name=self._node_name)
        self._events.event(about, event_type, reason, message)

    async def _annotate(self, annotations: dict[str, str | None]) -> None:
        await self._client.patch(node.Node, self._node_name, None, {"metadata": {"annotations": annotations}})
