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
from lattice.client.client import Client
from lattice.machinery.clock import Clock
from nodeagent.desired import Desired

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
    """

    def __init__(self, client: Client, node_name: str, desired: Desired, clock: Clock, changed: Callable[[str | None], None]) -> None:
        self._client = client
        self._node_name = node_name
        self._desired = desired
        self._clock = clock
        self._changed = changed
        self._said = 0

    async def run(self) -> None:
        """Look after held removals until cancelled."""
        while True:
            await self._desired.holding.wait()
            try:
                if not self._desired.frozen and await self._may_pass():
                    self._desired.release_removals()
                    self._changed(None)
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
            logger.warning("too many removals at once: they wait for a person", extra={"pods": self._said, "node": self._node_name})
        return False

    async def _annotate(self, annotations: dict[str, str | None]) -> None:
        await self._client.patch(node.Node, self._node_name, None, {"metadata": {"annotations": annotations}})
