"""Who a Pod reaches: in a fake LAN of network namespaces, on an engine of its own, which may be restarted and tampered with."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from lattice.api import namespace, node, pod
from lattice.testing import lan
from lattice.testing.cluster import LocalCluster
from lattice.testing.ownengine import OwnEngine
from lattice.testing.polling import eventually
from nodeagent.runtime.base import NETWORK_HELPER_IMAGE

pytestmark = pytest.mark.timeout(240)

LISTEN = "for port in 7000 7001; do (while true; do echo hello from a pod | nc -l -p $port; done) & done; wait"
HELLO = "hello from"


@dataclass
class Site:
    """A provider's machine in his LAN, with a Lattice on it."""

    own: OwnEngine
    cluster: LocalCluster

    async def start(self, name: str, space: str = "default", *, ports: tuple[dict[str, Any], ...] = ()) -> tuple[str, str]:
        """Run a Pod that listens on the ports 7000 and 7001, and return its address and the id of its container."""
        container = {"name": "main", "image": "busybox:latest", "imagePullPolicy": "IfNotPresent", "ports": ports}
        container["command"] = ["sh", "-c", LISTEN]
        made = pod.Pod.model_validate(
            {
                "metadata": {"name": name, "namespace": space},
                "spec": {"terminationGracePeriodSeconds": 0, "containers": [container], "tolerations": [{"operator": "Exists"}]},
            }
        )
        await self.cluster.client.create(made)
        return await self.wait_running(name, space)

    async def wait_running(self, name: str, space: str = "default", *, not_id: str = "") -> tuple[str, str]:
        async def running() -> tuple[str, str]:
            found = await self.cluster.client.get(pod.Pod, name, space)
            status = next(iter(found.status.container_statuses), None)
            held = (status.container_id or "").removeprefix("docker://") if status else ""
            runs = status is not None and status.state.running is not None and found.status.pod_ip
            assert runs, status
            assert held != not_id
            return found.status.pod_ip or "", held

        return await eventually(running, 90, f"Pod {name} to run")

    async def says(self, container_id: str, address: str, port: int = 8080) -> str:
        """Return what a container reads from an address, ``refused`` if nothing."""
        # The listener of a Pod answers one at a time and needs a moment between two.
        code, output = await self.cluster.engine.exec(container_id, "nc", "-w", "5", address, str(port))
        return output.strip() if code == 0 and output.strip() else "refused"

    async def condition(self) -> tuple[str, str, str]:
        """Return status, reason and message of the Node's condition NetworkIsolated."""
        found = await self.cluster.client.get(node.Node, self.cluster.name)
        held = next(c for c in found.status.conditions if c.type == "NetworkIsolated")
        return held.status, held.reason or "", held.message or ""

    def on_host(self, *argv: str) -> str:
        return self.own.lan.run(self.own.lan.host, *argv)

    @property
    def table(self) -> str:
        return f"lattice_{self.cluster.node_uids()[0][:8]}"


@pytest.fixture
async def make_site(tmp_path: Path, docker_host: str) -> AsyncIterator[Callable[..., Any]]:
    async with AsyncExitStack() as stack:

        async def make(*images: str, agent_options: tuple[str, ...] = ()) -> Site:
            own = await stack.enter_async_context(OwnEngine("iso", tmp_path))
            await own.load("busybox:latest", *images, source=docker_host)
            cluster = await stack.enter_async_context(LocalCluster(tmp_path / "lattice", docker_host=own.host, agent_options=agent_options))
            await cluster.start()
            return Site(own, cluster)

        yield make


