"""Discovery: documents as kube-apiserver 1.36 gives them, negotiation, and a table that changes."""

import orjson
import pytest

from controller.apiserver import discovery
from controller.apiserver.request import ApiRequest, ApiResponse
from controller.apiserver.resources import CUSTOM_VERBS, SCALE, Resource, ResourceTable, Subresource
from lattice.api import errors

KUBECTL = (
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,"
    "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"
)
V2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
V2BETA1 = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"


def row(group: str, version: str, kind: str, **more) -> Resource:
    singular = kind.lower()
    more = {"plural": f"{singular}s", "namespaced": True, **more}
    return Resource(group=group, version=version, kind=kind, singular=singular, schema={}, **more)


def subresources(*subs: Subresource) -> dict[str, Subresource]:
    return {sub.name: sub for sub in subs}


NAMESPACE = row(
    "",
    "v1",
    "Namespace",
    namespaced=False,
    short_names=("ns",),
    verbs=("create", "delete", "get", "list", "patch", "update", "watch"),
    subresources=subresources(Subresource("status"), Subresource("finalize", ("update",))),
)
EVENT = row("", "v1", "Event", short_names=("ev",), store="ephemeral")
POD = row(
    "",
    "v1",
    "Pod",
    short_names=("po",),
    categories=("all",),
    subresources=subresources(
        Subresource("status"),
        Subresource("binding", ("create",), "", "v1", "Binding"),
        Subresource("eviction", ("create",), "policy", "v1", "Eviction"),
    ),
)
LEASE = row("coordination.k8s.io", "v1", "Lease")
REVIEW = row("authorization.k8s.io", "v1", "SelfSubjectAccessReview", namespaced=False, verbs=("create",), virtual=True)


def specimen(version: str = "v1") -> Resource:
    return row(
        "example.dev",
        version,
        "Specimen",
        verbs=CUSTOM_VERBS,
        short_names=("sp",),
        categories=("all",),
        custom=True,
        storage_version="v1",
        subresources=subresources(Subresource("scale", SCALE.verbs, SCALE.group, SCALE.version, SCALE.kind), Subresource("status")),
    )


def ask(documents: discovery.Discovery, path: str, accept: str = "application/json", **headers: str) -> ApiResponse:
    answer = documents.answer(ApiRequest("GET", path, headers={"accept": accept, **{k.replace("_", "-"): v for k, v in headers.items()}}))
    assert answer is not None
    return answer


def read(documents: discovery.Discovery, path: str, accept: str = "application/json"):
    return orjson.loads(ask(documents, path, accept).body)


@pytest.fixture
def table() -> ResourceTable:
    return ResourceTable([LEASE, specimen(), POD, NAMESPACE, EVENT, REVIEW])


@pytest.fixture
def documents(table) -> discovery.Discovery:
    return discovery.Discovery(table)


def test_core_list_reads_as_recorded(documents):
    found = read(documents, "/api/v1")
    assert "apiVersion" not in found  # kube-apiserver's has none either
    by_name = {entry["name"]: entry for entry in found["resources"]}
    assert list(by_name) == [
        "events", "namespaces", "namespaces/finalize", "namespaces/status", "pods", "pods/binding", "pods/eviction", "pods/status",
    ]  # fmt: skip
    assert by_name["events"] == {
        "name": "events",
        "singularName": "event",
        "namespaced": True,
        "kind": "Event",
        "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
        "shortNames": ["ev"],
        "storageVersionHash": "r2yiGXH7wu8=",
    }
    assert by_name["namespaces"]["storageVersionHash"] == "Q3oi5N2YM8M="
    assert by_name["pods/binding"] == {
        "name": "pods/binding", "singularName": "", "namespaced": True, "kind": "Binding", "verbs": ["create"],
    }  # fmt: skip
    assert by_name["pods/eviction"]["group"] == "policy"


def test_custom_list_reads_as_recorded(documents):
    entries = read(documents, "/apis/example.dev/v1")["resources"]
    assert entries[0].pop("storageVersionHash")
    assert entries == [
        {
            "name": "specimens",
            "singularName": "specimen",
            "namespaced": True,
            "kind": "Specimen",
            "verbs": ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"],
            "shortNames": ["sp"],
            "categories": ["all"],
        },
        {"name": "specimens/status", "singularName": "", "namespaced": True, "kind": "Specimen", "verbs": ["get", "patch", "update"]},
        {
            "name": "specimens/scale",
            "singularName": "",
            "namespaced": True,
            "group": "autoscaling",
            "version": "v1",
            "kind": "Scale",
            "verbs": ["get", "patch", "update"],
        },
    ]


def test_virtual_kind_has_no_storage_version(documents):
    assert read(documents, "/apis/authorization.k8s.io/v1") == {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": "authorization.k8s.io/v1",
        "resources": [
            {
                "name": "selfsubjectaccessreviews",
                "singularName": "selfsubjectaccessreview",
                "namespaced": False,
                "kind": "SelfSubjectAccessReview",
                "verbs": ["create"],
            }
        ],
    }


def test_groups_come_in_kubernetes_order_and_others_by_name(table):
    table.replace("alpha.dev", "things", [row("alpha.dev", "v1", "Thing", custom=True)])
    names = [group["name"] for group in read(discovery.Discovery(table), "/apis")["groups"]]
    assert names == ["authorization.k8s.io", "coordination.k8s.io", "alpha.dev", "example.dev"]


