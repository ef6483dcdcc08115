"""``metrics.k8s.io``: what nodes and Pods use now, asked of the agents over their control lines when a client asks. Nothing is stored.

Called by ``handlers.py`` for the resources of the group, and by ``server.py`` before a request is routed: the group is announced only while
there is a Node, for ``kubectl top`` takes the group for the promise that somebody measures. As metrics-server does, a list leaves out what
is not known now (a node that does not answer), and one object that is not known is 404.

What an agent says is not believed beyond its own: of Pods only those that are bound to it, and of those only their own containers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final, Protocol

import orjson

from controller.apiserver import metadata, selection
from controller.apiserver.registry import Registry
from controller.apiserver.request import ApiResponse, RequestInfo
from controller.apiserver.resources import Resource, ResourceTable
from controller.apiserver.views import View
from controller.apiserver.watchcache import Entry
from lattice.api import errors, line, meta, metrics, node, pod, schema
from lattice.machinery.clock import Clock

logger = logging.getLogger(__name__)

ASK_S: Final = 5.0
"""How long a node may take. It measures for a second, on a busy machine for two or three."""
KEPT_S: Final = 3.0
"""An answer so young is given again: ten people who watch ask an agent once."""
_ASKED: Final = 64
"""Nodes that are asked at a time."""
_KIB: Final = 1024


class Lines(Protocol):
    """The way to the agents (``controller.relay.lines``)."""

    async def ask(self, node: str, question: Mapping[str, Any], *, timeout_s: float = ...) -> Any:
        """Ask an agent."""


def resources() -> tuple[Resource, ...]:
    """Return the rows of the group."""
    columns = (
        {"name": "CPU", "type": "string", "jsonPath": ".usage.cpu"},
        {"name": "Memory", "type": "string", "jsonPath": ".usage.memory"},
    )
    window = {"name": "Window", "type": "string", "jsonPath": ".window"}
    kinds: tuple[tuple[type[meta.Object], tuple[Mapping[str, Any], ...]], ...] = (
        (metrics.NodeMetrics, (*columns, window)),
        (metrics.PodMetrics, (window,)),
    )
    return tuple(
        Resource(
            group=kind.GROUP,
            version=kind.VERSION,
            kind=kind.KIND,
            list_kind=f"{kind.KIND}List",
            plural=kind.PLURAL,
            singular="",
            namespaced=kind.NAMESPACED,
            schema=schema.object_schema(kind),
            verbs=("get", "list"),
            virtual=True,
            columns=shown,
            type=kind,
        )
        for kind, shown in kinds
    )


class Usage:
    """See the module's docstring.

    Args:
        table: where the group is announced.
        registry: nodes and Pods.
        lines: to the agents.
        clock: how old an answer is.
    """

    def __init__(self, table: ResourceTable, registry: Registry, lines: Lines, clock: Clock) -> None:
        self._table = table
        self._registry = registry
        self._lines = lines
        self._clock = clock
        self._nodes = table.of(node.Node)
        self._pods = table.of(pod.Pod)
        self._rows = resources()
        self._announced = False
        self._asked: dict[str, tuple[float, asyncio.Future[dict[str, Any]]]] = {}
        """Node to when it was asked and its answer: of the last :data:`KEPT_S`, or under way."""

    def announce(self) -> None:
        """Have the group in the table while there is a Node. Cheap: called for every request."""
        there = bool(self._registry.cache(self._nodes).entries)
        if there is self._announced:
            return
        self._announced = there
        for row in self._rows:
            self._table.replace(row.group, row.plural, [row] if there else [])

    async def answer(self, info: RequestInfo, resource: Resource, query: Mapping[str, str], view: View | None) -> ApiResponse:
        """Answer a ``get`` or ``list``.

        Raises:
            errors.NotFoundError: the object's usage is not known.
            errors.BadRequestError: a selector cannot be read.
        """
        of_nodes = resource.type is metrics.NodeMetrics
        source = self._nodes if of_nodes else self._pods
        chosen = selection.parse_selection(source, info.namespace if source.namespaced else "", query)
        entries = [
            entry
            for entry in self._registry.cache(source).entries.values()
            if (not source.namespaced or not info.namespace or entry.namespace == info.namespace)
            and (entry.name == info.name if info.name else chosen.matches(entry))
        ]
        items = await (self._of_nodes(entries) if of_nodes else self._of_pods(entries))
        if info.name:
            if not items:
                kind = "nodemetrics" if of_nodes else "podmetrics"
                details = {"name": info.name, "group": metrics.GROUP, "kind": kind}
                named = info.name if of_nodes else f"{info.namespace}/{info.name}"
                raise errors.NotFoundError(f'{kind}.{metrics.GROUP} "{named}" not found', details=details)
            return ApiResponse(200, orjson.dumps(items[0]))
        return _listed(resource, items, view)

    async def _of_nodes(self, entries: list[Entry]) -> list[dict[str, Any]]:
        answers = await self._ask_all(entry.name for entry in entries)
        found = []
        for entry in sorted(entries, key=lambda one: one.name):
            said = answers.get(entry.name, {})
            if (measured := _usage_of(said.get("node"))) is not None and (at := _time_of(said)):
                used, window = measured
                found.append(_object(metrics.NodeMetrics, entry, at, window, {"usage": used}))
        return found

    async def _of_pods(self, entries: list[Entry]) -> list[dict[str, Any]]:
        bound = [(entry, name) for entry in entries if (name := entry.fields.get("spec.nodeName"))]
        answers = await self._ask_all(name for _, name in bound)
        told = {name: _pods_of(said) for name, said in answers.items()}
        found = []
        for entry, name in sorted(bound, key=lambda one: (one[0].namespace, one[0].name)):
            measured = told.get(name, {}).get(entry.uid)
            if not measured or not (at := _time_of(answers[name])):
                continue
            allowed = _containers_of(entry)
            listed = [{"name": each, "usage": used} for each, (used, _) in measured.items() if each in allowed]
            if listed:
                window = next(iter(measured.values()))[1]
                found.append(_object(metrics.PodMetrics, entry, at, window, {"containers": listed}))
        return found

    async def _ask_all(self, names: Iterable[str]) -> dict[str, dict[str, Any]]:
        limit = asyncio.Semaphore(_ASKED)

        async def one(name: str) -> dict[str, Any]:
            async with limit:
                return await self._ask(name)

        wanted = sorted(set(names))
        return dict(zip(wanted, await asyncio.gather(*(one(name) for name in wanted)), strict=True))

    async def _ask(self, name: str) -> dict[str, Any]:
        """Return a node's answer, empty if it gives none."""
        now_s = self._clock.monotonic()
        for old in [each for each, (at_s, future) in self._asked.items() if future.done() and now_s - at_s >= KEPT_S]:
            del self._asked[old]
        known = self._asked.get(name)
        if known is not None:
            return await asyncio.shield(known[1])
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._asked[name] = (now_s, future)
        answer: dict[str, Any] = {}
        try:
            said = await self._lines.ask(name, {"kind": line.USAGE}, timeout_s=ASK_S)
            answer = said if isinstance(said, dict) else {}
        except errors.LatticeError as error:
            logger.debug("a node does not say what it uses", extra={"node": name, "error": str(error)[:200]})
        finally:
            if not answer:  # also when who asked went away: the next may have more luck
                self._asked.pop(name, None)
            future.set_result(answer)
        return answer


