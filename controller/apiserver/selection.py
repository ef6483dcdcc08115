"""Which objects a list or a watch is about: namespace, name, label selector, field selector. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

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
        fields = selectortext.parse_field_selector(query.get("fieldSelector", ""))
    except ValueError as error:
        raise errors.BadRequestError(str(error)) from error
    for requirement in fields:
        if requirement.key not in {"metadata.name", "metadata.namespace"} and requirement.key not in resource.selectable:
            raise errors.BadRequestError(f"field label not supported: {requirement.key}")
    if name:
        fields = (*fields, selectortext.Requirement("metadata.name", "=", frozenset({name})))
    return Selection(namespace if resource.namespaced else "", labels, fields)


def project(resource: Resource, obj: Mapping[str, Any]) -> dict[str, str]:
    """Return the selectable fields of an object as text; absent ones are left out (they select as the empty string)."""
    found = {}
    for label, path in resource.selectable.items():
        value: Any = obj
        for part in path:
            value = value.get(part) if isinstance(value, Mapping) else None
        if value is not None and value != "":
            found[label] = "true" if value is True else "false" if value is False else str(value)
    return found
