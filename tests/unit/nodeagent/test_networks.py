"""Subnets, addresses, rules, and who keeps them: pure plans as tables, the shells on the fake runtime and fake time."""

import asyncio
import ipaddress
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice.api import pod
from lattice.machinery.clock import SystemClock
from lattice.machinery.tasks import TaskOwner
from lattice.testing.polling import eventually
from nodeagent.networks import facts, nftables, plan, rules
from nodeagent.networks.isolation import NotIsolatedError
from nodeagent.networks.shell import Networks, NetworkSettings
from nodeagent.runtime import base
from nodeagent.runtime.fake import FakeRuntime, Program
from nodeagent.workloads.observed import ContainerTable

UID = "1a2b3c4d-0000-4000-8000-000000000000"
HELPER = base.NETWORK_HELPER_IMAGE


# Subnets


@pytest.mark.parametrize(("max_pods", "prefix"), [(1, 26), (61, 26), (62, 25), (110, 25), (125, 25), (126, 24), (1000, 22)])
def test_network_holds_all_pods_of_the_node_and_is_a_26_at_least(max_pods: int, prefix: int) -> None:
    assert plan.prefix_for(max_pods) == prefix
    assert 2 ** (32 - prefix) - 3 >= max_pods


@pytest.mark.parametrize(
    ("taken", "subnet"),
    [
        ([], "10.210.0.0/26"),
        (["10.210.0.0/26", "fd00::/64"], "10.210.0.64/26"),
        (["10.210.0.70/32"], "10.210.0.0/26"),
        (["10.210.0.3/32"], "10.210.0.64/26"),
        (["10.210.0.0/24", "10.210.1.64/26"], "10.210.1.0/26"),
        (["0.0.0.0/1", "128.0.0.0/1"], "10.210.0.0/26"),
    ],
)
def test_subnet_is_the_lowest_that_nobody_has(taken: list[str], subnet: str) -> None:
    assert plan.choose_subnet("10.210.0.0/16", 26, taken) == subnet


def test_range_that_is_a_network_of_the_machine_is_refused_with_the_way_out() -> None:
    with pytest.raises(plan.NoSubnetError, match=r"10\.0\.0\.0/8.*--network-range"):
        plan.choose_subnet("10.210.0.0/16", 26, ["10.0.0.0/8"])


@given(st.lists(st.integers(0, 1023), unique=True, max_size=40))
def test_subnets_of_one_range_never_overlap(first: list[int]) -> None:
    held = [f"10.210.{slot // 4}.{slot % 4 * 64}/26" for slot in first]
    for _ in range(5):
        held.append(plan.choose_subnet("10.210.0.0/16", 26, held))
    networks = [ipaddress.ip_network(text) for text in held]
    assert not any(one.overlaps(two) for index, one in enumerate(networks) for two in networks[:index])


def test_bridges_of_a_node_have_names_of_their_own_that_the_kernel_takes() -> None:
    names = [plan.bridge_name(UID, slot) for slot in range(plan.MAX_SLOTS)]
    assert len(set(names)) == plan.MAX_SLOTS
    assert max(map(len, names)) <= 15
    assert plan.choose_bridge(UID, 4, {names[0], names[2], "docker0"}) == names[1]
    with pytest.raises(plan.NoSubnetError, match="4 namespaces"):
        plan.choose_bridge(UID, 4, set(names))


# Addresses


@pytest.mark.parametrize(
    ("taken", "before", "last", "address"),
    [
        (set(), (), "", "10.210.0.2"),
        ({"10.210.0.2"}, (), "", "10.210.0.3"),
        (set(), ("10.210.0.9",), "10.210.0.5", "10.210.0.9"),
        ({"10.210.0.9"}, ("10.210.0.9",), "10.210.0.5", "10.210.0.6"),
        (set(), ("10.99.0.9", "nonsense", "", "10.210.0.1", "10.210.0.63"), "", "10.210.0.2"),
        (set(), (), "10.210.0.62", "10.210.0.2"),
        (set(), (), "10.211.0.7", "10.210.0.2"),
    ],
)
def test_address_is_the_pods_own_or_the_next_one(taken: set[str], before: tuple[str, ...], last: str, address: str) -> None:
    assert plan.choose_address("10.210.0.0/26", taken, before=before, last=last) == address


