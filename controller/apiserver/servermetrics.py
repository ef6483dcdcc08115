"""``GET /metrics`` of the server, and its counts of requests. Names are kube-apiserver's where it has the same.

``server.py`` calls :meth:`ServerMetrics.count` for each answer (a microsecond) and :meth:`ServerMetrics.text` for a scrape, which takes the
rights that reading any path takes. Labels are bounded: a resource counts by its name only if it is served, a verb if it is known.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import Final

from controller.apiserver.request import Answer, ApiResponse, RequestInfo
from controller.apiserver.resources import ResourceTable
from controller.apiserver.watchcache import ResourceCache
from lattice.machinery.exposition import PROCESS, Distribution, Metric, Sample, process_samples, render
from lattice.version import VERSION

REQUESTS: Final = Metric(
    "apiserver_request_total", "counter", "Answered requests.", ("verb", "group", "version", "resource", "subresource", "code")
)
DURATION: Final = Metric(
    "apiserver_request_duration_seconds", "histogram", "How long answers took, without watches and streams.", ("verb",)
)
OBJECTS: Final = Metric("apiserver_storage_objects", "gauge", "Stored objects, by kind.", ("resource",))
INFO: Final = Metric("lattice_server_info", "gauge", "Always 1; the labels say which server this is.", ("version", "cluster"))
LINES: Final = Metric("lattice_server_node_lines", "gauge", "Nodes whose agents this process can ask.")
STREAMS: Final = Metric("lattice_server_streams", "gauge", "Open streams to nodes: logs, exec, attach, port-forward.")
REVISION: Final = Metric("lattice_server_revision", "gauge", "Revision that the caches have reached, by store.", ("store",))
SYNCED: Final = Metric("lattice_server_synced", "gauge", "1 while the caches follow the store, else 0.", ("store",))

METRICS: Final[tuple[Metric, ...]] = (REQUESTS, DURATION, OBJECTS, INFO, LINES, STREAMS, REVISION, SYNCED, *PROCESS)

PATH: Final = "/metrics"
_BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_VERBS: Final = frozenset(
    {"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "head", "post", "put", "options"}
)


class ServerMetrics:
    """See the module's docstring."""

    def __init__(self, table: ResourceTable) -> None:
        self._table = table
        self._requests: dict[tuple[str, ...], int] = {}
        self._durations: dict[str, list[int]] = {}
        self._totals: dict[str, float] = {}

    def count(self, info: RequestInfo | None, answer: Answer, seconds: float) -> None:
        """Count an answer. ``info`` is ``None`` where the request was refused before it was known what it asks for."""
        verb = info.verb if info is not None and info.verb in _VERBS else "other"
        what = ("", "", "", "")
        if info is not None and info.resource:
            resource = self._table.find(info.group, info.version, info.resource)
            if resource is not None:
                sub = info.subresource if info.subresource in resource.subresources else ""
                what = (info.group, info.version, info.resource, sub)
        code = str(answer.status) if hasattr(answer, "status") else "101"
        key = (verb, *what, code)
        self._requests[key] = self._requests.get(key, 0) + 1
        if isinstance(answer, ApiResponse):
            counts = self._durations.setdefault(verb, [0] * (len(_BOUNDS) + 1))
            counts[bisect_left(_BOUNDS, seconds)] += 1
            self._totals[verb] = self._totals.get(verb, 0.0) + seconds

    def text(
        self, *, cluster_id: str, lines: int, streams: int, feeds: Mapping[str, tuple[int, bool]], caches: Mapping[str, ResourceCache]
    ) -> bytes:
        """Return all metrics. ``feeds``: store to revision and whether it is synced; ``caches``: qualified plural to its objects."""
        return render(
            {
                REQUESTS: [Sample(count, key) for key, count in sorted(self._requests.items())],
                DURATION: [
                    Distribution(_BOUNDS, counts, round(self._totals[verb], 6), (verb,)) for verb, counts in sorted(self._durations.items())
                ],
                OBJECTS: [Sample(len(cache.entries), (name,)) for name, cache in sorted(caches.items())],
                INFO: [Sample(1, (VERSION, cluster_id))],
                LINES: [Sample(lines)],
                STREAMS: [Sample(streams)],
                REVISION: [Sample(revision, (name,)) for name, (revision, _) in sorted(feeds.items())],
                SYNCED: [Sample(int(synced), (name,)) for name, (_, synced) in sorted(feeds.items())],
                **process_samples(),
            }
        )
