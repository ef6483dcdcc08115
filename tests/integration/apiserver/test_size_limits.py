"""Limits of what a client may send, over real HTTP: size of bodies, objects and annotations; syntax of names and labels; depth; headers."""

import asyncio
import json

import pytest

from lattice.testing.fuzz.wire import Connection, Request

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
NAMESPACES = "/api/v1/namespaces"
MIB = 2**20
BODY_LIMIT = 3 * MIB
ANNOTATIONS_LIMIT = 256 * 1024
TOO_LARGE = "Request entity too large: limit is 3145728"
TOO_LONG = "metadata.annotations: Too long: may not be more than 262144 bytes"
KEY = "example.com/a"


@pytest.fixture
async def send(api_server):
    """Send a request on a connection without an HTTP library; return status, decoded body and headers."""
    connection = Connection("127.0.0.1", api_server.port, api_server.client_context(), "admin-token")

    async def one(method, target, body=b"", *, headers=(), framing="length"):
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        if not any(name == "Content-Type" for name, _ in headers):
            headers = (*headers, ("Content-Type", "application/json"))
        async with asyncio.timeout(10):
            response = await connection.send(Request(method=method, target=target, headers=headers, body=raw, framing=framing))
        is_json = response.headers.get("content-type", "").startswith("application/json")
        return response.status, json.loads(response.body) if is_json else response.body

    yield one
    await connection.close()


def padded(size_bytes):
    """Return a small object in a body of this size."""
    text = b'{"metadata":{"name":"padded"}}'
    return text + b" " * (size_bytes - len(text))


def config_map(name="a", **metadata):
    return {"metadata": {"name": name, **metadata}}


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_a_body_of_three_mebibytes_is_taken_and_one_byte_more_is_not(send, framing):
    status, _ = await send("POST", CONFIGMAPS, padded(BODY_LIMIT), framing=framing)
    assert status == 201
    status, body = await send("PUT", f"{CONFIGMAPS}/padded", padded(BODY_LIMIT + 1), framing=framing)
    assert (status, body["reason"], body["message"], body["code"]) == (413, "RequestEntityTooLarge", TOO_LARGE, 413)


@pytest.mark.parametrize("method", ["PATCH", "DELETE", "PUT", "POST"])
async def test_every_method_has_the_same_limit_of_bodies(send, method):
    status, body = await send(method, CONFIGMAPS if method == "POST" else f"{CONFIGMAPS}/a", padded(BODY_LIMIT + 100_000))
    assert (status, body["reason"]) == (413, "RequestEntityTooLarge")


async def test_an_object_that_no_store_takes(send):
    """A kube-apiserver answers this with a 500 without a reason, and so do all back ends here."""
    status, body = await send("POST", CONFIGMAPS, {**config_map(), "data": {"a": "x" * 1_600_000}})
    assert (status, body.get("reason"), body["message"], body["code"]) == (500, None, "etcdserver: request is too large", 500)
    assert (await send("POST", CONFIGMAPS, {**config_map(), "data": {"a": "x" * 1_000_000}}))[0] in {201, 422}


async def test_a_patch_cannot_make_an_object_that_no_store_takes(send):
    assert (await send("POST", CONFIGMAPS, {**config_map(), "binaryData": {"a": "eHh4" * 200_000}}))[0] == 201
    patch = json.dumps({"binaryData": {"b": "eHh4" * 200_000}}).encode()
    before = await send("GET", f"{CONFIGMAPS}/a")
    merge = (("Content-Type", "application/merge-patch+json"),)
    status, body = await send("PATCH", f"{CONFIGMAPS}/a", patch, headers=merge)
    assert status in {422, 500}, body
    assert await send("GET", f"{CONFIGMAPS}/a") == before


