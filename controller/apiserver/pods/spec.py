"""Rules of a Pod as a whole, and the entry to all others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controller.apiserver import shaping
from controller.apiserver.pods import containers, fields, phrases, security, volumes
from lattice.api import validation
from lattice.api.errors import Cause

Object = Mapping[str, Any]


def check_pod(obj: Object) -> list[Cause]:
    """Return what is wrong with a Pod whose shape is right: a cause for each wrong or refused field."""
    spec = obj.get("spec") or {}
    causes = volumes.check_volumes(spec.get("volumes") or [])
    causes += containers.check_containers(spec)
    causes += _check_names(spec)
    causes += _check_scheduling(spec)
    if (context := spec.get("securityContext")) is not None:
        causes += security.check_pod(context, "spec.securityContext")
    return causes + _check_dns(spec) + fields.refused(obj)


def check_new_pod(obj: Object) -> list[Cause]:
    """Return what is wrong with a new Pod only."""
    if (obj.get("spec") or {}).get("ephemeralContainers"):
        return [shaping.forbidden("spec.ephemeralContainers", "cannot be set on create")]
    if (obj.get("spec") or {}).get("nodeName") and (obj["spec"].get("schedulingGates")):
        return [shaping.forbidden("spec.nodeName", "cannot be set until all schedulingGates have been cleared")]
    return []


def _check_names(spec: Object) -> list[Cause]:
    causes: list[Cause] = []
    for field, check in (
        ("serviceAccountName", validation.check_subdomain),
        ("nodeName", validation.check_subdomain),
        ("hostname", validation.check_label),
        ("subdomain", validation.check_label),
        ("priorityClassName", validation.check_subdomain),
        ("runtimeClassName", validation.check_subdomain),
    ):
        if value := spec.get(field):
            causes += phrases.check_with(check, f"spec.{field}", value)
    seconds = spec.get("activeDeadlineSeconds")
    if seconds is not None and not 1 <= seconds <= phrases.MAX_INT32:
        causes.append(shaping.invalid("spec.activeDeadlineSeconds", seconds, phrases.between(1, phrases.MAX_INT32)))
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        causes.append(shaping.invalid("spec.shareProcessNamespace", True, "ShareProcessNamespace and HostPID cannot both be enabled"))
    if (name := (spec.get("os") or {}).get("name")) is not None and name not in {"linux", "windows"}:
        causes.append(shaping.unsupported("spec.os.name", name, ["linux", "windows"]))
    policy = spec.get("preemptionPolicy")
    if policy is not None and policy not in {"Never", "PreemptLowerPriority"}:
        causes.append(shaping.unsupported("spec.preemptionPolicy", policy, ["Never", "PreemptLowerPriority"]))
    return causes


def _check_scheduling(spec: Object) -> list[Cause]:
    causes = phrases.check_labels(spec.get("nodeSelector") or {}, "spec.nodeSelector")
    for index, toleration in enumerate(spec.get("tolerations") or ()):
        causes += _check_toleration(toleration, f"spec.tolerations[{index}]")
    for index, gate in enumerate(spec.get("readinessGates") or ()):
        field = f"spec.readinessGates[{index}].conditionType"
        causes += phrases.check_with(validation.check_qualified_name, field, gate["conditionType"])
    for index, gate in enumerate(spec.get("schedulingGates") or ()):
        causes += phrases.check_with(validation.check_qualified_name, f"spec.schedulingGates[{index}]", gate["name"])
    return causes + phrases.unique(spec.get("schedulingGates") or (), "name", "spec.schedulingGates")


def _check_toleration(toleration: Object, where: str) -> list[Cause]:
    causes: list[Cause] = []
    key, operator, value = toleration.get("key") or "", toleration.get("operator") or "Equal", toleration.get("value") or ""
    if key:
        causes += phrases.check_with(validation.check_qualified_name, f"{where}.key", key)
    elif operator != "Exists":
        message = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
        causes.append(shaping.invalid(f"{where}.operator", toleration.get("operator") or "", message))
    if toleration.get("tolerationSeconds") is not None and toleration.get("effect") != "NoExecute":
        message = "effect must be 'NoExecute' when `tolerationSeconds` is set"
        causes.append(shaping.invalid(f"{where}.effect", toleration.get("effect") or "", message))
    if operator == "Exists" and value:
        causes.append(shaping.invalid(f"{where}.operator", toleration["value"], "value must be empty when `operator` is 'Exists'"))
    elif operator == "Equal":
        causes += phrases.check_with(validation.check_label_value, f"{where}.value", value)
    return causes


def _check_dns(spec: Object) -> list[Cause]:
    config = spec.get("dnsConfig") or {}
    causes: list[Cause] = []
    nameservers, searches = config.get("nameservers") or (), config.get("searches") or ()
    if spec.get("dnsPolicy") == "None" and not nameservers:
        if spec.get("dnsConfig") is None:
            causes.append(shaping.required("spec.dnsConfig", "must provide `dnsConfig` when `dnsPolicy` is None"))
        else:
            message = "must provide at least one DNS nameserver when `dnsPolicy` is None"
            causes.append(shaping.required("spec.dnsConfig.nameservers", message))
    if len(nameservers) > 3:
        causes.append(shaping.invalid("spec.dnsConfig.nameservers", list(nameservers), "must not have more than 3 nameservers"))
    for index, address in enumerate(nameservers):
        causes += phrases.check_ip(address, f"spec.dnsConfig.nameservers[{index}]")
    if len(searches) > 32:
        causes.append(shaping.invalid("spec.dnsConfig.searches", list(searches), "must not have more than 32 search paths"))
    if len(" ".join(searches)) > 2048:
        message = "must not have more than 2048 characters (including spaces) in the search list"
        causes.append(shaping.invalid("spec.dnsConfig.searches", list(searches), message))
    for index, domain in enumerate(searches):
        if domain != ".":
            causes += phrases.check_with(validation.check_subdomain, f"spec.dnsConfig.searches[{index}]", domain.removesuffix("."))
    for index, option in enumerate(config.get("options") or ()):
        if not option.get("name"):
            causes.append(shaping.required(f"spec.dnsConfig.options[{index}]", "must not be empty"))
    for index, alias in enumerate(spec.get("hostAliases") or ()):
        causes += phrases.check_ip(alias["ip"], f"spec.hostAliases[{index}].ip")
        for name in alias.get("hostnames") or ():
            causes += phrases.check_with(validation.check_subdomain, f"spec.hostAliases[{index}].hostnames", name)
    return causes
