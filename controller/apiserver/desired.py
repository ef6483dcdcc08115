"""``nodes/<name>/desired``: everything one node needs and is allowed to read, at one revision, then live.

The Pods bound to the node; every Secret, ConfigMap and PersistentVolumeClaim that they use; the PersistentVolumes of those claims and
those that are on this node; its Tombstones. In the watch format with mixed kinds: ADDED for all, a BOOKMARK that ends the snapshot and
names cluster and epoch, then changes. An object that no Pod of the node uses any more is DELETED from the view only: **absence removes
nothing**, the agent acts on deletion timestamps and Tombstones alone. There is no resume: a reconnect starts with a new snapshot.

The view is recomputed from the caches when something that may concern it changes: all kinds here are in the main store, and its feed
applies a transaction's changes before it says the revision, so a flush never shows half of one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final

import orjson

from controller.apiserver import selection
from controller.apiserver.reading import parse_number
from controller.apiserver.registry import Registry
from controller.apiserver.request import ApiResponse, ApiStream
from controller.apiserver.resources import Resource
from controller.apiserver.watchcache import NODE_FIELD, Change, Entry, Watcher, event_line
from lattice.api import configmap, node, pod, storage, tombstone

logger = logging.getLogger(__name__)

BOOKMARK_PERIOD_S: Final = 30.0
_CONTAINERS: Final = ("containers", "initContainers", "ephemeralContainers")


class DesiredView:
    """Serves the desired state of every node."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        table = registry.table
        self._nodes = table.of(node.Node)
        self._pods = registry.cache(table.of(pod.Pod))
        self._secrets = registry.cache(table.of(configmap.Secret))
        self._config_maps = registry.cache(table.of(configmap.ConfigMap))
        self._claims = registry.cache(table.of(storage.PersistentVolumeClaim))
        self._volumes = registry.cache(table.of(storage.PersistentVolume))
        self._tombstones = registry.cache(table.of(tombstone.Tombstone))
        self._feed = registry.feed(self._pods.resource)
        self._streams: dict[_Stream, None] = {}
        self._identity: Mapping[str, Any] = {}
        self._uses: dict[str, tuple[int, tuple[str, ...]]] = {}
        """Pod key to its revision and the keys that it uses: parsed once a change of the Pod."""
        self._volume_nodes: dict[str, tuple[int, str]] = {}
        self._scheduled = False

    def attach(self, identity: Mapping[str, Any]) -> None:
        """Listen to the caches. ``identity``: id and epoch of the cluster."""
        self._identity = identity
        for cache in (self._pods, self._secrets, self._config_maps, self._claims, self._volumes, self._tombstones):
            cache.listeners.append(self._on_change)
        self._feed.on_tick.append(self._on_tick)

    def stop(self) -> None:
        """End all streams."""
        for stream in tuple(self._streams):
            stream.watcher.end()

    async def answer(self, name: str, *, watch: bool, query: Mapping[str, str]) -> ApiResponse | ApiStream:
        """Return the snapshot, or the stream.

        Raises:
            errors.NotFoundError: there is no such Node.
        """
        await self._feed.fresh()
        if self._nodes.key("", name) not in self._registry.cache(self._nodes).entries:
            raise self._registry.not_found(self._nodes, name)
        if not watch:
            return ApiResponse(200, self._document(name))
        watcher = Watcher(selection.Selection(), bookmarks=True)
        now_s = self._registry.clock.monotonic()
        if timeout_s := parse_number(query.get("timeoutSeconds", "")):
            watcher.deadline_s = now_s + timeout_s
        stream = _Stream(name, watcher, now_s + BOOKMARK_PERIOD_S)
        self._streams[stream] = None
        self._flush(stream)
        watcher.push(self._bookmark(initial_end=True))
        return ApiStream(self._lines(stream), watcher.on_cut, close=lambda: self._forget(stream))

    async def _lines(self, stream: _Stream) -> AsyncGenerator[list[bytes]]:
        try:
            while lines := await stream.watcher.take():
                yield lines
        finally:
            self._forget(stream)

    def _forget(self, stream: _Stream) -> None:
        self._streams.pop(stream, None)

    def _document(self, name: str) -> bytes:
        head = {
            "kind": "NodeDesired",
            "apiVersion": "lattice.dev/v1",
            "metadata": {"name": name, "resourceVersion": str(self._feed.revision)},
            "clusterID": self._identity["id"],
            "storeEpoch": self._identity["epoch"],
        }
        items = b",".join(entry.raw for entry in self._compute(name).values())
        return orjson.dumps(head)[:-1] + b',"items":[' + items + b"]}"

    def _bookmark(self, *, initial_end: bool = False) -> bytes:
        annotations = {"lattice.dev/cluster-id": self._identity["id"], "lattice.dev/store-epoch": str(self._identity["epoch"])}
        if initial_end:
            annotations["k8s.io/initial-events-end"] = "true"
        metadata = {"resourceVersion": str(self._feed.revision), "annotations": annotations}
        return event_line("BOOKMARK", orjson.dumps({"kind": "NodeDesired", "apiVersion": "lattice.dev/v1", "metadata": metadata}))

    # Changes

    def _on_change(self, change: Change) -> None:
        if not self._streams:
            return
        entry, previous = change.entry, change.previous
        for stream in self._streams:
            if not stream.dirty and self._concerns(stream, entry, previous):
                stream.dirty = True
        if not self._scheduled and any(stream.dirty for stream in self._streams):
            self._scheduled = True
            # After the feed has applied the whole transaction.
            asyncio.get_running_loop().call_soon(self._flush_dirty)

    def _concerns(self, stream: _Stream, entry: Entry, previous: Entry | None) -> bool:
        if entry.key in stream.shown or entry.key in stream.wanted:
            return True
        for state in (entry, previous):
            if state is not None and state.fields.get(NODE_FIELD) == stream.node:
                return True
        return entry.key.startswith(self._volumes.resource.prefix()) and self._volume_node(entry) == stream.node

    def _flush_dirty(self) -> None:
        self._scheduled = False
        for stream in tuple(self._streams):
            if stream.dirty:
                self._flush(stream)

    def _flush(self, stream: _Stream) -> None:
        """Bring one stream up to the caches."""
        stream.dirty = False
        present = self._compute(stream.node, stream.wanted)
        for key, entry in present.items():
            shown = stream.shown.get(key)
            if shown is not None and shown.uid != entry.uid:
                stream.watcher.push(event_line("DELETED", shown.raw))
                shown = None
            if shown is None:
                stream.watcher.push(event_line("ADDED", entry.raw))
            elif shown.revision != entry.revision:
                stream.watcher.push(event_line("MODIFIED", entry.raw))
        for key, shown in stream.shown.items():
            if key not in present:
                stream.watcher.push(event_line("DELETED", shown.raw))
        stream.shown = present

    def _on_tick(self, now_s: float) -> None:
        for stream in tuple(self._streams):
            if stream.watcher.ended:
                self._streams.pop(stream, None)
            elif stream.watcher.deadline_s is not None and now_s >= stream.watcher.deadline_s:
                stream.watcher.end()
            elif now_s >= stream.next_bookmark_s:
                stream.next_bookmark_s = now_s + BOOKMARK_PERIOD_S
                stream.watcher.push(self._bookmark())

    # Contents

    def _compute(self, name: str, wanted: set[str] | None = None) -> dict[str, Entry]:
        """Return what the node needs, dependencies before the Pods that use them. ``wanted`` is refilled with all keys named."""
        keys: dict[str, None] = {}
        pods = [entry for entry in self._pods.entries.values() if entry.fields.get(NODE_FIELD) == name]
        for entry in pods:
            for key in self._used_by(entry):
                keys[key] = None
        volumes = {key: entry for key, entry in self._volumes.entries.items() if self._volume_node(entry) == name}
        for key in tuple(keys):
            claim = self._claims.entries.get(key)
            if claim is not None and (volume_name := (claim.load().get("spec") or {}).get("volumeName")):
                volume_key = self._volumes.resource.key("", volume_name)
                keys[volume_key] = None
                if volume_key in self._volumes.entries:
                    volumes[volume_key] = self._volumes.entries[volume_key]
        if wanted is not None:
            wanted.clear()
            wanted.update(keys)
        found: dict[str, Entry] = {}
        for cache in (self._secrets, self._config_maps, self._claims):
            found.update((key, cache.entries[key]) for key in keys if key in cache.entries)
        found.update(volumes)
        found.update((entry.key, entry) for entry in pods)
        found.update((key, entry) for key, entry in self._tombstones.entries.items() if entry.fields.get(NODE_FIELD) == name)
        return found

    def _volume_node(self, entry: Entry) -> str:
        known = self._volume_nodes.get(entry.key)
        if known is None or known[0] != entry.revision:
            try:
                found = storage.PersistentVolume.model_validate_json(entry.raw).spec.node_name() or ""
            except ValueError:
                # The types are narrower than the schema here and there: one odd volume must not blind every node.
                logger.warning("a PersistentVolume cannot be read, so no node is shown it", extra={"volume": entry.name})
                found = ""
            known = self._volume_nodes[entry.key] = (entry.revision, found)
        return known[1]

    def _used_by(self, entry: Entry) -> tuple[str, ...]:
        known = self._uses.get(entry.key)
        if known is None or known[0] != entry.revision:
            known = self._uses[entry.key] = (entry.revision, tuple(self._references(entry)))
            if len(self._uses) > 2 * len(self._pods.entries) + 100:
                self._uses = {key: value for key, value in self._uses.items() if key in self._pods.entries}
        return known[1]

    def _references(self, entry: Entry) -> list[str]:
        spec = entry.load().get("spec") or {}
        found: list[tuple[Resource, str]] = []
        secret, config, claim = self._secrets.resource, self._config_maps.resource, self._claims.resource
        for volume in spec.get("volumes") or ():
            found += [
                (secret, (volume.get("secret") or {}).get("secretName", "")),
                (config, (volume.get("configMap") or {}).get("name", "")),
                (claim, (volume.get("persistentVolumeClaim") or {}).get("claimName", "")),
            ]
            for source in (volume.get("projected") or {}).get("sources") or ():
                found += [(secret, (source.get("secret") or {}).get("name", "")), (config, (source.get("configMap") or {}).get("name", ""))]
        for container in (one for kind in _CONTAINERS for one in spec.get(kind) or ()):
            for variable in container.get("env") or ():
                source = variable.get("valueFrom") or {}
                found += [
                    (secret, (source.get("secretKeyRef") or {}).get("name", "")),
                    (config, (source.get("configMapKeyRef") or {}).get("name", "")),
                ]
            for whole in container.get("envFrom") or ():
                found += [
                    (secret, (whole.get("secretRef") or {}).get("name", "")),
                    (config, (whole.get("configMapRef") or {}).get("name", "")),
                ]
        found += [(secret, reference.get("name", "")) for reference in spec.get("imagePullSecrets") or ()]
        return [resource.key(entry.namespace, name) for resource, name in found if name]


class _Stream:
    """One agent's connection."""

    def __init__(self, node_name: str, watcher: Watcher, next_bookmark_s: float) -> None:
        self.node = node_name
        self.watcher = watcher
        self.next_bookmark_s = next_bookmark_s
        self.shown: dict[str, Entry] = {}
        self.wanted: set[str] = set()
        self.dirty = False
