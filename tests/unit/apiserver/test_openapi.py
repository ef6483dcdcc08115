"""OpenAPI documents: equal to a real server's for a custom kind, sound for every kind, kept and revalidated as clients rely on."""

import copy
import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from controller.apiserver import definitions
from controller.apiserver.openapi import components, document
from controller.apiserver.openapi.service import OpenApi
from controller.apiserver.request import ApiRequest
from controller.apiserver.resources import Resource, ResourceTable, build_table
from lattice.api import schema
from lattice.testing.clock import FakeClock

DATA = Path(__file__).parents[2] / "data" / "openapi"
BUILT_IN = [("", "v1"), ("coordination.k8s.io", "v1"), ("storage.k8s.io", "v1")]


@pytest.fixture(scope="module")
def crd():
    return yaml.safe_load((DATA / "specimens.yaml").read_text())


def rows(definition):
    return definitions.rows_of(definition).served


def custom_document(definition):
    return json.loads(json.dumps(document.build_document("example.dev", "v1", rows(definition), BUILT_IN)))


def changed_schema(definition, change):
    definition = copy.deepcopy(definition)
    change(definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"])
    return definition


def test_a_custom_kind_has_the_document_of_a_real_server(crd):
    ours = custom_document(crd)
    for item in ours["paths"].values():
        for name, part in item.items():
            for parameter in part if name == "parameters" else part.get("parameters", []):
                assert parameter.pop("description")
    schemas = ours["components"]["schemas"]
    for name in schemas:
        if not name.startswith("dev.example"):
            schemas[name] = {}
    assert ours == json.loads((DATA / "specimens.json").read_text())


def test_bare_int_or_string_and_embedded_resources_are_written_out(crd):
    def change(spec):
        spec["port"] = {"x-kubernetes-int-or-string": True}
        spec["template"] = {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True}

    found = custom_document(changed_schema(crd, change))["components"]["schemas"]["dev.example.v1.Specimen"]
    spec = found["properties"]["spec"]["properties"]
    assert spec["port"]["anyOf"] == [{"type": "integer"}, {"type": "string"}]
    assert spec["template"]["required"] == ["apiVersion", "kind"]
    assert spec["template"]["properties"].keys() == {"apiVersion", "kind", "metadata"}


@pytest.fixture(params=[(group, version) for group, versions in build_table().groups().items() for version in versions], ids="/".join)
def served(request):
    """The document of a group and version that come with Lattice, and its resources."""
    group, version = request.param
    resources = build_table().groups()[group][version]
    return document.build_document(group, version, resources, BUILT_IN), resources


def test_documents_are_sound(served):
    found, resources = served
    text = json.dumps(found)
    assert "x-lattice-time" not in text
    schemas = found["components"]["schemas"]
    assert set(re.findall(r'"#/components/schemas/([^"]+)"', text)) <= schemas.keys()
    ids = []
    for path, item in found["paths"].items():
        common = item.get("parameters", [])
        in_path = {parameter["name"] for parameter in common if parameter["in"] == "path"}
        assert in_path == set(re.findall(r"{(\w+)}", path))
        for method, operation in item.items():
            if method == "parameters":
                continue
            ids.append(operation["operationId"])
            names = [parameter["name"] for parameter in (*operation.get("parameters", []), *common)]
            assert len(names) == len(set(names)), path
    assert len(ids) == len(set(ids))
    kinds = {(gvk["kind"]) for part in schemas.values() for gvk in part.get("x-kubernetes-group-version-kind", [])}
    assert {row.kind for row in resources} | {row.list_kind for row in resources if "list" in row.verbs} <= kinds


def test_kubectl_finds_that_each_kind_can_be_patched_with_validation(served):
    """What kubectl looks for before apply, create, edit and replace; without it these commands fail."""
    found, resources = served
    patched = [item["patch"] for item in found["paths"].values() if "patch" in item]
    for row in resources:
        if "patch" not in row.verbs:
            continue
        gvk = {"group": row.group, "version": row.version, "kind": row.kind}
        mine = [operation for operation in patched if operation["x-kubernetes-group-version-kind"] == gvk]
        assert mine
        assert any(parameter["name"] == "fieldValidation" for parameter in mine[0]["parameters"])
        strategic = "application/strategic-merge-patch+json" in mine[0]["requestBody"]["content"]
        assert strategic is not row.custom


def test_built_in_kinds_refer_to_their_types():
    core = document.build_document("", "v1", build_table().groups()[""]["v1"], BUILT_IN)
    schemas = core["components"]["schemas"]
    container = schemas["io.k8s.api.core.v1.Container"]["properties"]
    assert container["ports"]["x-kubernetes-patch-merge-key"] == "containerPort"
    assert container["env"]["items"] == {"$ref": "#/components/schemas/io.k8s.api.core.v1.EnvVar"}
    event = schemas["io.k8s.api.core.v1.Event"]["properties"]
    assert event["eventTime"]["allOf"][0]["$ref"].endswith("MicroTime")
    assert event["firstTimestamp"]["allOf"][0]["$ref"].endswith(".Time")
    limits = schemas["io.k8s.api.core.v1.ResourceRequirements"]["properties"]["limits"]
    assert limits["additionalProperties"]["$ref"].endswith("resource.Quantity")
    versions = schemas["io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"]["x-kubernetes-group-version-kind"]
    assert {"group": "storage.k8s.io", "version": "v1", "kind": "DeleteOptions"} in versions


def test_the_published_metadata_is_the_one_that_is_checked():
    published = components.shared()["schemas"]["io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"]["properties"]
    checked = schema.object_meta_schema()["properties"]
    assert published.keys() == checked.keys()
    markers = ("x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-patch-strategy", "x-kubernetes-patch-merge-key")
    for name in published:
        assert [published[name].get(marker) for marker in markers] == [checked[name].get(marker) for marker in markers], name


def test_a_review_can_only_be_created():
    review = Resource(
        group="authorization.k8s.io",
        version="v1",
        kind="SelfSubjectAccessReview",
        plural="selfsubjectaccessreviews",
        singular="selfsubjectaccessreview",
        namespaced=False,
        schema={"type": "object", "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}},
        verbs=("create",),
        virtual=True,
    )
    found = document.build_document("authorization.k8s.io", "v1", [review], BUILT_IN)
    paths = {path: [key for key in item if key != "parameters"] for path, item in found["paths"].items()}
    root = "/apis/authorization.k8s.io/v1/"
    assert paths == {root: ["get"], f"{root}selfsubjectaccessreviews": ["post"]}
    post = found["paths"][f"{root}selfsubjectaccessreviews"]["post"]
    assert post["operationId"] == "createAuthorizationV1SelfSubjectAccessReview"
    assert post["tags"] == ["authorization_v1"]


# ---- the service


class World:
    def __init__(self):
        self.clock = FakeClock()
        self.table = build_table()
        self.api = OpenApi(self.table, self.clock)

    def get(self, path, **headers):
        path, _, query = path.partition("?")
        given = dict(part.split("=", 1) for part in query.split("&") if part)
        return self.api.answer(ApiRequest("GET", path, given, {name.replace("_", "-"): value for name, value in headers.items()}))

    def index(self):
        return {name: entry["serverRelativeURL"] for name, entry in json.loads(self.get("/openapi/v3").body)["paths"].items()}

    def define(self, definition):
        served = rows(definition)
        self.table.replace("example.dev", "specimens", served)


def test_the_index_names_every_document_and_each_answers_under_its_hash():
    world = World()
    index = world.index()
    assert {"api", "apis", "version", "api/v1", "apis/storage.k8s.io", "apis/storage.k8s.io/v1", "apis/lattice.dev/v1"} <= index.keys()
    assert "apis/lattice.dev" not in index
    for name, url in index.items():
        answer = world.get(url)
        assert (answer.status, answer.content_type) == (200, "application/json"), name
        assert answer.headers["Cache-Control"] == "public, immutable"
        assert json.loads(answer.body)["openapi"] == "3.0.0"
        assert f'"{url.partition("hash=")[2]}"' == answer.headers["Etag"]


def test_documents_without_hash_with_a_wrong_one_and_of_nothing():
    world = World()
    url = world.index()["api/v1"]
    plain = world.get("/openapi/v3/api/v1")
    assert plain.status == 200
    assert plain.headers["Cache-Control"] == "no-cache, private"
    assert world.get("/openapi/v3/api/v1", if_none_match=plain.headers["Etag"]).status == 304
    wrong = world.get("/openapi/v3/api/v1?hash=BAD")
    assert (wrong.status, wrong.headers["Location"], wrong.body) == (301, url, b"")
    unknown = world.get("/openapi/v3/apis/nope/v1")
    assert (unknown.status, unknown.body) == (404, b"")
    assert world.get("/openapi/v2") is None
    assert world.get("/openapi/v3x") is None
    assert world.api.answer(ApiRequest("POST", "/openapi/v3")) is None


def test_version_2_is_for_those_who_ask_for_it_in_protobuf_and_knows_no_kind():
    world = World()
    asked = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
    for accept in ("", "*/*", "application/json", "application/vnd.kubernetes.protobuf"):
        assert world.get("/openapi/v2", accept=accept) is None
    found = world.get("/openapi/v2", accept=f"{asked},application/json")
    assert (found.status, found.content_type) == (200, asked.replace("@", "."))
    assert found.body == b"\n\x032.0\x12\x0d\n\x07Lattice\x12\x02v1B\x00"
    assert world.get("/openapi/v2", accept=asked, if_none_match=found.headers["Etag"]).status == 304


def test_the_index_is_revalidated_by_time():
    world = World()
    first = world.get("/openapi/v3")
    assert first.content_type.startswith("text/plain")
    assert world.get("/openapi/v3", if_modified_since=first.headers["Last-Modified"]).status == 304
    assert world.get("/openapi/v3", if_modified_since="yesterday").status == 200


def test_a_kind_appears_and_vanishes_at_once_also_within_one_second(crd):
    world = World()
    before = world.get("/openapi/v3")
    core = world.index()["api/v1"]
    world.define(crd)
    after = world.get("/openapi/v3", if_modified_since=before.headers["Last-Modified"])
    assert after.status == 200
    url = world.index()["apis/example.dev/v1"]
    assert world.index()["api/v1"] == core
    assert "apis/example.dev" not in world.index()

    changed = changed_schema(crd, lambda spec: spec.update(extra={"type": "string"}))
    world.define(changed)
    assert world.get("/openapi/v3", if_modified_since=after.headers["Last-Modified"]).status == 200
    assert world.get(url).status == 301

    world.table.replace("example.dev", "specimens", ())
    assert "apis/example.dev/v1" not in world.index()
    assert world.get(url).status == 404


def test_what_did_not_change_keeps_its_hash_and_its_time(crd):
    world = World()
    world.define(crd)
    url = world.index()["apis/example.dev/v1"]
    modified = world.get(url).headers["Last-Modified"]
    index_modified = world.get("/openapi/v3").headers["Last-Modified"]
    world.clock.jump_wall(100)
    world.table.replace("example.dev", "specimens", [replace(row) for row in rows(crd)])
    assert world.index()["apis/example.dev/v1"] == url
    assert world.get(url).headers["Last-Modified"] == modified
    assert world.get("/openapi/v3").headers["Last-Modified"] == index_modified


def test_a_document_may_be_kept_for_a_year():
    world = World()
    expires = world.get(world.index()["api/v1"]).headers["Expires"]
    moment = datetime.strptime(expires, "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
    assert abs(moment - world.clock.now() - timedelta(days=365)) < timedelta(seconds=1)


def test_an_empty_table_has_an_index():
    api = OpenApi(ResourceTable([]), FakeClock())
    assert set(json.loads(api.answer(ApiRequest("GET", "/openapi/v3/")).body)["paths"]) == {"api", "apis", "version"}