@pytest.mark.parametrize(("size", "status"), [(ANNOTATIONS_LIMIT, 201), (ANNOTATIONS_LIMIT + 1, 422)])
async def test_annotations_are_counted_with_their_keys_in_bytes(send, size, status):
    value = "é" * ((size - len(KEY)) // 2) + "x" * ((size - len(KEY)) % 2)
    assert len(value.encode()) + len(KEY) == size
    answer, body = await send("POST", CONFIGMAPS, config_map(annotations={KEY: value}))
    assert answer == status
    if status == 422:
        assert body["message"] == f'ConfigMap "a" is invalid: {TOO_LONG}'
        assert body["details"]["causes"] == [
            {"reason": "FieldValueTooLong", "message": "Too long: may not be more than 262144 bytes", "field": "metadata.annotations"}
        ]


@pytest.mark.parametrize(
    ("path", "name", "problem"),
    [
        (CONFIGMAPS, "x" * 253, ""),
        (CONFIGMAPS, "x" * 254, "must be no more than 253 bytes"),
        (CONFIGMAPS, "a.b-c.0", ""),
        (CONFIGMAPS, "A", "a lowercase RFC 1123 subdomain must consist of"),
        (CONFIGMAPS, "a_b", "a lowercase RFC 1123 subdomain must consist of"),
        (CONFIGMAPS, "a..b", "a lowercase RFC 1123 subdomain must consist of"),
        (CONFIGMAPS, "-a", "a lowercase RFC 1123 subdomain must consist of"),
        (CONFIGMAPS, "a\n", "a lowercase RFC 1123 subdomain must consist of"),
        (CONFIGMAPS, "é", "a lowercase RFC 1123 subdomain must consist of"),
        (CONFIGMAPS, "a/b", "a lowercase RFC 1123 subdomain must consist of"),
        (CONFIGMAPS, "a\0", "a lowercase RFC 1123 subdomain must consist of"),
        (NAMESPACES, "x" * 63, ""),
        (NAMESPACES, "x" * 64, "must be no more than 63 bytes"),
        (NAMESPACES, "a.b", "a lowercase RFC 1123 label must consist of"),
    ],
)
async def test_names(send, path, name, problem):
    status, body = await send("POST", path, config_map(name))
    if not problem:
        assert (status, body["metadata"]["name"]) == (201, name)
        return
    assert (status, body["reason"]) == (422, "Invalid")
    cause = body["details"]["causes"][0]
    assert (cause["reason"], cause["field"]) == ("FieldValueInvalid", "metadata.name")
    assert problem in cause["message"]


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        ({"a": "x" * 63}, ""),
        ({"a": "x" * 64}, "must be no more than 63 bytes"),
        ({"a": "-"}, "a valid label must be an empty string or consist of"),
        ({"a": "x y"}, "a valid label must be an empty string or consist of"),
        ({"a": ""}, ""),
        ({"": "a"}, "name part must be non-empty"),
        ({"x" * 64: "a"}, "name part must be no more than 63 bytes"),
        ({f"{'x' * 253}/{'y' * 63}": "a"}, ""),
        ({f"{'x' * 254}/y": "a"}, "prefix part must be no more than 253 bytes"),
        ({"a/b/c": "a"}, "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"),
        ({"/a": "a"}, "prefix part must be non-empty"),
        ({"A_b/c": "a"}, "prefix part a lowercase RFC 1123 subdomain must consist of"),
    ],
)
async def test_labels(send, labels, problem):
    status, body = await send("POST", CONFIGMAPS, config_map(labels=labels))
    if not problem:
        assert (status, body["metadata"]["labels"]) == (201, labels)
        return
    assert (status, body["reason"]) == (422, "Invalid")
    assert any(cause["field"] == "metadata.labels" and problem in cause["message"] for cause in body["details"]["causes"]), body["details"]


@pytest.mark.parametrize(
    "value",
    [b'{"a":' * 20_000 + b"1" + b"}" * 20_000, b"[" * 20_000 + b"]" * 20_000, b'[{"a":' * 9_000 + b"1" + b"}]" * 9_000],
)
@pytest.mark.parametrize("field", [b"data", b"spec", b"metadata"])
async def test_nesting_beyond_reason_is_an_error_of_the_client(send, field, value):
    status, body = await send("POST", CONFIGMAPS, b'{"metadata":{"name":"a"},"' + field + b'":' + value + b"}")
    assert (status, body["reason"]) in {(400, "BadRequest"), (422, "Invalid")}


async def test_a_list_of_very_many_items_is_taken_or_refused_soon(send):
    finalizers = [f"example.com/{number}" for number in range(20_000)]
    status, body = await send("POST", CONFIGMAPS, config_map(finalizers=finalizers))
    assert status in {201, 422}, body
    owners = [{"apiVersion": "v1", "kind": "A", "name": "a", "uid": str(number)} for number in range(10_000)]
    status, body = await send("POST", CONFIGMAPS, config_map("b", ownerReferences=owners))
    assert status in {201, 422}, body
    operations = [{"op": "add", "path": "/metadata/labels", "value": {}}] * 10_001
    json_patch = (("Content-Type", "application/json-patch+json"),)
    assert (await send("POST", CONFIGMAPS, config_map("c")))[0] == 201
    status, body = await send("PATCH", f"{CONFIGMAPS}/c", operations, headers=json_patch)
    assert (status, body["message"]) == (413, "The allowed maximum operations in a JSON patch is 10000, got 10001")


@pytest.mark.parametrize(("size", "statuses"), [(8_000, {200}), (30_000, {200}), (40_000, {400, 431}), (200_000, {0, 400, 431})])
async def test_headers_and_targets_have_a_limit(send, size, statuses):
    status, _ = await send("GET", CONFIGMAPS, headers=(("X-Long", "a" * size),))
    assert status in statuses
    status, _ = await send("GET", f"{CONFIGMAPS}?labelSelector={'a' * 0}&x={'a' * size}")
    assert status in {*statuses, 414}


async def test_many_headers_are_refused_and_not_collected(send):
    status, _ = await send("GET", CONFIGMAPS, headers=tuple((f"X-{number}", "a" * 100) for number in range(5_000)))
    assert status in {0, 400, 431}
    assert (await send("GET", CONFIGMAPS))[0] == 200
