"""Admission: the last checks before a write, with the user and both states of the object in hand.

A chain of functions; each returns or raises. ``NamespaceLifecycle``: nothing new in a namespace that is absent or ends.
``NodeRestriction``: what ``authz.py`` allowed a node by name is checked against the object. Later links (quota, limit ranges, webhooks)
are appended to ``ADMISSION`` chains by the composition.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from controller.apiserver import definitions
from controller.apiserver.authz import node_name_of, role_of
from controller.apiserver.feed import Feed
from controller.apiserver.request import User
from controller.apiserver.resources import Resource, ResourceTable, StoreName
from lattice.api import errors, names, namespace, pod, storage

Object = dict[str, Any]
_MAX_RECORD_DIGITS: Final = 18
_PROTECTED: Final = frozenset(names.BOOTSTRAP_NAMESPACES)
_RESTRICTED_LABEL: Final = "node-restriction.kubernetes.io/"


class Link(Protocol):
    """One link of the chain."""

    async def admit(self, verb: str, resource: Resource, subresource: str, user: User, new: Object | None, old: Object | None) -> None:
        """Return, or raise."""
        ...


class Chain:
    """Runs its links in order."""

    def __init__(self, *links: Link) -> None:
        self._links = links

    async def admit(self, verb: str, resource: Resource, subresource: str, user: User, new: Object | None, old: Object | None) -> None:
        """Return if every link does."""
        for link in self._links:
            await link.admit(verb, resource, subresource, user, new, old)


class NamespaceLifecycle:
    """Objects live in namespaces that exist and stay; the system's namespaces cannot be deleted."""

    def __init__(self, table: ResourceTable, feeds: Mapping[StoreName, Feed]) -> None:
        self._resource = table.of(namespace.Namespace)
        self._feed = feeds[self._resource.store]

    async def admit(self, verb: str, resource: Resource, _sub: str, _user: User, new: Object | None, old: Object | None) -> None:
        """See :class:`Link`."""
        if verb == "delete" and resource is self._resource and old is not None and (name := old["metadata"]["name"]) in _PROTECTED:
            message = f'namespaces "{name}" is forbidden: this namespace may not be deleted'
            raise errors.ForbiddenError(message, details=resource.details(name))
        if verb != "create" or not resource.namespaced or new is None:
            return
        name = new["metadata"]["namespace"]
        key = self._resource.key("", name)
        entry = self._feed.cache(self._resource).entries.get(key)
        if entry is None:
            record = await self._feed.store.get(key)
            if record is None:
                raise errors.NotFoundError(f'namespaces "{name}" not found', details={"name": name, "kind": "namespaces"})
            entry = self._feed.cache(self._resource).projector.entry(record)
        if entry.deleting:
            named = new["metadata"]["name"]
            message = f"unable to create new content in namespace {name} because it is being terminated"
            cause = {"reason": "NamespaceTerminating", "message": f"namespace {name} is being terminated", "field": "metadata.namespace"}
            raise errors.ForbiddenError(
                f'{resource.qualified} "{named}" is forbidden: {message}', details=resource.details(named, causes=[cause])
            )


class OwnDefinitions:
    """The definitions of the ``lattice.dev`` kinds come with the program: nobody adds, alters or deletes one."""

    async def admit(self, verb: str, resource: Resource, subresource: str, _user: User, new: Object | None, old: Object | None) -> None:
        """See :class:`Link`."""
        if resource.native != definitions.KIND:
            return
        definition = old or new or {}
        spec = definition.get("spec") or {}
        if spec.get("group") != names.GROUP:
            return
        if verb == "update" and not subresource and new is not None and old is not None and new.get("spec") == spec:
            return
        name = definition["metadata"].get("name", "")
        message = f"the definitions of the group {names.GROUP} come with Lattice and cannot be added, changed or deleted"
        raise errors.ForbiddenError(f'{resource.qualified} "{name}" is forbidden: {message}', details=resource.details(name))


class RecordOrder:
    """The status of a Pod does not go back: a request that was overtaken by a later one of the same agent is refused.

    The agent numbers every status that it sends (``lattice.dev/status-record``). The same number is the same status, sent again.
    """

    async def admit(self, _verb: str, resource: Resource, subresource: str, _user: User, new: Object | None, old: Object | None) -> None:
        """See :class:`Link`."""
        if resource.native != "Pod" or subresource != "status" or new is None or old is None:
            return
        sent, held = _record(new), _record(old)
        if sent is not None and held is not None and sent < held:
            name = new["metadata"]["name"]
            field = f"metadata.annotations[{names.ANNOTATION_STATUS_RECORD}]"
            cause = {"reason": names.REASON_OLDER_RECORD, "message": f"the Pod has the status of record {held}", "field": field}
            message = f"the status of record {sent} is older than that of record {held}, which the Pod has"
            prefix = f'Operation cannot be fulfilled on {resource.qualified} "{name}": '
            raise errors.ConflictError(prefix + message, details=resource.details(name, causes=[cause]))


