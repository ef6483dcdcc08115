"""Answers on the wire as a kube-apiserver gives them: codes, reasons, texts."""

import asyncio
import io
import json

import pytest

CM = "/api/v1/namespaces/default/configmaps"
WL = "/apis/lattice.dev/v1/namespaces/default/workloads"
PODS = "/api/v1/namespaces/default/pods"
ADMIN = {"Authorization": "Bearer admin-token"}


async def call(session, method, path, body=None, **headers):
    raw = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
    data = None if raw is None else io.BytesIO(raw)
    head = {name.replace("_", "-"): value for name, value in headers.items()}
    async with session.request(method, path, data=data, headers=head, skip_auto_headers=["Content-Type"]) as answer:
        text = await answer.read()
        return answer.status, json.loads(text) if text and answer.content_type == "application/json" else text.decode(), answer.headers


@pytest.fixture
async def admin(api_server):
    async with api_server.session() as session:
        yield session


def config_map(name, **more):
    return {"metadata": {"name": name}, **more}


async def test_object_absent(admin):
    status, body, headers = await call(admin, "GET", f"{WL}/nope")
    assert (status, body["reason"]) == (404, "NotFound")
    assert body["message"] == 'workloads.lattice.dev "nope" not found'
    assert body["details"] == {"name": "nope", "group": "lattice.dev", "kind": "workloads"}
    assert headers["Cache-Control"] == "no-cache, private"
    assert headers["Audit-Id"]
    assert headers["Lattice-Store-Epoch"] == "1"


@pytest.mark.parametrize("path", ["/nope", "/apis/nope.dev/v1/x", "/api/v1/gadgets", "/apis/lattice.dev/v9/workloads"])
async def test_unknown_path_is_plain_text(admin, path):
    status, body, _ = await call(admin, "GET", path)
    assert (status, body) == (404, "404 page not found\n")


async def test_create_existing(admin):
    assert (await call(admin, "POST", CM, config_map("a")))[0] == 201
    status, body, _ = await call(admin, "POST", CM, config_map("a"))
    assert (status, body["reason"], body["message"]) == (409, "AlreadyExists", 'configmaps "a" already exists')


async def test_create_in_absent_namespace(admin):
    status, body, _ = await call(admin, "POST", "/api/v1/namespaces/nonesuch/configmaps", config_map("a"))
    assert (status, body["message"]) == (404, 'namespaces "nonesuch" not found')
    assert body["details"] == {"name": "nonesuch", "kind": "namespaces"}


async def test_who_may(api_server):
    async with api_server.session("bad") as session:
        status, body, _ = await call(session, "GET", CM)
        assert (status, body["reason"], body["message"]) == (401, "Unauthorized", "Unauthorized")
    async with api_server.session("alice-token") as session:
        status, body, _ = await call(session, "GET", WL)
        assert status == 403
        assert body["message"] == (
            'workloads.lattice.dev is forbidden: User "alice" cannot list resource "workloads" in API group "lattice.dev" in the '
            'namespace "default"'
        )
        status, body, _ = await call(session, "GET", "/api/v1/nodes/x")
        assert body["message"] == 'nodes "x" is forbidden: User "alice" cannot get resource "nodes" in API group "" at the cluster scope'
        assert (await call(session, "GET", "/apis"))[0] == 200
        assert (await call(session, "GET", "/lattice/v1/backup"))[0] == 403
    async with api_server.session(None) as session:
        for path in ("/healthz", "/livez", "/readyz", "/version", "/version/"):
            assert (await call(session, "GET", path))[0] == 200
        for path in ("/", "/api", CM, "/metrics"):
            assert (await call(session, "GET", path))[0] == 403


async def test_an_administrator_acts_as_somebody_else(admin):
    status, body, _ = await call(admin, "GET", CM, Impersonate_User="bob")
    assert (status, body["message"]) == (
        403,
        'configmaps is forbidden: User "bob" cannot list resource "configmaps" in API group "" in the namespace "default"',
    )


