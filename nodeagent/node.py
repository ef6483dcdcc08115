"""The Node object and its heartbeat: registered, kept right, renewed every 5 s.

Run by ``main.py``. The Node is identified by the UUID of the data directory (``spec.providerID``): an agent that finds another UUID under
its name refuses to run. Status is written when it changes. ``Ready`` is false, with the reason ``DockerUnavailable``, while the engine
does not answer; heartbeats go on, because the agent itself is alive.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from lattice.api import errors, lease, meta, names, node, quantity
from lattice.client.client import Client
from lattice.machinery.clock import Clock
from lattice.version import VERSION
from nodeagent.config import AgentConfig
from nodeagent.runtime import base

logger = logging.getLogger(__name__)

HEARTBEAT_S: Final = 5.0
STATUS_S: Final = 2.0
"""How often the status is looked at; it is written only when it differs."""
LEASE_S: Final = 15
_IMAGES_S: Final = 60.0
_MAX_IMAGES: Final = 50
_MIB: Final = 1024**2


def provider_id(node_uid: str) -> str:
    """Return ``spec.providerID`` of a node."""
    return f"lattice://{node_uid}"


def make_status(
    config: AgentConfig, node_uid: str, info: base.EngineInfo | None, images: Sequence[base.Image], unavailable: str,
    before: node.NodeStatus,
    now: datetime,
) -> node.NodeStatus:  # fmt: skip
    """Return the whole status. Pure but for the disk's size. Without ``info`` (the engine is away), what was known stays."""
    condition = _ready(unavailable, before, now)
    if info is None:
        return meta.changed(before, conditions=(condition,))
    capacity = {"cpu": str(info.cpus), "memory": str(info.memory_bytes), "pods": str(config.max_pods), **_disk(config, info)}
    reserve = max(256 * _MIB, info.memory_bytes // 10)
    allocatable = {
        "cpu": config.cpu or capacity["cpu"],
        "memory": config.memory or quantity.format_bytes((info.memory_bytes - reserve) // _MIB * _MIB),
        "pods": str(config.max_pods),
    }
    disk = config.disk or before.allocatable.get("ephemeral-storage") or capacity.get("ephemeral-storage")
    if disk:
        allocatable["ephemeral-storage"] = disk
    largest = sorted((image for image in images if image.names), key=lambda image: (-image.size_bytes, image.names))[:_MAX_IMAGES]
    return node.NodeStatus(
        capacity={
            **capacity,
            **({"ephemeral-storage": before.capacity["ephemeral-storage"]} if before.capacity.get("ephemeral-storage") else {}),
        },
        allocatable=allocatable,
        conditions=(condition,),
        addresses=(
            node.NodeAddress(type="InternalIP", address=config.host_ip),
            node.NodeAddress(type="Hostname", address=config.name),
        ),
        node_info=node.NodeSystemInfo(
            machine_id=node_uid,
            system_uuid=node_uid,
            kernel_version=info.kernel_version,
            os_image=info.os_image,
            container_runtime_version=f"docker://{info.version}",
            kubelet_version=f"v{VERSION}-lattice",
            operating_system="linux",
            architecture=info.architecture,
        ),
        images=tuple(node.ContainerImage(names=image.names, size_bytes=image.size_bytes) for image in largest),
    )


def _disk(config: AgentConfig, info: base.EngineInfo) -> dict[str, str]:
    for path in (Path(info.data_root), config.data_dir):
        try:
            return {"ephemeral-storage": quantity.format_bytes(shutil.disk_usage(path).free * 9 // 10 // _MIB * _MIB)}
        except OSError:
            continue
    return {}


def _ready(unavailable: str, before: node.NodeStatus, now: datetime) -> node.NodeCondition:
    status: meta.ConditionStatus = "False" if unavailable else "True"
    old = next((condition for condition in before.conditions if condition.type == "Ready"), None)
    since = old.last_transition_time if old is not None and old.status == status else None
    return node.NodeCondition(
        type="Ready",
        status=status,
        reason="DockerUnavailable" if unavailable else "AgentReady",
        message="Docker does not answer; start it, the agent goes on by itself" if unavailable else "the agent and Docker are running",
        last_transition_time=since or now.replace(microsecond=0),
    )


class NodeKeeper:
    """Keeps the Node object and its Lease."""

    def __init__(
        self,
        config: AgentConfig,
        node_uid: str,
        client: Client,
        runtime: base.Runtime,
        clock: Clock,
        *,
        unavailable: Callable[[], str],
        frozen: Callable[[], str],
        refusal: Callable[[Mapping[str, str]], str],
    ) -> None:
        self._config = config
        self._uid = node_uid
        self._client = client
        self._runtime = runtime
        self._clock = clock
        self._unavailable = unavailable
        self._frozen = frozen
        self._refusal = refusal
        self._written: node.NodeStatus | None = None
        self._info: base.EngineInfo | None = None
        self._images: Sequence[base.Image] = ()
        self._images_at_s = float("-inf")

    async def register(self) -> None:
        """Make the Node, or find our own again.

        Raises:
            errors.UsageError: the name belongs to another machine.
            errors.LatticeError: the server did not answer as hoped: try again.
        """
        labels = {names.LABEL_HOSTNAME: self._config.name, names.LABEL_OS: "linux"}
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
            except errors.LatticeError as error:
                logger.info("cannot renew the lease", extra={"error": str(error)[:200]})
            await self._clock.sleep(HEARTBEAT_S)

    async def _register_again(self) -> None:
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
                self._images_at_s = self._clock.monotonic()
            except errors.LatticeError as error:
                unavailable = str(error)
        before = self._written or node.NodeStatus()
        info = None if unavailable else self._info
        status = make_status(self._config, self._uid, info, self._images, unavailable, before, self._clock.now())
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
        """Return whether the server's Ready condition is not what we wrote last; one read every 10 s tells."""
        now_s = self._clock.monotonic()
        if now_s - self._looked_at_s < 2 * HEARTBEAT_S:
            return False
        self._looked_at_s = now_s
        found = await self._client.get(node.Node, self._config.name)
        ours = self._written.conditions[0].status if self._written and self._written.conditions else None
        theirs = next((condition.status for condition in found.status.conditions if condition.type == "Ready"), None)
        return ours != theirs

    _looked_at_s = float("-inf")

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
