"""What a stolen node token, a stranger and a stalling client can do to the API server: nothing that matters."""

import asyncio
import itertools
import logging

import aiohttp
import pytest

from controller.apiserver import http
from controller.apiserver.request import ApiRequest
from lattice.api import configmap, node, pod, storage
from lattice.testing.polling import eventually

NS = "default"
POD = {"metadata": {"name": "p2"}, "spec": {"containers": [{"name": "a", "image": "x"}], "nodeName": "node2"}}
TERM = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["node2"]}]}
VOLUME = {
    "metadata": {"name": "v2", "finalizers": ["lattice.dev/node-volume"]},
    "spec": {
        "capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteOnce"],
        "csi": {"driver": "local.lattice.dev", "volumeHandle": "lattice-v2"},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [TERM]}},
    },
}
MERGE = {"Content-Type": "application/merge-patch+json"}
FOREIGN = (
    ("/api/v1/nodes/node2", ("", "/status", "/desired")),
    ("/api/v1/namespaces/default/pods/p2", ("", "/status", "/binding")),
    ("/api/v1/namespaces/default/secrets/s", ("",)),
    ("/api/v1/namespaces/default/configmaps/c", ("",)),
    ("/api/v1/namespaces/default/persistentvolumeclaims/d", ("", "/status")),
    ("/api/v1/persistentvolumes/v2", ("", "/status")),
    ("/api/v1/namespaces/default", ("", "/status", "/finalize")),
    ("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/node2", ("",)),
    ("/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/node1", ("",)),
    ("/apis/lattice.dev/v1/namespaces/default/workloads/w", ("", "/status", "/scale")),
)
COLLECTIONS = (
    "/api/v1/nodes", "/api/v1/pods", "/api/v1/namespaces/default/pods", "/api/v1/secrets", "/api/v1/namespaces/default/secrets",
    "/api/v1/namespaces/default/configmaps", "/api/v1/namespaces", "/api/v1/persistentvolumes", "/api/v1/namespaces/default/events",
    "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases", "/apis/lattice.dev/v1/tombstones", "/apis/lattice.dev/v1/workloads",
    "/api/v1/watch/secrets", "/api/v1/watch/namespaces/default/secrets/s", "/api/v1/watch/nodes/node2", "/lattice/v1/backup", "/metrics",
)  # fmt: skip


@pytest.fixture
async def cluster(api_server):
    """A server with things of node2 and a Secret; the session of node1."""
    async with api_server.session() as admin:
        for path, body in (
            ("/api/v1/nodes", {"metadata": {"name": "node1"}}),
            ("/api/v1/nodes", {"metadata": {"name": "node2"}}),
            (f"/api/v1/namespaces/{NS}/pods", POD),
            (f"/api/v1/namespaces/{NS}/pods", {"metadata": {"name": "p1"}, "spec": {**POD["spec"], "nodeName": "node1"}}),
            (f"/api/v1/namespaces/{NS}/secrets", {"metadata": {"name": "s"}, "stringData": {"a": "hidden"}}),
            ("/api/v1/persistentvolumes", VOLUME),
        ):
            async with admin.post(path, json=body) as response:
                assert response.status == 201, await response.read()
    return api_server


async def state(server):
    async with server.session() as admin:
        seen = []
        for path in ("/api/v1/nodes", "/api/v1/pods", "/api/v1/secrets", "/api/v1/persistentvolumes", "/api/v1/namespaces"):
            async with admin.get(path) as response:
                seen.append((await response.json())["items"])
        return seen


def _attempts():
    for (path, subs), method in itertools.product(FOREIGN, ("GET", "PUT", "PATCH", "DELETE", "POST")):
        for sub in subs:
            yield method, path + sub
    for path, method in itertools.product(COLLECTIONS, ("GET", "DELETE")):
        yield method, path
    for path in (*COLLECTIONS, "/api/v1/nodes/node2/desired"):
        yield "GET", f"{path}?watch=true"


