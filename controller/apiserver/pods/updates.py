"""What of a Pod may change. Source: ``ValidatePodUpdate`` and ``ValidatePodEphemeralContainersUpdate``.

An object that an older release stored lacks the defaults of this one: both states are compared with them.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Final

from controller.apiserver import shaping
from controller.apiserver.pods import defaults
from lattice.api.errors import Cause

Object = Mapping[str, Any]

_FIXED: Final = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
_FREE: Final = ("activeDeadlineSeconds", "tolerations", "schedulingGates")


def check_update(new: Object, old: Object) -> list[Cause]:
    """Return what a write of the Pod itself may not do."""
    after, before = new.get("spec") or {}, _defaulted(old).get("spec") or {}
    if after == before:
        return []
    for kind in ("containers", "initContainers"):
        if len(after.get(kind) or ()) != len(before.get(kind) or ()):
            return [shaping.forbidden(f"spec.{kind}", "pod updates may not add or remove containers")]
    causes = _check_deadline(after.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds"))
    causes += _check_tolerations(after.get("tolerations") or [], before.get("tolerations") or [])
    causes += _check_gates(after, before)
    if not causes and _fixed(after, before) != _fixed(before, before):
        causes.append(shaping.forbidden("spec", _FIXED))
    return causes


def _defaulted(old: Object) -> dict[str, Any]:
    filled = {"spec": copy.deepcopy(dict(old.get("spec") or {}))}
    defaults.default_pod(filled)
    return filled


def _fixed(spec: Object, before: Object) -> dict[str, Any]:
    """Return what must be the same; a Pod that waits at a gate may still be given more of a node selector."""
    rest = {key: value for key, value in spec.items() if key not in _FREE}
    for kind in ("containers", "initContainers"):
        rest[kind] = [{**container, "image": ""} for container in spec.get(kind) or ()]
    if before.get("schedulingGates"):
        wanted = before.get("nodeSelector") or {}
        rest["nodeSelector"] = {key: value for key, value in (spec.get("nodeSelector") or {}).items() if key in wanted}
    return rest


def _check_deadline(new: Any, old: Any) -> list[Cause]:
    field = "spec.activeDeadlineSeconds"
    if old is None or new == old:
        return []
    if new is None:
        return [shaping.invalid(field, None, "must not update from a positive integer to nil value")]
    return [] if new <= old else [shaping.invalid(field, new, "must be less than or equal to previous value")]


def _check_tolerations(new: list[Any], old: list[Any]) -> list[Cause]:
    def bare(toleration: Object) -> Object:
        return {key: value for key, value in toleration.items() if key != "tolerationSeconds" and value != ""}

    kept = [bare(toleration) for toleration in new]
    if all(bare(toleration) in kept for toleration in old):
        return []
    return [shaping.forbidden("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds")]


def _check_gates(after: Object, before: Object) -> list[Cause]:
    names = {gate["name"] for gate in before.get("schedulingGates") or ()}
    return [
        shaping.forbidden(f"spec.schedulingGates[{index}]", f"only deletion is allowed, but found new scheduling gate '{gate['name']}'")
        for index, gate in enumerate(after.get("schedulingGates") or ())
        if gate["name"] not in names
    ]


def keep_but_ephemeral(new: Object, old: Object) -> dict[str, Any]:
    """Return ``old`` with the ephemeral containers of ``new``: all that the subresource ``ephemeralcontainers`` writes."""
    spec = {**(old.get("spec") or {})}
    added = (new.get("spec") or {}).get("ephemeralContainers")
    if added:
        spec["ephemeralContainers"] = added
    else:
        spec.pop("ephemeralContainers", None)
    result = {**old, "spec": spec}
    if (fields := new["metadata"].get("managedFields")) is not None:
        result["metadata"] = {**old["metadata"], "managedFields": fields}
    return result


def check_ephemeral(new: Object, old: Object) -> list[Cause]:
    """Return what a write of the ephemeral containers may not do: they come, and never change or go."""
    after = {item["name"]: item for item in (new.get("spec") or {}).get("ephemeralContainers") or ()}
    before = _defaulted(old)["spec"].get("ephemeralContainers") or ()
    causes = []
    for item in before:
        name = shaping.shown(item["name"])
        if item["name"] not in after:
            causes.append(shaping.forbidden("spec.ephemeralContainers", f"existing ephemeral containers {name} may not be removed\n"))
        elif after[item["name"]] != item:
            causes.append(shaping.forbidden("spec.ephemeralContainers", f"existing ephemeral containers {name} may not be changed\n"))
    return causes
