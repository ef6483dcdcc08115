"""Discovery: which groups, versions and resources there are; in the plain documents and in the aggregated one that kubectl prefers.

Asked by ``server.py`` for every path that is not about objects. The documents are made from the table of resources and kept as bytes; a
change of the table (``generation``) makes them anew at the next request, so that a kind appears and vanishes at once.

Shapes, orders and headers are those of kube-apiserver 1.36: its groups come in its order (what is more basic first), then all others by
name; versions by stability; resources by plural. A few of its manners look like mistakes and are kept, because clients have met them
only so: the list of ``/api/v1`` has no apiVersion, and the aggregated document leaves group and version of built-in kinds empty.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from controller.apiserver import negotiation
from controller.apiserver.request import JSON, ApiRequest, ApiResponse
from controller.apiserver.resources import Resource, ResourceTable, Subresource, version_rank
from lattice.api import errors

_AGGREGATED: Final = f"{JSON};g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_GROUPS: Final = (
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "resource.k8s.io",
    "flowcontrol.apiserver.k8s.io",
)
"""Kubernetes' own groups in the order of their priority; kubectl takes the first that has a resource of a given name."""
_OTHER_PATHS: Final = (
    "/apis/",
    *(f"/{check}{part}" for check in ("healthz", "livez", "readyz") for part in ("", "/ping")),
    "/openapi/v3",
    "/openapi/v3/",
    "/version",
)


@dataclass(frozen=True, slots=True)
class _Documents:
    """All documents of one generation of the table, by path without trailing slash."""

    generation: int
    plain: Mapping[str, bytes]
    aggregated: Mapping[str, tuple[bytes, str]]
    """Body and ETag."""


class Discovery:
    """Answers ``/``, ``/api``, ``/apis`` and what is below."""

    def __init__(self, table: ResourceTable) -> None:
        self._table = table
        self._documents = _make_documents(table)

    def answer(self, request: ApiRequest) -> ApiResponse | None:
        """Return the document at the request's path, or ``None`` where there is none.

        Raises:
            errors.NotAcceptableError: it exists, but in none of the forms that are asked for.
        """
        if self._documents.generation != self._table.generation:
            self._documents = _make_documents(self._table)
        path = request.path.rstrip("/") or "/"
        document = self._documents.plain.get(path)
        if document is None:
            return None
        found = self._documents.aggregated.get(path)
        if not _wants_aggregated(request.headers.get("accept", ""), possible=found is not None) or found is None:
            body = _versions(request.headers.get("host", "")) if path == "/api" else document
            return ApiResponse(200, body, headers={"Vary": "Accept"} if path in self._documents.aggregated else {})
        body, etag = found
        headers = {"Etag": etag, "Vary": "Accept", "Cache-Control": "public"}
        if etag in {tag.strip() for tag in request.headers.get("if-none-match", "").split(",")}:
            return ApiResponse(304, b"", _AGGREGATED, headers)
        return ApiResponse(200, body, _AGGREGATED, headers)


def _wants_aggregated(accept: str, *, possible: bool) -> bool:
    """Return whether the aggregated document is asked for; the plain one otherwise."""
    ranges = negotiation.parse_accept(accept)
    for media, parameters in ranges:
        form = tuple(parameters.get(name, "") for name in ("g", "v", "as"))
        if not any(form):
            if media in {JSON, negotiation.YAML, negotiation.PROTOBUF, "application/*", "*/*"}:
                return False
        elif possible and media == JSON and form == ("apidiscovery.k8s.io", "v2", "APIGroupDiscoveryList"):
            return True
    if not accept:
        return False
    offered = ", ".join((JSON, negotiation.YAML, negotiation.PROTOBUF))
    raise errors.NotAcceptableError(f"only the following media types are accepted: {offered}")


def _make_documents(table: ResourceTable) -> _Documents:
    generation = table.generation
    groups = _sorted_groups(table.all)
    named = {name: versions for name, versions in groups.items() if name}
    plain: dict[str, Any] = {
        "/api": {},  # depends on the request
        "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(name, versions) for name, versions in named.items()]},
    }
    for name, versions in groups.items():
        if name:
            plain[f"/apis/{name}"] = {"kind": "APIGroup", "apiVersion": "v1", **_group(name, versions)}
        for version, rows in versions.items():
            entries = [entry for row in rows for entry in _plain_entries(row)]
            if name:
                head = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": f"{name}/{version}"}
                plain[f"/apis/{name}/{version}"] = {**head, "resources": entries}
            else:
                plain[f"/api/{version}"] = {"kind": "APIResourceList", "groupVersion": version, "resources": entries}
    plain["/"] = {"paths": sorted([*plain, *_OTHER_PATHS])}
    aggregated = {
        "/api": _aggregated_list({"": groups.get("", {})}),
        "/apis": _aggregated_list(named),
    }
    return _Documents(
        generation,
        {path: orjson.dumps(document) for path, document in plain.items()},
        {path: (body, f'"{hashlib.sha512(body).hexdigest().upper()}"') for path, body in aggregated.items()},
    )