async def test_a_node_reaches_nothing_of_another(cluster):
    before = await state(cluster)
    wrong = []
    async with cluster.session("node1-token") as session:
        for method, path in _attempts():
            body = b'{"metadata":{"labels":{"a":"b"}},"status":{"phase":"Failed"}}' if method in {"PATCH", "PUT", "POST"} else None
            async with session.request(method, path, data=body, headers=MERGE if method == "PATCH" else {}) as response:
                # A write whose body does not parse as that object is refused before admission would: no right is shown by it.
                refused = {403} if method in {"GET", "DELETE"} else {403, 400, 404, 405, 409, 415, 422}
                if response.status not in refused:
                    wrong.append((method, path, response.status))
    assert wrong == []
    assert await state(cluster) == before


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "pods/p2/status", {"status": {"phase": "Failed"}}),
        ("PATCH", "pods/p2/status", {"spec": {"nodeName": "node1"}, "status": {"phase": "Failed"}}),
        ("PATCH", "pods/p1", {"metadata": {"labels": {"a": "b"}}}),
        ("DELETE", "pods/p2", {"gracePeriodSeconds": 0}),
        ("POST", "pods", {"metadata": {"name": "q"}, "spec": {**POD["spec"], "nodeName": "node1"}}),
        ("POST", "secrets", {"metadata": {"name": "t"}}),
        ("POST", "pods/p1/binding", {"target": {"name": "node2"}}),
        ("POST", "events", {"metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "namespace": NS, "name": "p2"}, "reason": "R"}),
    ],
)
async def test_a_node_cannot_widen_its_rights(cluster, method, path, body):
    before = await state(cluster)
    async with cluster.session("node1-token") as session:
        headers = MERGE if method == "PATCH" else {}
        async with session.request(method, f"/api/v1/namespaces/{NS}/{path}", json=body, headers=headers) as response:
            assert response.status == 403, await response.read()
    assert await state(cluster) == before


async def test_a_status_patch_changes_the_status_only(cluster):
    patch = {
        "metadata": {"labels": {"a": "b"}, "finalizers": ["a/b"], "ownerReferences": None, "annotations": {"x": "y"}, "name": "p1"},
        "spec": {"nodeName": "node2", "containers": [{"name": "a", "image": "evil"}]},
        "status": {"phase": "Running"},
    }
    admin = cluster.local_client()
    before = await admin.get(pod.Pod, "p1", NS)
    path = f"/api/v1/namespaces/{NS}/pods/p1/status"
    async with cluster.session("node1-token") as session, session.patch(path, json=patch, headers=MERGE) as response:
        assert response.status == 200, await response.read()
    after = await admin.get(pod.Pod, "p1", NS)
    assert (after.spec, after.metadata.labels, after.metadata.finalizers) == (
        before.spec,
        before.metadata.labels,
        before.metadata.finalizers,
    )
    assert (after.status.phase, "x" in (after.metadata.annotations or {})) == ("Running", False)


async def test_a_status_patch_with_broken_metadata_is_answered(cluster):
    path = f"/api/v1/namespaces/{NS}/pods/p1/status"
    async with cluster.session("node1-token") as session:
        for value in ([], "a", 1, {"lattice.dev/host-ports": 1}):
            async with session.patch(path, json={"metadata": {"annotations": value}, "status": {}}, headers=MERGE) as response:
                assert response.status in {200, 422}, await response.read()


async def test_a_grace_period_of_foreign_digits_is_refused(cluster):
    async with cluster.session() as session, session.delete(f"/api/v1/namespaces/{NS}/pods/p1?gracePeriodSeconds=²") as response:
        assert response.status == 400


async def test_a_pod_with_an_endless_grace_period_can_be_deleted(cluster):
    endless = {"metadata": {"name": "e"}, "spec": {**POD["spec"], "terminationGracePeriodSeconds": 2**53}}
    path = f"/api/v1/namespaces/{NS}/pods"
    async with cluster.session() as session:
        async with session.post(path, json=endless) as response:
            assert response.status in {201, 422}
        async with session.delete(f"{path}/e") as response:
            assert response.status in {200, 404}, await response.read()


def test_a_request_does_not_show_its_credentials():
    shown = repr(ApiRequest("POST", "/", {}, {"authorization": "Bearer hidden"}, b"hidden"))
    assert "hidden" not in shown


@pytest.mark.parametrize("token", ["admin-token", "node1-token", None])
async def test_impersonation_widens_no_rights(cluster, token):
    async with cluster.session(token) as session:
        for header in ("Impersonate-User", "Impersonate-Group", "Impersonate-Uid", "impersonate-extra-x"):
            async with session.get("/api/v1/nodes/node1", headers={header: "system:masters"}) as response:
                assert response.status == (400 if token == "admin-token" and header != "Impersonate-User" else 403)
        both = {"Impersonate-User": "bob", "Impersonate-Group": "system:masters"}
        async with session.get("/api/v1/nodes/node1", headers=both) as response:
            assert response.status == (200 if token == "admin-token" else 403)


