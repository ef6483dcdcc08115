"""The fields that a scale subresource points at: replicas are whole numbers that are not negative, a selector is text.

Kubernetes checks them besides the schema, so an invalid ``spec.replicas`` has two causes; the second names the path with its dot.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from controller.apiserver.structural import gotext
from controller.apiserver.structural.complaints import shaped
from lattice.api.errors import Cause

_MAX_REPLICAS: Final = 2**31 - 1


def check_replicas(obj: Mapping[str, Any], path: str) -> list[Cause]:
    """Return what is wrong with the number at ``path`` (``.spec.replicas``); nothing where there is none."""
    found, problem = _nested(obj, path, "int64")
    if problem:
        return [shaped(path, 0, problem)]
    if found is None:
        return []
    if found < 0:
        return [shaped(path, found, "should be a non-negative integer")]
    if found > _MAX_REPLICAS:
        return [shaped(path, found, f"should be less than or equal to {_MAX_REPLICAS}")]
    return []


def check_selector(obj: Mapping[str, Any], path: str) -> list[Cause]:
    """Return what is wrong with the text of a label selector at ``path``; nothing where there is none."""
    _found, problem = _nested(obj, path, "string")
    return [shaped(path, "", problem)] if problem else []


def _nested(obj: Mapping[str, Any], path: str, wanted: str) -> tuple[Any, str]:
    value: Any = obj
    names = path.removeprefix(".").split(".")
    for depth, name in enumerate(names):
        if not isinstance(value, Mapping):
            where = "." + ".".join(names[:depth])
            kind = gotext.go_type(value)
            return None, f"{where} accessor error: {gotext.plain(value)} is of the type {kind}, expected map[string]interface{{}}"
        if name not in value:
            return None, ""
        value = value[name]
    kind = gotext.go_type(value)
    if kind != wanted:
        return None, f".{'.'.join(names)} accessor error: {gotext.plain(value)} is of the type {kind}, expected {wanted}"
    return value, ""
