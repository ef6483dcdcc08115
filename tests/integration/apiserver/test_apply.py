"""Server-side apply and managedFields over HTTP, as the recorded clients use them."""

import json

import pytest

from lattice.testing.specimens import definition

GROUP = "apply.example.dev"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SPECIMENS = f"/apis/{GROUP}/v1/namespaces/default/specimens"
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"


@pytest.fixture
async def session(api_server):
    async with api_server.session() as session:
        async with session.post(CRDS, json=definition(GROUP)) as answer:
            assert answer.status == 201, await answer.text()
        yield session


async def patch(session, path, body, *, kind=APPLY, **query):
    data = body if isinstance(body, str) else json.dumps(body)
    async with session.patch(path, data=data.encode(), params=query, headers={"Content-Type": kind}) as answer:
        return answer.status, await answer.json()


async def apply(session, name, manager, *, subresource="", force=False, metadata=None, **parts):
    head = {"apiVersion": f"{GROUP}/v1", "kind": "Specimen", "metadata": {"name": name, **(metadata or {})}}
    path = f"{SPECIMENS}/{name}" + (f"/{subresource}" if subresource else "")
    return await patch(session, path, {**head, **parts}, fieldManager=manager, force=str(force).lower())


def owners(obj):
    managed = obj["metadata"].get("managedFields", ())
    return {(entry["manager"], entry["operation"], entry.get("subresource", "")): entry["fieldsV1"] for entry in managed}


async def test_an_apply_creates_then_changes_nothing_when_repeated(session):
    spec = {"image": "a", "ports": [{"containerPort": 80}]}
    status, created = await apply(session, "web", "kubectl", spec=spec)
    assert status == 201
    assert created["spec"] == {"image": "a", "replicas": 1, "ports": [{"containerPort": 80, "protocol": "TCP"}]}
    port = {".": {}, "f:containerPort": {}}
    fields = {"f:spec": {"f:image": {}, "f:ports": {'k:{"containerPort":80,"protocol":"TCP"}': port}}}
    assert owners(created) == {("kubectl", "Apply", ""): fields}
    assert await apply(session, "web", "kubectl", spec=spec) == (200, created)


async def test_conflict_force_and_sharing(session):
    await apply(session, "web", "one", spec={"image": "a"})
    status, body = await apply(session, "web", "two", spec={"image": "b"})
    assert (status, body["reason"]) == (409, "Conflict")
    assert body["message"] == 'Apply failed with 1 conflict: conflict with "one": .spec.image'
    assert body["details"] == {"causes": [{"reason": "FieldManagerConflict", "message": 'conflict with "one"', "field": ".spec.image"}]}
    status, forced = await apply(session, "web", "two", force=True, spec={"image": "b"})
    assert (status, forced["spec"]["image"]) == (200, "b")
    assert owners(forced) == {("two", "Apply", ""): {"f:spec": {"f:image": {}}}}
    status, shared = await apply(session, "web", "three", spec={"image": "b"})
    assert (status, shared["metadata"]["generation"]) == (200, forced["metadata"]["generation"])
    assert set(owners(shared)) == {("two", "Apply", ""), ("three", "Apply", "")}


async def test_a_conflict_with_an_updater_names_its_version(session):
    await apply(session, "web", "one", spec={"image": "a"})
    await patch(session, f"{SPECIMENS}/web", {"spec": {"image": "c", "replicas": 5}}, kind=MERGE, fieldManager="hand")
    status, body = await apply(session, "web", "one", spec={"image": "a", "replicas": 2})
    assert status == 409
    assert body["message"] == (f'Apply failed with 2 conflicts: conflicts with "hand" using {GROUP}/v1:\n- .spec.image\n- .spec.replicas')


async def test_what_is_no_longer_applied_goes(session):
    metadata = {"labels": {"a": "1", "b": "2"}}
    await apply(session, "web", "one", spec={"image": "a", "ports": [{"containerPort": 80}, {"containerPort": 81}]}, metadata=metadata)
    await patch(session, f"{SPECIMENS}/web", {"metadata": {"labels": {"c": "3"}}}, kind=MERGE, fieldManager="hand")
    status, body = await apply(
        session, "web", "one", spec={"image": "a", "ports": [{"containerPort": 81}]}, metadata={"labels": {"a": "1"}}
    )
    assert status == 200
    assert body["spec"]["ports"] == [{"containerPort": 81, "protocol": "TCP"}]
    assert body["metadata"]["labels"] == {"a": "1", "c": "3"}