async def test_conflicts(admin):
    await call(admin, "POST", CM, config_map("a", data={"x": "1"}))
    status, body, _ = await call(admin, "PUT", f"{CM}/a", {"metadata": {"name": "a", "resourceVersion": "1"}})
    assert (status, body["reason"]) == (409, "Conflict")
    assert body["message"] == (
        'Operation cannot be fulfilled on configmaps "a": the object has been modified; please apply your changes to the latest version '
        "and try again"
    )
    status, body, _ = await call(admin, "DELETE", f"{CM}/a", {"preconditions": {"uid": "wrong"}})
    assert status == 409
    assert "the UID in the precondition (wrong) does not match the UID in record" in body["message"]
    assert (await call(admin, "DELETE", f"{CM}/a"))[1]["status"] == "Success"


async def test_media_types(admin):
    status, body, _ = await call(admin, "POST", CM, b"x", Content_Type="text/csv")
    assert (status, body["reason"]) == (415, "UnsupportedMediaType")
    status, body, _ = await call(admin, "POST", CM, b"metadata:\n  name: y\ndata: {a: '2026-01-01'}\n", Content_Type="application/yaml")
    assert (status, body["data"]) == (201, {"a": "2026-01-01"})
    status, body, _ = await call(admin, "PATCH", f"{CM}/y", {"data": {"b": "1"}})
    assert status == 415
    status, _, _ = await call(admin, "PATCH", f"{WL}/y", {}, Content_Type="application/strategic-merge-patch+json")
    assert status == 415
    status, body, _ = await call(admin, "PATCH", f"{CM}/y", {"data": {"b": "1"}}, Content_Type="application/strategic-merge-patch+json")
    assert (status, body["data"]) == (200, {"a": "2026-01-01", "b": "1"})


async def test_body_over_the_limit(admin):
    status, body, _ = await call(admin, "POST", CM, b"{" + b" " * (3 * 1024 * 1024))
    assert (status, body["message"]) == (413, "Request entity too large: limit is 3145728")


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b"{bad", 400, "couldn't get version/kind; json parse error"),
        ([], 400, "cannot unmarshal array"),
        ({"kind": "Pod", "metadata": {"name": "r"}}, 422, 'Pod "r" is invalid: kind: Invalid value: "Pod": must be ConfigMap'),
        (
            {"apiVersion": "v9", "metadata": {"name": "r"}},
            400,
            "the API version in the data (v9) does not match the expected API version (v1)",
        ),
        ({"metadata": {"name": "r", "namespace": "kube-system"}}, 400, "the namespace of the provided object does not match"),
        ({"metadata": {"name": "r", "resourceVersion": "5"}}, 500, "resourceVersion should not be set on objects to be created"),
        ({"metadata": {"name": "Bad_Name"}}, 422, "a lowercase RFC 1123 subdomain must consist"),
        ({"metadata": {}}, 422, "metadata.name: Required value: name or generateName is required"),
        ({"metadata": {"name": "r", "labels": {"a": "bad value!"}}}, 422, "a valid label must be an empty string or consist of"),
        ({"metadata": {"name": "r", "annotations": {"a": "y" * 300_000}}}, 422, "Too long: may not be more than 262144 bytes"),
        ({"metadata": {"name": "r"}, "data": {"a": 1}}, 422, 'data.a in body must be of type string: "integer"'),
        ({"metadata": 7}, 422, "metadata"),
    ],
)
async def test_bad_bodies(admin, body, status, text):
    found, answer, _ = await call(admin, "POST", CM, body)
    assert (found, answer["kind"]) == (status, "Status")
    assert text in answer["message"]


