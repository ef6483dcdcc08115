"""The watch cache: the present objects of one resource as bytes, its recent events, and the watchers that they go to.

Fed by one :class:`controller.apiserver.feed.Feed` per store. An event is encoded once, however many watchers read it; watchers of
Pods of one node are found by index. A watcher that does not keep pace is cut, never waited for. Single-threaded: every method runs to
its end without an ``await``, so a snapshot and the registration of a watcher are one step and nothing falls between them.
"""

from __future__ import annotations

import asyncio
import bisect
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import orjson

from controller.apiserver import selection
from controller.apiserver.compiled import codec_of
from controller.apiserver.encoding import Codec
from controller.apiserver.resources import Resource
from controller.store import base

EventType = Literal["ADDED", "MODIFIED", "DELETED"]

RING_EVENTS: Final = 2048
RING_BYTES: Final = 2 * 1024 * 1024
"""Events kept per resource, and what they may take, for watches that resume; older positions are replayed from the store."""
MAX_PENDING_LINES: Final = 16_384
MAX_PENDING_BYTES: Final = 64 * 1024 * 1024
"""A watcher with more than this unread is cut."""
_TAKEN_BYTES: Final = 1024 * 1024
"""A reader is given about so much at a time: what it is given is copied and encrypted in one go."""
NODE_FIELD: Final = "spec.nodeName"


@dataclass(frozen=True, slots=True)
class Entry:
    """One object: its served bytes and the projection that selections need."""

    key: str
    namespace: str
    name: str
    revision: int
    raw: bytes
    labels: dict[str, str]
    fields: dict[str, str]
    uid: str
    deleting: bool
    owners: tuple[str, ...]

    def load(self) -> dict[str, Any]:
        """Return a fresh decoded copy."""
        obj: dict[str, Any] = orjson.loads(self.raw)
        return obj


class Projector:
    """Makes entries of one resource from store records."""

    def __init__(self, resource: Resource, codec: Codec) -> None:
        self.resource = resource
        self._codec = codec

    def entry(self, record: base.Record, revision: int | None = None) -> Entry:
        """Return the entry of a record; ``revision`` overrides its own (a deletion's)."""
        obj, value = self._codec.read(record.value)
        metadata = obj["metadata"]
        at = record.mod_revision if revision is None else revision
        return Entry(
            key=record.key,
            namespace=metadata.get("namespace", ""),
            name=metadata["name"],
            revision=at,
            raw=self._codec.served(value, at),
            labels=metadata.get("labels") or {},
            fields=selection.project(self.resource, obj) if self.resource.selectable else {},
            uid=metadata.get("uid", ""),
            deleting="deletionTimestamp" in metadata,
            owners=tuple(owner.get("uid", "") for owner in metadata.get("ownerReferences") or ()),
        )


@dataclass(slots=True)
class Change:
    """One event of one object. ``entry`` of a deletion is the last state with the deletion's revision."""

    type: EventType
    entry: Entry
    previous: Entry | None
    _lines: dict[EventType, bytes] = field(default_factory=dict)

    def line_for(self, chosen: selection.Selection) -> bytes | None:
        """Return the line for a watcher of ``chosen``: an object that starts to match is ADDED, one that stops is DELETED."""
        if chosen.everything and (not chosen.namespace or chosen.namespace == self.entry.namespace):
            return self._line(self.type)
        now = self.type != "DELETED" and chosen.matches(self.entry)
        before = self.previous is not None and chosen.matches(self.previous)
        if now:
            return self._line("MODIFIED" if before else "ADDED")
        if not before:
            return None
        return self._line("DELETED") if self.type == "DELETED" else self._left()

    def forget_lines(self) -> None:
        """Keep no lines: all who watch have theirs, and whoever resumes from here has them made again."""
        self._lines.clear()

    def _left(self) -> bytes:
        """Return the line for those whom the object has left: as they knew it, at this event's revision."""
        line = self._lines.get("DELETED")
        if line is None:
            assert self.previous is not None
            obj = self.previous.load()
            obj["metadata"]["resourceVersion"] = str(self.entry.revision)
            line = self._lines["DELETED"] = event_line("DELETED", orjson.dumps(obj))
        return line

    def _line(self, kind: EventType) -> bytes:
        line = self._lines.get(kind)
        if line is None:
            line = self._lines[kind] = event_line(kind, self.entry.raw)
        return line