async def test_status_is_applied_through_its_subresource_only(session):
    await apply(session, "web", "one", spec={"image": "a"}, status={"phase": "Ignored"})
    status, body = await apply(session, "web", "operator", subresource="status", spec={"image": "ignored"}, status={"phase": "Ready"})
    assert status == 200
    assert (body["spec"]["image"], body["status"]) == ("a", {"phase": "Ready"})
    assert owners(body) == {
        ("one", "Apply", ""): {"f:spec": {"f:image": {}}},
        ("operator", "Apply", "status"): {"f:status": {"f:phase": {}}},
    }
    assert await apply(session, "web", "operator", subresource="status", status={"phase": "Ready"}) == (200, body)


async def test_scale_takes_the_replicas_over(session):
    await apply(session, "web", "one", spec={"image": "a", "replicas": 1})
    status, _ = await patch(session, f"{SPECIMENS}/web/scale", {"spec": {"replicas": 3}}, kind=MERGE, fieldManager="scaler")
    assert status == 200
    async with session.get(f"{SPECIMENS}/web") as answer:
        body = await answer.json()
    assert owners(body) == {
        ("one", "Apply", ""): {"f:spec": {"f:image": {}}},
        ("scaler", "Update", "scale"): {"f:spec": {"f:replicas": {}}},
    }
    assert [entry.get("time") for entry in body["metadata"]["managedFields"]][1:] == [None]


async def test_an_applied_scale_conflicts_with_the_owner_of_the_replicas(session):
    await apply(session, "web", "one", spec={"image": "a", "replicas": 1})
    scale = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web"}, "spec": {"replicas": 4}}
    status, body = await patch(session, f"{SPECIMENS}/web/scale", scale, fieldManager="scaler")
    assert (status, body["message"]) == (409, 'Apply failed with 1 conflict: conflict with "one": .spec.replicas')
    status, body = await patch(session, f"{SPECIMENS}/web/scale", scale, fieldManager="scaler", force="true")
    assert (status, body["kind"], body["spec"]) == (200, "Scale", {"replicas": 4})
    async with session.get(f"{SPECIMENS}/web") as answer:
        assert owners(await answer.json()) == {
            ("one", "Apply", ""): {"f:spec": {"f:image": {}}},
            ("scaler", "Apply", "scale"): {"f:spec": {"f:replicas": {}}},
        }


async def test_the_way_over_from_client_side_apply(session):
    """The four requests of ``kubectl apply --server-side`` on an object that ``kubectl apply`` made."""
    path = f"{SPECIMENS}/web"
    head = {"apiVersion": f"{GROUP}/v1", "kind": "Specimen"}
    manifest = {**head, "metadata": {"annotations": {}, "name": "web", "namespace": "default"}, "spec": {"image": "a", "replicas": 2}}
    text = json.dumps(manifest, separators=(",", ":")) + "\n"
    created = {**manifest, "metadata": {**manifest["metadata"], "annotations": {ANNOTATION: text}}}
    async with session.post(SPECIMENS, json=created, params={"fieldManager": "kubectl-client-side-apply"}) as answer:
        assert answer.status == 201
    applied = {**head, "metadata": {"name": "web", "namespace": "default"}, "spec": {"image": "b", "replicas": 2}}
    status, first = await patch(session, path, applied, fieldManager="kubectl", force="false")
    assert status == 200  # no conflict: the live values are those of the annotation
    assert json.loads(first["metadata"]["annotations"][ANNOTATION]) == applied
    assert set(owners(first)) == {("kubectl", "Apply", ""), ("kubectl-client-side-apply", "Update", "")}
    note = {**head, "metadata": {"name": "web", "namespace": "default", "annotations": first["metadata"]["annotations"]}}
    status, second = await patch(session, path, note, fieldManager="kubectl-last-applied")
    assert status == 200
    assert ("kubectl-last-applied", "Apply", "") in owners(second)
    moved = [entry for entry in second["metadata"]["managedFields"] if entry["operation"] == "Apply"]
    for entry in moved:
        if entry["manager"] == "kubectl":
            entry["fieldsV1"] = owners(second)["kubectl-client-side-apply", "Update", ""] | entry["fieldsV1"]
    operations = [
        {"op": "replace", "path": "/metadata/managedFields", "value": moved},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": second["metadata"]["resourceVersion"]},
    ]
    status, third = await patch(session, path, operations, kind=JSON_PATCH, fieldManager="kubectl")
    assert status == 200
    assert set(owners(third)) == {("kubectl", "Apply", ""), ("kubectl-last-applied", "Apply", "")}
    assert (await patch(session, path, operations, kind=JSON_PATCH))[0] == 409  # its resourceVersion is a precondition
    status, fourth = await patch(session, path, applied, fieldManager="kubectl", force="false")
    assert status == 200
    assert fourth["spec"] == {"image": "b", "replicas": 2}
    assert owners(fourth)["kubectl", "Apply", ""] == {"f:spec": {"f:image": {}, "f:replicas": {}}}


