"""Networks, addresses and what goes wrong with them: the same on Docker and on the fake."""

import asyncio

import pytest

from nodeagent.runtime import base

IMAGE = "busybox:latest"
SUBNET = "10.211.77.0/26"


def make_network(mark: str, name: str = "net", subnet: str = SUBNET) -> base.Network:
    return base.Network(name=f"contract-{mark}-{name}", subnets=(subnet,), labels={"test": mark, "name": name}, bridge=f"lt{mark[:10]}")


def make_config(mark: str, name: str, **fields: object) -> base.ContainerConfig:
    values: dict[str, object] = {"name": f"contract-{mark}-{name}", "image": IMAGE, "labels": {"test": mark}, "command": ("sleep", "1000")}
    return base.ContainerConfig(**{**values, **fields})  # type: ignore[arg-type]


async def test_network_is_listed_as_it_was_made_and_removed_twice(runtime: base.Runtime, mark: str) -> None:
    wanted = make_network(mark)
    await runtime.create_network(wanted)
    assert list(await runtime.networks({"test": mark})) == [wanted]
    assert list(await runtime.networks({"test": mark, "name": "other"})) == []
    names = [network.name for network in await runtime.networks()]
    assert {"bridge", wanted.name} <= set(names)
    assert names == sorted(names)
    await runtime.remove_network(wanted.name)
    await runtime.remove_network(wanted.name)
    assert list(await runtime.networks({"test": mark})) == []


async def test_second_network_of_a_name_or_a_subnet_is_refused(runtime: base.Runtime, mark: str) -> None:
    await runtime.create_network(make_network(mark))
    with pytest.raises(base.NameTakenError):
        await runtime.create_network(make_network(mark, subnet="10.211.78.0/26"))
    with pytest.raises(base.SubnetTakenError):
        await runtime.create_network(make_network(mark, "other", subnet="10.211.77.32/27"))


async def test_container_has_the_address_it_asks_for_through_restarts(runtime: base.Runtime, mark: str) -> None:
    network = make_network(mark)
    await runtime.create_network(network)
    held = await runtime.create(make_config(mark, "a", network=network.name, ip="10.211.77.9"))
    for _ in range(2):
        await runtime.start(held)
        assert (await runtime.inspect(held)).ip == "10.211.77.9"
        await runtime.stop(held, grace_s=0)
        assert (await runtime.inspect(held)).ip == ""


async def test_address_of_a_running_container_is_refused_to_another(runtime: base.Runtime, mark: str) -> None:
    network = make_network(mark)
    await runtime.create_network(network)
    first, second = [await runtime.create(make_config(mark, name, network=network.name, ip="10.211.77.9")) for name in ("a", "b")]
    await runtime.start(first)
    with pytest.raises(base.AddressTakenError):
        await runtime.start(second)
    await runtime.stop(first, grace_s=0)
    await runtime.start(second)
    assert (await runtime.inspect(second)).ip == "10.211.77.9"


async def test_network_of_a_running_container_stays_and_of_a_stopped_one_goes(runtime: base.Runtime, mark: str) -> None:
    network = make_network(mark)
    await runtime.create_network(network)
    held = await runtime.create(make_config(mark, "a", network=network.name, ip="10.211.77.9"))
    await runtime.start(held)
    with pytest.raises(base.RuntimeFailedError):
        await runtime.remove_network(network.name)
    await runtime.stop(held, grace_s=0)
    await runtime.remove_network(network.name)
    with pytest.raises(base.NetworkGoneError):
        await runtime.start(held)


async def test_containers_started_at_once_get_their_own_addresses(runtime: base.Runtime, mark: str) -> None:
    network = make_network(mark)
    await runtime.create_network(network)
    wanted = {f"10.211.77.{number}" for number in range(10, 14)}
    made = [await runtime.create(make_config(mark, ip.rpartition(".")[2], network=network.name, ip=ip)) for ip in sorted(wanted)]
    await asyncio.gather(*(runtime.start(container) for container in made))
    assert {(await runtime.inspect(container)).ip for container in made} == wanted
