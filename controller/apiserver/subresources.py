"""The subresources that are more than a part of the object: ``binding`` of Pods and ``scale``. Pure changes.

``status`` and ``finalize`` are ordinary writes of a part (``writing.py``); ``desired`` has its own module.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from controller.apiserver import gojson, metadata, shaping
from controller.apiserver.resources import Resource
from controller.apiserver.structural import scale
from lattice.api import errors
from lattice.api.errors import Cause

Object = dict[str, Any]


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
    if pod["spec"].get("schedulingGates"):
        raise errors.ConflictError(f"{prefix}pod {name} has non-empty .spec.schedulingGates", details=details)
    status = dict(pod.get("status") or {})
    condition = {"type": "PodScheduled", "status": "True", "lastTransitionTime": metadata.timestamp(now)}
    status["conditions"] = [c for c in status.get("conditions") or () if c.get("type") != "PodScheduled"] + [condition]
    return {**pod, "spec": {**pod["spec"], "nodeName": node}, "status": status}


def _at(obj: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = obj
    for part in path:
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _set_at(obj: Mapping[str, Any], path: tuple[str, ...], value: Any) -> Object:
    below = obj.get(path[0])
    changed = value if len(path) == 1 else _set_at(below if isinstance(below, Mapping) else {}, path[1:], value)
    return {**obj, path[0]: changed}


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def scale_of(resource: Resource, obj: Mapping[str, Any]) -> dict[str, Any]:
    """Return the Scale of an object."""
    assert resource.scale is not None
    paths, data = resource.scale, obj["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    status: dict[str, Any] = {"replicas": _count(_at(obj, paths.status_replicas))}
    selector = _at(obj, paths.selector) if paths.selector else None
    if isinstance(selector, str) and selector:
        status["selector"] = selector
    replicas = _count(_at(obj, paths.spec_replicas))
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: data[key] for key in kept if key in data},
        "spec": {"replicas": replicas} if replicas else {},
        "status": status,
    }


def apply_scale(resource: Resource, obj: Object, wanted: Any) -> Object:
    """Return ``obj`` with the replicas of the Scale ``wanted``; its resourceVersion, where it has one, becomes the precondition.

    Raises:
        errors.BadRequestError, errors.InvalidError: it is not a Scale.
    """
    assert resource.scale is not None
    if not isinstance(wanted, dict) or wanted.get("kind", "Scale") != "Scale":
        raise errors.BadRequestError("the object provided is unrecognized (must be of type Scale)")
    spec, data = wanted.get("spec"), wanted.get("metadata")
    replicas = spec.get("replicas", 0) if isinstance(spec, dict) else 0
    if replicas is None:
        replicas = 0
    if type(replicas) is not int or abs(replicas) >= 2**31:
        found = f"number {shaping.shown(replicas)}" if type(replicas) in {int, float} else gojson.type_of(replicas)
        problem = f"json: cannot unmarshal {found} into Go struct field ScaleSpec.spec.replicas of type int32"
        raise errors.BadRequestError(f'Scale in version "v1" cannot be handled as a Scale: {problem}')
    named, name = data.get("name") if isinstance(data, dict) else None, obj["metadata"]["name"]
    if named and named != name:
        raise errors.BadRequestError(f"the name of the object ({named}) does not match the name on the URL ({name})")
    version = data.get("resourceVersion") if isinstance(data, dict) else None
    changed = _set_at(obj, resource.scale.spec_replicas, replicas)
    return {**changed, "metadata": {**obj["metadata"], "resourceVersion": version}}


def applied_scale(resource: Resource, name: str, wanted: Any) -> Object:
    """Return the part of an object that a server-side apply of its Scale sets.

    Raises:
        errors.BadRequestError: it is not a Scale, or has no replicas.
    """
    assert resource.scale is not None
    spec = wanted.get("spec") if isinstance(wanted, dict) and wanted.get("kind", "Scale") == "Scale" else None
    if not isinstance(spec, dict) or "replicas" not in spec:
        raise errors.BadRequestError("the object provided is unrecognized (must be of type Scale, with spec.replicas)")
    head: Object = {"apiVersion": resource.group_version, "kind": resource.kind, "metadata": {"name": name}}
    return _set_at(head, resource.scale.spec_replicas, spec["replicas"])


def check_scale(resource: Resource, obj: Mapping[str, Any], subresource: str = "") -> list[Cause]:
    """Check what a Scale is made of, as kube-apiserver does besides the schema: the spec, or through ``status`` the status."""
    if resource.scale is None:
        return []
    if subresource == "status":
        causes = scale.check_replicas(obj, _text(resource.scale.status_replicas))
        return causes + (scale.check_selector(obj, _text(resource.scale.selector)) if resource.scale.selector else [])
    return scale.check_replicas(obj, _text(resource.scale.spec_replicas))


def _text(path: tuple[str, ...]) -> str:
    return "." + ".".join(path)
