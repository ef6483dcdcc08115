"""The caches that the scheduler and all reconcilers share: one informer for each kind.

Built once by ``controller/controllers.py``. Each informer keeps :class:`~controller.facts.Facts` of its objects, with the scheduler's
view of Pods, Nodes, claims and volumes in ``detail``. Indexes: ``owner`` (uids of the owners) for every kind; ``workload``
(``namespace/workload name``, from the label) and ``claim`` (``namespace/claim name``) for Pods; ``workload`` for claims;
``password-secret`` (``namespace/secret name``) for Workloads that take a password from a Secret.

Events have no informer: there are many, and nothing here depends on them. Kinds that users add: ``customkinds.py``.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from controller.customkinds import CustomKinds
from controller.definitionfacts import parse_definition, slim_definition
from controller.facts import INDEX_OWNER, Facts, facts_with, owner_uids
from controller.scheduler import model
from lattice.api import customresource, event, meta, names, node, pod, scheme, storage, workload
from lattice.client import listwatch
from lattice.client.client import Client
from lattice.machinery.clock import Clock
from lattice.machinery.entry import Document, IndexFn
from lattice.machinery.informer import Informer

INDEX_WORKLOAD = "workload"
INDEX_CLAIM = "claim"
INDEX_PASSWORD_SECRET = "password-secret"  # noqa: S105 - the name of an index

AnyInformer: TypeAlias = Informer[Facts[Any]]

_NOT_CACHED: frozenset[type[meta.Object]] = frozenset({event.Event})


class Informers:
    """One informer a kind; ``all`` and ``custom`` are what somebody must run."""

    def __init__(self, client: Client, *, clock: Clock, rng: random.Random) -> None:
        self._by_kind: dict[type[meta.Object], AnyInformer] = {}
        for kind in scheme.KINDS:
            if kind in _NOT_CACHED:
                continue
            self._by_kind[kind] = Informer(
                kind.PLURAL,
                _list_watch(client, kind),
                clock=clock,
                rng=rng,
                project=facts_with(_PROJECTIONS.get(kind, _nothing)),
                index_by={INDEX_OWNER: owner_uids, **_INDEXES.get(kind, {})},
            )
        self.custom = CustomKinds(client, self._by_kind[customresource.CustomResourceDefinition], clock=clock, rng=rng)
        """The kinds that users add, whose informers come and go. Somebody must run it too."""

    @property
    def all(self) -> tuple[AnyInformer, ...]:
        """Every informer."""
        return tuple(self._by_kind.values())

    def of(self, kind: type[meta.Object]) -> AnyInformer:
        """Return the informer of a kind."""
        return self._by_kind[kind]

    def items(self) -> tuple[tuple[type[meta.Object], AnyInformer], ...]:
        """Return kinds and informers."""
        return tuple(self._by_kind.items())


def _list_watch(client: Client, kind: type[meta.Object]) -> listwatch.ListWatch:
    if kind is customresource.CustomResourceDefinition:
        return listwatch.SlimListWatch(client, kind, slim_definition)
    return listwatch.ListWatch(client, kind)


def _nothing(document: Document) -> None:
    return None


def _workload_label(document: Document) -> tuple[str, ...]:
    metadata = document["metadata"]
    name = (metadata.get("labels") or {}).get(names.LABEL_WORKLOAD)
    return (f"{metadata.get('namespace', '')}/{name}",) if name else ()


def _claims(document: Document) -> tuple[str, ...]:
    namespace = document["metadata"].get("namespace", "")
    return tuple(f"{namespace}/{name}" for name in model.project_pod(document).claims)


def _password_secret(document: Document) -> tuple[str, ...]:
    preset = (document.get("spec") or {}).get("preset") or {}
    name = (preset.get("passwordSecretRef") or {}).get("name")
    return (f"{document['metadata'].get('namespace', '')}/{name}",) if name else ()


_PROJECTIONS: Mapping[type[meta.Object], Callable[[Document], Any]] = {
    customresource.CustomResourceDefinition: parse_definition,
    pod.Pod: model.project_pod,
    node.Node: model.project_node,
    storage.PersistentVolumeClaim: model.project_claim,
    storage.PersistentVolume: model.project_volume,
}
_INDEXES: Mapping[type[meta.Object], Mapping[str, IndexFn]] = {
    pod.Pod: {INDEX_WORKLOAD: _workload_label, INDEX_CLAIM: _claims},
    storage.PersistentVolumeClaim: {INDEX_WORKLOAD: _workload_label},
    workload.Workload: {INDEX_PASSWORD_SECRET: _password_secret},
}
