"""Writes as large as they may be: whatever is in them, the event loop is not theirs."""

import orjson
import pytest

from controller.apiserver.request import ApiRequest, User
from lattice.testing.looplag import LoopLag
from lattice.testing.specimens import definition

ADMIN = User("admin", groups=("system:masters", "system:authenticated"))
GROUP = "large.example.dev"
OBJECTS = f"/apis/{GROUP}/v1/namespaces/default/specimens"
CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
MERGE, JSON_PATCH, APPLY = "application/merge-patch+json", "application/json-patch+json", "application/apply-patch+yaml"
KEYED = {
    "type": "array",
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["n"],
    "items": {"type": "object", "required": ["n"], "properties": {"n": {"type": "string"}, "v": {"type": "integer"}}},
}
FREE = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


async def send(server, method, path, body, kind="application/json"):
    path, _, query = path.partition("?")
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    pairs = dict(pair.split("=") for pair in query.split("&") if pair)
    return await server.api.handle(ApiRequest(method, path, pairs, {"content-type": kind, "user-agent": "test"}, raw, user=ADMIN))


def large(name, **spec):
    return {"apiVersion": f"{GROUP}/v1", "kind": "Specimen", "metadata": {"name": name}, "spec": {"image": "a", **spec}}


@pytest.fixture
async def server(api_server):
    made = definition(GROUP)
    spec = made["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    spec["properties"] |= {"keyed": KEYED, "free": FREE, "list": {"type": "array", "items": {"type": "integer"}}}
    assert (await send(api_server, "POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", made)).status == 201
    for name, value in (
        ("keyed", [{"n": f"n{number}", "v": number} for number in range(10_000)]),
        ("free", {f"k{number}": {"a": number} for number in range(15_000)}),
        ("list", [1] * 600_000),
    ):
        async with LoopLag() as lag:
            answer = await send(api_server, "POST", OBJECTS, large(name, **{name: value}))
        assert answer.status == 201, answer.body[:500]
        assert lag.longest_s < 0.25, name
    return api_server


async def test_large_writes_hold_up_nobody(server):
    twice = b'{"metadata":{"name":"twice"},"a":1,"a":2,"b":[%b1]}' % (b"1," * 1_000_000)
    yaml = b"metadata: {name: yaml}\nx: [%ba]" % (b"a," * 250_000)
    keyed = [{"n": f"n{number}", "v": number + 1} for number in range(10_000)]
    requests = [
        ("POST", CONFIGMAPS, twice, "application/json", 201),
        ("POST", CONFIGMAPS, yaml, "application/yaml", 201),
        (
            "POST",
            f"{CONFIGMAPS}?fieldValidation=Strict",
            {"metadata": {"name": "u"}, **dict.fromkeys(map(str, range(200_000)), 1)},
            "",
            400,
        ),
        ("POST", CONFIGMAPS, {"metadata": {"name": "u", "labels": {f"no label {n}": "v" for n in range(100_000)}}}, "", 422),
        ("PATCH", f"{OBJECTS}/keyed", {"metadata": {"labels": {"a": "b"}}}, MERGE, 200),
        ("PATCH", f"{OBJECTS}/keyed?fieldManager=a", large("keyed", keyed=keyed), APPLY, 409),
        ("PATCH", f"{OBJECTS}/keyed?fieldManager=a&force=true", large("keyed", keyed=keyed), APPLY, 200),
        ("PATCH", f"{OBJECTS}/free", {"metadata": {"labels": {"a": "b"}}}, MERGE, 200),
        ("PATCH", f"{OBJECTS}/list", [{"op": "add", "path": "/spec/list/0", "value": 1}] * 2_000, JSON_PATCH, 200),
        ("PATCH", f"{OBJECTS}/list", [{"op": "move", "from": "/spec/list/0", "path": "/spec/list/-"}] * 2_000, JSON_PATCH, 200),
    ]
    held = {}
    for method, path, body, kind, status in requests:
        async with LoopLag() as lag:
            answer = await send(server, method, path, body, kind)
        assert answer.status == status, (path, kind, answer.body[:500])
        held[path, kind] = lag.longest_s
    assert {request: seconds for request, seconds in held.items() if seconds >= 0.25} == {}, "seconds of CPU; most took one or more"


async def test_a_large_definition_holds_up_nobody(server):
    made = definition("wide.example.dev")
    spec = made["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    spec["properties"] |= {f"f{number}": {"type": "string", "default": "x", "pattern": "^[a-z]+$"} for number in range(8_000)}
    obj = {**large("a"), "apiVersion": "wide.example.dev/v1"}
    for path, body in (
        ("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", made),
        ("/apis/wide.example.dev/v1/namespaces/default/specimens", obj),
    ):
        async with LoopLag() as lag:
            answer = await send(server, "POST", path, body)
        assert answer.status == 201, answer.body[:500]
        assert lag.longest_s < 0.25, path
