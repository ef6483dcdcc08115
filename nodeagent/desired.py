"""What the server wants of this node: the watch of ``nodes/<name>/desired``, and the guards against believing the wrong server.

Owned by the agent's main task; the workers read :class:`Desired`. The rules that keep containers alive:

* A snapshot counts only when it is complete (its bookmark) and says the cluster id that this node belongs to, and no lower store epoch
  than the highest it has seen, and within that epoch no lower revision. Else nothing of it is taken over, and :attr:`Desired.frozen`
  says why: what runs goes on running. A Pod that is older than the one that is known is not taken over either.
* Absence means nothing: a Pod that a snapshot does not have is marked unknown and goes on; so does one whose object is deleted. Only a
  deletion timestamp or a Tombstone ends a Pod.
* Too many removals at once wait for a person (``removals/plan.py``): until then the workers are shown the Pods as they were before.
* The last set is on disk (see ``checkpoint.py``), Secrets sealed, and counts while the server is away.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import aclosing
from dataclasses import replace
from typing import Final
from urllib.parse import quote

import orjson

from lattice.api import configmap, errors, meta, pod, scheme, storage, tombstone
from lattice.client.client import Client
from lattice.machinery.backoff import Backoff
from lattice.machinery.clock import Clock
from lattice.machinery.tasks import TimeLimit
from nodeagent.checkpoint import ClusterMark, DataDirectory
from nodeagent.removals import plan as removals
from nodeagent.workloads import spec

logger = logging.getLogger(__name__)

SILENCE_S: Final = 90.0
"""The server sends a bookmark every 30 s; three missed ones are a dead line."""
_EVENTS: Final = frozenset({"ADDED", "MODIFIED", "DELETED"})
_ANNOTATION_END: Final = "k8s.io/initial-events-end"
_ANNOTATION_CLUSTER: Final = "lattice.dev/cluster-id"
_ANNOTATION_EPOCH: Final = "lattice.dev/store-epoch"


class Desired:
    """The objects of this node, as last believed."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._gate = removals.Gate()
        self._since_s: dict[str, float] = {}
        """Pod uid to the monotonic time at which this node first knew it."""
        self.held: dict[str, pod.Pod | tombstone.Tombstone] = {}
        """Pod uid to what asks for its end, while that waits for a person."""
        self.holding = asyncio.Event()
        """Set while anything is held."""
        self.pods: dict[str, pod.Pod] = {}
        self.unknown: set[str] = set()
        """Uids of Pods that the server does not have any more, without having asked for their end."""
        self.tombstones: dict[str, tombstone.Tombstone] = {}
        self.secrets: dict[tuple[str, str], configmap.Secret] = {}
        self.config_maps: dict[tuple[str, str], configmap.ConfigMap] = {}
        self.claims: dict[tuple[str, str], storage.PersistentVolumeClaim] = {}
        self.volumes: dict[str, storage.PersistentVolume] = {}
        self.synced = False
        """A snapshot of this process' life was believed: absence of a Secret is known, not guessed."""
        self.unsaved = False
        """It differs from what is on the disk. Written once a second at most: the way from a Pod to its container does not wait."""
        self.frozen = ""
        """Why nothing that the server says is believed now."""

    def references(self) -> spec.References:
        """Return the objects that Pods refer to."""
        return spec.References(secrets=self.secrets, config_maps=self.config_maps, claims=self.claims, volumes=self.volumes)

    def start_order(self) -> list[str]:
        """Return the uids of the Pods in the order of their turns where turns are few, as after a reboot: by priority, then age."""
        ordered = sorted(
            self.pods.values(), key=lambda found: (-(found.spec.priority or 0), str(found.metadata.creation_timestamp), found.uid)
        )
        return [found.uid for found in ordered]

    def shown(self) -> dict[str, pod.Pod]:
        """Return the Pods that the server has, as far as is known."""
        return {uid: found for uid, found in self.pods.items() if uid not in self.unknown}

    def kept(self) -> tuple[Iterable[meta.Object], ...]:
        """Return what an offline start needs, and so goes to the disk. Not Tombstones: they ask for an end, and the server repeats them."""
        return (
            self.pods.values(),
            self.config_maps.values(),
            self.secrets.values(),
            self.claims.values(),
            self.volumes.values(),
        )

    def remember(self, obj: meta.Object) -> None:
        """Take in an object of an earlier life of the agent, from the disk."""
        if isinstance(obj, pod.Pod):
            self._since_s[obj.uid] = float("-inf")
        self.put(obj)

    def put(self, obj: meta.Object) -> str | None:
        """Take an object in; return the uid of the Pod that it concerns, ``None`` for all."""
        if self._is_stale(obj):
            return None
        self._judge([obj])
        return self._put(obj)

    def _is_stale(self, obj: meta.Object) -> bool:
        """Return whether a Pod is older than the one that is known: a server that repeats itself restarts nothing."""
        known = self.pods.get(obj.uid) if isinstance(obj, pod.Pod) else None
        return known is not None and _revision(obj) < _revision(known)

    def _put(self, obj: meta.Object) -> str | None:
        key = (obj.namespace, obj.name)
        match obj:
            case pod.Pod():
                self._since_s.setdefault(obj.uid, self._clock.monotonic())
                self.unknown.discard(obj.uid)
                if obj.uid in self._gate.held and _end_of(obj):
                    self.held[obj.uid] = obj
                else:
                    self.pods[obj.uid] = obj
                return obj.uid
            case tombstone.Tombstone():
                if obj.spec.pod_uid in self._gate.held:
                    self.held[obj.spec.pod_uid] = obj
                else:
                    self.tombstones[obj.spec.pod_uid] = obj
                return obj.spec.pod_uid
            case configmap.Secret():
                self.secrets[key] = obj
            case configmap.ConfigMap():
                self.config_maps[key] = obj
            case storage.PersistentVolumeClaim():
                self.claims[key] = obj
            case storage.PersistentVolume():
                self.volumes[obj.name] = obj
            case _:
                pass  # a newer server shows kinds that this version has no use for
        return None

    def take_away(self, obj: meta.Object) -> str | None:
        """Note that the server does not show an object any more."""
        key = (obj.namespace, obj.name)
        match obj:
            case pod.Pod():
                if obj.uid in self.pods:
                    self.unknown.add(obj.uid)
                return obj.uid
            case tombstone.Tombstone():
                self.tombstones.pop(obj.spec.pod_uid, None)
                if isinstance(self.held.get(obj.spec.pod_uid), tombstone.Tombstone):
                    del self.held[obj.spec.pod_uid]
                return obj.spec.pod_uid
            case configmap.Secret():
                self.secrets.pop(key, None)
            case configmap.ConfigMap():
                self.config_maps.pop(key, None)
            case storage.PersistentVolumeClaim():
                self.claims.pop(key, None)
            case storage.PersistentVolume():
                self.volumes.pop(obj.name, None)
            case _:
                pass
        return None

    def replace_all(self, objects: list[meta.Object], *, restored: bool = False) -> None:
        """Take a complete snapshot in. Pods that it does not have become unknown; nothing is forgotten of them.

        Args:
            objects: all of it.
            restored: the store's epoch has risen, so that older revisions count.
        """
        shown = {obj.uid for obj in objects if isinstance(obj, pod.Pod)}
        if not restored:
            objects = [obj for obj in objects if not self._is_stale(obj)]
        for held in (self.tombstones, self.secrets, self.config_maps, self.claims, self.volumes):
            held.clear()
        asked = {_end_of(obj) for obj in objects}
        self._gate = replace(self._gate, held=self._gate.held & asked)
        if not self._gate.held:
            self.held.clear()
            self.holding.clear()
        self._judge(objects)
        for obj in objects:
            self._put(obj)
        self.unknown = set(self.pods) - shown

    def forget(self, pod_uid: str) -> None:
        """Drop a Pod whose end is confirmed."""
        self.pods.pop(pod_uid, None)
        self.unknown.discard(pod_uid)
        self.tombstones.pop(pod_uid, None)
        self._since_s.pop(pod_uid, None)
        self.held.pop(pod_uid, None)
        if pod_uid in self._gate.held:
            self._gate = replace(self._gate, held=self._gate.held - {pod_uid})
            if not self._gate.held:
                self.holding.clear()

    def release_removals(self) -> None:
        """Let what was held pass, and what comes soon after."""
        self._gate = removals.release(self._gate, self._clock.monotonic())
        waiting, self.held = self.held, {}
        self.holding.clear()
        for obj in waiting.values():
            self._put(obj)
        self.unsaved = True

    def _judge(self, objects: Iterable[meta.Object]) -> None:
        """Have the gate look at the ends that are asked for."""
        ends = [uid for obj in objects if (uid := _end_of(obj)) and uid in self.pods]
        if not ends:
            return
        arriving = [obj for obj in objects if isinstance(obj, pod.Pod) and obj.uid not in self.pods]
        now_s = self._clock.monotonic()
        known = [
            removals.Known(
                uid=found.uid,
                owner=next((owner.uid for owner in found.metadata.owner_references if owner.controller), ""),
                since_s=self._since_s.get(found.uid, now_s),
                finished=found.status.phase in ("Succeeded", "Failed"),
            )
            for found in (*self.pods.values(), *arriving)
        ]
        self._gate = removals.ask(self._gate, ends, known, now_s)
        if self._gate.held:
            self.holding.set()


