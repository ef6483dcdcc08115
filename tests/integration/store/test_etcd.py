"""What only the etcd back end does: several endpoints, prefixes, outages, the quota, TLS, users. The contract: tests/contract."""

import asyncio
import os
from contextlib import aclosing
from datetime import timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from controller.store import etcd as backend
from controller.store.base import NO_REVISION, Delete, OutcomeUnknownError, Put, StoreFullError, StoreUnavailableError
from controller.store.etcd import EtcdConfig, EtcdStore
from lattice.api.errors import UsageError
from lattice.machinery.clock import SystemClock
from lattice.testing.etcd import EtcdServer, find_etcd
from lattice.testing.processes import free_port
from lattice.testing.stores import collect

pytestmark = pytest.mark.etcd

A = "/lattice/v1/a"


@pytest.fixture
def make_server(tmp_path):
    if find_etcd() is None:
        if os.environ.get("CI"):
            pytest.fail("CI needs an etcd binary: install one, or name it in LATTICE_ETCD")
        pytest.skip("needs an etcd binary")
    servers = []

    def make(*arguments):
        servers.append(EtcdServer(tmp_path / f"etcd{len(servers)}", arguments))
        return servers[-1]

    yield make
    for server in servers:
        asyncio.run(server.stop())


async def connect(*endpoints, **options):
    return await EtcdStore.connect(EtcdConfig(endpoints=endpoints, **options), SystemClock())


async def test_a_dead_first_endpoint_does_not_matter(make_server):
    server = make_server()
    await server.start()
    store = await connect(f"127.0.0.1:{free_port()}", f"http://{server.endpoint}")
    start = await store.revision()
    await store.txn([Put(A, b"1")])
    assert len(await collect(store.watch(start), start + 1)) == 1
    await store.close()


async def test_no_endpoint_that_answers_is_told(monkeypatch):
    monkeypatch.setattr(backend, "_CONNECT_S", 0.3)
    with pytest.raises(StoreUnavailableError, match=r"cannot reach etcd at 127\.0\.0\.1:1"):
        await connect("127.0.0.1:1")


@pytest.mark.parametrize("options", [{"prefix": "/"}, {"prefix": "/lattice"}, {"cert": __file__}], ids=["all", "no slash", "no key"])
async def test_a_configuration_without_sense_is_refused(options):
    with pytest.raises(UsageError):
        await connect("127.0.0.1:1", **options)


async def test_two_clusters_share_an_etcd(make_server):
    server = make_server()
    await server.start()
    ours = await connect(server.endpoint, prefix="/ours/")
    theirs = await connect(server.endpoint, prefix="/theirs/")
    start = await ours.revision()
    await theirs.txn([Put(A, b"theirs", expected=NO_REVISION)])
    result = await ours.txn([Put(A, b"ours", expected=NO_REVISION)])
    assert result.committed
    assert [record.value for record in (await ours.list("/lattice/")).records] == [b"ours"]
    assert [record.value for record in (await theirs.list("")).records] == [b"theirs"]
    async with aclosing(ours.watch(start)) as batches:
        batch = await anext(batches)
        while batch.revision < result.revision:
            assert batch.events == ()
            batch = await anext(batches)
    assert [(event.key, event.record.value) for event in batch.events] == [(A, b"ours")]
    await ours.close()
    await theirs.close()


async def test_reads_outlast_a_restart_and_writes_tell_what_is_known(make_server):
    server = make_server()
    await server.start()
    store = await connect(server.endpoint)
    created = (await store.txn([Put(A, b"1")])).revision
    await server.kill9()
    async with asyncio.TaskGroup() as group:
        read = group.create_task(store.get(A))
        group.create_task(server.start())
    assert read.result().mod_revision == created
    await server.kill9()
    with pytest.raises((StoreUnavailableError, OutcomeUnknownError)):
        await store.txn([Put(A, b"2")])
    await server.start()
    assert (await store.txn([Put(A, b"3", expected=created)])).committed
    await store.close()


async def test_writers_and_a_watch_over_kills(make_server):
    """Every acknowledged write is seen once and in order, over kills in full flight."""
    server = make_server()
    await server.start()
    store = await connect(server.endpoint)
    start = await store.revision()
    acknowledged: dict[int, str] = {}
    stop = asyncio.Event()

    async def write(writer):
        number = 0
        while not stop.is_set():
            number += 1
            try:
                result = await store.txn([Put(f"/lattice/k/{writer}", f"{writer}-{number}".encode())])
            except (StoreUnavailableError, OutcomeUnknownError):
                continue
            acknowledged[result.revision] = f"{writer}-{number}"

    async def kill():
        clock = SystemClock()
        for _ in range(2):
            await clock.sleep(0.7)
            await server.kill9()
            await server.start()
        await clock.sleep(0.5)
        stop.set()

    async with asyncio.TaskGroup() as group:
        watch = group.create_task(follow(store, start))
        async with asyncio.TaskGroup() as writers:
            for writer in range(16):
                writers.create_task(write(writer))
            writers.create_task(kill())
        await store.txn([Put("/lattice/end", b"end")])
    seen = watch.result()
    assert acknowledged
    assert {revision: seen[revision] for revision in acknowledged} == acknowledged
    await store.close()