async def test_validation_names_every_field(admin):
    spec = {"replicas": -1, "image": "x", "preset": {"name": "oracle", "version": "1"}, "ports": [{"containerPort": 99999}]}
    body = {"apiVersion": "lattice.dev/v1", "kind": "Workload", "metadata": {"name": "w"}, "spec": spec}
    status, answer, _ = await call(admin, "POST", WL, body)
    assert status == 422
    causes = {cause["field"]: cause["message"] for cause in answer["details"]["causes"]}
    assert causes == {
        "spec.replicas": "Invalid value: -1: spec.replicas in body should be greater than or equal to 0",
        ".spec.replicas": "Invalid value: -1: should be a non-negative integer",
        "<nil>": "Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors "
        "to complete validation",
        "spec.preset.name": 'Unsupported value: "oracle": supported values: "postgresql", "redis"',
        "spec.ports[0].containerPort": "Invalid value: 99999: spec.ports[0].containerPort in body should be less than or equal to 65535",
    }
    assert answer["details"]["kind"] == "Workload"


async def test_unknown_fields(admin):
    body = config_map("w", bogus={"a": 1})
    status, answer, headers = await call(admin, "POST", CM, body)
    assert (status, headers["Warning"]) == (201, '299 - "unknown field \\"bogus\\""')
    assert "bogus" not in answer
    status, answer, _ = await call(admin, "POST", f"{CM}?fieldValidation=Strict", config_map("s", bogus=1))
    assert status == 400
    assert answer["message"] == ('ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "bogus"')
    _, _, headers = await call(admin, "POST", f"{CM}?fieldValidation=Ignore", config_map("i", bogus=1))
    assert "Warning" not in headers


async def test_json_patch_failures(admin):
    await call(admin, "POST", CM, config_map("a"))
    patch = {"Content_Type": "application/json-patch+json"}
    for operations in (
        [{"op": "test", "path": "/metadata/resourceVersion", "value": "1"}],
        [{"op": "remove", "path": "/x/y"}],
        [{"op": "zap", "path": "/x"}],
    ):
        status, body, _ = await call(admin, "PATCH", f"{CM}/a", operations, **patch)
        assert (status, body["reason"]) == (422, "Invalid")
        assert body["message"] == "the server rejected our request due to an error in our request"
    status, body, _ = await call(admin, "PATCH", f"{CM}/a", {"op": 1}, **patch)
    assert status == 400


async def test_a_write_that_changes_nothing_keeps_the_version(admin):
    _, made, _ = await call(admin, "POST", CM, config_map("a", data={"x": "1"}))
    status, same, _ = await call(admin, "PATCH", f"{CM}/a", {"data": {"x": "1"}}, Content_Type="application/merge-patch+json")
    assert (status, same) == (200, made)
    status, same, _ = await call(admin, "PUT", f"{CM}/a", made)
    assert (status, same) == (200, made)


async def test_methods(admin):
    assert (await call(admin, "PUT", CM, {}))[0] == 400
    assert (await call(admin, "POST", "/api/v1/configmaps", config_map("a")))[0] == 404
    status, body, _ = await call(admin, "DELETE", "/apis/storage.k8s.io/v1/storageclasses/lattice-local")
    assert (status, body["reason"]) == (405, "MethodNotAllowed")


async def test_dry_run(admin):
    status, body, _ = await call(admin, "POST", f"{CM}?dryRun=All", config_map("a"))
    assert status == 201
    assert "resourceVersion" not in body["metadata"]
    assert body["metadata"]["uid"]
    assert (await call(admin, "GET", f"{CM}/a"))[0] == 404
    assert (await call(admin, "POST", f"{CM}?dryRun=Some", config_map("a")))[0] == 422


async def test_lists_in_pages_are_of_one_revision(admin):
    for name in "abcde":
        await call(admin, "POST", CM, config_map(name))
    _, first, _ = await call(admin, "GET", f"{CM}?limit=2")
    await call(admin, "DELETE", f"{CM}/d")
    await call(admin, "POST", CM, config_map("f"))
    token = first["metadata"]["continue"]
    assert first["metadata"]["remainingItemCount"] == 3
    _, second, _ = await call(admin, "GET", f"{CM}?limit=2&continue={token}")
    _, third, _ = await call(admin, "GET", f"{CM}?limit=2&continue={second['metadata']['continue']}")
    names = [item["metadata"]["name"] for page in (first, second, third) for item in page["items"]]
    assert names == ["a", "b", "c", "d", "e"]
    assert "continue" not in third["metadata"]
    assert (await call(admin, "GET", f"{CM}?limit=2&continue=garbage"))[0] == 400
    assert (await call(admin, "GET", f"{CM}?limit=2&resourceVersion=7&continue={token}"))[0] == 400