def event_line(kind: str, raw: bytes) -> bytes:
    """Return one line of a watch."""
    return b'{"type":"%b","object":%b}\n' % (kind.encode(), raw)


class Watcher:
    """One reader's queue of lines. ``chosen`` ``None``: gets nothing by itself (the desired view fills it)."""

    def __init__(self, chosen: selection.Selection, *, bookmarks: bool, max_lines: int = MAX_PENDING_LINES) -> None:
        self.chosen = chosen
        self.bookmarks = bookmarks
        self.deadline_s: float | None = None
        self.warned = False
        """Whether the bookmark before the deadline has been sent."""
        self.cut = False
        self.ended = False
        self._max_lines = max_lines
        self._lines: deque[bytes] = deque()
        self._size_bytes = 0
        self._wake = asyncio.Event()
        self._on_cut: Callable[[], None] | None = None

    def push(self, line: bytes) -> None:
        """Queue a line; too many unread lines cut the watcher."""
        if self.ended:
            return
        self._lines.append(line)
        self._size_bytes += len(line)
        if len(self._lines) > self._max_lines or self._size_bytes > MAX_PENDING_BYTES:
            self.drop()
        self._wake.set()

    def drop(self) -> None:
        """Give the reader up: what is unread is lost to it, and it has to list or resume."""
        self.cut = True
        self._lines.clear()
        self.end()
        if self._on_cut is not None:
            self._on_cut()

    def end(self) -> None:
        """End the stream after what is queued."""
        self.ended = True
        self._wake.set()

    def on_cut(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` when the reader is given up."""
        self._on_cut = callback

    async def take(self) -> list[bytes]:
        """Return the next queued lines, waiting for the first; empty means the end."""
        while not self._lines:
            if self.ended:
                return []
            self._wake.clear()
            await self._wake.wait()
        lines, size_bytes = [], 0
        while self._lines and size_bytes < _TAKEN_BYTES:
            lines.append(self._lines.popleft())
            size_bytes += len(lines[-1])
        self._size_bytes -= size_bytes
        return lines


class ResourceCache:
    """See the module's docstring."""

    def __init__(self, resource: Resource, *, ring_events: int = RING_EVENTS, ring_bytes: int = RING_BYTES) -> None:
        self.resource = resource
        self.codec = codec_of(resource)
        self.projector = Projector(resource, self.codec)
        self.entries: dict[str, Entry] = {}
        self.floor = 0
        """Positions from here on can be resumed from the ring."""
        self.listeners: list[Callable[[Change], None]] = []
        """Called with every change, in order: the desired views."""
        self._keys: list[str] = []
        self._ring: deque[Change] = deque()
        self._ring_events = ring_events
        self._ring_bytes = ring_bytes
        self._ring_size_bytes = 0
        self._watchers: dict[Watcher, None] = {}
        self._by_node: dict[str, dict[Watcher, None]] = {}

    def reset(self, records: Iterable[base.Record], revision: int) -> None:
        """Replace everything by a list at ``revision``; watchers are dropped, for they may have missed something."""
        self.entries = {record.key: self.projector.entry(record) for record in records}
        self._keys = sorted(self.entries, key=str.encode)
        self._ring.clear()
        self._ring_size_bytes = 0
        self.floor = revision
        for watcher in self.watchers():
            watcher.drop()

    def apply(self, event: base.StoreEvent) -> Change | None:
        """Take in one event of the store and hand it on; return what it changed."""
        previous = self.entries.get(event.key)
        if event.record is None:
            if event.previous is None or previous is None:
                return None
            change = Change("DELETED", self.projector.entry(event.previous, event.revision), previous)
            del self.entries[event.key]
            del self._keys[bisect.bisect_left(self._keys, event.key)]
        else:
            entry = self.projector.entry(event.record)
            change = Change("ADDED" if previous is None else "MODIFIED", entry, previous)
            self.entries[event.key] = entry
            if previous is None:
                bisect.insort(self._keys, event.key)
        self._ring.append(change)
        self._ring_size_bytes += len(change.entry.raw)
        while len(self._ring) > self._ring_events or (self._ring_size_bytes > self._ring_bytes and len(self._ring) > 1):
            oldest = self._ring.popleft().entry
            self._ring_size_bytes -= len(oldest.raw)
            self.floor = oldest.revision
        self._dispatch(change)
        change.forget_lines()
        return change

    def _dispatch(self, change: Change) -> None:
        for listener in self.listeners:
            listener(change)
        for watcher in tuple(self._watchers):
            if (line := change.line_for(watcher.chosen)) is not None:
                watcher.push(line)
        if self._by_node:
            nodes = {change.entry.fields.get(NODE_FIELD, "")}
            if change.previous is not None:
                nodes.add(change.previous.fields.get(NODE_FIELD, ""))
            for node in nodes:
                for watcher in tuple(self._by_node.get(node, ())):
                    if (line := change.line_for(watcher.chosen)) is not None:
                        watcher.push(line)

    @property
    def newest(self) -> int:
        """The revision of the last event that was handed on."""
        return self._ring[-1].entry.revision if self._ring else self.floor

    def select(self, chosen: selection.Selection) -> Iterator[Entry]:
        """Yield the selected entries in key order."""
        name = chosen.exact("metadata.name")
        if name is not None and (chosen.namespace or not self.resource.namespaced):
            entry = self.entries.get(self.resource.key(chosen.namespace, name))
            if entry is not None and chosen.matches(entry):
                yield entry
            return
        for key in self._range(chosen.namespace):
            entry = self.entries[key]
            if chosen.everything or chosen.matches(entry):
                yield entry

    def select_at(self, chosen: selection.Selection, revision: int) -> list[Entry]:
        """Return the selected entries in key order as they were at ``revision``, which must not be below ``floor``."""
        undone: dict[str, Entry | None] = {}
        for change in reversed(self._ring):
            if change.entry.revision <= revision:
                break
            undone[change.entry.key] = change.previous
        if not undone:
            return list(self.select(chosen))
        found = [entry for entry in self.select(chosen) if entry.key not in undone]
        found += [entry for entry in undone.values() if entry is not None and chosen.matches(entry)]
        found.sort(key=lambda entry: entry.key.encode())
        return found

    def _range(self, namespace: str) -> list[str]:
        if not namespace:
            return self._keys
        prefix = self.resource.prefix(namespace)
        start = bisect.bisect_left(self._keys, prefix)
        return self._keys[start : bisect.bisect_left(self._keys, prefix[:-1] + "0", start)]  # "0" follows "/"

    def since(self, revision: int) -> Iterator[Change]:
        """Yield the ring's changes after ``revision``, which must not be below ``floor``."""
        for change in self._ring:
            if change.entry.revision > revision:
                yield change

    def add(self, watcher: Watcher) -> None:
        """Register a watcher for everything from now on."""
        node = watcher.chosen.exact(NODE_FIELD)
        if node is None:
            self._watchers[watcher] = None
        else:
            self._by_node.setdefault(node, {})[watcher] = None

    def remove(self, watcher: Watcher) -> None:
        """Forget a watcher. Idempotent."""
        self._watchers.pop(watcher, None)
        node = watcher.chosen.exact(NODE_FIELD)
        if node is not None and (found := self._by_node.get(node)) is not None:
            found.pop(watcher, None)
            if not found:
                del self._by_node[node]

    def watchers(self) -> list[Watcher]:
        """Return all registered watchers."""
        return [*self._watchers, *(watcher for found in self._by_node.values() for watcher in found)]

    def bookmark(self, revision: int, *, initial_end: bool = False) -> bytes:
        """Return the bookmark line that says: everything up to ``revision`` has been sent."""
        metadata: dict[str, Any] = {"resourceVersion": str(revision)}
        if initial_end:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        head = {"kind": self.resource.kind, "apiVersion": self.resource.group_version}
        return event_line("BOOKMARK", orjson.dumps({**head, "metadata": metadata}))
