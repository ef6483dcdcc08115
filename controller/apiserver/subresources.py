"""The subresources that are more than a part of the object: ``binding`` of Pods and ``scale`` of Workloads. Pure changes.

``status`` and ``finalize`` are ordinary writes of a part (``writing.py``); ``desired`` has its own module.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from controller.apiserver import metadata, shaping
from controller.apiserver.registry import Object
from controller.apiserver.resources import Resource
from lattice.api import errors


def parse_binding(body: Any, *, name: str) -> tuple[str, str]:
    """Return the node and the Pod uid (perhaps empty) that a Binding names.

    Raises:
        errors.BadRequestError, errors.InvalidError: it is not one.
    """
    if not isinstance(body, dict) or body.get("kind", "Binding") != "Binding":
        raise errors.BadRequestError("the object provided is unrecognized (must be of type Binding)")
    target = body.get("target")
    node = target.get("name") if isinstance(target, dict) else None
    kind = target.get("kind", "Node") if isinstance(target, dict) else "Node"
    causes = []
    if not isinstance(node, str) or not node:
        causes.append(shaping.required("target.name"))
    if kind not in {"", "Node"}:
        causes.append(shaping.unsupported("target.kind", kind, ["Node", ""]))
    data = body.get("metadata")
    data = data if isinstance(data, dict) else {}
    if data.get("name") not in (None, "", name):
        raise errors.BadRequestError(f"the name of the object ({data['name']}) does not match the name on the URL ({name})")
    uid = data.get("uid")
    if causes:
        raise errors.InvalidError.of(kind="Binding", group="", name=name, causes=causes)
    return str(node), uid if isinstance(uid, str) else ""


def bind(pod: Object, node: str, uid: str, *, now: datetime) -> Object:
    """Return ``pod`` bound to ``node``.

    Raises:
        errors.ConflictError: it is bound, is being deleted, or is another Pod.
    """
    name = pod["metadata"]["name"]
    details = {"name": name, "kind": "pods/binding"}
    prefix = f'Operation cannot be fulfilled on pods/binding "{name}": '
    if uid and uid != pod["metadata"]["uid"]:
        message = f"the UID in the precondition ({uid}) does not match the UID in record ({pod['metadata']['uid']})"
        raise errors.ConflictError(prefix + message, details=details)
    if pod["metadata"].get("deletionTimestamp"):
        raise errors.ConflictError(f"{prefix}pod {name} is being deleted, cannot be assigned to a host", details=details)
    bound = pod["spec"].get("nodeName")
    if bound:
        raise errors.ConflictError(f'{prefix}pod {name} is already assigned to node "{bound}"', details=details)
    status = dict(pod.get("status") or {})
    condition = {"type": "PodScheduled", "status": "True", "lastTransitionTime": metadata.timestamp(now)}
    status["conditions"] = [c for c in status.get("conditions") or () if c.get("type") != "PodScheduled"] + [condition]
    return {**pod, "spec": {**pod["spec"], "nodeName": node}, "status": status}


def scale_of(obj: Mapping[str, Any]) -> dict[str, Any]:
    """Return the Scale of a Workload."""
    data, status = obj["metadata"], obj.get("status") or {}
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    found: dict[str, Any] = {"replicas": status.get("replicas", 0)}
    if status.get("selector"):
        found["selector"] = status["selector"]
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: data[key] for key in kept if key in data},
        "spec": {"replicas": (obj.get("spec") or {}).get("replicas", 1)},
        "status": found,
    }


def apply_scale(resource: Resource, obj: Object, scale: Any) -> Object:
    """Return ``obj`` with the replicas of ``scale``; its resourceVersion, where it has one, becomes the precondition.

    Raises:
        errors.BadRequestError, errors.InvalidError: it is not a Scale.
    """
    if not isinstance(scale, dict) or scale.get("kind", "Scale") != "Scale":
        raise errors.BadRequestError("the object provided is unrecognized (must be of type Scale)")
    spec, data = scale.get("spec"), scale.get("metadata")
    replicas = spec.get("replicas", 0) if isinstance(spec, dict) else 0
    name = obj["metadata"]["name"]
    if not isinstance(replicas, int) or isinstance(replicas, bool) or replicas < 0:
        cause = shaping.invalid("spec.replicas", replicas, "must be greater than or equal to 0")
        raise errors.InvalidError.of(kind="Scale", group="autoscaling", name=name, causes=[cause])
    version = data.get("resourceVersion") if isinstance(data, dict) else None
    return {
        **obj,
        "metadata": {**obj["metadata"], "resourceVersion": version},
        "spec": {**(obj.get("spec") or {}), "replicas": replicas},
    }
