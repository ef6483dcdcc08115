"""Discovery: which groups, versions and resources there are; in the plain documents and in the aggregated one that kubectl prefers.

Built once from the table of resources; answers are bytes. Custom resources will rebuild it.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

import orjson

from controller.apiserver.request import ApiRequest, ApiResponse
from controller.apiserver.resources import Resource, ResourceTable

_AGGREGATED: Final = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


class Discovery:
    """Answers ``/api``, ``/apis`` and what is below."""

    def __init__(self, table: ResourceTable) -> None:
        self._plain: dict[str, bytes] = {}
        self._aggregated: dict[str, tuple[bytes, str]] = {}
        groups = table.groups()
        named = {group: versions for group, versions in groups.items() if group}
        core = {"": groups.get("", {})}
        self._put("/api", {"kind": "APIVersions", "versions": list(core[""]), "serverAddressByClientCIDRs": []})
        self._put("/apis", {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(g, list(v)) for g, v in named.items()]})
        for group, versions in groups.items():
            if group:
                self._put(f"/apis/{group}", {"kind": "APIGroup", "apiVersion": "v1", **_group(group, list(versions))})
            for version, resources in versions.items():
                root = f"/apis/{group}/{version}" if group else f"/api/{version}"
                listed = [entry for resource in resources for entry in _plain_entries(resource)]
                head = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": f"{group}/{version}" if group else version}
                self._put(root, {**head, "resources": listed})
        self._put("/", {"paths": sorted([*self._plain, "/healthz", "/livez", "/readyz", "/version"])})
        for path, part in (("/api", core), ("/apis", named)):
            items = [_aggregated_group(group, versions) for group, versions in part.items()]
            body = orjson.dumps({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items})
            self._aggregated[path] = (body, f'"{hashlib.sha256(body).hexdigest().upper()}"')

    def _put(self, path: str, document: dict[str, Any]) -> None:
        self._plain[path] = orjson.dumps(document)

    def answer(self, request: ApiRequest) -> ApiResponse | None:
        """Return the document at the request's path, or ``None`` where there is none."""
        path = request.path.rstrip("/") or "/"
        if path in self._aggregated and _wants_aggregated(request.headers.get("accept", "")):
            body, etag = self._aggregated[path]
            headers = {"Etag": etag, "Vary": "Accept"}
            if request.headers.get("if-none-match") == etag:
                return ApiResponse(304, b"", _AGGREGATED, headers)
            return ApiResponse(200, body, _AGGREGATED, headers)
        document = self._plain.get(path)
        return None if document is None else ApiResponse(200, document, headers={"Vary": "Accept"})


def _wants_aggregated(accept: str) -> bool:
    for option in accept.split(","):
        parts = {part.strip() for part in option.split(";")}
        if {"g=apidiscovery.k8s.io", "v=v2", "as=APIGroupDiscoveryList"} <= parts:
            return True
        if option.strip() in {"application/json", "*/*"}:
            return False
    return False


def _group(group: str, versions: list[str]) -> dict[str, Any]:
    listed = [{"groupVersion": f"{group}/{version}", "version": version} for version in versions]
    return {"name": group, "versions": listed, "preferredVersion": listed[0]}


def _plain_entries(resource: Resource) -> list[dict[str, Any]]:
    entry: dict[str, Any] = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    entries = [entry]
    for sub in resource.subresources.values():
        part = {"name": f"{resource.plural}/{sub.name}", "singularName": "", "namespaced": resource.namespaced}
        if sub.kind:
            part |= {"group": sub.group, "version": sub.version}
        entries.append({**part, "kind": sub.kind or resource.kind, "verbs": list(sub.verbs)})
    return entries


def _aggregated_group(group: str, versions: dict[str, list[Resource]]) -> dict[str, Any]:
    listed = [
        {"version": version, "freshness": "Current", "resources": [_aggregated_entry(resource) for resource in resources]}
        for version, resources in versions.items()
    ]
    return {"metadata": {"name": group} if group else {}, "versions": listed}


def _aggregated_entry(resource: Resource) -> dict[str, Any]:
    kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    entry: dict[str, Any] = {
        "resource": resource.plural,
        "responseKind": kind,
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    if resource.subresources:
        entry["subresources"] = [
            {
                "subresource": sub.name,
                "responseKind": {"group": sub.group, "version": sub.version, "kind": sub.kind} if sub.kind else kind,
                "verbs": list(sub.verbs),
            }
            for sub in resource.subresources.values()
        ]
    return entry
