"""The table of kinds: which Python type a group, version and kind stands for. The only list of all kinds."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from lattice.api import (
    authentication,
    authorization,
    configmap,
    customresource,
    event,
    lease,
    meta,
    namespace,
    node,
    pod,
    serviceaccount,
    storage,
    tombstone,
    workload,
)

KINDS: Final[tuple[type[meta.Object], ...]] = (
    namespace.Namespace,
    node.Node,
    pod.Pod,
    configmap.Secret,
    configmap.ConfigMap,
    event.Event,
    serviceaccount.ServiceAccount,
    storage.PersistentVolumeClaim,
    storage.PersistentVolume,
    storage.StorageClass,
    lease.Lease,
    customresource.CustomResourceDefinition,
    workload.Workload,
    tombstone.Tombstone,
)

REVIEWS: Final[tuple[type[meta.Object], ...]] = (
    authorization.SelfSubjectAccessReview,
    authorization.SelfSubjectRulesReview,
    authorization.SubjectAccessReview,
    authorization.LocalSubjectAccessReview,
    authentication.SelfSubjectReview,
    authentication.TokenReview,
)
"""Kinds of which nothing is stored: creating one is asking."""

_BY_KIND: Final[Mapping[tuple[str, str], type[meta.Object]]] = {(kind.group_version(), kind.KIND): kind for kind in KINDS}


def kind_of(api_version: str, kind: str) -> type[meta.Object] | None:
    """Return the Python type of a kind, or ``None`` for one that is not built in."""
    return _BY_KIND.get((api_version, kind))


def parse_object(data: Mapping[str, Any]) -> meta.Object:
    """Return the typed object of a decoded manifest or answer.

    Raises:
        ValueError: the kind is not built in, or apiVersion or kind is missing.
        pydantic.ValidationError: the fields do not fit.
    """
    api_version, kind = data.get("apiVersion"), data.get("kind")
    if not isinstance(api_version, str) or not isinstance(kind, str):
        raise ValueError("apiVersion and kind must be set")  # noqa: TRY004 - of the manifest, not of a Python value
    found = kind_of(api_version, kind)
    if found is None:
        raise ValueError(f'no matches for kind "{kind}" in version "{api_version}"')
    return found.model_validate(data)


@lru_cache(maxsize=1024)
def custom_kind(*, group: str, version: str, kind: str, plural: str, namespaced: bool) -> type[meta.Object]:
    """Return a Python type for a kind that is known by its coordinates only: of its objects, the metadata is read and nothing else.

    The client, caches and reconcilers take it as any other kind. Equal coordinates give the same type.
    """
    coordinates = {"GROUP": group, "VERSION": version, "KIND": kind, "PLURAL": plural, "NAMESPACED": namespaced}
    described = {"__doc__": "An object of a kind that comes from a CustomResourceDefinition.", "__module__": __name__}
    return type(kind, (meta.Object,), {**coordinates, **described})
