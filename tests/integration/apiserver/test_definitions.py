"""CustomResourceDefinitions over HTTP: what is filled in and refused, and that rules, defaults and pruning hold for objects at once."""

import json

import pytest

from lattice.testing import specimens

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
OBJECTS = "/apis/rules.example.dev/v1/namespaces/default/specimens"


async def call(session, method, path, body=None, kind="application/json"):
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": kind} if body is not None else {}
    async with session.request(method, path, data=data, headers=headers) as answer:
        text = await answer.read()
        return answer.status, json.loads(text)


@pytest.fixture
async def admin(api_server):
    async with api_server.session() as session:
        yield session


def make_definition(*rules, **spec_fields):
    definition = specimens.definition("rules.example.dev")
    spec = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    spec["properties"] |= spec_fields
    if rules:
        spec["x-kubernetes-validations"] = [{"rule": rule} for rule in rules]
    return definition


def make_object(name="web", **spec):
    return specimens.specimen("rules.example.dev", name, **spec)


async def test_a_definition_is_answered_with_its_defaults_and_an_empty_status(admin):
    definition = make_definition()
    del definition["spec"]["names"]["singular"], definition["spec"]["names"]["listKind"]
    status, body = await call(admin, "POST", CRDS, definition)
    assert status == 201
    assert body["spec"]["names"]["singular"] == "specimen"
    assert body["spec"]["names"]["listKind"] == "SpecimenList"
    assert body["spec"]["conversion"] == {"strategy": "None"}
    assert body["status"] == {"conditions": None, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": ["v1"]}
    _, stored = await call(admin, "GET", f"{CRDS}/specimens.rules.example.dev")
    assert [condition["type"] for condition in stored["status"]["conditions"]] == ["NamesAccepted", "Established"]
    assert stored["status"]["storedVersions"] == ["v1"]


async def test_a_definition_that_makes_no_sense_is_refused_with_all_causes(admin):
    definition = make_definition("self.nope == 1")
    definition["metadata"]["name"] = "other.example.dev"
    definition["spec"]["versions"][0]["additionalPrinterColumns"][0]["type"] = "text"
    status, body = await call(admin, "POST", CRDS, definition)
    assert (status, body["reason"]) == (422, "Invalid")
    assert {cause["field"] for cause in body["details"]["causes"]} == {
        "metadata.name",
        "spec.additionalPrinterColumns[0].type",
        "spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule",
    }


async def test_rules_hold_on_create_and_update(admin):
    assert (await call(admin, "POST", CRDS, make_definition("self.replicas <= 3", "self.image == oldSelf.image")))[0] == 201
    status, body = await call(admin, "POST", OBJECTS, make_object(replicas=4))
    assert (status, body["details"]["causes"]) == (
        422,
        [{"reason": "FieldValueInvalid", "message": 'Invalid value: "object": failed rule: self.replicas <= 3', "field": "spec"}],
    )
    assert (await call(admin, "POST", OBJECTS, make_object(replicas=2)))[0] == 201
    change = {"spec": {"image": "other"}}
    status, body = await call(admin, "PATCH", f"{OBJECTS}/web", change, "application/merge-patch+json")
    assert status == 422
    assert "failed rule: self.image == oldSelf.image" in body["message"]


async def test_what_was_valid_once_may_stay_when_the_rules_are_tightened(admin):
    assert (await call(admin, "POST", CRDS, make_definition()))[0] == 201
    assert (await call(admin, "POST", OBJECTS, make_object(replicas=9)))[0] == 201
    schema = make_definition("self.replicas <= 3")["spec"]["versions"]
    assert (
        await call(admin, "PATCH", f"{CRDS}/specimens.rules.example.dev", {"spec": {"versions": schema}}, "application/merge-patch+json")
    )[0] == 200
    label = {"metadata": {"labels": {"a": "b"}}}
    assert (await call(admin, "PATCH", f"{OBJECTS}/web", label, "application/merge-patch+json"))[0] == 200
    more = {"spec": {"replicas": 10}}
    assert (await call(admin, "PATCH", f"{OBJECTS}/web", more, "application/merge-patch+json"))[0] == 422


async def test_the_status_is_checked_with_its_own_words(admin):
    assert (await call(admin, "POST", CRDS, make_definition()))[0] == 201
    assert (await call(admin, "POST", OBJECTS, make_object()))[0] == 201
    status, body = await call(admin, "PATCH", f"{OBJECTS}/web/status", {"status": {"replicas": "x"}}, "application/merge-patch+json")
    assert status == 422
    assert {(cause["field"], cause["message"]) for cause in body["details"]["causes"]} == {
        ("status.replicas", 'Invalid value: "string": replicas in body must be of type integer: "string"'),
        (".status.replicas", "Invalid value: 0: .status.replicas accessor error: x is of the type string, expected int64"),
    }


async def test_a_version_in_which_objects_are_stored_cannot_go(admin):
    assert (await call(admin, "POST", CRDS, make_definition()))[0] == 201
    _, stored = await call(admin, "GET", f"{CRDS}/specimens.rules.example.dev")
    stored["spec"]["versions"][0]["name"] = "v2"
    status, body = await call(admin, "PUT", f"{CRDS}/specimens.rules.example.dev", stored)
    assert status == 422
    assert "status.storedVersions[0]" in body["message"]


async def test_what_is_no_keyword_of_a_schema_is_pruned_or_refused(admin):
    definition = make_definition(image={"type": "string", "const": "nginx"})
    path = "spec.versions[0].schema.openAPIV3Schema.properties.spec.properties.image.const"
    status, body = await call(admin, "POST", f"{CRDS}?fieldValidation=Strict", definition)
    assert (status, body["reason"]) == (400, "BadRequest")
    assert body["message"].endswith(f'strict decoding error: unknown field "{path}"')
    async with admin.post(CRDS, json=definition) as answer:
        assert answer.status == 201
        assert answer.headers["Warning"] == f'299 - "unknown field \\"{path}\\""'
    _, stored = await call(admin, "GET", f"{CRDS}/specimens.rules.example.dev")
    spec = stored["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    assert spec["properties"]["image"] == {"type": "string"}