async def follow(store, start):
    """Return the value written at each revision, up to the value "end"."""
    seen: dict[int, str] = {}
    async with aclosing(store.watch(start)) as batches:
        async for batch in batches:
            for event in batch.events:
                assert event.revision not in seen
                seen[event.revision] = event.record.value.decode()
            if "end" in {event.record.value.decode() for event in batch.events}:
                break
    assert list(seen) == sorted(seen)
    return seen


async def test_the_quota_refuses_writes_lets_deletions_through_and_is_reclaimed(make_server):
    server = make_server("--quota-backend-bytes=4194304")
    await server.start()
    store = await connect(server.endpoint)

    async def fill():
        for number in range(100):
            await store.txn([Put(f"/lattice/big/{number}", bytes(200_000))])

    with pytest.raises(StoreFullError, match="quota"):
        await fill()
    records = (await store.list("/lattice/big/")).records
    assert records
    with pytest.raises(StoreFullError):
        await store.txn([Put(A, b"", ttl_s=60)])
    for record in records:
        assert (await store.txn([Delete(record.key, expected=record.mod_revision)])).committed
    with pytest.raises(StoreFullError):
        await store.txn([Put(A, b"1")])
    before = await store.size_bytes()
    assert await store.reclaim() < before
    assert (await store.txn([Put(A, b"1")])).committed
    await store.close()


def make_certificates(directory):
    """Return the paths of a CA and of a certificate with its key for 127.0.0.1, good for server and client."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = SystemClock().now()
    usage = [x509.ExtendedKeyUsageOID.SERVER_AUTH, x509.ExtendedKeyUsageOID.CLIENT_AUTH]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.ExtendedKeyUsage(usage), critical=False)
        .sign(key, hashes.SHA256())
    )
    paths = directory / "cert.pem", directory / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return paths


async def test_tls_with_a_client_certificate(make_server, tmp_path, monkeypatch):
    cert, key = make_certificates(tmp_path)
    port = free_port()
    server = make_server(
        f"--listen-client-urls=https://127.0.0.1:{port}",
        f"--advertise-client-urls=https://127.0.0.1:{port}",
        f"--listen-metrics-urls=http://127.0.0.1:{free_port()}",
        f"--cert-file={cert}",
        f"--key-file={key}",
        f"--trusted-ca-file={cert}",
        "--client-cert-auth",
    )
    server._process.start()  # it speaks TLS only: connecting is the wait
    store = await connect(f"https://127.0.0.1:{port}", ca=cert, cert=cert, key=key)
    start = await store.revision()
    assert (await store.txn([Put(A, b"1")])).committed
    assert len(await collect(store.watch(start), start + 1)) == 1
    await store.close()
    monkeypatch.setattr(backend, "_CONNECT_S", 1.0)
    with pytest.raises(StoreUnavailableError):
        await connect(f"https://127.0.0.1:{port}", ca=cert)


async def test_users_and_a_token_that_expires(make_server):
    server = make_server("--auth-token=simple", "--auth-token-ttl=1")
    await server.start()
    plain = await connect(server.endpoint)
    call = plain._channel._channels[0].unary_unary
    for path, request in (
        ("UserAdd", b"\x0a\x04root\x12\x06secret"),
        ("RoleAdd", b"\x0a\x04root"),
        ("UserGrantRole", b"\x0a\x04root\x12\x04root"),
        ("AuthEnable", b""),
    ):
        await call(f"/etcdserverpb.Auth/{path}")(request)
    with pytest.raises(StoreUnavailableError, match=r"user name is empty.*credentials"):
        await plain.get(A)
    await plain.close()
    store = await connect(server.endpoint, username="root", password="secret")
    start = await store.revision()
    store._channel._token = "expired.1"
    assert (await store.txn([Put(A, b"1")])).committed
    store._channel._token = "expired.1"
    assert len(await collect(store.watch(start), start + 1)) == 1
    await store.close()


async def test_keys_with_one_time_to_live_share_a_lease(make_server):
    server = make_server()
    await server.start()
    store = await connect(server.endpoint)
    for number in range(20):
        await store.txn([Put(f"/lattice/e/{number}", b"", ttl_s=600)])
    await store.txn([Put("/lattice/e/other", b"", ttl_s=60)])
    assert {ttl_s: lease.keys for ttl_s, lease in store._leases._leases.items()} == {600: 20, 60: 1}
    await store.close()


@pytest.mark.parametrize(
    ("version", "loses"),
    [("3.4.20", True), ("3.4.23", False), ("3.5.1", True), ("3.5.13", False), ("3.6.0", False), ("3.6.0-rc.1", False), ("3.3.9", True)],
)
def test_versions_that_lose_writes(version, loses):
    assert backend.loses_writes(version) is loses
