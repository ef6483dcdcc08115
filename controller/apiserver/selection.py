"""Which objects a list or a watch is about: namespace, name, label selector, field selector. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

import orjson

from controller.apiserver.resources import Resource
from lattice.api import errors, selectortext


class Selectable(Protocol):
    """What a selection looks at: the slim projection in a cache entry."""

    @property
    def namespace(self) -> str:
        """Namespace, empty for cluster-scoped objects."""

    @property
    def name(self) -> str:
        """Name."""

    @property
    def labels(self) -> Mapping[str, str]:
        """Labels."""

    @property
    def fields(self) -> Mapping[str, str]:
        """Values of the resource's selectable fields."""


@dataclass(frozen=True, slots=True)
class Selection:
    """A parsed selection. ``exact``: the one value of each field that must be equal, for indexes."""

    namespace: str = ""
    labels: selectortext.LabelSelector = field(default_factory=selectortext.LabelSelector)
    fields: tuple[selectortext.Requirement, ...] = ()

    @property
    def everything(self) -> bool:
        """Whether only the namespace restricts."""
        return not self.labels.requirements and not self.fields

    def exact(self, field: str) -> str | None:
        """Return the value that ``field`` must have, where the selection names exactly one."""
        for requirement in self.fields:
            if requirement.key == field and requirement.operator == "=":
                return next(iter(requirement.values))
        return None

    def matches(self, item: Selectable) -> bool:
        """Return whether an object is selected."""
        if self.namespace and item.namespace != self.namespace:
            return False
        for requirement in self.fields:
            if requirement.key == "metadata.name":
                value = item.name
            elif requirement.key == "metadata.namespace":
                value = item.namespace
            else:
                value = item.fields.get(requirement.key, "")
            if (value in requirement.values) is (requirement.operator != "="):
                return False
        return self.labels.matches(item.labels)


def parse_selection(resource: Resource, namespace: str, query: Mapping[str, str], *, name: str = "") -> Selection:
    """Parse the selectors of a request.

    Raises:
        errors.BadRequestError: a selector does not parse, or names a field that cannot be selected by.
    """
    try:
        labels = selectortext.parse_label_selector(query.get("labelSelector", ""))
        fields = _merged(selectortext.parse_field_selector(query.get("fieldSelector", "")))
    except ValueError as error:
        raise errors.BadRequestError(str(error)) from error
    for requirement in fields:
        _check_field(resource, requirement.key)
    if (kind := resource.stored_as) is not None:
        fields = tuple(replace(requirement, key=kind.stored_path(requirement.key)) for requirement in fields)
    if name:
        fields = _for_one(fields, name)
    return Selection(namespace if resource.namespaced else "", labels, fields)


def _merged(fields: tuple[selectortext.Requirement, ...]) -> tuple[selectortext.Requirement, ...]:
    """Return the same demands as few: one for all values that a field may not have, and two different that it must have are enough."""
    excluded: dict[str, set[str]] = {}
    wanted: dict[str, dict[selectortext.Requirement, None]] = {}
    for requirement in fields:
        if requirement.operator == "!=":
            excluded.setdefault(requirement.key, set()).update(requirement.values)
        elif len(wanted.setdefault(requirement.key, {})) < 2:
            wanted[requirement.key][requirement] = None
    unequal = (selectortext.Requirement(key, "!=", frozenset(values)) for key, values in excluded.items())
    return (*(requirement for found in wanted.values() for requirement in found), *unequal)


def _check_field(resource: Resource, field: str) -> None:
    """Check that objects can be selected by a field. Kinds without fields of their own say so in other words.

    Raises:
        errors.BadRequestError: they cannot.
    """
    own = bool(resource.selectable) or resource.custom
    if field in resource.selectable or field == "metadata.name" or (field == "metadata.namespace" and (resource.namespaced or not own)):
        return
    if own:
        raise errors.BadRequestError(f"field label not supported: {field}")
    shown = orjson.dumps(field).decode()
    raise errors.BadRequestError(f'{shown} is not a known field selector: only "metadata.name", "metadata.namespace"')


def _for_one(fields: tuple[selectortext.Requirement, ...], name: str) -> tuple[selectortext.Requirement, ...]:
    """Return what selects the object of the path; a field selector may say the same and nothing else."""
    exact = selectortext.Requirement("metadata.name", "=", frozenset({name}))
    if fields and exact not in fields:
        raise errors.BadRequestError("fieldSelector metadata.name doesn't match requested name")
    return fields or (exact,)


_ABSENT: Final = {("Node", "spec.unschedulable"): "false", ("Pod", "spec.hostNetwork"): "false"}
"""What fields select as that are not there, where that is not the empty string."""


def project(resource: Resource, obj: Mapping[str, Any]) -> dict[str, str]:
    """Return the selectable fields of an object as text; absent ones are left out (they select as the empty string)."""
    found = {}
    for label, path in resource.selectable.items():
        value: Any = obj
        for part in path:
            value = value.get(part) if isinstance(value, Mapping) else None
        if value is not None and value != "":
            found[label] = "true" if value is True else "false" if value is False else str(value)
        elif (absent := _ABSENT.get((resource.native, label))) is not None:
            found[label] = absent
    if resource.native == "Event" and "source" not in found and (component := obj.get("reportingComponent")):
        found["source"] = str(component)  # as newer clients name it
    return found
