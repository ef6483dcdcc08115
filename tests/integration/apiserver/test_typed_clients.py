"""What typed clients send: protobuf bodies and answers, reviews; over HTTP, by users of every kind."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from controller.apiserver import protobuf
from lattice.client import base
from lattice.client.http import HttpTransport

PROTOBUF = "application/vnd.kubernetes.protobuf"
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


def review(**attributes: str) -> dict[str, Any]:
    return {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": attributes}}


@pytest.fixture
async def post(api_server):
    transports: list[HttpTransport] = []

    async def send(path: str, body: bytes, *, token: str = "admin-token", accept: str = f"{PROTOBUF},application/json") -> base.Response:
        transport = HttpTransport(api_server.url, ca_data=api_server.ca_data, token=token)
        transports.append(transport)
        headers = {"content-type": PROTOBUF, "accept": accept}
        return await transport.send(base.Request("POST", path, headers=headers, body=body))

    yield send
    for transport in transports:
        await transport.close()


@pytest.mark.parametrize(("token", "allowed"), [("admin-token", True), ("alice-token", False), ("node1-token", False)])
async def test_review_in_protobuf_is_answered_in_protobuf(post, token, allowed):
    body = protobuf.encode(review(verb="create", resource="pods", namespace="default"))
    answer = await post(REVIEWS, body, token=token)
    assert (answer.status, answer.headers["content-type"]) == (201, PROTOBUF)
    status = protobuf.decode(answer.body).get("status", {})
    assert status.get("allowed", False) is allowed


async def test_client_that_wants_json_gets_json(post):
    answer = await post(REVIEWS, protobuf.encode(review(verb="get", resource="pods")), accept="application/json")
    assert orjson.loads(answer.body)["status"] == {"allowed": True}


async def test_object_made_in_protobuf_is_there(post, client):
    made = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "bob"}, "imagePullSecrets": [{"name": "registry"}]}
    answer = await post("/api/v1/namespaces/default/serviceaccounts", protobuf.encode(made))
    assert answer.status == 201
    stored = orjson.loads(await client.send("GET", "/api/v1/namespaces/default/serviceaccounts/bob"))
    assert stored["imagePullSecrets"] == [{"name": "registry"}]
    assert protobuf.decode(answer.body)["metadata"]["uid"] == stored["metadata"]["uid"]


async def test_error_is_a_status_in_either_form(post):
    again = protobuf.encode({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}})
    answer = await post("/api/v1/namespaces", again)
    assert answer.status == 409
    found = protobuf.decode(answer.body) if answer.headers["content-type"] == PROTOBUF else orjson.loads(answer.body)
    assert found["reason"] == "AlreadyExists"


@pytest.mark.parametrize("body", [b"", b"k8s", b"k8s\0", b"k8s\0\xff\xff\xff", b"{}", b"k8s\0" + b"\x0a\x00" * 50_000])
async def test_garbage_is_a_bad_request(post, body):
    assert (await post(REVIEWS, body)).status == 400


async def test_strangers_may_not_ask(api_server):
    transport = HttpTransport(api_server.url, ca_data=api_server.ca_data)
    try:
        request = base.Request("POST", REVIEWS, headers={"content-type": "application/json"}, body=orjson.dumps(review(verb="get")))
        assert (await transport.send(request)).status == 403
    finally:
        await transport.close()


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_reviews_cannot_be_read_or_changed(api_server, method):
    transport = HttpTransport(api_server.url, ca_data=api_server.ca_data, token="admin-token")
    try:
        for path in (REVIEWS, f"{REVIEWS}/x"):
            answer = await transport.send(base.Request(method, path, headers={"content-type": "application/json"}, body=b""))
            assert answer.status in {400, 404, 405}, (method, path, answer.body)
    finally:
        await transport.close()
