"""What a PATCH or PUT may not do to an object, in the codes and words of a kube-apiserver."""

import json

import pytest

from lattice.testing.specimens import definition

GROUP = "patches.example.dev"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SPECIMENS = f"/apis/{GROUP}/v1/namespaces/default/specimens"
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"
ABSENT = "the name of the object (web based on URL) was undeterminable: name must be provided"


@pytest.fixture
async def session(api_server):
    async with api_server.session() as session:
        async with session.post(CRDS, json=definition(GROUP)) as answer:
            assert answer.status == 201, await answer.text()
        yield session


@pytest.fixture
async def web(session):
    body = {"apiVersion": f"{GROUP}/v1", "kind": "Specimen", "metadata": {"name": "web", "labels": {"app": "web"}}, "spec": {"image": "a"}}
    async with session.post(SPECIMENS, json=body) as answer:
        return await answer.json()


async def patch(session, body, *, kind=MERGE, name="web", **query):
    data = body if isinstance(body, str) else json.dumps(body)
    async with session.patch(f"{SPECIMENS}/{name}", data=data.encode(), params=query, headers={"Content-Type": kind}) as answer:
        return answer.status, await answer.json()


async def put(session, body, path=f"{SPECIMENS}/web"):
    async with session.put(path, json=body) as answer:
        return answer.status, await answer.json()


@pytest.mark.parametrize(
    ("field", "value"),
    [("uid", "zzz"), ("deletionTimestamp", "2000-01-01T00:00:00Z"), ("deletionGracePeriodSeconds", 5)],
)
@pytest.mark.parametrize("kind", [MERGE, JSON_PATCH, APPLY])
async def test_a_patch_cannot_change_what_the_server_owns(session, web, field, value, kind):
    if kind == APPLY:
        head = {"apiVersion": f"{GROUP}/v1", "kind": "Specimen"}
        status, body = await patch(session, {**head, "metadata": {"name": "web", field: value}}, kind=APPLY, fieldManager="m")
    elif kind == MERGE:
        status, body = await patch(session, {"metadata": {field: value}})
    else:
        status, body = await patch(session, [{"op": "add", "path": f"/metadata/{field}", "value": value}], kind=JSON_PATCH)
    message = f"Invalid value: {json.dumps(value)}: field is immutable"
    assert (status, body["message"]) == (422, f'Specimen.{GROUP} "web" is invalid: metadata.{field}: {message}')
    # Checked for every kind and for this kind: the causes tell of both, the message only once.
    assert body["details"]["causes"] == [{"reason": "FieldValueInvalid", "message": message, "field": f"metadata.{field}"}] * 2


async def test_the_uid_of_a_replacement_is_a_precondition(session, web):
    status, body = await put(session, {**web, "metadata": {**web["metadata"], "uid": "zzz"}})
    assert (status, body["reason"]) == (409, "Conflict")
    assert f"Precondition failed: UID in precondition: zzz, UID in object meta: {web['metadata']['uid']}" in body["message"]


@pytest.mark.parametrize("version", [None, "", "0"])
@pytest.mark.parametrize("subresource", ["", "/status"])
async def test_custom_resources_are_never_changed_without_their_version(session, web, version, subresource):
    wanted = f'specimens.{GROUP} "web" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update'
    status, body = await put(session, {**web, "metadata": {"name": "web", "resourceVersion": version}}, f"{SPECIMENS}/web{subresource}")
    assert (status, body["message"]) == (422, wanted)
    change = {"metadata": {"resourceVersion": version}}
    if not subresource:
        status, body = await patch(session, change)
        assert (status, body["message"]) == (422, wanted)


@pytest.mark.parametrize("metadata", [None, {"name": None}, {"name": ""}])
async def test_an_object_says_its_name(session, web, metadata):
    assert await answer_of(patch(session, {"metadata": metadata})) == (400, ABSENT)
    assert await answer_of(put(session, {**web, "metadata": metadata})) == (400, ABSENT)


async def answer_of(request):
    status, body = await request
    return status, body["message"]


async def test_strict_validation_shows_the_patched_object_whole_and_sorted(session, web):
    status, body = await patch(session, {"spec": {"bogus": "x" * 300, "ports": [{"containerPort": 80}]}}, fieldValidation="Strict")
    assert (status, body["reason"]) == (422, "Invalid")
    (cause,) = body["details"]["causes"]
    assert body["details"] == {"causes": [cause]}
    assert body["message"] == f' "" is invalid: patch: {cause["message"]}'
    text, end = json.JSONDecoder().raw_decode(cause["message"], len("Invalid value: "))
    assert cause["message"][end:] == ': strict decoding error: unknown field "spec.bogus"'
    spec = {"bogus": "x" * 300, "image": "a", "ports": [{"containerPort": 80}], "replicas": 1}  # no defaults of the new port yet
    assert json.loads(text) == {**web, "spec": spec}
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))


async def test_strict_validation_shows_nothing_of_a_secret(session):
    secrets = "/api/v1/namespaces/default/secrets"
    async with session.post(secrets, json={"metadata": {"name": "s"}, "stringData": {"password": "hunter2"}}) as answer:
        assert answer.status == 201
    params = {"fieldValidation": "Strict"}
    async with session.patch(f"{secrets}/s", json={"bogus": 1}, params=params, headers={"Content-Type": MERGE}) as answer:
        assert answer.status == 422
        assert (await answer.json())["message"] == (
            ' "" is invalid: patch: Invalid value: "{}": strict decoding error: unknown field "bogus"'
        )