async def test_selectors(admin):
    for name, color in (("a", "red"), ("b", "blue"), ("c", None)):
        await call(admin, "POST", CM, {"metadata": {"name": name, "labels": {"color": color} if color else {}}})

    async def names(query):
        status, body, _ = await call(admin, "GET", f"{CM}?{query}")
        assert status == 200
        return [item["metadata"]["name"] for item in body["items"]]

    assert await names("labelSelector=color%3Dred") == ["a"]
    assert await names("labelSelector=color+in+(red,blue)") == ["a", "b"]
    assert await names("labelSelector=!color") == ["c"]
    assert await names("fieldSelector=metadata.name%3Db") == ["b"]
    assert await names("fieldSelector=metadata.name!%3Db") == ["a", "c"]
    status, body, _ = await call(admin, "GET", f"{WL}?fieldSelector=spec.nope%3D1")
    assert (status, body["message"]) == (400, "field label not supported: spec.nope")
    status, body, _ = await call(admin, "GET", f"{CM}?fieldSelector=spec.nope%3D1")
    assert body["message"] == '"spec.nope" is not a known field selector: only "metadata.name", "metadata.namespace"'
    assert (await call(admin, "GET", f"{CM}?labelSelector=a%3D%3D%3Db"))[0] == 400


async def test_list_of_the_future(admin):
    status, body, headers = await call(admin, "GET", f"{CM}?resourceVersion=999999999")
    assert (status, body["reason"], headers["Retry-After"]) == (504, "Timeout", "1")
    assert "Too large resource version: 999999999" in body["message"]


async def test_discovery(admin):
    status, body, _ = await call(admin, "GET", "/apis/lattice.dev/v1/")
    assert (status, body["kind"]) == (200, "APIResourceList")
    assert {resource["name"] for resource in body["resources"]} >= {"workloads", "workloads/status", "workloads/scale", "tombstones"}
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
    status, body, headers = await call(admin, "GET", "/apis", Accept=accept)
    assert body["kind"] == "APIGroupDiscoveryList"
    status, _, _ = await call(admin, "GET", "/apis", Accept=accept, If_None_Match=headers["Etag"])
    assert status == 304
    status, body, _ = await call(admin, "GET", "/version/")
    assert body["gitVersion"].startswith("v1.32.")


async def test_large_answers_are_compressed(admin):
    for number in range(4):
        await call(admin, "POST", CM, config_map(f"a{number}", data={"x": "y" * 100_000}))
    async with admin.get(CM, headers={"Accept-Encoding": "gzip"}) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        assert len((await answer.json())["items"]) == 4


NASTY = [
    b"",
    b"null",
    b"7",
    b'"x"',
    b"[]",
    b"{}",
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"spec":' * 300 + b"1" + b"}" * 300,
    b'{"metadata":{"name":"x"},"spec":' + b'{"a":' * 1000 + b"1" + b"}" * 1001,
    b'{"metadata":[]}',
    b'{"metadata":{"name":{}}}',
    b'{"metadata":{"name":"a","labels":[]}}',
    b'{"metadata":{"name":"a","finalizers":[1]}}',
    b'{"metadata":{"name":"a/b"}}',
    b'{"metadata":{"name":"a","namespace":7}}',
    b'{"spec":[],"metadata":{"name":"x"}}',
    b'{"spec":{"containers":[7]},"metadata":{"name":"x"}}',
    b'{"spec":{"containers":[{"name":"a","image":"x","ports":{}}]},"metadata":{"name":"x"}}',
    b'{"kind":[],"metadata":{}}',
    b'{"apiVersion":{},"metadata":{}}',
    b'{"metadata":{"generateName":7}}',
    b'{"metadata":{"name":"x"},"stringData":{"a":1}}',
    b'{"metadata":{"name":"x"},"data":{"a":"%%"}}',
    b'{"metadata":{"name":"x"},"spec":{"nodeName":[]}}',
    b'{"target":{"name":[]}}',
    b'{"metadata":{"name":"x"},"status":7}',
    b'{"spec":{"replicas":1e300},"metadata":{"name":"x"}}',
    b'[{"op":"add","path":7}]',
    b"[7]",
    b'{"metadata":{"resourceVersion":{}}}',
    b'{"gracePeriodSeconds":{}}',
    b'{"preconditions":[1]}',
    b'{"dryRun":7}',
    b'{"propagationPolicy":{}}',
    b'{"metadata":{"ownerReferences":[{}]}}',
    b'{"metadata":{"name":"x","deletionTimestamp":"x"}}',
    b'{"involvedObject":7,"metadata":{"name":"x"}}',
]