def _sorted_groups(rows: Iterable[Resource]) -> dict[str, dict[str, list[Resource]]]:
    """Return group to version to rows, all in the order in which they are shown."""
    order = {name: number for number, name in enumerate(("", *_GROUPS))}
    ranked = sorted(rows, key=lambda row: (order.get(row.group, len(order)), row.group, version_rank(row.version), row.plural))
    found: dict[str, dict[str, list[Resource]]] = {}
    for row in ranked:
        found.setdefault(row.group, {}).setdefault(row.version, []).append(row)
    return found


def _versions(host: str) -> bytes:
    """Return the document of ``/api``. The address is the one by which the client has reached us, if it says so."""
    addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": host}] if host else []
    return orjson.dumps({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses})


def _group(name: str, versions: Iterable[str]) -> dict[str, Any]:
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def _sorted_subresources(row: Resource) -> Sequence[Subresource]:
    """Return the subresources as they are shown: by name, but ``status`` before ``scale`` for custom resources."""
    return sorted(row.subresources.values(), key=lambda sub: (row.custom and sub.name != "status", sub.name))


def _names(row: Resource) -> dict[str, Any]:
    found = {}
    if row.short_names:
        found["shortNames"] = list(row.short_names)
    if row.categories:
        found["categories"] = list(row.categories)
    return found


def _plain_entries(row: Resource) -> list[dict[str, Any]]:
    entry: dict[str, Any] = {
        "name": row.plural,
        "singularName": row.singular,
        "namespaced": row.namespaced,
        "kind": row.kind,
        "verbs": list(row.verbs),
        **_names(row),
    }
    if not row.virtual:
        entry["storageVersionHash"] = _storage_version_hash(row)
    entries = [entry]
    for sub in _sorted_subresources(row):
        part: dict[str, Any] = {"name": f"{row.plural}/{sub.name}", "singularName": "", "namespaced": row.namespaced}
        if sub.version:
            part |= {"group": sub.group, "version": sub.version} if (sub.group, sub.version) != (row.group, row.version) else {}
        entries.append({**part, "kind": sub.kind or row.kind, "verbs": list(sub.verbs)})
    return entries


def _storage_version_hash(row: Resource) -> str:
    """Return what clients compare to see that the stored form has changed. As apiserver's ``discovery.StorageVersionHash``."""
    group = row.stored_as.group if row.stored_as is not None else row.group
    text = f"{group}/{row.storage_version or row.version}/{row.kind}"
    return base64.b64encode(hashlib.sha256(text.encode()).digest()[:8]).decode()


def _aggregated_list(groups: Mapping[str, Mapping[str, Sequence[Resource]]]) -> bytes:
    items = [
        {
            "metadata": {"name": name} if name else {},
            "versions": [
                {"version": version, "resources": [_aggregated_entry(row) for row in rows], "freshness": "Current"}
                for version, rows in versions.items()
            ],
        }
        for name, versions in groups.items()
        if versions
    ]
    return orjson.dumps({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items})


def _aggregated_entry(row: Resource) -> dict[str, Any]:
    group, version = (row.group, row.version) if row.custom else ("", "")
    entry: dict[str, Any] = {
        "resource": row.plural,
        "responseKind": {"group": group, "version": version, "kind": row.kind},
        "scope": "Namespaced" if row.namespaced else "Cluster",
        "singularResource": row.singular,
        "verbs": list(row.verbs),
        **_names(row),
    }
    if row.subresources:
        entry["subresources"] = [
            {"subresource": sub.name, "responseKind": _response_kind(row, sub, group, version), "verbs": list(sub.verbs)}
            for sub in _sorted_subresources(row)
        ]
    return entry


def _response_kind(row: Resource, sub: Subresource, group: str, version: str) -> dict[str, str]:
    if sub.kind and (sub.group, sub.version) != (row.group, row.version):
        return {"group": sub.group, "version": sub.version, "kind": sub.kind}
    return {"group": group, "version": version, "kind": sub.kind or row.kind}