def _object(kind: type[meta.Object], entry: Entry, at: datetime, window: str, more: Mapping[str, Any]) -> dict[str, Any]:
    head: dict[str, Any] = {"name": entry.name}
    if entry.namespace:
        head["namespace"] = entry.namespace
    head["creationTimestamp"] = metadata.timestamp(at)
    if entry.labels:
        head["labels"] = entry.labels
    return {
        "kind": kind.KIND,
        "apiVersion": kind.group_version(),
        "metadata": head,
        "timestamp": metadata.timestamp(at),
        "window": window,
        **more,
    }


def _listed(resource: Resource, items: list[dict[str, Any]], view: View | None) -> ApiResponse:
    head: dict[str, Any] = {"resourceVersion": ""}
    raws = [orjson.dumps(item) for item in items]
    if view is not None:
        return ApiResponse(200, view.head(head), items=[view.item(raw) for raw in raws])
    start = orjson.dumps({"kind": resource.list_kind, "apiVersion": resource.group_version, "metadata": {}, "items": []})
    return ApiResponse(200, start[:-2], items=raws)


# What an agent says: whatever is not of the right shape is not said.


def _usage_of(value: Any) -> tuple[dict[str, str], str] | None:
    if not isinstance(value, dict):
        return None
    cpu, memory, window_s = value.get("cpuNanocores"), value.get("memoryBytes"), value.get("windowSeconds")
    if type(cpu) is not int or type(memory) is not int or not isinstance(window_s, int | float) or isinstance(window_s, bool):
        return None
    if not (0 <= cpu < 2**63 and 0 <= memory < 2**63 and 0 < window_s < 1e6):
        return None
    return {"cpu": f"{cpu}n", "memory": f"{memory // _KIB}Ki"}, f"{window_s:.3f}".rstrip("0").rstrip(".") + "s"


def _time_of(said: Mapping[str, Any]) -> datetime | None:
    try:
        found = datetime.fromisoformat(said["at"])
    except (KeyError, TypeError, ValueError):
        return None
    return found if found.tzinfo is not None else None


def _pods_of(said: Mapping[str, Any]) -> dict[str, dict[str, tuple[dict[str, str], str]]]:
    """Return uid of a Pod to name of a container to its usage."""
    found: dict[str, dict[str, tuple[dict[str, str], str]]] = {}
    listed = said.get("pods")
    for each in listed if isinstance(listed, list) else ():
        containers = each.get("containers") if isinstance(each, dict) else None
        if not isinstance(containers, list) or not isinstance(each.get("uid"), str):
            continue
        for one in containers:
            if isinstance(one, dict) and isinstance(one.get("name"), str) and (measured := _usage_of(one)) is not None:
                found.setdefault(each["uid"], {})[one["name"]] = measured
    return found


def _containers_of(entry: Entry) -> set[str]:
    spec = entry.load().get("spec") or {}
    lists = (spec.get(field) or () for field in ("containers", "initContainers", "ephemeralContainers"))
    return {container["name"] for containers in lists for container in containers}