def test_26_holds_61_pods() -> None:
    held: list[str] = []
    for _ in range(61):
        held.append(plan.choose_address("10.210.0.0/26", held, before=(), last=held[-1] if held else ""))
    assert len(set(held)) == 61
    assert {"10.210.0.0", "10.210.0.1", "10.210.0.63"}.isdisjoint(held)
    with pytest.raises(plan.NoAddressError):
        plan.choose_address("10.210.0.0/26", held, before=())


# Rules and facts


def test_rules_name_every_bridge_and_the_resolvers_of_both_families() -> None:
    text = rules.make_rules(UID, 3, ["fd77::1", "192.168.77.1", "192.168.77.1"])
    assert text.count('"lt1a2b3c4d0002"') == 2
    assert '"lt1a2b3c4d0003"' not in text
    assert text.count("ip daddr { 192.168.77.1 } meta l4proto { tcp, udp } th dport 53 accept") == 2  # forwarded, and to the machine itself
    assert text.count("ip6 daddr { fd77::1 } meta l4proto { tcp, udp } th dport 53 accept") == 2
    assert text.startswith("table inet lattice_1a2b3c4d\ndelete table inet lattice_1a2b3c4d\ntable inet lattice_1a2b3c4d {")


def test_machine_without_resolvers_of_its_own_opens_no_port_53() -> None:
    assert "dport 53" not in rules.make_rules(UID, 3, [])


