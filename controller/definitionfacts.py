"""What reconcilers need to know of a CustomResourceDefinition, read from its JSON form. Pure: plans use it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lattice.api import meta, scheme
from lattice.api import names as lattice_names


@dataclass(frozen=True, slots=True)
class Definition:
    """What reconcilers need to know of a CustomResourceDefinition."""

    name: str
    uid: str
    group: str
    kind: str
    plural: str
    namespaced: bool
    versions: tuple[str, ...]
    """Served versions, the one that objects are stored in first."""
    established: bool
    """Its kind is served. Never said of one that is called like a kind of Lattice's own, whatever its conditions say: what is found
    at its path are not its objects."""
    deleting: bool
    finalizers: tuple[str, ...]

    @property
    def served(self) -> bool:
        """Whether its objects can be reached."""
        return self.established and bool(self.versions)

    @property
    def custom(self) -> bool:
        """Whether it is served, and not one of the kinds that Lattice brings, for which there are Python types."""
        return self.served and not any(scheme.kind_of(api_version, self.kind) for api_version in self.api_versions)

    @property
    def api_versions(self) -> tuple[str, ...]:
        """The served versions with their group, as references name them."""
        return tuple(f"{self.group}/{version}" for version in self.versions)

    def python_type(self) -> type[meta.Object]:
        """Return the type by which clients and caches know the kind.

        Raises:
            ValueError: no version is served.
        """
        if not self.versions:
            raise ValueError(f"{self.name}: no version is served")
        return scheme.custom_kind(
            group=self.group, version=self.versions[0], kind=self.kind, plural=self.plural, namespaced=self.namespaced
        )


def _is_shadow(group: str, plural: str) -> bool:
    """Whether a definition outside of our own group is called like a kind that comes with Lattice."""
    return group != lattice_names.GROUP and any(group == kind.GROUP and plural == kind.PLURAL for kind in (*scheme.KINDS, *scheme.REVIEWS))


def slim_definition(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return what :func:`parse_definition` reads, without the schemas, which may be large."""
    spec, status = document.get("spec") or {}, document.get("status") or {}
    versions = [{name: version.get(name) for name in ("name", "served", "storage")} for version in spec.get("versions") or ()]
    return {
        "metadata": {name: value for name, value in document["metadata"].items() if name not in {"managedFields", "annotations"}},
        "spec": {**{name: spec.get(name) for name in ("group", "scope", "names")}, "versions": versions},
        "status": {"conditions": status.get("conditions")},
    }


def parse_definition(document: Mapping[str, Any]) -> Definition:
    """Return the facts of a definition. Lenient: what is not there reads as empty."""
    metadata, spec, status = (document.get(part) or {} for part in ("metadata", "spec", "status"))
    names = spec.get("names") or {}
    versions = [version for version in spec.get("versions") or () if version.get("served")]
    versions.sort(key=lambda version: not version.get("storage"))
    conditions = status.get("conditions") or ()
    return Definition(
        name=metadata.get("name", ""),
        uid=metadata.get("uid", ""),
        group=spec.get("group", ""),
        kind=names.get("kind", ""),
        plural=names.get("plural", ""),
        namespaced=spec.get("scope") == "Namespaced",
        versions=tuple(version["name"] for version in versions),
        established=not _is_shadow(spec.get("group", ""), names.get("plural", ""))
        and any(condition.get("type") == "Established" and condition.get("status") == "True" for condition in conditions),
        deleting=bool(metadata.get("deletionTimestamp")),
        finalizers=tuple(metadata.get("finalizers") or ()),
    )