def _revision(obj: meta.Object) -> int:
    """Return an object's revision. Our server's are numbers; anything else is older than every number."""
    text = obj.metadata.resource_version or ""
    return int(text) if text.isascii() and text.isdigit() else 0


def _end_of(obj: meta.Object) -> str:
    """Return the uid of the Pod whose end an object asks for, empty for none."""
    if isinstance(obj, tombstone.Tombstone):
        return obj.spec.pod_uid
    return obj.uid if isinstance(obj, pod.Pod) and obj.metadata.deletion_timestamp is not None else ""


class DesiredWatch:
    """Keeps a :class:`Desired` up to date.

    Args:
        client: to the API server.
        node_name: whose desired state.
        desired: what to write.
        data: where cluster mark and last set are kept.
        clock: measures silence.
        backoff: delays between connections.
        changed: called with the uid of a Pod that changed, or ``None`` for all.
    """

    def __init__(
        self,
        client: Client,
        node_name: str,
        desired: Desired,
        data: DataDirectory,
        clock: Clock,
        backoff: Backoff,
        changed: Callable[[str | None], None],
    ) -> None:
        self._client = client
        self._node_name = node_name
        self._desired = desired
        self._data = data
        self._clock = clock
        self._backoff = backoff
        self._changed = changed

    async def run(self) -> None:
        """Watch until cancelled. The loss of the stream ends in a new snapshot, never in an exit."""
        while True:
            try:
                await self._follow()
            except (errors.LatticeError, OSError, TimeoutError, ValueError, KeyError, TypeError) as error:
                # ValueError: garbage instead of JSON, or a kind that this version cannot read. OSError: the disk is full and the
                # cluster mark cannot be written. Nothing was taken over.
                logger.warning("lost the watch of the desired state", extra={"node": self._node_name, "error": str(error)[:300]})
            await self._clock.sleep(self._backoff.next_s())

    async def _follow(self) -> None:
        path = f"/api/v1/nodes/{quote(self._node_name, safe='')}/desired"
        snapshot: list[meta.Object] | None = []
        async with (
            TimeLimit(self._clock, SILENCE_S) as limit,
            aclosing(self._client.stream_events(path, query={"watch": "true"})) as events,
        ):
            async for event in events:
                limit.touch()
                document = orjson.loads(event.raw)
                if event.type == "BOOKMARK":
                    if snapshot is not None and self._is_end(document):
                        self._desired.replace_all(snapshot, restored=self._accept(document))
                        self._desired.synced, snapshot = True, None
                        self._backoff.reset()
                        self._tell(None)
                    continue
                obj = scheme.parse_object(document)
                self._check(obj)
                if event.type not in _EVENTS:
                    raise ValueError(f"an event of the type {event.type}")
                if snapshot is not None:
                    if event.type == "DELETED":
                        raise ValueError("something is deleted from a snapshot that has not ended")
                    snapshot.append(obj)
                    continue
                uid = self._desired.take_away(obj) if event.type == "DELETED" else self._desired.put(obj)
                self._tell(uid)

    def _check(self, obj: meta.Object) -> None:
        """Refuse an object that no server of ours would show to this node.

        Raises:
            ValueError: it is nonsense; so is the snapshot that it is part of.
        """
        if not obj.uid or not obj.name:
            raise ValueError(f"a {obj.kind} without a uid or a name")
        if isinstance(obj, pod.Pod) and (not obj.spec.containers or obj.spec.node_name != self._node_name):
            raise ValueError(f"Pod {obj.namespace}/{obj.name} has no containers, or is of another node")

    @staticmethod
    def _is_end(document: dict[str, object]) -> bool:
        metadata = document.get("metadata")
        annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
        return isinstance(annotations, dict) and annotations.get(_ANNOTATION_END) == "true"

    def _accept(self, bookmark: dict[str, object]) -> bool:
        """Believe a snapshot, or freeze; return whether its store was restored since the last one.

        Raises:
            errors.UnavailableError: it is not of our cluster, or older than what we have seen.
        """
        metadata = bookmark["metadata"]
        assert isinstance(metadata, dict)
        annotations = metadata["annotations"]
        offered = ClusterMark(
            cluster_id=str(annotations[_ANNOTATION_CLUSTER]),
            epoch=int(annotations[_ANNOTATION_EPOCH]),
            revision=int(metadata["resourceVersion"]),
        )
        known = self._data.cluster_mark()
        reason = refusal(known, offered)
        if reason:
            self._desired.frozen = reason
            self._changed(None)
            raise errors.UnavailableError(f"nothing is changed on this node: {reason}")
        self._desired.frozen = ""
        self._data.set_cluster_mark(offered)
        return known is not None and offered.epoch > known.epoch

    def _tell(self, uid: str | None) -> None:
        self._desired.unsaved = True
        self._changed(uid)


def refusal(known: ClusterMark | None, offered: ClusterMark) -> str:
    """Return why a server's word does not count on this node, empty if it does."""
    if known is None:
        return ""
    if known.cluster_id != offered.cluster_id:
        return f"the server is of cluster {offered.cluster_id}, this node belongs to {known.cluster_id}; use another data directory to move"
    if offered.epoch < known.epoch:
        return f"the server's store is of epoch {offered.epoch}, this node has seen {known.epoch}: it is an older copy"
    if offered.epoch == known.epoch and offered.revision is not None and offered.revision < (known.revision or 0):
        seen = f"is at revision {offered.revision}, this node has seen {known.revision}"
        return f"the server's store {seen}: it is an older copy; `lattice restore` would have raised its epoch"
    return ""
