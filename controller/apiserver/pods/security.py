"""Rules of security contexts: those that the values of one context contradict. What a Node allows is the Node's to say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controller.apiserver import shaping
from controller.apiserver.pods import phrases
from lattice.api.errors import Cause

Object = Mapping[str, Any]


def check_container(context: Object, where: str) -> list[Cause]:
    """Check the rights of a container."""
    causes = _check_common(context, where)
    if context.get("allowPrivilegeEscalation") is False:
        if context.get("privileged"):
            causes.append(shaping.invalid(where, "object", "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"))
        if "SYS_ADMIN" in [name.removeprefix("CAP_") for name in (context.get("capabilities") or {}).get("add") or ()]:
            message = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
            causes.append(shaping.invalid(where, "object", message))
    return causes


def check_pod(context: Object, where: str) -> list[Cause]:
    """Check the rights of a whole Pod."""
    causes = _check_common(context, where)
    causes += _check_ids(context, ("fsGroup",), where)
    for index, group in enumerate(context.get("supplementalGroups") or ()):
        if not 0 <= group <= phrases.MAX_INT32:
            causes.append(shaping.invalid(f"{where}.supplementalGroups[{index}]", group, phrases.between(0, phrases.MAX_INT32)))
    seen: set[str] = set()
    for index, sysctl in enumerate(context.get("sysctls") or ()):
        field, name = f"{where}.sysctls[{index}].name", sysctl["name"]
        if not name:
            causes.append(shaping.required(field))
        else:
            causes += phrases.check_sysctl(name, field)
        if (same := name.replace("/", ".")) in seen:
            causes.append(shaping.duplicate(field, name))
        seen.add(same)
    return causes


def _check_common(context: Object, where: str) -> list[Cause]:
    causes = _check_ids(context, ("runAsUser", "runAsGroup"), where)
    for field, what in (("seccompProfile", "seccomp"), ("appArmorProfile", "AppArmor")):
        if (profile := context.get(field)) is not None:
            causes += _check_profile(profile, f"{where}.{field}", what)
    return causes


def _check_ids(context: Object, names: tuple[str, ...], where: str) -> list[Cause]:
    return [
        shaping.invalid(f"{where}.{name}", context[name], phrases.between(0, phrases.MAX_INT32))
        for name in names
        if name in context and context[name] > phrases.MAX_INT32
    ]


def _check_profile(profile: Object, where: str, what: str) -> list[Cause]:
    local, field = profile.get("localhostProfile"), f"{where}.localhostProfile"
    if profile["type"] == "Localhost":
        if not local:
            return [shaping.required(field, f"must be set when {what} type is Localhost")]
        return phrases.check_descending(local, field) if what == "seccomp" else []
    return [shaping.invalid(field, local, f"can only be set when {what} type is Localhost")] if local is not None else []
