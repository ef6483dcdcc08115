"""Eviction of Pods: ``POST pods/<name>/eviction``, by which ``kubectl drain`` empties a node.

An eviction is a deletion that may be refused. What it may be refused for, disruption budgets, comes with the workloads issue; until
then it deletes, with the options that it carries: grace period, preconditions, dry run. Before that it notes the condition
``DisruptionTarget`` on a Pod that still runs, so that whoever watches can tell an eviction from a failure.

Source: kubernetes ``pkg/registry/core/pod/storage/eviction.go``; sentences as there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

import orjson

from controller.apiserver import bodies, metadata, shaping
from controller.apiserver.deletion import DeleteOptions, Deleter, read_delete_options
from controller.apiserver.registry import Registry
from controller.apiserver.request import ApiRequest, ApiResponse, RequestInfo, User
from controller.apiserver.resources import Resource
from controller.apiserver.writing import parse_options
from lattice.api import errors

Object = dict[str, Any]

_VERSIONS: Final = ("", "policy/v1", "policy/v1beta1")
"""A kube-apiserver takes both; clients of the older one are still around."""
_CONDITION: Final = "DisruptionTarget"
_REASON: Final = "EvictionByEvictionAPI"
_MESSAGE: Final = "Eviction API: evicting"
_SUCCESS: Final = orjson.dumps({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201})


def parse_eviction(body: Any, user: User, *, namespace: str, name: str) -> DeleteOptions:
    """Return how the Eviction in a body wants the Pod deleted.

    Raises:
        errors.BadRequestError: it is not one, or is about another Pod.
        errors.InvalidError: its delete options are wrong.
    """
    if not isinstance(body, Mapping) or body.get("kind", "Eviction") != "Eviction" or body.get("apiVersion", "") not in _VERSIONS:
        raise errors.BadRequestError("the object provided is unrecognized (must be of type Eviction)")
    data = body.get("metadata")
    data = data if isinstance(data, Mapping) else {}
    if data.get("namespace") not in (None, "", namespace):
        raise errors.BadRequestError("the namespace of the provided object does not match the namespace sent on the request")
    if data.get("name") not in (None, "", name):
        raise errors.BadRequestError("name in URL does not match name in Eviction object")
    options = body.get("deleteOptions")
    if options is not None and not isinstance(options, Mapping):
        raise errors.BadRequestError(f"deleteOptions: {shaping.shown(options)} is not an object")
    return read_delete_options(options or {}, {}, user)


def mark_evicted(pod: Object, *, now: datetime) -> Object:
    """Return ``pod`` with the condition that says that it is being evicted. Without effect on one that has it, or has ended."""
    status = dict(pod.get("status") or {})
    present = [condition for condition in status.get("conditions") or () if isinstance(condition, Mapping)]
    if any(condition.get("type") == _CONDITION and condition.get("status") == "True" for condition in present):
        return pod
    condition = {
        "type": _CONDITION,
        "status": "True",
        "reason": _REASON,
        "message": _MESSAGE,
        "lastTransitionTime": metadata.timestamp(now),
    }
    status["conditions"] = [each for each in present if each.get("type") != _CONDITION] + [condition]
    return {**pod, "status": status}


def is_over(pod: Mapping[str, Any]) -> bool:
    """Return whether a Pod is going or has ended already: nothing is disrupted then."""
    phase = (pod.get("status") or {}).get("phase")
    return bool(pod["metadata"].get("deletionTimestamp")) or phase in ("Succeeded", "Failed")


class Evictor:
    """Answers evictions."""

    def __init__(self, registry: Registry, deleter: Deleter) -> None:
        self._registry = registry
        self._deleter = deleter

    async def evict(self, request: ApiRequest, info: RequestInfo, resource: Resource, user: User) -> ApiResponse:
        """Answer POST of an Eviction.

        Raises:
            errors.ApiError: the body is wrong, the Pod does not exist, a precondition failed.
        """
        asked = parse_options(request, user, "CreateOptions")
        body = bodies.parse(request.body, request.headers.get("content-type", ""), what="Eviction").value
        options = parse_eviction(body, user, namespace=info.namespace, name=info.name)
        options = replace(options, dry_run=options.dry_run or asked.dry_run)
        raw = await self._registry.get(resource, info.namespace, info.name)
        pod: Object = orjson.loads(raw)
        if not options.dry_run and not options.resource_version and not is_over(pod) and options.uid in ("", pod["metadata"]["uid"]):
            now = self._registry.clock.now()
            await self._registry.update(
                resource, info.namespace, info.name, lambda old: mark_evicted(old, now=now), asked, subresource="status", patched=True
            )
        await self._deleter.delete(resource, info.namespace, info.name, options)
        return ApiResponse(201, _SUCCESS)
