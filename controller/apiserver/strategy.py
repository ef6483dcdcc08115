"""What is special about each kind: defaults that a schema cannot say, fields that may not change, checks over several fields.

A :class:`Strategy` is a row of hooks; kinds without an entry use the plain one. Hooks change the object that they are given, which is
the registry's own copy, and return causes instead of raising. Whatever is generic (status apart from the rest, generation, metadata)
is the registry's.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from controller.apiserver import eventrules, shaping
from controller.apiserver.pods import containers, defaults, environment, fields, qos, updates
from controller.apiserver.pods import spec as podrules
from controller.apiserver.resources import Resource
from controller.apiserver.structural import definition, keywords
from lattice.api import names, quantity, validation
from lattice.api.errors import Cause

Object = dict[str, Any]


def _nothing(_obj: Object) -> None:
    return None


def _no_causes(_new: Object) -> list[Cause]:
    return []


def _no_paths(_obj: Object) -> list[str]:
    return []


def _no_warnings(_new: Object, _old: Object | None) -> list[str]:
    return []


def _no_update_causes(_new: Object, _old: Object) -> list[Cause]:
    return []


@dataclass(frozen=True, slots=True)
class Strategy:
    """The hooks of one kind.

    ``default`` runs on every write before validation, ``prune`` after unknown fields were removed: it removes what a schema cannot tell,
    and returns the paths; ``prepare_create`` on a new object; ``check`` on every write; ``check_create``
    on a new object that passed all of it; ``check_update`` on a change of the main resource;
    ``warnings`` says what the client should know of a write that is accepted.
    """

    default: Callable[[Object], None] = _nothing
    prepare_create: Callable[[Object], None] = _nothing
    check: Callable[[Object], list[Cause]] = _no_causes
    check_update: Callable[[Object, Object], list[Cause]] = _no_update_causes
    check_create: Callable[[Object], list[Cause]] = _no_causes
    prune: Callable[[Object], list[str]] = _no_paths
    warnings: Callable[[Object, Object | None], list[str]] = _no_warnings


def _immutable(new: Object, old: Object, *path: str) -> list[Cause]:
    value: Any = new
    previous: Any = old
    for part in path:
        value = value.get(part) if isinstance(value, Mapping) else None
        previous = previous.get(part) if isinstance(previous, Mapping) else None
    return [] if value == previous else [shaping.invalid(".".join(path), value, "field is immutable")]


# Pods: the rules are in ``controller/apiserver/pods``


def _prepare_pod(obj: Object) -> None:
    obj["status"] = {"phase": "Pending"}


GATED: Final = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "SchedulingGated",
    "message": "Scheduling is blocked due to non-empty scheduling gates",
}


def _check_new_pod(obj: Object) -> list[Cause]:
    causes = podrules.check_new_pod(obj)
    if not causes:
        obj["status"]["qosClass"] = qos.qos_class(obj["spec"])
        if obj["spec"].get("schedulingGates"):
            obj["status"]["conditions"] = [dict(GATED)]
    return causes


def check_resources(resources: Object, where: str) -> list[Cause]:
    """Check amounts: none below zero, no request above its limit."""
    causes: list[Cause] = []
    amounts: dict[tuple[str, str], Any] = {}
    for part in ("limits", "requests"):
        for name, text in (resources.get(part) or {}).items():
            field = f"{where}.{part}[{name}]"
            if problem := validation.check_qualified_name(name):
                causes.append(shaping.invalid(f"{where}.{part}", name, problem))
            try:
                amount = quantity.parse_quantity(str(text))
            except ValueError as error:
                causes.append(shaping.invalid(field, text, str(error)))
                continue
            if amount < 0:
                causes.append(shaping.invalid(field, text, "must be greater than or equal to 0"))
            limit = amounts.get(("limits", name))
            if part == "requests" and limit is not None and amount > limit:
                bound = (resources.get("limits") or {})[name]
                causes.append(shaping.invalid(field, text, f"must be less than or equal to {name} limit of {bound}"))
            amounts[part, name] = amount
    return causes


# Other kinds


def _default_secret(obj: Object) -> None:
    texts = obj.pop("stringData", None)
    if isinstance(texts, dict) and texts:
        data = obj.get("data")
        data = obj["data"] = data if isinstance(data, dict) else {}
        for key, value in texts.items():
            data[key] = base64.b64encode(value.encode()).decode() if isinstance(value, str) else value


def _check_data(obj: Object, *, encoded: str) -> list[Cause]:
    causes = []
    for part in ("data", "binaryData"):
        for key, value in (obj.get(part) or {}).items():
            if not key or len(key) > 253 or key in {".", ".."} or not all(c.isascii() and (c.isalnum() or c in "-_.") for c in key):
                message = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
                causes.append(shaping.invalid(f"{part}[{key}]" if len(key) < 254 else part, key[:253], message))
            if part == encoded:
                try:
                    base64.b64decode(value, validate=True)
                except (binascii.Error, ValueError):
                    # The value may be a secret in plain text: it is not shown.
                    causes.append(
                        Cause("FieldValueInvalid", "Invalid value: must be base64 text; use stringData for plain text", f"{part}[{key}]")
                    )
    return causes


def _check_frozen_data(new: Object, old: Object) -> list[Cause]:
    if not old.get("immutable"):
        return []
    same = all(new.get(part) == old.get(part) for part in ("data", "binaryData", "immutable"))
    return [] if same else [shaping.forbidden("data", "field is immutable when `immutable` is set")]


def _check_secret_update(new: Object, old: Object) -> list[Cause]:
    return [*_immutable(new, old, "type"), *_check_frozen_data(new, old)]


def _label_namespace(obj: Object) -> None:
    """Put the name into a label, by which selectors of namespaces find it. Whoever takes it away gets it back."""
    name, labels = obj["metadata"].get("name"), obj["metadata"].get("labels")
    if isinstance(name, str) and name and isinstance(labels, Mapping | None):
        obj["metadata"]["labels"] = {**(labels or {}), names.LABEL_NAMESPACE_NAME: name}


def _prepare_namespace(obj: Object) -> None:
    _label_namespace(obj)  # a generated name is there only now
    obj["spec"] = {"finalizers": ["kubernetes"]}
    obj["status"] = {"phase": "Active"}


def _keep_namespace_finalizers(new: Object, old: Object) -> list[Cause]:
    """``spec.finalizers`` is written through ``finalize`` only; an ordinary update leaves it as it was."""
    if "spec" in old:
        new["spec"] = old["spec"]
    return []


def _check_node(obj: Object) -> list[Cause]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    causes = []
    for index, taint in enumerate(spec.get("taints") or ()):
        if problem := validation.check_qualified_name(taint["key"]):
            causes.append(shaping.invalid(f"spec.taints[{index}].key", taint["key"], problem))
    for part in ("capacity", "allocatable"):
        causes += check_resources({"limits": status.get(part) or {}}, f"status.{part}")
    return causes


def _check_node_update(new: Object, old: Object) -> list[Cause]:
    if not (old.get("spec") or {}).get("providerID"):
        return []
    return _immutable(new, old, "spec", "providerID")


def _default_claim(obj: Object) -> None:
    spec = obj.get("spec")
    if isinstance(spec, dict):
        spec.setdefault("storageClassName", names.STORAGE_CLASS_LOCAL)
        spec.setdefault("volumeMode", "Filesystem")


def _prepare_claim(obj: Object) -> None:
    obj["status"] = {"phase": "Pending"}


def _check_claim(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes = []
    if not spec.get("accessModes"):
        causes.append(shaping.required("spec.accessModes", "at least 1 access mode is required"))
    requests = (spec.get("resources") or {}).get("requests") or {}
    if "storage" not in requests:
        causes.append(shaping.required("spec.resources[storage]"))
    return causes + check_resources({"requests": requests}, "spec.resources")


def _check_claim_update(new: Object, old: Object) -> list[Cause]:
    before, after = dict(old.get("spec") or {}), dict(new.get("spec") or {})
    if not before.get("volumeName"):
        before.pop("volumeName", None), after.pop("volumeName", None)
    message = "spec is immutable after creation, except volumeName of an unbound claim"
    return [] if before == after else [shaping.forbidden("spec", message)]


def _prepare_volume(obj: Object) -> None:
    obj["status"] = {"phase": "Available"}


def _check_volume_update(new: Object, old: Object) -> list[Cause]:
    return [*_immutable(new, old, "spec", "csi"), *_immutable(new, old, "spec", "nodeAffinity")]


def _check_workload(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes = []
    if ("preset" in spec) == ("image" in spec):
        causes.append(shaping.invalid("spec", "object", "exactly one of preset and image must be set"))
    causes += environment.check_env(spec.get("env") or (), "spec") + containers.check_ports(spec.get("ports") or (), "spec")
    causes += check_resources(spec.get("resources") or {}, "spec.resources")
    if isinstance(storage := spec.get("storage"), dict):
        causes += check_resources({"requests": {"storage": storage.get("size", "1Gi")}}, "spec.storage")
    name = obj["metadata"].get("name", "")
    if problem := validation.check_label(name) or (
        None if len(name) <= 40 else "must be no more than 40 characters: Pod names are made of it"
    ):
        causes.append(shaping.invalid("metadata.name", name, problem))
    return causes


def _check_new_definition(obj: Object) -> list[Cause]:
    causes = definition.check_definition(obj)
    if not causes:
        obj["status"] = definition.initial_status(obj)
    return causes


def _check_definition_update(new: Object, old: Object) -> list[Cause]:
    definition.remember_storage(new)
    return definition.check_definition(new, old)


_STRATEGIES: Final[Mapping[str, Strategy]] = {
    "Pod": Strategy(defaults.default_pod, _prepare_pod, podrules.check_pod, updates.check_update, _check_new_pod, warnings=fields.warnings),
    "Secret": Strategy(_default_secret, check=lambda obj: _check_data(obj, encoded="data"), check_update=_check_secret_update),
    "ConfigMap": Strategy(check=lambda obj: _check_data(obj, encoded="binaryData"), check_update=_check_frozen_data),
    "Namespace": Strategy(default=_label_namespace, prepare_create=_prepare_namespace, check_update=_keep_namespace_finalizers),
    "Node": Strategy(check=_check_node, check_update=_check_node_update),
    "PersistentVolumeClaim": Strategy(_default_claim, _prepare_claim, _check_claim, _check_claim_update),
    "PersistentVolume": Strategy(prepare_create=_prepare_volume, check_update=_check_volume_update),
    "Workload": Strategy(check=_check_workload),
    "Event": Strategy(check=eventrules.check_core),
    "Event.events.k8s.io": Strategy(check=eventrules.check, check_create=eventrules.check_new, check_update=eventrules.check_update),
    "CustomResourceDefinition": Strategy(
        definition.default_definition,
        check_create=_check_new_definition,
        check_update=_check_definition_update,
        prune=keywords.prune_definition,
    ),
}
_PLAIN: Final = Strategy()


def strategy_of(resource: Resource) -> Strategy:
    """Return the hooks of a resource."""
    name = resource.native if resource.stored_as is None else f"{resource.native}.{resource.group}"
    return _STRATEGIES.get(name, _PLAIN)
