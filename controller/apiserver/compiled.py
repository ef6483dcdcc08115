"""What is made once from a resource's schema and used on every request: its shape and checks, its codec, its patch rules, its owners.

Each is built at its first use and goes with the resource, so a definition that is changed takes nothing old along.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar
from weakref import WeakKeyDictionary

from controller.apiserver.encoding import Codec
from controller.apiserver.interim import FieldManager, Structural
from controller.apiserver.resources import Resource
from controller.apiserver.strategic import StrategicMerge

T = TypeVar("T")

_structural: WeakKeyDictionary[Resource, Structural] = WeakKeyDictionary()
_codecs: WeakKeyDictionary[Resource, Codec] = WeakKeyDictionary()
_managers: WeakKeyDictionary[Resource, FieldManager] = WeakKeyDictionary()
_merges: WeakKeyDictionary[Resource, StrategicMerge] = WeakKeyDictionary()


def _once(known: WeakKeyDictionary[Resource, T], resource: Resource, make: Callable[[], T]) -> T:
    found = known.get(resource)
    if found is None:
        found = known[resource] = make()
    return found


def structural_of(resource: Resource) -> Structural:
    """Return the compiled schema of a resource."""
    return _once(_structural, resource, lambda: Structural(resource.schema))


def codec_of(resource: Resource) -> Codec:
    """Return the codec of a resource. Objects of the kinds that come with Lattice are read as they were stored."""
    normalise = structural_of(resource).normalise if resource.custom and resource.type is None else None
    return _once(_codecs, resource, lambda: Codec(resource, normalise))


def manager_of(resource: Resource) -> FieldManager:
    """Return what keeps managedFields of a resource."""
    return _once(_managers, resource, lambda: FieldManager(resource.schema, group_version=resource.group_version))


def merge_of(resource: Resource) -> StrategicMerge:
    """Return the strategic merge of a resource."""
    return _once(_merges, resource, lambda: StrategicMerge(resource.schema))