@pytest.mark.parametrize(
    ("token", "status"), [(None, 403), ("wrong", 401), ("alice-token", 403), ("node1-token", 403), ("admin-token", 200)]
)
async def test_a_backup_is_for_admins(cluster, token, status):
    async with cluster.session(token) as session, session.get("/lattice/v1/backup") as response:
        assert response.status == status
        assert status == 200 or b"hidden" not in await response.read()


async def connect(server, head: bytes):
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=server.client_context())
    writer.write(head)
    await writer.drain()
    return reader, writer


async def test_a_fragment_never_turns_an_object_into_its_collection(api_server):
    path = "/api/v1/namespaces/default/configmaps"
    async with api_server.session() as session:
        async with session.post(path, json={"metadata": {"name": "kept"}}) as response:
            assert response.status == 201
        head = f"DELETE {path}/#x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer admin-token\r\n\r\n"
        reader, writer = await connect(api_server, head.encode())
        async with asyncio.timeout(5):
            assert (await reader.readline()).split()[1] == b"400"
        writer.transport.abort()
        async with session.get(f"{path}/kept") as response:
            assert response.status == 200


@pytest.mark.parametrize(
    ("token", "status"), [("", b"403"), ("Authorization: Bearer wrong\r\n", b"401"), ("Authorization: Bearer alice-token\r\n", b"403")]
)
async def test_strangers_are_refused_before_their_body_is_read(api_server, token, status):
    head = f"POST /api/v1/namespaces/default/pods HTTP/1.1\r\nHost: a\r\n{token}Content-Length: 3000000\r\n\r\n"
    reader, writer = await connect(api_server, head.encode())
    async with asyncio.timeout(5):
        assert (await reader.readline()).split()[1] == status
    writer.transport.abort()


async def test_clients_that_stall_are_cut_and_hold_up_nobody(api_server, monkeypatch):
    assert api_server.http._server._kwargs["keepalive_timeout"] <= 120  # an hour, had we left it to aiohttp
    monkeypatch.setattr(http, "_BODY_WITHIN_S", 0.5)
    monkeypatch.setattr(api_server.http._server, "_kwargs", {**api_server.http._server._kwargs, "keepalive_timeout": 0.5})
    auth = b"Host: a\r\nAuthorization: Bearer admin-token\r\n"
    heads = [b"GET /api/v1/nodes HTTP/1.1\r\nHost: a\r\nX-A: "] * 50
    bodies = [b"POST /api/v1/namespaces/default/pods HTTP/1.1\r\n" + auth + b"Content-Length: 100\r\n\r\n{"] * 50
    clients = [await connect(api_server, data) for data in heads + bodies]
    async with asyncio.timeout(5):
        assert await api_server.client().list(node.Node) is not None
    async with asyncio.timeout(10):
        answers = [(await reader.read(1000))[:12] for reader, _ in clients]
    assert set(answers[:50]) <= {b"", b"HTTP/1.1 408"}
    assert set(answers[50:]) == {b"HTTP/1.1 408"}
    for _, writer in clients:
        writer.transport.abort()


async def test_a_damaged_request_does_not_put_its_token_into_the_log(api_server, caplog):
    caplog.set_level(logging.DEBUG)
    reader, writer = await connect(api_server, b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer admin-token\0\r\n\r\n")
    assert (await reader.readline()).split()[1] == b"400"
    writer.transport.abort()
    assert "admin-token" not in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_dropped_watchers_leave_nothing_registered(api_server):
    cache = api_server.api.registry.cache(api_server.api.table.of(configmap.ConfigMap))
    for _ in range(5):
        connector = aiohttp.TCPConnector(ssl=api_server.client_context(), limit=0)
        async with aiohttp.ClientSession(api_server.url, headers={"Authorization": "Bearer admin-token"}, connector=connector) as session:
            opened = await asyncio.gather(*(session.get("/api/v1/configmaps?watch=true") for _ in range(100)))
            assert {response.status for response in opened} == {200}
            for response in opened:
                response.close()
    await eventually(lambda: not cache.watchers())


async def test_a_volume_that_cannot_be_read_does_not_blind_the_nodes(cluster, monkeypatch):
    def unreadable(_raw):
        raise ValueError("of another shape")

    monkeypatch.setattr(storage.PersistentVolume, "model_validate_json", unreadable)
    async with cluster.session() as session:
        async with session.post("/api/v1/persistentvolumes", json={**VOLUME, "metadata": {"name": "odd"}}) as response:
            assert response.status == 201
        async with session.get("/api/v1/nodes/node1/desired") as response:
            assert [item["metadata"]["name"] for item in (await response.json())["items"]] == ["p1"]