@pytest.mark.parametrize("address", ["10.1.2.3", "172.31.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "127.0.0.1", "239.1.1.1"])
def test_no_private_address_is_missing_also_not_behind_nat64(address: str) -> None:
    assert any(ipaddress.ip_address(address) in ipaddress.ip_network(network) for network in rules.SPECIAL_V4)
    mapped = ipaddress.ip_address(int(ipaddress.ip_address("64:ff9b::")) + int(ipaddress.ip_address(address)))
    text = rules.make_rules(UID, 1, [])
    listed = [part for line in text.splitlines() if "ip6 daddr {" in line for part in line.split("{")[1].split("}")[0].split(",")]
    assert any(mapped in ipaddress.ip_network(part.strip()) for part in listed)
    assert not any(ipaddress.ip_address("2606:4700::1111") in ipaddress.ip_network(part.strip()) for part in listed)


def test_routes_are_read_in_the_machines_byte_order_without_default_and_own_bridges() -> None:
    def number(text: str) -> str:
        return f"{struct.unpack('<L', ipaddress.IPv4Address(text).packed)[0]:08X}"

    rows = [("eth0", "0.0.0.0", "0.0.0.0"), ("eth0", "192.168.1.0", "255.255.255.0"), ("lt1a2b3c4d0000", "10.210.0.0", "255.255.255.192")]
    lines = [f"{name}\t{number(to)}\t00000000\t0001\t0\t0\t0\t{number(mask)}\t0\t0\t0" for name, to, mask in rows]
    text = "\n".join(["Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT", *lines])
    assert facts.parse_routes(text, but="lt1a2b3c4d") == ("192.168.1.0/24",)
    assert facts.parse_routes(text) == ("10.210.0.0/26", "192.168.1.0/24")
    assert facts.parse_routes("") == ()


def test_resolvers_on_the_loopback_interface_are_not_asked_by_containers() -> None:
    lines = [
        "# nameserver 9.9.9.9",
        "nameserver 127.0.0.53",
        "search lan",
        "nameserver 192.168.1.1",
        "nameserver fe80::1%eth0",
        "nameserver x",
    ]
    text = "\n".join([*lines, "nameserver", ""])
    assert facts.parse_resolvers(text) == ("192.168.1.1", "fe80::1")


def test_table_that_is_not_there_has_no_fingerprint() -> None:
    assert not nftables.fingerprint("lattice_no_such_table")


# The shells


@dataclass
class Node:
    runtime: FakeRuntime
    table: ContainerTable
    networks: Networks
    changes: list[str] = field(default_factory=list)

    async def attach(self, name: str, space: str = "default", pod_ip: str | None = None, **spec: object) -> base.ContainerConfig:
        wanted = make_pod(name, space, pod_ip, **spec)
        config = base.ContainerConfig(name=name, image="busybox:latest", labels={})
        return await self.networks.attach(wanted, config)

    def names(self) -> list[str]:
        return [change for change in self.runtime.changes if "-network " in change]


def make_pod(name: str, space: str = "default", pod_ip: str | None = None, **spec: object) -> pod.Pod:
    return pod.Pod.model_validate(
        {
            "metadata": {"name": name, "namespace": space, "uid": f"uid-{space}-{name}"},
            "spec": {"containers": [{"name": "main", "image": "busybox:latest"}], **spec},
            "status": {"podIP": pod_ip} if pod_ip else {},
        }
    )


@asynccontextmanager
async def node(
    *,
    isolation: bool = True,
    image_is_there: bool = True,
    program: Program | None = None,
    network_range: str = "10.210.0.0/24",
    running: bool = True,
) -> AsyncIterator[Node]:
    clock = SystemClock()
    runtime = FakeRuntime(clock, images=["busybox:latest", *([HELPER] if image_is_there else [])])
    if program is not None:
        runtime.programs_of_images[HELPER] = program
    table = ContainerTable(UID)
    table.available = True
    told: list[str] = []
    settings = NetworkSettings(isolation=isolation, network_range=network_range, max_pods=10, helper_image=HELPER)
    networks = Networks(runtime, clock, UID, table, settings, changed=lambda: told.append(networks.fact().reason))
    tasks = TaskOwner("networks")
    if running:
        tasks.spawn(networks.run(), name="run")
    try:
        yield Node(runtime, table, networks, told)
    finally:
        await tasks.stop()
        await runtime.close()


async def test_pods_wait_until_the_rules_are_set_and_are_told_then() -> None:
    async with node() as one:
        waiting = one.networks.blocked(make_pod("a"))
        assert waiting is not None
        assert waiting.reason == "NetworkNotIsolated"
        assert one.networks.fact().status == "Unknown"
        await eventually(lambda: one.networks.blocked(make_pod("a")) is None, 10)
        assert one.changes == ["RulesSet"]
        assert one.networks.fact().status == "True"
        assert await one.runtime.list() == []  # the helper is gone


async def test_each_namespace_has_a_network_and_each_pod_an_address_that_stays() -> None:
    async with node() as one:
        first, again, mate, other = [await one.attach(*key) for key in (("a",), ("a",), ("b",), ("a", "shop"))]
        assert (first.network, first.ip) == (again.network, again.ip) == ("lattice-1a2b3c4d-default", "10.210.0.2")
        assert (mate.network, mate.ip) == (first.network, "10.210.0.3")
        assert (other.network, other.ip) == ("lattice-1a2b3c4d-shop", "10.210.0.66")
        assert first.labels[base.LABEL_POD_IP] == first.ip
        assert len(one.names()) == 2
        await one.networks.detach(None, "uid-default-a")
        assert (await one.attach("c")).ip == "10.210.0.4"  # the address of one that is gone rests


async def test_agent_that_starts_anew_takes_addresses_from_labels_and_status() -> None:
    async with node() as one:
        labels = {base.LABEL_NODE: UID, base.LABEL_POD_NAMESPACE: "default"}
        for name, address in (("held", "10.210.0.7"), ("other", "10.210.0.9")):
            created = await one.runtime.create(
                base.ContainerConfig(
                    name=name,
                    image="busybox:latest",
                    labels={**labels, base.LABEL_POD_UID: f"uid-default-{name}", base.LABEL_POD_IP: address},
                )
            )
            one.table.put(await one.runtime.inspect(created), mark=one.table.mark)
        assert (await one.attach("held")).ip == "10.210.0.7"
        assert (await one.attach("told", pod_ip="10.210.0.20")).ip == "10.210.0.20"
        assert (await one.attach("late", pod_ip="10.210.0.9")).ip != "10.210.0.9"


async def test_subnets_of_others_are_left_alone_and_pods_of_a_subdomain_have_names() -> None:
    async with node() as one:
        await one.runtime.create_network(base.Network(name="theirs", subnets=("10.210.0.0/25",)))
        config = await one.attach("web-0", subdomain="web")
        assert config.ip == "10.210.0.130"
        assert config.network_aliases == (
            "web-0.web",
            "web-0.web.default",
            "web-0.web.default.svc",
            "web-0.web.default.svc.cluster.local",
        )


@pytest.mark.parametrize(
    ("program", "says"),
    [
        (Program(run_for_s=0, exit_code=1, output="=== nft\nOperation not permitted"), "Operation not permitted"),
        (Program(start_error="exec: /bin/sh: no such file or directory"), "/bin/sh"),
    ],
)
async def test_rules_that_cannot_be_set_keep_every_pod_from_starting(program: Program, says: str) -> None:
    async with node(program=program) as one:
        await eventually(lambda: one.networks.fact().reason == "RulesFailed", 10)
        assert one.networks.fact().status == "False"
        assert says in one.networks.fact().message
        waiting = one.networks.blocked(make_pod("a"))
        assert waiting is not None
        assert says in waiting.message
        with pytest.raises(NotIsolatedError, match=says):
            await one.attach("a")
        with pytest.raises(NotIsolatedError):
            await one.networks.check(make_pod("a"))
        assert one.names() == []
        one.runtime.programs_of_images[HELPER] = Program(run_for_s=0)
        await one.networks.check(make_pod("a"))  # asks once more, at once
        assert one.networks.fact().status == "True"
        assert one.changes == ["RulesFailed", "RulesSet"]


async def test_image_of_the_helper_is_pulled_and_its_absence_is_said() -> None:
    async with node(image_is_there=False) as one:
        await eventually(lambda: one.networks.fact().reason == "RulesFailed", 10)
        one.runtime.registry.add(HELPER)
        await one.networks.check(make_pod("a"))
        assert one.networks.fact().status == "True"


async def test_isolation_that_is_off_sets_no_rules_and_starts_pods() -> None:
    async with node(
        isolation=False, network_range="198.51.100.0/24"
    ) as one:  # no helper tells of routes: the test's machine has no such one
        assert one.networks.blocked(make_pod("a")) is None
        assert (await one.attach("a")).network == "lattice-1a2b3c4d-default"
        fact = one.networks.fact()
        assert (fact.status, fact.reason) == ("False", "IsolationOff")
        await one.networks.remove_rules()
        assert not [change for change in one.runtime.changes if "lattice_network" in change]


async def test_nothing_starts_after_the_rules_were_removed_for_good() -> None:
    async with node() as one:
        await one.networks.check(make_pod("a"))
        await one.networks.remove_rules()
        with pytest.raises(NotIsolatedError):
            await one.networks.check(make_pod("a"))


async def test_rules_are_set_once_for_many_pods_that_ask_at_the_same_time() -> None:
    async with node() as one:
        await asyncio.gather(*(one.attach(f"p{number}") for number in range(8)))
        made = [change for change in one.runtime.changes if change.startswith("create lattice_network")]
        assert len(made) <= 2  # a second time, where the first has told of other resolvers
        assert len(one.names()) == 1


@pytest.mark.parametrize("seen", [pytest.param("", id="flushed"), pytest.param("others", id="changed")])
async def test_rules_that_were_tampered_with_are_set_again_before_the_next_start(seen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = ["as set"]
    monkeypatch.setattr(nftables, "fingerprint", lambda _table: looks.pop(0) if len(looks) > 1 else looks[0])
    async with node(running=False) as one:
        await one.networks.check(make_pod("a"))
        one.runtime.changes.clear()
        # What the next start sees; then somebody removes them again while they are set; then they stay.
        looks[:] = [seen, "", "as set anew"]
        await one.networks.check(make_pod("a"))
        assert len([change for change in one.runtime.changes if change.startswith("create lattice_network")]) == 2
        one.runtime.changes.clear()
        await one.networks.check(make_pod("b"))
        assert one.runtime.changes == []


async def test_rules_that_somebody_removes_again_and_again_are_said_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = ["as set"]
    monkeypatch.setattr(nftables, "fingerprint", lambda _table: looks[0])
    async with node(running=False) as one:
        await one.networks.check(make_pod("a"))
        looks[0] = ""
        with pytest.raises(NotIsolatedError, match="as soon as they are set"):
            await one.networks.check(make_pod("a"))
        assert one.networks.fact().reason == "RulesFailed"