async def test_one_empty_entry_clears_the_record_and_the_next_apply_starts_one(session):
    await apply(session, "web", "one", spec={"image": "a"})
    status, cleared = await patch(session, f"{SPECIMENS}/web", {"metadata": {"managedFields": [{}]}}, kind=MERGE)
    assert status == 200
    assert "managedFields" not in cleared["metadata"]
    _, changed = await patch(session, f"{SPECIMENS}/web", {"spec": {"replicas": 4}}, kind=MERGE)
    assert "managedFields" not in changed["metadata"]
    status, body = await apply(session, "web", "one", spec={"image": "b"})
    assert (status, body["message"]) == (
        409,
        f'Apply failed with 1 conflict: conflict with "before-first-apply" using {GROUP}/v1: .spec.image',
    )
    status, body = await apply(session, "web", "one", spec={"image": "a"})
    assert status == 200
    assert set(owners(body)) == {("before-first-apply", "Update", ""), ("one", "Apply", "")}


async def test_a_yaml_body(session):
    text = f"apiVersion: {GROUP}/v1\nkind: Specimen\nmetadata: {{name: web}}\nspec:\n  image: a\n"
    status, body = await patch(session, f"{SPECIMENS}/web", text, fieldManager="one")
    assert (status, body["spec"]["image"]) == (201, "a")


@pytest.mark.parametrize(
    ("metadata", "spec", "message"),
    [
        ({"managedFields": []}, {"image": "a"}, "metadata.managedFields must be nil"),
        ({}, {"image": "a", "bogus": 1}, ".spec.bogus: field not declared in schema"),
        ({}, {"image": "a", "replicas": "x"}, ".spec.replicas: expected numeric (int or float), got string"),
        (
            {},
            {"image": "a", "ports": [{"containerPort": 80}, {"containerPort": 80, "protocol": "TCP"}]},
            '.spec.ports: duplicate entries for key [containerPort=80,protocol="TCP"]',
        ),
    ],
)
async def test_what_cannot_be_applied(session, metadata, spec, message):
    status, body = await apply(session, "web", "one", metadata=metadata, spec=spec)
    assert (status, body["reason"]) == (400, "BadRequest")
    assert body["message"].endswith(message)


@pytest.mark.parametrize(
    ("head", "found"),
    [
        ({}, "/, Kind="),
        ({"apiVersion": "v1", "kind": "Specimen"}, "/v1, Kind=Specimen"),
        ({"apiVersion": f"{GROUP}/v1", "kind": "Other"}, f"{GROUP}/v1, Kind=Other"),
    ],
)
async def test_an_apply_says_what_it_is(session, head, found):
    status, body = await patch(session, f"{SPECIMENS}/web", {**head, "spec": {"image": "a"}}, fieldManager="one")
    assert (status, body["message"]) == (400, f"invalid object type: {found}")


async def test_a_dry_run_applies_nothing(session):
    head = {"apiVersion": f"{GROUP}/v1", "kind": "Specimen", "metadata": {"name": "web"}, "spec": {"image": "a"}}
    status, body = await patch(session, f"{SPECIMENS}/web", head, fieldManager="one", dryRun="All")
    assert (status, set(owners(body))) == (201, {("one", "Apply", "")})
    async with session.get(f"{SPECIMENS}/web") as answer:
        assert answer.status == 404


async def test_built_in_kinds_apply_too(session):
    path = "/api/v1/namespaces/default/configmaps/c"
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "labels": {"x": "y"}}, "data": {"a": "1", "b": "2"}}
    status, created = await patch(session, path, body, fieldManager="one")
    assert (status, owners(created)) == (
        201,
        {("one", "Apply", ""): {"f:data": {"f:a": {}, "f:b": {}}, "f:metadata": {"f:labels": {"f:x": {}}}}},
    )
    await patch(session, path, {"data": {"hand": "3"}}, kind=MERGE, fieldManager="hand")
    status, changed = await patch(session, path, {**body, "data": {"a": "1"}}, fieldManager="one")
    assert (status, changed["data"]) == (200, {"a": "1", "hand": "3"})
