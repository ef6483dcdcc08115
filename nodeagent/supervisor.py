"""Brings engine, desired state and workers together: one worker for each Pod, woken by whatever concerns it.

Run by ``main.py``. Subscribes to the engine's events before the first list, lists again every 30 s and after each loss of the stream.
Containers without our labels are never looked at; ours that belong to no Pod that the server knows are kept and reported in the log.
"""

from __future__ import annotations

import logging
from contextlib import aclosing
from typing import Final

from lattice.api import errors, names, storage
from lattice.machinery.backoff import Backoff
from lattice.machinery.tasks import TaskOwner
from nodeagent.runtime import base
from nodeagent.workloads.observed import end_told_by
from nodeagent.workloads.shell import PodWorker
from nodeagent.workloads.tools import Tools

logger = logging.getLogger(__name__)

_MAX_ASKS: Final = 5
RESYNC_S: Final = 30.0
"""A missed event is repaired within this time."""


class Supervisor:
    """See the module's docstring."""

    def __init__(self, tools: Tools, backoff: Backoff) -> None:
        self._tools = tools
        self._backoff = backoff
        self._workers: dict[str, PodWorker] = {}
        self._tasks = TaskOwner("pods")
        self._asking: dict[base.ContainerId, bool] = {}
        """Containers that are being inspected after an event; true: there was another event meanwhile."""
        self._reported: frozenset[str] = frozenset()
        self.unknown_pods: tuple[str, ...] = ()
        """``namespace/name`` of the Pods that the server does not know, of which containers are here."""
        self.unavailable = "the agent has not reached Docker yet"
        """Why the engine cannot be used, empty if it can."""

    def poke(self, pod_uid: str | None) -> None:
        """Wake the worker of a Pod, or of all (``None``); make the workers that are missing."""
        tools = self._tools
        if pod_uid is None:
            held = {container.labels[base.LABEL_POD_UID] for container in tools.table.ours()}
            targets = {*tools.desired.pods, *tools.desired.tombstones}
            self._say_unknown((held - targets | tools.desired.unknown & held) - tools.desired.tombstones.keys())
            for uid in [*tools.desired.start_order(), *sorted(targets - tools.desired.pods.keys() | set(self._workers))]:
                self._wake(uid)
        else:
            self._wake(pod_uid)

    async def follow_engine(self) -> None:
        """Follow the engine until cancelled."""
        while True:
            try:
                async with aclosing(self._tools.runtime.events()) as events:
                    async for event in events:
                        await self._on_event(event)
            except errors.LatticeError as error:
                if not self.unavailable:
                    logger.warning("lost the engine, waiting for it", extra={"error": str(error)[:300]})
                self.unavailable = str(error)[:300]
                self._tools.table.available = False
            await self._tools.clock.sleep(self._backoff.next_s())

    async def resync(self) -> None:
        """List again from time to time, until cancelled."""
        while True:
            await self._tools.clock.sleep(RESYNC_S)
            if self._tools.table.available:
                try:
                    await self._list()
                except errors.LatticeError as error:
                    logger.warning("cannot list containers", extra={"error": str(error)[:300]})

    async def stop(self) -> None:
        """Stop the workers. Containers are left as they are."""
        await self._tasks.stop()

    async def _on_event(self, event: base.RuntimeEvent) -> None:
        if event.action == base.EVENT_SUBSCRIBED:
            await self._list()
            self._backoff.reset()
            return
        uid = event.labels.get(base.LABEL_POD_UID)
        if not uid:
            return
        table = self._tools.table
        if event.action == "destroy":
            table.drop(event.container_id)
            self._wake_ours(event)
            return
        if (ended := end_told_by(event, table.get(event.container_id))) is not None:
            table.put(ended)
            self._wake_ours(event)
        if event.container_id in self._asking:
            self._asking[event.container_id] = True
        else:
            self._asking[event.container_id] = False
            self._tasks.spawn(self._ask(event), name=f"inspect.{event.container_id[:12]}")

    def _wake_ours(self, event: base.RuntimeEvent) -> None:
        if event.labels.get(base.LABEL_NODE) == self._tools.node.uid:
            self._wake(event.labels[base.LABEL_POD_UID])

    async def _ask(self, event: base.RuntimeEvent) -> None:
        """Inspect a container after an event, again if there were more meanwhile, or the answer was overtaken by what a worker noted."""
        table, container_id = self._tools.table, event.container_id
        try:
            for _ in range(_MAX_ASKS):
                self._asking[container_id] = False
                mark = table.mark
                try:
                    taken = table.put(await self._tools.runtime.inspect(container_id), mark=mark)
                except base.ContainerGoneError:
                    taken = True
                    table.drop(container_id)
                self._wake_ours(event)
                if taken and not self._asking[container_id]:
                    return
        except errors.LatticeError as error:
            logger.debug("cannot inspect a container, the next list will show it", extra={"error": str(error)[:200]})
        finally:
            self._asking.pop(container_id, None)

    async def _list(self) -> None:
        table = self._tools.table
        mark = table.mark
        table.replace_all(await self._tools.runtime.list({base.LABEL_POD_UID: ""}), mark=mark)
        table.available = True
        if self.unavailable:
            logger.info("the engine answers", extra={"containers": len(table.ours())})
        self.unavailable = ""
        for container in table.ours():
            self._tools.ports.adopt(container.labels[base.LABEL_POD_UID], container.ports)
        self.poke(None)
        await self._remove_volumes()

    def _wake(self, uid: str) -> None:
        worker = self._workers.get(uid)
        if worker is None:
            if uid not in self._tools.desired.pods and uid not in self._tools.desired.tombstones:
                return
            worker = self._workers[uid] = PodWorker(uid, self._tools)
            self._tasks.spawn(self._run(worker), name=uid)
        worker.poke()

    async def _run(self, worker: PodWorker) -> None:
        try:
            await worker.run()
        finally:
            self._workers.pop(worker.uid, None)
        self.poke(None)  # what it held may be what others wait for

    def _say_unknown(self, uids: set[str]) -> None:
        if not self._tools.desired.synced or frozenset(uids) == self._reported:
            return
        self._reported = frozenset(uids)
        labels = [container.labels for container in self._tools.table.ours() if container.labels[base.LABEL_POD_UID] in uids]
        names_of = {f"{found.get(base.LABEL_POD_NAMESPACE, '?')}/{found.get(base.LABEL_POD_NAME, '?')}" for found in labels}
        self.unknown_pods = tuple(sorted(names_of))
        if uids:
            logger.warning("containers of Pods that the server does not know are kept", extra={"pods": self.unknown_pods[:20]})

    async def _remove_volumes(self) -> None:
        """Remove the Docker volumes of PersistentVolumes that are deleted, then let their objects go."""
        tools = self._tools
        if tools.desired.frozen or not tools.desired.synced:
            return
        for volume in [*tools.desired.volumes.values()]:
            if volume.metadata.deletion_timestamp is None or names.FINALIZER_NODE_VOLUME not in volume.metadata.finalizers:
                continue
            if volume.spec.csi is None or volume.spec.node_name() != tools.node.name:
                continue
            try:
                await tools.runtime.remove_volume(volume.spec.csi.volume_handle)
                left = [name for name in volume.metadata.finalizers if name != names.FINALIZER_NODE_VOLUME]
                patch = {"metadata": {"finalizers": left, "uid": volume.uid}}
                await tools.client.patch(storage.PersistentVolume, volume.name, None, patch)
            except errors.LatticeError as error:
                logger.info("cannot remove a volume yet", extra={"volume": volume.name, "error": str(error)[:200]})

    async def volumes_changed(self) -> None:
        """Look at deleted volumes now; called once a second by the agent, does nothing without any."""
        if self._tools.table.available:
            await self._remove_volumes()