def test_most_stable_version_is_preferred(table):
    table.replace("example.dev", "specimens", [specimen(version) for version in ("v1alpha1", "v2beta1", "v1", "v10", "v2")])
    group = read(discovery.Discovery(table), "/apis/example.dev")
    assert [entry["version"] for entry in group["versions"]] == ["v10", "v2", "v1", "v2beta1", "v1alpha1"]
    assert group["preferredVersion"] == {"groupVersion": "example.dev/v10", "version": "v10"}
    assert group["kind"] == "APIGroup"


def test_kind_appears_and_vanishes_with_the_table(table, documents):
    assert documents.answer(ApiRequest("GET", "/apis/new.dev/v1")) is None
    before = ask(documents, "/apis", V2).headers["Etag"]
    table.replace("new.dev", "things", [row("new.dev", "v1", "Thing", custom=True)])
    assert read(documents, "/apis/new.dev/v1")["resources"][0]["name"] == "things"
    assert ask(documents, "/apis", V2).headers["Etag"] != before
    table.replace("new.dev", "things", [])
    assert documents.answer(ApiRequest("GET", "/apis/new.dev/v1")) is None
    assert ask(documents, "/apis", V2).headers["Etag"] == before


@pytest.mark.parametrize("accept", [KUBECTL, V2, f"text/html, {V2}", f"application/json;q=0.5,{V2}"])
def test_aggregated_document_for_those_who_ask(documents, accept):
    answer = ask(documents, "/apis", accept)
    assert answer.content_type == V2
    assert answer.headers["Vary"] == "Accept"
    assert answer.headers["Cache-Control"] == "public"
    items = orjson.loads(answer.body)["items"]
    assert [item["metadata"] for item in items] == [
        {"name": "authorization.k8s.io"},
        {"name": "coordination.k8s.io"},
        {"name": "example.dev"},
    ]
    assert items[2]["versions"] == [
        {
            "version": "v1",
            "resources": [
                {
                    "resource": "specimens",
                    "responseKind": {"group": "example.dev", "version": "v1", "kind": "Specimen"},
                    "scope": "Namespaced",
                    "singularResource": "specimen",
                    "verbs": list(CUSTOM_VERBS),
                    "shortNames": ["sp"],
                    "categories": ["all"],
                    "subresources": [
                        {
                            "subresource": "status",
                            "responseKind": {"group": "example.dev", "version": "v1", "kind": "Specimen"},
                            "verbs": ["get", "patch", "update"],
                        },
                        {
                            "subresource": "scale",
                            "responseKind": {"group": "autoscaling", "version": "v1", "kind": "Scale"},
                            "verbs": ["get", "patch", "update"],
                        },
                    ],
                }
            ],
            "freshness": "Current",
        }
    ]


def test_aggregated_core_leaves_the_group_of_built_in_kinds_empty(documents):
    (item,) = read(documents, "/api", V2)["items"]
    assert item["metadata"] == {}
    namespaces = item["versions"][0]["resources"][1]
    assert namespaces == {
        "resource": "namespaces",
        "responseKind": {"group": "", "version": "", "kind": "Namespace"},
        "scope": "Cluster",
        "singularResource": "namespace",
        "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"],
        "shortNames": ["ns"],
        "subresources": [
            {"subresource": "finalize", "responseKind": {"group": "", "version": "", "kind": "Namespace"}, "verbs": ["update"]},
            {
                "subresource": "status",
                "responseKind": {"group": "", "version": "", "kind": "Namespace"},
                "verbs": ["get", "patch", "update"],
            },
        ],
    }


def test_known_etag_is_not_modified(documents):
    etag = ask(documents, "/apis", V2).headers["Etag"]
    answer = ask(documents, "/apis", V2, if_none_match=etag)
    assert (answer.status, answer.body, answer.headers["Etag"]) == (304, b"", etag)
    assert ask(documents, "/apis", V2, if_none_match='"other"').status == 200


@pytest.mark.parametrize("accept", ["", "*/*", "application/json", "application/json, */*", "application/*", f"application/json,{V2}"])
def test_plain_document_for_everybody_else(documents, accept):
    assert read(documents, "/apis", accept)["kind"] == "APIGroupList"


@pytest.mark.parametrize(("path", "accept"), [("/apis", V2BETA1), ("/apis", "text/html"), ("/apis/example.dev", V2)])
def test_form_that_there_is_not_is_not_acceptable(documents, path, accept):
    with pytest.raises(errors.NotAcceptableError, match="only the following media types are accepted: application/json, "):
        ask(documents, path, accept)


@pytest.mark.parametrize("path", ["/apis/", "/api/", "/apis/example.dev/", "/apis/example.dev/v1/"])
def test_trailing_slash_is_no_difference(documents, path):
    assert ask(documents, path).body == ask(documents, path.rstrip("/")).body


@pytest.mark.parametrize("path", ["/apis/nonesuch.dev", "/apis/example.dev/v7", "/api/v2", "/apis/example.dev/v1/nonesuch", "/nonesuch"])
def test_unknown_path_is_left_to_the_server(documents, path):
    assert documents.answer(ApiRequest("GET", path)) is None


def test_unknown_path_is_not_found_whatever_form_is_asked_for(documents):
    assert documents.answer(ApiRequest("GET", "/apis/nonesuch.dev", headers={"accept": "text/html"})) is None


def test_versions_name_the_address_that_the_client_uses(documents):
    assert orjson.loads(ask(documents, "/api", host="10.0.0.1:6443").body) == {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": "10.0.0.1:6443"}],
    }


def test_root_lists_the_paths(documents):
    paths = read(documents, "/")["paths"]
    assert {"/api", "/api/v1", "/apis", "/apis/", "/apis/example.dev", "/apis/example.dev/v1", "/version", "/readyz"} <= set(paths)
    assert paths == sorted(paths)