async def test_pod_reaches_the_internet_and_its_namespace_and_nothing_of_the_provider(make_site) -> None:
    site = await make_site(NETWORK_HELPER_IMAGE)
    home = site.own.lan
    machines = (lan.ROUTER, lan.PUBLIC_ON_LAN, f"[{lan.ROUTER6}]", f"[{lan.PUBLIC_ON_LAN6}]")
    await home.serve(
        home.router, *(f"tcp:{address}:8080" for address in (*machines, lan.INTERNET, f"[{lan.INTERNET6}]")), f"dns:{lan.ROUTER}:53"
    )
    await home.serve(home.host, "tcp:0.0.0.0:9000", "tcp:[::]:9000")
    await site.cluster.client.create(namespace.Namespace.model_validate({"metadata": {"name": "other"}}))
    published = ({"containerPort": 7000, "hostPort": 31700}, {"containerPort": 7001, "hostPort": 31701, "hostIP": "0.0.0.0"})
    (own_ip, own_id), (mate_ip, mate_id), (other_ip, other_id) = await asyncio.gather(
        site.start("own"), site.start("mate"), site.start("stranger", "other", ports=published)
    )
    gateway = site.cluster.engine

    # The namespace, and the internet by name and by address
    assert len({own_ip, mate_ip, other_ip}) == 3
    assert HELLO in await site.says(own_id, mate_ip, 7000)
    assert HELLO in await site.says(mate_id, own_ip, 7000)
    code, names = await gateway.exec(own_id, "nslookup", "db.example")
    assert (code, lan.INTERNET in names) == (0, True), names
    assert HELLO in await site.says(own_id, lan.INTERNET)

    # The LAN: private addresses, and others that are on the cable; the resolver but for its port 53
    for address in (lan.ROUTER, lan.PUBLIC_ON_LAN):
        assert await site.says(own_id, address) == "refused"
    # The machine itself, by any of its addresses
    bridge = next(line.split()[2] for line in (await gateway.exec(own_id, "ip", "route"))[1].splitlines() if line.startswith("default"))
    for address in (lan.HOST, bridge, "10.214.0.1"):
        assert await site.says(own_id, address, 9000) == "refused"
    # Another namespace, directly and by a port that it publishes on all addresses
    assert await site.says(own_id, other_ip, 7000) == "refused"
    assert await site.says(own_id, lan.HOST, 31701) == "refused"
    assert await site.says(other_id, own_ip, 7000) == "refused"

    # The other way round, answers pass: from the machine on 127.0.0.1, from the LAN where that was asked for, and only there
    await eventually(lambda: HELLO in tcp(site, home.host, "127.0.0.1", 31700), 30, "the port on 127.0.0.1")
    await eventually(lambda: HELLO in tcp(site, home.router, lan.HOST, 31701), 30, "the port on all addresses")
    assert tcp(site, home.router, lan.HOST, 31700) == ""

    # The same in IPv6, which somebody may give to a Pod
    await give_ipv6(site, own_id, bridge)
    assert HELLO in await site.says(own_id, lan.INTERNET6)
    for address, port in ((lan.ROUTER6, 8080), (lan.PUBLIC_ON_LAN6, 8080), (lan.HOST6, 9000), ("2001:db8:77::2", 9000), ("fd99::1", 9000)):
        assert await site.says(own_id, address, port) == "refused"

    assert (await site.condition())[:2] == ("True", "RulesSet")
    found = await site.cluster.client.get(node.Node, site.cluster.name)
    assert not [taint.key for taint in found.spec.taints if "network" in taint.key]
    # Not one of these refusals was for want of somebody who listens
    for address, port in ((lan.ROUTER, 8080), (lan.PUBLIC_ON_LAN, 8080), (lan.HOST, 9000), (lan.ROUTER6, 8080), (lan.HOST6, 9000)):
        assert HELLO in tcp(site, home.host, address, port)


async def test_rules_and_addresses_outlive_tampering_and_engine_restarts(make_site) -> None:
    site = await make_site(NETWORK_HELPER_IMAGE)
    home = site.own.lan
    await home.serve(home.router, f"tcp:{lan.ROUTER}:8080")
    address, held = await site.start("own")
    assert await site.says(held, lan.ROUTER) == "refused"

    async def refused() -> bool:
        return await site.says(held, lan.ROUTER) == "refused"

    for harm in (f"flush table inet {site.table}", f"delete table inet {site.table}", "flush ruleset"):
        site.on_host("nft", *harm.split())
        await eventually(lambda: "reject" in site.on_host("nft", "list", "ruleset"), 60, f"the rules after nft {harm}")
        await eventually(refused, 30, "the LAN to be out of reach again")

    # A container that ends is followed by another at the same address
    await site.cluster.engine.call("POST", f"/containers/{held}/kill")
    again, held = await site.wait_running("own", not_id=held)
    assert again == address

    await site.own.kill9()
    site.on_host("nft", "delete", "table", "inet", site.table)  # as a machine is that starts anew
    await site.own.start()
    await eventually(lambda: "reject" in site.on_host("nft", "list", "ruleset"), 60, "the rules after the engine's restart")
    assert await site.wait_running("own") == (address, held)
    await eventually(refused, 30, "the LAN to be out of reach after the restart")
    newer, newer_id = await site.start("newer")
    assert newer != address
    assert await site.says(newer_id, lan.ROUTER) == "refused"
    assert HELLO in await site.says(newer_id, address, 7000)


