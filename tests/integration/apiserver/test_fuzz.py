"""Seeded hostile requests over every write path: none may hang, crash the server or be answered with a 5xx that the wire does not know."""

import asyncio
import base64
import gc
import logging
import random
import resource
import string

import aiohttp
import orjson
import pytest
from yarl import URL

REQUESTS = 6000
SEED = 20261121
WORKERS = 8
ANSWER_WITHIN_S = 10.0
NAMED: dict[str, dict[str, object]] = {
    "/api/v1/namespaces/kube-system/pods": {
        "spec": {
            "nodeName": "a",
            "terminationGracePeriodSeconds": 3,
            "containers": [{"name": "a", "image": "x", "ports": [{"containerPort": 1}]}],
        }
    },
    "/api/v1/namespaces/default/pods": {"spec": {"containers": [{"name": "a", "image": "x", "env": [{"name": "A", "value": "b"}]}]}},
    "/api/v1/namespaces/default/secrets": {"data": {"a": "YQ=="}, "type": "Opaque"},
    "/api/v1/namespaces/default/configmaps": {"data": {"a": "b"}},
    "/api/v1/namespaces/default/events": {"involvedObject": {"kind": "Pod", "name": "x"}, "reason": "R", "count": 1},
    "/api/v1/namespaces/default/persistentvolumeclaims": {
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    },
    "/api/v1/persistentvolumes": {"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]}},
    "/api/v1/nodes": {"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}, "status": {"capacity": {"cpu": "1"}}},
    "/api/v1/namespaces": {"metadata": {"labels": {"a": "b"}}},
    "/apis/coordination.k8s.io/v1/namespaces/default/leases": {"spec": {"holderIdentity": "a", "leaseDurationSeconds": 3}},
    "/apis/lattice.dev/v1/namespaces/default/workloads": {
        "apiVersion": "lattice.dev/v1",
        "kind": "Workload",
        "spec": {"engine": "postgres", "replicas": 1},
    },
}
SUBRESOURCES = (*[""] * 12, "/status", "/scale", "/binding", "/desired", "/nonesuch", "/status/status")
SCALARS = (
    None, True, False, 0, -1, 2**31, 2**53, 2**63, -(2**63), 2**64 - 1, 1e308, -0.0, "", "a", "\0", "a\0b", "../..",
    "%2F", "\u202e", "\U0001f600",
    "x" * 70_000, "9" * 400, "1e999", "-1Gi", "0001-01-01T00:00:00Z", "10000-99-99T99:99:99Z", [], {}, [[]], [None], {"": None},
    {"a": {"b": []}},
)  # fmt: skip
RAW = (
    b"", b"null", b"[]", b"0", b'"x"', b"{", b"\xff\xfe", b"\0", b"NaN", b'{"metadata":NaN}', b'{"metadata":{"name":"a","name":1}}',
    b'{"metadata":{"name":"\\ud800"}}',
    b'{"kind":"\\udfff\\ud800"}', b'{"metadata":{"name":"a"},"spec":'
    + b'{"a":' * 10_000 + b"1" + b"}" * 10_001,
    b"[" * 10_000, b'{"metadata":{"generation":' + b"9" * 5_000 + b"}}", b'{"metadata":{"name":1e999}}', b'\xef\xbb\xbf{"metadata":{}}',
    b"a: &a [*a, *a]", b"a: " + b"[" * 3_000, b"!!python/object/apply:os.system [id]", b"--- 1\n--- 2",
    b"kind: 2026-01-01\nmetadata: {1: 2}",
)  # fmt: skip
TYPES = (
    "application/json", "application/json", "application/json; charset=latin-1", "application/yaml", "text/plain", "", ";;;",
    "application/vnd.kubernetes.protobuf",
)  # fmt: skip
PATCHES = (
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/json-patch+json",
    "application/apply-patch+yaml",
)
PARAMETERS = (
    "limit", "continue", "resourceVersion", "resourceVersionMatch", "labelSelector", "fieldSelector", "timeoutSeconds", "watch", "dryRun",
    "fieldManager", "fieldValidation", "force", "propagationPolicy", "gracePeriodSeconds", "orphanDependents", "allowWatchBookmarks",
    "sendInitialEvents", "includeObject", "pretty",
)  # fmt: skip


def _token(value: object) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(value)).decode()


VALUES = (
    "", "0", "1", "-1", "²", "true", "abc", "NaN", "1e9", "9" * 40, "-" + "9" * 20, "18446744073709551616",
    "\0", "\u0661", " 1", "a=b", "a in (",
    "a in (b,c",
    "!", "==", "a=b,,", "metadata.name=%00", "spec.nodeName=", "x" * 5_000, "All", "None", "Strict", "Ignore", "Exact", "NotOlderThan",
    "Background", "Foreground", "Orphan", "====", _token({"v": "meta.k8s.io/v1", "rv": 2**62, "start": "a\0"}), _token([]),
    _token({"v": "meta.k8s.io/v1", "rv": True, "start": "\0"}), _token({"v": "meta.k8s.io/v1", "rv": 1, "start": "/../\0"}), "é", "_w",
)  # fmt: skip
NAMES = ("a", "b", "c", "%2F", "..%2F..", "%00", "%ff", "%C0%80", "A", "x" * 300, "%20", "a%2Fstatus", "%F0%9F%98%80", "a;b", "%25")
KNOWN_500 = ("resourceVersion should not be set on objects to be created", "strconv.ParseUint")


class Mutator:
    """Makes requests. The same seed makes the same ones."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def request(self) -> tuple[str, str, dict[str, str], bytes]:
        """Return method, target, headers and body."""
        rng = self.random
        path, spec = rng.choice(list(NAMED.items()))
        method = rng.choice(("POST",) * 4 + ("PUT",) * 3 + ("PATCH",) * 6 + ("GET",) * 3 + ("DELETE",))
        target = path
        if method != "POST" or rng.random() < 0.2:
            # A DELETE of a whole collection would leave little to attack.
            target += (
                ""
                if method == "GET" and rng.random() < 0.6
                else f"/{rng.choice('abc') if rng.random() < 0.8 else rng.choice(NAMES)}{rng.choice(SUBRESOURCES)}"
            )
        if rng.random() < 0.6:
            chosen = [(rng.choice(PARAMETERS), rng.choice(VALUES)) for _ in range(rng.randint(1, 3))]
            target = str(URL(target, encoded=True).with_query(chosen))
        headers = {}
        content_type = rng.choice(PATCHES) if method == "PATCH" else rng.choice(TYPES) if rng.random() < 0.2 else "application/json"
        if content_type:
            headers["Content-Type"] = content_type
        if rng.random() < 0.1:
            headers["Accept"] = rng.choice(("application/json;as=Table;v=v1;g=meta.k8s.io", "text/html", ";q=,,", "*/*;q=x"))
        return method, target, headers, b"" if method == "GET" else self.body(spec, content_type, deletion=method == "DELETE")

    def body(self, spec: dict[str, object], content_type: str, *, deletion: bool) -> bytes:
        """Return a valid body, a body with one thing wrong at any depth, a damaged one, or garbage."""
        rng = self.random
        if rng.random() < 0.15:
            return rng.choice(RAW)
        meta = {
            "name": rng.choice(("a", "b", "c")),
            "labels": {"a": "b"},
            "annotations": {"a": "b"},
            "finalizers": ["x/y"] * rng.randint(0, 1),
        }
        obj: object = {**spec, "metadata": meta}
        if deletion:
            obj = {"gracePeriodSeconds": 5, "preconditions": {"uid": "a"}, "propagationPolicy": "Orphan", "dryRun": ["All"]}
            obj = {key: value for key, value in obj.items() if rng.random() < 0.5}
        if content_type == "application/json-patch+json":
            pointers = (
                "",
                "/",
                "/metadata/name",
                "/metadata/labels/a",
                "/spec",
                "/a/-",
                "/metadata/finalizers/0",
                "/~2",
                "/metadata/finalizers/99",
            )
            operations = ("add", "remove", "replace", "move", "copy", "test", "x")
            obj = [
                {"op": rng.choice(operations), "path": rng.choice(pointers), "from": rng.choice(pointers), "value": rng.choice(SCALARS)}
                for _ in range(rng.randint(0, 4))
            ]
        obj = orjson.loads(orjson.dumps(obj))
        for _ in range(rng.randint(0, 3)):
            obj = self.damage(obj)
        data = bytearray(orjson.dumps(obj))
        if rng.random() < 0.2:
            for _ in range(rng.randint(1, 5)):
                data[rng.randrange(len(data))] = rng.randrange(256)
        return bytes(data[: rng.randrange(len(data))]) if rng.random() < 0.03 else bytes(data)

    def damage(self, value: object) -> object:
        """Return ``value`` with a wrong thing put somewhere."""
        rng = self.random
        if isinstance(value, dict) and value and rng.random() < 0.85:
            key = rng.choice(list(value))
            if rng.random() < 0.15:
                extra = rng.choice(
                    ("", "\0", "$patch", "$setElementOrder/containers", "$retainKeys", "k" * 400, "a/b/c", "uid", "resourceVersion")
                )
                return {**value, extra: rng.choice(SCALARS)}
            return {**value, key: self.damage(value[key])}
        if isinstance(value, list) and value and rng.random() < 0.7:
            index = rng.randrange(len(value))
            return [*value[:index], self.damage(value[index]), *value[index:]]
        return rng.choice(SCALARS)


async def _send(session: aiohttp.ClientSession, request: tuple[str, str, dict[str, str], bytes]) -> tuple[int, bytes]:
    method, target, headers, body = request
    url = URL(str(session._base_url).rstrip("/") + target, encoded=True)
    async with session.request(method, url, headers=headers, data=body or None, skip_auto_headers=["Content-Type"]) as response:
        if "watch=" in target and response.status == 200:
            response.close()  # may be a watch, which does not end
            return 200, b""
        return response.status, await response.read()


def _allowed(status: int, body: bytes) -> bool:
    if status == 504:
        return b"Too large resource version" in body
    return status < 500 or (status == 500 and any(text.encode() in body for text in KNOWN_500))


async def test_no_request_breaks_the_server(api_server, caplog):
    caplog.set_level(logging.WARNING)
    mutator = Mutator(SEED)
    requests = iter([mutator.request() for _ in range(REQUESTS)])
    bad, statuses = [], {}
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    async def attack(session):
        for request in requests:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                status, body = await _send(session, request)
            statuses[status] = statuses.get(status, 0) + 1
            if not _allowed(status, body):
                bad.append((request[0], request[1][:200], request[2], request[3][:300], status, body[:300]))

    async with api_server.session() as session:
        for path, spec in NAMED.items():
            for name in "abc":
                async with session.post(path, json={**spec, "metadata": {"name": name, "labels": {"a": "b"}}}) as response:
                    assert response.status in {201, 422}, await response.read()
    async with api_server.session() as session, asyncio.TaskGroup() as group:
        for _ in range(WORKERS):
            group.create_task(attack(session))
    assert not bad, bad[:10]
    assert statuses.keys() >= {200, 201, 400, 404, 409, 415, 422}, "the requests no longer reach what they are to attack"
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR or record.exc_info] == []
    async with api_server.session() as session:
        async with session.get("/readyz") as response:
            assert response.status == 200
        for path in NAMED:
            async with session.get(path) as response:
                assert response.status == 200
                orjson.loads(await response.read())
    gc.collect()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 256 * 1024


@pytest.mark.parametrize("seed", range(3))
async def test_bytes_that_are_not_http(api_server, caplog, seed):
    rng = random.Random(seed)
    seen = []
    for start in (
        b"",
        b"GET / HTTP/1.1\r\n",
        b"POST /api/v1/pods HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"GET \xff\xfe HTTP/9.9\r\n\r\n",
    ):
        data = start + bytes(rng.choices(string.printable.encode() + b"\0\xff", k=200)) + b"\r\n\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", api_server.port, ssl=api_server.client_context())
        writer.write(data)
        writer.write_eof() if writer.can_write_eof() else None
        async with asyncio.timeout(ANSWER_WITHIN_S):
            seen.append(await reader.read(12))
        writer.close()
        await writer.wait_closed()
    assert all(answer in {b"", b"HTTP/1.1 400", b"HTTP/1.0 400"} for answer in seen), seen
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