BAD_QUERIES = [
    "limit=x",
    "limit=-1",
    "resourceVersion=x",
    "continue=%00",
    "labelSelector=((",
    "fieldSelector==",
    "watch=true&resourceVersion=-1",
    "watch=1&sendInitialEvents=true",
    "resourceVersionMatch=Exact",
    "limit=99999999999999999999999",
    "fieldSelector=%ff%00",
    "labelSelector=%F0%9F%98%80",
]


@pytest.mark.parametrize("user", ["admin-token", "node1-token"])
async def test_no_input_makes_the_server_fail(api_server, user):
    created = {"metadata": {"name": "x"}, "spec": {"containers": [{"name": "a", "image": "b"}]}}
    async with api_server.session() as admin:
        await call(admin, "POST", PODS, created)
    targets = [
        (method, path)
        for collection in (CM, PODS, WL, "/api/v1/namespaces/default/events", "/api/v1/nodes", "/api/v1/namespaces/default/secrets")
        for method, path in (("POST", collection), ("PUT", f"{collection}/x"), ("DELETE", f"{collection}/absent"))
    ]
    targets += [
        ("POST", f"{PODS}/x/binding"),
        ("PUT", f"{PODS}/x/status"),
        ("PUT", f"{WL}/x/scale"),
        ("PUT", "/api/v1/namespaces/default/finalize"),
    ]
    async with api_server.session(user) as session:
        for method, path in targets:
            for body in NASTY:
                status, answer, _ = await call(session, method, path, body)
                expected = status < 500 or answer["message"].startswith("resourceVersion should not be set")
                assert expected, (method, path, body, answer)
        for kind in ("json-patch", "merge-patch", "strategic-merge-patch"):
            for path in (f"{PODS}/x", f"{PODS}/x/status", "/api/v1/nodes/node1"):
                for body in NASTY:
                    status, answer, _ = await call(session, "PATCH", path, body, Content_Type=f"application/{kind}+json")
                    assert status < 500, (kind, path, body, answer)
        for name in ("%00", "%ff", "a%2Fb", "..", "%2e%2e%2f", "x" * 5000, "%F0%9F%98%80"):
            for path in (f"{PODS}/{name}", f"/api/v1/namespaces/{name}/pods", f"/api/v1/nodes/{name}/desired"):
                status, answer, _ = await call(session, "GET", path)
                assert status < 500, (path, answer)
        for query in BAD_QUERIES:
            status, answer, _ = await call(session, "GET", f"{PODS}?{query}")
            assert status < 500 or "strconv" in answer["message"], (query, answer)


async def test_concurrent_patches_are_all_applied(admin):
    await call(admin, "POST", CM, config_map("a"))

    async def patch(number):
        return await call(admin, "PATCH", f"{CM}/a", {"data": {f"k{number}": "v"}}, Content_Type="application/merge-patch+json")

    answers = await asyncio.gather(*(patch(number) for number in range(20)))
    assert {status for status, _, _ in answers} == {200}
    _, body, _ = await call(admin, "GET", f"{CM}/a")
    assert len(body["data"]) == 20