async def test_no_pod_starts_where_the_rules_cannot_be_set(make_site, docker_host: str) -> None:
    site = await make_site()  # without the helper's image, and no registry answers

    async def failed() -> bool:
        return (await site.condition())[:2] == ("False", "RulesFailed")

    async def tainted() -> bool:
        found = await site.cluster.client.get(node.Node, site.cluster.name)
        return any((taint.key, taint.effect) == ("lattice.dev/network-isolation", "NoSchedule") for taint in found.spec.taints)

    await eventually(failed, 60, "the condition")
    await eventually(tainted, 30, "the taint")
    starting = asyncio.create_task(site.start("own"))
    try:

        async def waits() -> bool:
            found = next(iter((await site.cluster.client.list(pod.Pod, "default")).items), None)
            if found is None:
                return False
            waiting = [status.state.waiting for status in found.status.container_statuses]
            return [held.reason for held in waiting if held] == ["NetworkNotIsolated"]

        await eventually(waits, 60, "the Pod to say what it waits for")
        assert await site.cluster.engine.containers("lattice.dev/pod-uid") == []
        await site.own.load(NETWORK_HELPER_IMAGE, source=docker_host)
        _address, held = await starting
    finally:
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await starting
    home = site.own.lan
    await home.serve(home.router, f"tcp:{lan.ROUTER}:8080")
    assert await site.says(held, lan.ROUTER) == "refused"

    async def isolated() -> bool:
        return (await site.condition())[:2] == ("True", "RulesSet")

    await eventually(isolated, 30, "the condition to be True")


async def test_provider_may_switch_isolation_off_and_the_node_says_so(make_site) -> None:
    site = await make_site(agent_options=("--no-isolation",))
    home = site.own.lan
    await home.serve(home.router, f"tcp:{lan.ROUTER}:8080")
    _address, held = await site.start("own")
    assert HELLO in await site.says(held, lan.ROUTER)
    assert (await site.condition())[:2] == ("False", "IsolationOff")
    assert "lattice_" not in site.on_host("nft", "list", "tables")


def tcp(site: Site, where: str, address: str, port: int) -> str:
    """Return what somebody in a namespace of the LAN reads from an address, nothing if it is refused."""
    script = "import socket,sys; print(socket.create_connection((sys.argv[1], int(sys.argv[2])), 5).recv(99).decode())"
    try:
        return site.own.lan.run(where, "python3", "-c", script, address, str(port))
    except Exception:
        return ""


async def give_ipv6(site: Site, container_id: str, bridge_ip: str) -> None:
    """Give a Pod and its bridge IPv6 addresses, as a provider may who switches Docker's IPv6 on."""
    links = orjson.loads(site.on_host("ip", "-j", "addr", "show"))
    bridge = next(link["ifname"] for link in links if any(held["local"] == bridge_ip for held in link["addr_info"]))
    pid = str((await site.cluster.engine.inspect(container_id))["State"]["Pid"])
    site.on_host("sysctl", "-qw", f"net.ipv6.conf.{bridge}.disable_ipv6=0")
    site.on_host("ip", "addr", "add", "fd99::1/64", "dev", bridge, "nodad")
    for command in (
        "sysctl -qw net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.eth0.disable_ipv6=0",
        "ip addr add fd99::5/64 dev eth0 nodad",
        "ip -6 route add default via fd99::1",
    ):
        site.on_host("nsenter", "-t", pid, "-n", *command.split())
    site.own.lan.run(site.own.lan.router, "ip", "-6", "route", "add", "fd99::/64", "via", lan.HOST6)
