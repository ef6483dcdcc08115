"""Prune and leave: shows what would be removed, and removes exactly that after a person has said yes to it.

Called by the local API. *Prune* removes what this agent has on the engine and the server does not know; it asks a server that was heard,
and believed, in this life of the agent. *Leave* takes the machine out of the cluster: its Pods go elsewhere in order, then everything that
is ours goes, the Node last. Volumes with data are removed on a second word only. Containers, volumes and networks of others are never
listed, so never removed.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import orjson

from lattice.api import errors, lease, meta, names, node, pod
from lattice.client.client import Client
from lattice.machinery.clock import Clock
from nodeagent.config import AgentConfig
from nodeagent.controls import inventory
from nodeagent.controls.inventory import Item
from nodeagent.controls.pause import Pause
from nodeagent.controls.stamps import stamp
from nodeagent.desired import Desired
from nodeagent.runtime import base
from nodeagent.volumes.paths import GuardedPaths
from nodeagent.workloads.observed import ContainerTable

logger = logging.getLogger(__name__)

LEFT_FILE: Final = "left.json"
"""In the data directory: this machine has left its cluster, and its agent does not join again by being restarted."""
DRAIN_LIMIT_S: Final = 600.0
"""How long the Pods may take to go. Longer than any usual grace period; then the person is told and decides."""
_LOOK_S: Final = 0.5
_STOP_GRACE_S: Final = 10


class Cleaner:
    """See the module's docstring."""

    def __init__(
        self,
        config: AgentConfig,
        node_uid: str,
        client: Client,
        runtime: base.Runtime,
        clock: Clock,
        desired: Desired,
        table: ContainerTable,
        pause: Pause,
        *,
        remove_rules: Callable[[], Awaitable[None]],
        wake: Callable[[], None],
        end: Callable[[], None],
    ) -> None:
        self._config = config
        self._uid = node_uid
        self._client = client
        self._runtime = runtime
        self._clock = clock
        self._desired = desired
        self._table = table
        self._pause = pause
        self._remove_rules = remove_rules
        self._wake = wake
        self._end = end
        self._busy = asyncio.Lock()

    async def prune_list(self) -> tuple[Item, ...]:
        """Return what prune would remove.

        Raises:
            errors.UnavailableError: it cannot be told now.
        """
        desired = self._desired
        if desired.frozen:
            raise errors.UnavailableError(f"the server is not believed now ({desired.frozen}), so nothing counts as unknown to it")
        if not desired.synced:
            raise errors.UnavailableError("the server has not been heard since the agent started, so nothing counts as unknown to it")
        self._check_engine()
        handles = {volume.spec.csi.volume_handle for volume in desired.volumes.values() if volume.spec.csi is not None}
        return inventory.unknown_to_server(
            self._table.ours(),
            await self._volumes(),
            pods=desired.shown().keys(),
            ended=desired.tombstones.keys(),
            data_volumes=handles,
        )

    async def prune(self, digest: str, *, data: bool) -> Sequence[str]:
        """Remove what was shown; return a line for each thing.

        Raises:
            errors.ConflictError: it is not what was shown any more.
            errors.UnavailableError: it cannot be told now.
        """
        async with self._busy:
            items = [item for item in await self.prune_list() if data or not item.data]
            _check(items, digest)
            lines = [line for item in _in_order(items) async for line in self._remove(item)]
            for uid in sorted(self._desired.unknown):
                if not self._table.of_pod(uid):
                    self._desired.forget(uid)
                    self._desired.unsaved = True
            return lines

    async def leave_list(self) -> tuple[Item, ...]:
        """Return what leaving would end and remove."""
        self._check_engine()
        known = self._desired.shown()
        waiting = [each for each in known.values() if each.status.phase not in ("Succeeded", "Failed")]
        directories = [str(path) for path in self._directories() if path.exists()]
        rest = inventory.everything(self._table.ours(), await self._volumes(), await self._networks(), directories)
        return (*inventory.pod_items(waiting), *rest)

    async def leave(self, digest: str, *, data: bool, force: bool, offline: bool) -> AsyncGenerator[str]:
        """Take this machine out of the cluster; yields a line for each step.

        Args:
            digest: of the listing that the person has seen.
            data: remove the volumes with data, too.
            force: also where a Pod is lost by it.
            offline: do not tell the server: it is gone for good.

        Raises:
            errors.ConflictError: it is not what was shown any more, or a Pod would be lost.
            errors.UnavailableError: the server does not answer, or a Pod does not end.
        """
        async with self._busy:
            items = await self.leave_list()
            _check(items, digest)
            lost = [item.name for item in items if item.kind == "pod" and item.data]
            if lost and not force:
                raise errors.ConflictError(f"nobody would make these Pods again: {', '.join(lost[:10])}; delete them, or say --force")
            # Without the server nobody asks for the end of the Pods: nothing may be started in place of what is removed.
            self._pause.pause(stop=offline, reason="this machine leaves the cluster")
            yield "paused: nothing new starts here"
            if not offline:
                async for line in self._drain():
                    yield line
            async for line in self._clean(data=data):
                yield line
            if not offline:
                await self._delete_node()
                yield f"node {self._config.name} deleted"
            kept = [] if data else [item.name for item in items if item.kind == "volume" and item.data]
            for line in self._forget(keep_identity=bool(kept)):
                yield line
            if kept:
                yield f"kept, with their data: {', '.join(kept)}"
        self._end()

    async def _drain(self) -> AsyncGenerator[str]:
        """Ask for the end of every Pod here, and wait until all are gone."""
        for each in sorted(self._desired.shown().values(), key=lambda each: (each.metadata.namespace or "", each.name)):
            if each.metadata.deletion_timestamp is None:
                try:
                    await self._client.delete(pod.Pod, each.name, each.namespace, uid=each.uid)
                except (errors.NotFoundError, errors.ConflictError):
                    continue
                yield f"pod {each.metadata.namespace}/{each.name} asked to go"
        deadline_s = self._clock.monotonic() + DRAIN_LIMIT_S
        while left := [each.name for each in self._desired.shown().values()]:
            if self._clock.monotonic() > deadline_s:
                shown = ", ".join(sorted(left)[:10])
                raise errors.UnavailableError(f"these Pods have not ended in {DRAIN_LIMIT_S:.0f} s: {shown}; the node stays paused")
            if self._desired.held:  # so many removals at once: this is the person that they wait for
                self._desired.release_removals()
                self._wake()
            await self._clock.sleep(_LOOK_S)
        yield "no Pod is left"

    async def _clean(self, *, data: bool) -> AsyncGenerator[str]:
        items = [*map(_as_container, self._table.ours())]
        volumes = await self._volumes()
        for item in _in_order((*items, *inventory.everything((), volumes, {}, ()))):
            if item.kind != "volume" or data or not item.data:
                async for line in self._remove(item):
                    yield line
        for name in sorted(await self._networks()):
            async for line in self._remove(Item(kind="network", id=name, name=name)):
                yield line
        try:
            await self._remove_rules()
        except errors.LatticeError as error:
            yield f"the packet filter rules could not be removed: {str(error)[:200]}"

    async def _remove(self, item: Item) -> AsyncGenerator[str]:
        try:
            if item.kind == "container":
                if item.running:
                    await self._runtime.stop(base.ContainerId(item.id), grace_s=_STOP_GRACE_S)
                await self._runtime.remove(base.ContainerId(item.id))
                self._table.drop(base.ContainerId(item.id))
            elif item.kind == "network":
                await self._runtime.remove_network(item.id)
            else:
                await self._runtime.remove_volume(item.id)
        except base.ContainerGoneError:
            yield f"{item.kind} {item.name} was gone already"
            return
        except errors.LatticeError as error:
            yield f"{item.kind} {item.name} could not be removed: {str(error)[:200]}"
            return
        logger.info("removed on the owner's word", extra={"kind": item.kind, "name_": item.name})
        yield f"{item.kind} {item.name} removed"

    async def _delete_node(self) -> None:
        """Delete the Node and its Lease. From now on nothing is written to the server, or the Node would be made again."""
        self._desired.frozen = "this machine leaves its cluster"
        kinds: tuple[tuple[type[meta.Object], str | None], ...] = ((lease.Lease, names.NAMESPACE_NODE_LEASE), (node.Node, None))
        for kind, namespace in kinds:
            try:
                await self._client.delete(kind, self._config.name, namespace)
            except errors.NotFoundError:
                logger.info("is gone already", extra={"kind": kind.KIND})
            except errors.LatticeError:
                self._desired.frozen = ""
                raise

    def _forget(self, *, keep_identity: bool) -> list[str]:
        """Remove our files, and note that this machine has left. The lock stays: it is held until the agent ends."""
        lines = []
        root = self._config.data_dir
        GuardedPaths(self._config.run_directory(self._uid)).remove_all()  # what is mounted there is data of volumes
        keep = {"lock", "node.yaml", LEFT_FILE, *({"node.json"} if keep_identity else ())}
        (root / LEFT_FILE).write_bytes(orjson.dumps({"node": self._config.name, "at": stamp(self._clock.now())}))
        socket = self._config.socket_path()
        for path in sorted(root.iterdir()):
            if path.name in keep or path == socket:
                continue
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
        lines.append(f"state in {root} removed")
        run_dir = self._config.run_directory(self._uid)
        if run_dir.exists():
            shutil.rmtree(run_dir, ignore_errors=True)
            lines.append(f"directory {run_dir} removed")
        return lines

    def _directories(self) -> tuple[Path, ...]:
        return (self._config.run_directory(self._uid), self._config.data_dir)

    async def _volumes(self) -> Mapping[str, Mapping[str, str]]:
        """Return this node's volumes with what tells data from scratch space."""
        mine = {base.LABEL_NODE: self._uid}
        found: dict[str, Mapping[str, str]] = {name: {base.LABEL_POD_UID: "?"} for name in await self._runtime.volumes(mine)}
        for name in await self._runtime.volumes({**mine, base.LABEL_VOLUME: ""}):
            found[name] = {base.LABEL_VOLUME: name}
        for uid in {*self._desired.pods, *self._desired.tombstones}:
            for name in await self._runtime.volumes({**mine, base.LABEL_POD_UID: uid}):
                found[name] = {base.LABEL_POD_UID: uid}
        return found

    async def _networks(self) -> Mapping[str, str]:
        return {found.name: found.name for found in await self._runtime.networks({base.LABEL_NODE: self._uid})}

    def _check_engine(self) -> None:
        if not self._table.available:
            raise errors.UnavailableError("Docker does not answer, so it cannot be told what is here; try again when it does")


def check_left(data_dir: Path) -> None:
    """Raise if this machine has left its cluster.

    Raises:
        errors.UsageError: it has; the sentence says how to join again.
    """
    path = data_dir / LEFT_FILE
    if path.exists():
        raise errors.UsageError(f"this machine has left its cluster; to join again, remove {path} and start the agent")


def _as_container(container: base.Container) -> Item:
    return inventory.container_item(container, "")


def _in_order(items: Sequence[Item]) -> list[Item]:
    """Return containers before the volumes that they hold."""
    return sorted(items, key=lambda item: (item.kind != "container", item.name, item.id))


def _check(items: Sequence[Item], digest: str) -> None:
    if inventory.digest(items) != digest:
        raise errors.ConflictError("what is here is not what was shown any more: look again")
