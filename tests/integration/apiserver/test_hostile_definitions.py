"""Definitions that are made to harm: called like what comes with Lattice, in groups that are others', or very many."""

import gc
import json

import pytest

from controller.apiserver import resources
from controller.definitionfacts import parse_definition
from lattice.testing import specimens
from lattice.testing.polling import eventually

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
APPROVED = {"api-approved.kubernetes.io": "unapproved, a test"}
SHADOWS = (
    ("coordination.k8s.io", "leases", "Lease", "v1"),
    ("coordination.k8s.io", "leases", "Rent", "v2"),
    ("apiextensions.k8s.io", "customresourcedefinitions", "CustomResourceDefinition", "v1"),
    ("authorization.k8s.io", "selfsubjectaccessreviews", "SelfSubjectAccessReview", "v1"),
    ("storage.k8s.io", "storageclasses", "StorageClass", "v1"),
)
ESTABLISHED = [
    {"type": kind, "status": "True", "reason": "Forged", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    for kind in ("NamesAccepted", "Established")
]


def make_definition(group, plural="specimens", kind="Specimen", version="v1", annotations=APPROVED):
    definition = specimens.definition(group)
    definition["metadata"] = {"name": f"{plural}.{group}", "annotations": annotations}
    definition["spec"]["names"] = {"plural": plural, "kind": kind, "singular": kind.lower(), "listKind": f"{kind}List"}
    definition["spec"]["versions"][0]["name"] = version
    return definition


async def call(session, method, path, body=None, kind="application/json"):
    async with session.request(method, path, data=json.dumps(body or {}).encode(), headers={"Content-Type": kind}) as answer:
        return answer.status, await answer.json(content_type=None)


@pytest.fixture
async def admin(api_server):
    async with api_server.session() as session:
        yield session


@pytest.mark.parametrize(("group", "plural", "kind", "version"), SHADOWS)
async def test_a_definition_cannot_take_the_place_of_a_kind_that_comes_with_lattice(api_server, admin, group, plural, kind, version):
    """It once did: one such object and Leases, or the definitions themselves, were gone for good."""
    lease = {"metadata": {"name": "held"}, "spec": {"holderIdentity": "node1"}}
    assert (await call(admin, "POST", LEASES, lease))[0] == 201
    name = f"{CRDS}/{plural}.{group}"
    status, body = await call(admin, "POST", CRDS, make_definition(group, plural, kind, version))
    assert status == 201, body
    _, stored = await call(admin, "GET", name)
    refused = {condition["type"]: (condition["status"], condition["reason"]) for condition in stored["status"]["conditions"]}
    assert refused == {"NamesAccepted": ("False", "PluralConflict"), "Established": ("False", "NotAccepted")}

    forged = {"status": {"conditions": ESTABLISHED, "storedVersions": [version]}}
    status, stored = await call(admin, "PATCH", f"{name}/status", forged, "application/merge-patch+json")
    assert status == 200
    assert not parse_definition(stored).established, "its deletion would delete what it is called like"
    await api_server.api.feeds["main"].fresh()
    for _ in range(2):
        assert (await call(admin, "GET", f"{LEASES}/held"))[1]["spec"] == lease["spec"]
        assert (await call(admin, "GET", CRDS))[0] == 200
        review = {"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}}
        assert (await call(admin, "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review))[1]["status"]["allowed"]
        assert (await call(admin, "GET", "/apis/storage.k8s.io/v1/storageclasses"))[1]["kind"] == "StorageClassList"
        await api_server.api.feeds["main"]._relist()  # as after a restart


@pytest.mark.parametrize("group", ["k8s.io", "foo.k8s.io", "foo.bar.kubernetes.io"])
@pytest.mark.parametrize(
    ("annotations", "reason"),
    [
        ({}, "FieldValueRequired"),
        ({"api-approved.kubernetes.io": ""}, "FieldValueRequired"),
        ({"api-approved.kubernetes.io": "me"}, "FieldValueInvalid"),
        ({"api-approved.kubernetes.io": "https://"}, "FieldValueInvalid"),
        ({"api-approved.kubernetes.io": "https://github.com/kubernetes/kubernetes/pull/1"}, None),
        (APPROVED, None),
    ],
)
async def test_groups_of_kubernetes_need_an_approval(admin, group, annotations, reason):
    status, body = await call(admin, "POST", f"{CRDS}?dryRun=All", make_definition(group, annotations=annotations))
    if reason is None:
        assert status in {201, 422}
        assert "approv" not in str(body.get("message"))
        return
    (cause,) = (cause for cause in body["details"]["causes"] if "approved" in cause["field"])
    assert (status, cause["reason"], cause["field"]) == (422, reason, "metadata.annotations[api-approved.kubernetes.io]")
    assert "protected groups must have approval annotation" in cause["message"]


async def test_an_approval_that_was_never_asked_for_is_not_asked_for_later(admin):
    assert (await call(admin, "POST", CRDS, make_definition("foo.k8s.io")))[0] == 201
    path, merge = f"{CRDS}/specimens.foo.k8s.io", "application/merge-patch+json"
    assert (await call(admin, "PATCH", path, {"metadata": {"labels": {"a": "b"}}}, merge))[0] == 200
    status, body = await call(admin, "PATCH", path, {"metadata": {"annotations": {"api-approved.kubernetes.io": None}}}, merge)
    assert (status, body["details"]["causes"][0]["reason"]) == (422, "FieldValueRequired")


@pytest.mark.parametrize("group", ["lattice.dev", "core", "", "v1"])
async def test_groups_that_nobody_may_define(admin, group):
    status, _ = await call(admin, "POST", CRDS, make_definition(group))
    assert status in {403, 422}


async def test_kinds_called_like_ours_in_other_groups_are_just_kinds(admin):
    """No base64, no finalizer of the system, no tombstone, no hidden value: what they are called means nothing."""
    for plural, kind in (("secrets", "Secret"), ("nodes", "Node"), ("pods", "Pod"), ("namespaces", "Namespace")):
        definition = make_definition("evil.example.dev", plural, kind)
        definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        assert (await call(admin, "POST", CRDS, definition))[0] == 201
        objects = f"/apis/evil.example.dev/v1/namespaces/default/{plural}"
        obj = {"apiVersion": "evil.example.dev/v1", "kind": kind, "metadata": {"name": "kube-system"}, "data": {"a": "no base64!"}}
        status, created = await call(admin, "POST", objects, {**obj, "spec": {"nodeName": "node1", "finalizers": ["kubernetes"]}})
        assert (status, created["data"], created["spec"]["nodeName"]) == (201, {"a": "no base64!"}, "node1")
        status, gone = await call(admin, "DELETE", f"{objects}/kube-system")
        assert (status, gone["status"]) == (200, "Success")
        assert (await call(admin, "GET", f"{objects}/kube-system"))[0] == 404


async def test_a_definition_that_goes_takes_along_all_that_was_made_from_it(api_server, admin):
    """What is compiled from a schema refers to its row, and once kept the row alive for ever: a megabyte for each definition."""
    group = "leak.example.dev"
    objects = f"/apis/{group}/v1/namespaces/default/specimens"
    table = {"Accept": "application/json;as=Table;g=meta.k8s.io;v=v1"}
    for _ in range(3):
        assert (await call(admin, "POST", CRDS, specimens.definition(group)))[0] == 201
        assert (await call(admin, "POST", objects, specimens.specimen(group, "a")))[0] == 201
        assert (await call(admin, "PATCH", f"{objects}/a", {"spec": {"replicas": 2}}, "application/merge-patch+json"))[0] == 200
        async with admin.get(objects, headers=table) as answer:
            assert answer.status == 200
        assert (await call(admin, "GET", f"/openapi/v3/apis/{group}/v1"))[0] == 200
        assert (await call(admin, "DELETE", f"{objects}/a"))[0] == 200
        assert (await call(admin, "DELETE", f"{CRDS}/specimens.{group}"))[0] == 200
        kept = {"metadata": {"finalizers": None}}
        assert (await call(admin, "PATCH", f"{CRDS}/specimens.{group}", kept, "application/merge-patch+json"))[0] == 200
        await api_server.api.feeds["main"].fresh()
    assert (await call(admin, "GET", "/openapi/v3"))[0] == 200

    def freed() -> bool:
        gc.collect()
        return sum(isinstance(found, resources.Resource) and found.group == group for found in gc.get_objects()) <= 1

    await eventually(freed, 10, "its rows to go: watches outlive their kind by a moment, and the feed's frames hold the last one")
