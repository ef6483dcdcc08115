"""The Node object and its heartbeat: registered, kept right, renewed every 5 s.

Run by ``main.py``. The Node is identified by the UUID of the data directory (``spec.providerID``): an agent that finds another UUID under
its name refuses to run. Status is written when it changes. ``Ready`` is false, with the reason ``DockerUnavailable``, while the engine
does not answer; heartbeats go on, because the agent itself is alive.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from lattice.api import conditions, errors, lease, meta, names, node
from lattice.client.client import Client
from lattice.machinery.clock import Clock
from nodeagent import machine
from nodeagent.config import AgentConfig
from nodeagent.facts import Fact
from nodeagent.nodestatus import Machine, make_status, ready_fact
from nodeagent.runtime import base

logger = logging.getLogger(__name__)

HEARTBEAT_S: Final = 5.0
_LOOK_S: Final = 30.0
"""A Node with its images is some ten kilobytes, and the line may be a phone's."""
STATUS_S: Final = 2.0
"""How often the status is looked at; it is written only when it differs."""
LEASE_S: Final = 15
_IMAGES_S: Final = 60.0


def provider_id(node_uid: str) -> str:
    """Return ``spec.providerID`` of a node."""
    return f"lattice://{node_uid}"


class NodeKeeper:
    """Keeps the Node object and its Lease. ``facts``: all conditions of the Node but Ready, as they are now."""

    def __init__(
        self,
        config: AgentConfig,
        node_uid: str,
        client: Client,
        runtime: base.Runtime,
        clock: Clock,
        *,
        facts: Callable[[], Sequence[Fact]],
        unavailable: Callable[[], str],
        frozen: Callable[[], str],
        refusal: Callable[[Mapping[str, str]], str],
    ) -> None:
        self._config = config
        self._uid = node_uid
        self._client = client
        self._runtime = runtime
        self._clock = clock
        self._facts = facts
        self._unavailable = unavailable
        self._frozen = frozen
        self._refusal = refusal
        self._written: node.NodeStatus | None = None
        self._info: base.EngineInfo | None = None
        self._data_root = ""
        self._machine = Machine()
        self._images: Sequence[base.Image] = ()
        self._images_at_s = float("-inf")

    @property
    def written(self) -> node.NodeStatus | None:
        """The status that was written last, ``None`` before the first one."""
        return self._written

    def disk_paths(self) -> tuple[Path, ...]:
        """Return directories on the disk that Pods fill, the best first: Docker's, where the agent may look at it."""
        return (*((Path(self._data_root),) if self._data_root else ()), self._config.data_dir)

    def allocatable(self) -> Mapping[str, str]:
        """Return what the Node offers, as it was last written; empty: not known yet."""
        return self._written.allocatable if self._written is not None else {}

    async def register(self) -> None:
        """Make the Node, or find our own again.

        Raises:
            errors.UsageError: the name belongs to another machine.
            errors.LatticeError: the server did not answer as hoped: try again.
        """
        labels = {**self._config.labels, names.LABEL_HOSTNAME: self._config.name, names.LABEL_OS: "linux"}
        identity = provider_id(self._uid)
        try:
            found = await self._client.get(node.Node, self._config.name)
            await self._check_server()
        except errors.NotFoundError:
            await self._check_server()
            self._written = None
            fresh = node.Node(metadata=meta.ObjectMeta(name=self._config.name, labels=labels), spec=node.NodeSpec(provider_id=identity))
            await self._client.create(fresh)
            return
        if found.spec.provider_id not in (None, "", identity):
            raise errors.UsageError(
                f"409 Conflict: the node name {self._config.name!r} is used by another agent ({found.spec.provider_id}); "
                "choose another --name, or delete that Node if its machine is gone"
            )
        self._written = found.status
        if not found.spec.provider_id or any(found.metadata.labels.get(key) != value for key, value in labels.items()):
            await self._client.patch(node.Node, self._config.name, None, {"metadata": {"labels": labels}, "spec": {"providerID": identity}})

    async def _check_server(self) -> None:
        """Make sure that the answer came from our cluster, before anything is written there."""
        if reason := self._refusal(await self._client.transport.headers()):
            raise errors.UnavailableError(f"nothing is written and nothing is changed on this node: {reason}")

    async def keep_status(self) -> None:
        """Write the status whenever it changes, until cancelled."""
        while True:
            try:
                if not self._frozen():
                    await self._write_status()
            except errors.NotFoundError:
                await self._register_again()
            except errors.LatticeError as error:
                logger.info("cannot write the node's status, trying again", extra={"error": str(error)[:200]})
            await self._clock.sleep(STATUS_S)

    async def beat(self) -> None:
        """Renew the Lease every 5 s, until cancelled. A heartbeat that fails is not made up for: the next one comes soon."""
        while True:
            try:
                if not self._frozen():
                    await self._renew()
                    now_s = self._clock.monotonic()
                    if now_s - self._beat_at_s > 2 * HEARTBEAT_S:
                        self._looked_at_s = float("-inf")
                    self._beat_at_s = now_s
            except errors.LatticeError as error:
                logger.info("cannot renew the lease", extra={"error": str(error)[:200]})
            await self._clock.sleep(HEARTBEAT_S)

    async def _register_again(self) -> None:
        if self._frozen():
            return
        try:
            await self.register()
        except errors.LatticeError as error:
            logger.warning("cannot register the node", extra={"error": str(error)[:300]})

    async def _write_status(self) -> None:
        unavailable = self._unavailable()
        if unavailable:
            self._info = None
        elif self._info is None or self._clock.monotonic() - self._images_at_s >= _IMAGES_S:
            try:
                self._info, self._images = await self._runtime.info(), await self._runtime.images()
                self._data_root = self._info.data_root
                self._machine = machine.describe(machine.disk_of(self.disk_paths()))
                self._images_at_s = self._clock.monotonic()
            except errors.LatticeError as error:
                unavailable = str(error)
        before = self._written or node.NodeStatus()
        info = None if unavailable else self._info
        facts = [ready_fact(unavailable), *self._facts()]
        status = make_status(self._config, self._uid, info, self._machine, self._images, facts, before, self._clock.now())
        # The control plane writes the condition to Unknown when we are silent.
        if status == self._written and not await self._overwritten():
            return
        await self._client.patch(node.Node, self._config.name, None, {"status": status.to_dict()}, subresource="status")
        if info is not None:
            labels = {names.LABEL_ARCH: info.architecture}
            if self._written is None or self._written.node_info is None:
                await self._client.patch(node.Node, self._config.name, None, {"metadata": {"labels": labels}})
        self._written = status

    async def _overwritten(self) -> bool:
        """Return whether the server's Ready condition is not what we wrote last; one read every 30 s tells.

        Sooner after a gap in the heartbeats: then the control plane has most likely written that nothing is known of us.
        """
        now_s = self._clock.monotonic()
        if now_s - self._looked_at_s < _LOOK_S:
            return False
        self._looked_at_s = now_s
        found = await self._client.get(node.Node, self._config.name)
        ours = conditions.get_condition(self._written.conditions if self._written else (), "Ready")
        theirs = conditions.get_condition(found.status.conditions, "Ready")
        return (ours and ours.status) != (theirs and theirs.status)

    _looked_at_s = float("-inf")
    _beat_at_s = float("-inf")

    async def _renew(self) -> None:
        spec = {
            "holderIdentity": provider_id(self._uid),
            "leaseDurationSeconds": LEASE_S,
            "renewTime": lease.LeaseSpec(renew_time=self._clock.now()).to_dict()["renewTime"],
        }
        try:
            await self._client.patch(lease.Lease, self._config.name, names.NAMESPACE_NODE_LEASE, {"spec": spec})
        except errors.NotFoundError:
            await self._client.create(
                lease.Lease(
                    metadata=meta.ObjectMeta(name=self._config.name, namespace=names.NAMESPACE_NODE_LEASE),
                    spec=lease.LeaseSpec.model_validate(spec),
                )
            )