def _record(obj: Object) -> int | None:
    text = (obj["metadata"].get("annotations") or {}).get(names.ANNOTATION_STATUS_RECORD, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MAX_RECORD_DIGITS else None


class NodeRestriction:
    """An agent writes what is its own, and of that only its part."""

    def __init__(self, table: ResourceTable, feeds: Mapping[StoreName, Feed]) -> None:
        self._pods = table.of(pod.Pod)
        self._cache = feeds[self._pods.store].cache(self._pods)
        self._rules: Mapping[str, Callable[[str, str, Object | None, Object | None], str]] = {
            "Node": self._node,
            "Lease": self._lease,
            "Pod": self._pod,
            "Event": self._event,
            "PersistentVolume": self._volume,
            "Tombstone": self._tombstone,
        }

    async def admit(self, verb: str, resource: Resource, subresource: str, user: User, new: Object | None, old: Object | None) -> None:
        """See :class:`Link`."""
        if role_of(user) != "node":
            return
        node = node_name_of(user)
        rule = self._rules.get(resource.native)
        problem = rule(node, subresource, new, old) if rule else f"a node may not {verb} this kind"
        if problem:
            name = (new or old or {"metadata": {}})["metadata"].get("name", "")
            message = f'{resource.qualified} "{name}" is forbidden: node "{node}" {problem}'
            raise errors.ForbiddenError(message, details=resource.details(name))

    def _node(self, node: str, subresource: str, new: Object | None, old: Object | None) -> str:
        if new is None and old is not None and old["metadata"]["name"] == node:
            # It leaves. Pods that it still has would never end: nobody else can confirm their end.
            left = sum(entry.fields.get("spec.nodeName") == node for entry in self._cache.entries.values())
            return f"is not allowed to delete itself while {left} Pods are bound to it" if left else ""
        if new is None or new["metadata"]["name"] != node:
            return "is not allowed to write another Node"
        if subresource == "status" or old is None:
            if old is None and _restricted(new) != {}:
                return f"is not allowed to set labels with the prefix {_RESTRICTED_LABEL}"
            return ""
        before, after = old.get("spec") or {}, new.get("spec") or {}
        if before.get("taints") != after.get("taints"):
            return "is not allowed to modify taints"
        if before.get("unschedulable") != after.get("unschedulable"):
            return "is not allowed to cordon or uncordon itself"
        if _restricted(old) != _restricted(new):
            return f"is not allowed to change labels with the prefix {_RESTRICTED_LABEL}"
        if old["metadata"].get("ownerReferences") != new["metadata"].get("ownerReferences"):
            return "is not allowed to modify owner references"
        return ""

    @staticmethod
    def _lease(node: str, _sub: str, new: Object | None, old: Object | None) -> str:
        data = (new or old or {}).get("metadata", {})
        own = data.get("namespace") == names.NAMESPACE_NODE_LEASE and data.get("name") == node
        return "" if own else f"may only write the Lease {names.NAMESPACE_NODE_LEASE}/{node}"

    @staticmethod
    def _pod(node: str, _sub: str, _new: Object | None, old: Object | None) -> str:
        bound = ((old or {}).get("spec") or {}).get("nodeName")
        return "" if bound == node else "may only touch Pods that are bound to it"

    def _event(self, node: str, _sub: str, new: Object | None, old: Object | None) -> str:
        for obj in (new, old):
            if obj is None:
                continue
            about = obj.get("involvedObject") or {}
            if about.get("kind") == "Node" and about.get("name") == node:
                continue
            if about.get("kind") != "Pod":
                return "may only report on itself and on its Pods"
            entry = self._cache.entries.get(self._pods.key(about.get("namespace", ""), about.get("name", "")))
            same = entry is not None and about.get("uid") in {None, "", entry.uid}
            if entry is not None and same and entry.fields.get("spec.nodeName") != node:
                return "may only report on itself and on its Pods"
        return ""

    @staticmethod
    def _volume(node: str, subresource: str, new: Object | None, old: Object | None) -> str:
        if new is None or old is None or subresource:
            return "may only remove its finalizer from its PersistentVolumes"
        if storage.PersistentVolume.model_validate(old).spec.node_name() != node:
            return "may only touch PersistentVolumes that are on it"
        ignored = {"finalizers", "resourceVersion", "generation", "managedFields"}  # the last follows from the others

        def rest(obj: Object) -> Object:
            return {**obj, "metadata": {key: value for key, value in obj["metadata"].items() if key not in ignored}}

        removed = set(old["metadata"].get("finalizers") or ()) - set(new["metadata"].get("finalizers") or ())
        added = set(new["metadata"].get("finalizers") or ()) - set(old["metadata"].get("finalizers") or ())
        if rest(new) != rest(old) or added or removed - {names.FINALIZER_NODE_VOLUME}:
            return f"may only remove the finalizer {names.FINALIZER_NODE_VOLUME}"
        return ""

    @staticmethod
    def _tombstone(node: str, _sub: str, _new: Object | None, old: Object | None) -> str:
        own = ((old or {}).get("spec") or {}).get("nodeName") == node
        return "" if own else "may only acknowledge its own Tombstones"


def _restricted(obj: Object) -> dict[str, str]:
    labels = obj["metadata"].get("labels") or {}
    return {key: value for key, value in labels.items() if key.startswith(_RESTRICTED_LABEL)}
