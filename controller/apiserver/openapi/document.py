"""One OpenAPI v3 document from rows of the resource table, and the small ones about discovery and the version. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from controller.apiserver.openapi import operations
from controller.apiserver.openapi.components import META, Components
from controller.apiserver.resources import Resource

_TITLE: Final = {"title": "Lattice", "version": "v1"}
_CUSTOM_TITLE: Final = {"title": "Kubernetes CRD Swagger", "version": "v0.1.0"}
"""What kube-apiserver puts over the documents of custom resources."""


def build_document(group: str, version: str, rows: Sequence[Resource], built_in: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Return the document of a group and version.

    Args:
        group: empty for the core group.
        version: version.
        rows: its resources.
        built_in: all groups and versions of built-in kinds, which some shared schemas name.
    """
    collected = Components(built_in)
    paths: dict[str, Any] = {}
    custom = all(row.custom for row in rows)
    if not custom:
        root = f"{operations.root_of(group, version)}/"
        answer = collected.ref(f"{META}APIResourceList")
        name = f"get{operations.family_of(group, version)}APIResources"
        paths[root] = {"get": operations.read_operation(operations.tag_of(group, version), name, "get available resources", answer)}
    for row in rows:
        paths |= operations.paths_of(row, collected)
    return _document(_CUSTOM_TITLE if custom else _TITLE, paths, collected)


def build_plain_documents(groups: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the documents of ``/api``, ``/apis``, each built-in group and ``/version``, by their paths without the slash."""
    found = {
        "api": _plain("/api/", "core", "getCoreAPIVersions", "get available API versions", f"{META}APIVersions"),
        "apis": _plain("/apis/", "apis", "getAPIVersions", "get available API versions", f"{META}APIGroupList"),
        "version": _plain(
            "/version/", "version", "getCodeVersion", "get the version of the server", "io.k8s.apimachinery.pkg.version.Info"
        ),
    }
    for group in groups:
        tag, family = operations.tag_of(group, "").rstrip("_"), operations.family_of(group, "")
        found[f"apis/{group}"] = _plain(f"/apis/{group}/", tag, f"get{family}APIGroup", "get information of a group", f"{META}APIGroup")
    return found


def _plain(path: str, tag: str, operation_id: str, description: str, answer: str) -> dict[str, Any]:
    collected = Components(())
    item = {"get": operations.read_operation(tag, operation_id, description, collected.ref(answer))}
    return _document(_TITLE, {path: item}, collected)


def _document(title: Mapping[str, str], paths: Mapping[str, Any], collected: Components) -> dict[str, Any]:
    schemas = dict(sorted(collected.schemas.items()))
    return {"openapi": "3.0.0", "info": title, "paths": dict(sorted(paths.items())), "components": {"schemas": schemas}}
