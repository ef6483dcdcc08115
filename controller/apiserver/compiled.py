"""What is made once from a resource's schema and used on every request: its shape and checks, its codec, its patch rules, its owners.

Each is built at its first use and goes with the resource, so a definition that is changed takes nothing old along.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from controller.apiserver.encoding import Codec
from controller.apiserver.fieldmanager.ownership import FieldManager
from controller.apiserver.resources import Resource
from controller.apiserver.strategic import StrategicMerge
from controller.apiserver.structural.structural import Structural

T = TypeVar("T")


def _once(what: str, resource: Resource, make: Callable[[], T]) -> T:
    found: T | None = resource.memo.get(what)
    if found is None:
        found = resource.memo[what] = make()
    return found


def structural_of(resource: Resource) -> Structural:
    """Return the compiled schema of a resource."""
    return _once("structural", resource, lambda: Structural(resource.schema if resource.custom else _as_checked(resource.schema)))


def _as_checked(schema: Any) -> Any:
    """Return a built-in kind's schema as it is checked.

    Base64 is left to ``strategy.py``, whose sentences never show a Secret; whole numbers have 64 bits, as in Go.
    """
    if isinstance(schema, list):
        return [_as_checked(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    checked = {key: _as_checked(value) for key, value in schema.items() if key != "format" or value != "byte"}
    if schema.get("type") == "integer":
        return {"minimum": -(2**63), "maximum": 2**63 - 1, **checked}
    return checked


def codec_of(resource: Resource) -> Codec:
    """Return the codec of a resource. Objects of the kinds that come with Lattice are read as they were stored."""
    normalise = structural_of(resource).renew if resource.custom and resource.type is None else None
    return _once("codec", resource, lambda: Codec(resource, normalise))


def manager_of(resource: Resource) -> FieldManager:
    """Return what keeps managedFields of a resource."""

    def make() -> FieldManager:
        return FieldManager(resource.schema, group_version=resource.group_version, has_status=resource.has_status)

    return _once("manager", resource, make)


def merge_of(resource: Resource) -> StrategicMerge:
    """Return the strategic merge of a resource."""
    return _once("merge", resource, lambda: StrategicMerge(resource.schema))
