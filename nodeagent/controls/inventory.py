"""What this agent has on the engine, and what of it the server does not know. Pure.

From it are made the listing that ``lattice node prune`` and ``lattice node leave`` show, and, after a person has said yes to exactly that
listing (``digest``), what they remove. Containers, volumes and networks without this node's label are not even looked at.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from lattice.api import pod
from nodeagent.runtime import base


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """Something that can be removed."""

    kind: str
    """``container``, ``volume``, ``network``, ``pod`` or ``directory``."""
    id: str
    """What the engine knows it by."""
    name: str
    """What a person knows it by."""
    why: str = ""
    running: bool = False
    data: bool = False
    """It holds data that somebody may want: removed on a second word only."""

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {"kind": self.kind, "id": self.id, "name": self.name, "why": self.why, "running": self.running, "data": self.data}


def digest(items: Iterable[Item]) -> str:
    """Return what names a listing: the same for the same things in any order."""
    return hashlib.sha256(orjson.dumps(sorted((item.kind, item.id) for item in items))).hexdigest()[:16]


def container_item(container: base.Container, why: str) -> Item:
    """Return a container as an item."""
    labels = container.labels
    where = f"{labels.get(base.LABEL_POD_NAMESPACE, '?')}/{labels.get(base.LABEL_POD_NAME, '?')}"
    name = f"{where} {labels.get(base.LABEL_CONTAINER, '')}".strip()
    return Item(kind="container", id=container.id, name=name, why=why, running=container.state is base.ContainerState.RUNNING)


def unknown_to_server(
    containers: Iterable[base.Container],
    volumes: Mapping[str, Mapping[str, str]],
    *,
    pods: Collection[str],
    ended: Collection[str],
    data_volumes: Collection[str],
) -> tuple[Item, ...]:
    """Return what of ours the server does not know.

    Args:
        containers: this node's.
        volumes: this node's Docker volumes, name to labels.
        pods: uids that the server has bound here, by its last whole answer.
        ended: uids that are being put away on the server's word (tombstones): not ours to hurry.
        data_volumes: Docker volumes of the PersistentVolumes that the server has for this node.
    """
    items = []
    for container in containers:
        uid = container.labels.get(base.LABEL_POD_UID, "")
        if uid not in pods and uid not in ended:
            items.append(container_item(container, "the server has no such Pod on this node"))
    for name, labels in volumes.items():
        uid = labels.get(base.LABEL_POD_UID, "")
        if uid and uid not in pods and uid not in ended:
            items.append(Item(kind="volume", id=name, name=name, why="scratch space of a Pod that the server does not have on this node"))
        elif not uid and name not in data_volumes:
            why = "the server has no PersistentVolume for it on this node"
            items.append(Item(kind="volume", id=name, name=name, why=why, data=True))
    return tuple(sorted(items, key=lambda item: (item.kind, item.name, item.id)))


def everything(
    containers: Iterable[base.Container], volumes: Mapping[str, Mapping[str, str]], networks: Mapping[str, str], directories: Iterable[str]
) -> tuple[Item, ...]:
    """Return all that is ours: for leaving."""
    items = [container_item(container, "") for container in containers]
    for name, labels in volumes.items():
        scratch = bool(labels.get(base.LABEL_POD_UID))
        items.append(Item(kind="volume", id=name, name=name, why="scratch space" if scratch else "", data=not scratch))
    items += [Item(kind="network", id=identity, name=name) for identity, name in networks.items()]
    items += [Item(kind="directory", id=path, name=path) for path in directories]
    return tuple(sorted(items, key=lambda item: (item.kind, item.name, item.id)))


def pod_items(pods: Iterable[pod.Pod]) -> tuple[Item, ...]:
    """Return the Pods that have to go elsewhere; one that nobody would make again says so."""
    items = []
    for each in pods:
        owner = next((ref for ref in each.metadata.owner_references if ref.controller), None)
        why = f"its {owner.kind} {owner.name} makes another one" if owner else "nobody makes another one: it is lost (--force)"
        name = f"{each.metadata.namespace}/{each.name}"
        items.append(Item(kind="pod", id=each.uid, name=name, why=why, running=True, data=owner is None))
    return tuple(sorted(items, key=lambda item: item.name))