async def test_a_patch_cannot_take_the_kind_away(session, web):
    status, body = await patch(session, [{"op": "remove", "path": "/kind"}], kind=JSON_PATCH)
    assert (status, body["details"]["causes"][0]["field"]) == (422, "patch")
    assert "Object 'Kind' is missing in '{" in body["message"]


async def test_a_patch_cannot_change_the_version(session, web):
    wanted = f'Specimen.foo "web" is invalid: apiVersion: Invalid value: "foo/v1": must be {GROUP}/v1'
    assert await answer_of(patch(session, {"apiVersion": "foo/v1"})) == (422, wanted)


async def test_syntax_of_labels_is_checked_three_times_on_update(session, web):
    status, body = await patch(session, {"metadata": {"labels": {"bad key!": "x"}}})
    assert status == 422
    assert body["message"].count("bad key!") == 1
    assert len(body["details"]["causes"]) == 3


@pytest.mark.parametrize(
    ("kind", "body", "message"),
    [
        (JSON_PATCH, [1], "json: cannot unmarshal number into Go value of type jsonpatch.Operation"),
        (APPLY, "", "invalid object type: /, Kind="),
        (APPLY, "null", "invalid object type: /, Kind="),
    ],
)
async def test_bodies_that_are_no_patch(session, web, kind, body, message):
    assert await answer_of(patch(session, body, kind=kind, fieldManager="m")) == (400, message)


async def test_a_new_finalizer_without_a_domain_is_warned_of_once(session, web):
    advice = "prefer a domain-qualified finalizer name to avoid accidental conflicts with other finalizer writers"
    warning = f'299 - "metadata.finalizers: \\"nodomain\\": {advice}"'
    names = ["a.b/c", "orphan", "nodomain"]
    fresh = {"apiVersion": f"{GROUP}/v1", "kind": "Specimen", "metadata": {"name": "new", "finalizers": names}, "spec": {"image": "a"}}
    async with session.post(SPECIMENS, json=fresh) as answer:
        assert (answer.status, answer.headers.getall("Warning")) == (201, [warning])
    headers = {"Content-Type": MERGE}
    async with session.patch(f"{SPECIMENS}/web", json={"metadata": {"finalizers": names}}, headers=headers) as answer:
        assert (answer.status, answer.headers.getall("Warning")) == (200, [warning])
    async with session.patch(f"{SPECIMENS}/web", json={"metadata": {"labels": {"a": "b"}}}, headers=headers) as answer:
        assert (answer.status, answer.headers.getall("Warning", [])) == (200, [])


@pytest.mark.parametrize(
    ("metadata", "problem"),
    [
        ("x", "json: cannot unmarshal string into Go value of type v1.ObjectMeta"),
        ({"labels": {"a": 5}}, "json: cannot unmarshal number into Go struct field ObjectMeta.labels of type string"),
        ({"annotations": []}, "json: cannot unmarshal array into Go struct field ObjectMeta.annotations of type map[string]string"),
        ({"uid": 5}, "json: cannot unmarshal number into Go struct field ObjectMeta.uid of type types.UID"),
        ({"finalizers": "x"}, "json: cannot unmarshal string into Go struct field ObjectMeta.finalizers of type []string"),
        ({"generation": "x"}, "json: cannot unmarshal string into Go struct field ObjectMeta.generation of type int64"),
        ({"creationTimestamp": "x"}, 'parsing time "x" as "2006-01-02T15:04:05Z07:00": cannot parse "x" as "2006"'),
        (
            {"ownerReferences": [{"name": True}]},
            "json: cannot unmarshal bool into Go struct field OwnerReference.ownerReferences.name of type string",
        ),
    ],
)
async def test_metadata_of_the_wrong_type_cannot_be_read(session, web, metadata, problem):
    head = {"apiVersion": f"{GROUP}/v1", "kind": "Specimen", "spec": {"image": "a"}}
    wanted = f'Specimen in version "v1" cannot be handled as a Specimen: {problem}'
    async with session.post(SPECIMENS, json={**head, "metadata": metadata}) as answer:
        assert (answer.status, (await answer.json())["message"]) == (400, wanted)
    assert await answer_of(put(session, {**web, "metadata": metadata})) == (400, wanted)
    status, body = await patch(session, {"metadata": metadata})
    assert (status, body["details"]["causes"][0]["field"]) == (422, "patch")
    assert body["message"].endswith(f'": {problem}')


async def test_a_prefix_of_names_is_checked_like_a_name(session):
    body = {"apiVersion": f"{GROUP}/v1", "kind": "Specimen", "metadata": {"generateName": "Bad_"}, "spec": {"image": "a"}}
    async with session.post(SPECIMENS, json=body) as answer:
        assert answer.status == 422
        causes = (await answer.json())["details"]["causes"]
    assert [cause["field"] for cause in causes] == ["metadata.generateName", "metadata.name"]


async def test_dry_run_is_a_list_of_stages(session, web):
    status, body = await patch(session, {}, dryRun="Bad")
    assert (status, body["details"]["causes"][0]["message"]) == (422, 'Unsupported value: ["Bad"]: supported values: "All"')


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metadata": {"name": "other"}}, "the name of the object (other) does not match the name on the URL (web)"),
        (
            {"spec": {"replicas": "x"}},
            'Scale in version "v1" cannot be handled as a Scale: json: cannot unmarshal string into Go struct field '
            "ScaleSpec.spec.replicas of type int32",
        ),
    ],
)
async def test_a_scale_that_cannot_be_read(session, web, change, message):
    scale = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web"}, "spec": {"replicas": 2}}
    assert await answer_of(put(session, scale | change, f"{SPECIMENS}/web/scale")) == (400, message)
