"""``/metrics`` of the server: what is counted, and who may read it."""

from __future__ import annotations

import re

import pytest

from controller.apiserver.servermetrics import METRICS
from lattice.api import configmap, errors, meta


def parse(text: str) -> dict[str, float]:
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))}


async def scrape(api_server, token: str = "admin-token") -> str:
    async with api_server.session(token) as session, session.get("/metrics") as answer:
        assert answer.status == 200
        assert answer.content_type == "text/plain"
        return await answer.text()


async def test_requests_objects_and_the_process_are_counted(api_server, client) -> None:
    key = 'apiserver_request_total{verb="create",group="",version="v1",resource="configmaps",subresource="",code="%d"}'
    made = configmap.ConfigMap(metadata=meta.ObjectMeta(name="a", namespace="default"))
    await client.create(made)
    with pytest.raises(errors.AlreadyExistsError):
        await client.create(made)
    found = parse(await scrape(api_server))
    assert found[key % 201] == 1
    assert found[key % 409] == 1
    assert found['apiserver_storage_objects{resource="configmaps"}'] == 1
    assert found['apiserver_request_duration_seconds_count{verb="create"}'] == 2
    assert found['lattice_server_synced{store="main"}'] == 1
    assert found['lattice_server_revision{store="main"}'] > 0
    assert found["lattice_server_node_lines"] == 0
    assert found["process_resident_memory_bytes"] > 10_000_000


async def test_all_that_the_page_names_is_served_and_nothing_else(api_server, client) -> None:
    await client.list(configmap.ConfigMap)
    served = set(re.findall(r"^# TYPE (\S+)", await scrape(api_server), re.MULTILINE))
    assert served == {metric.name for metric in METRICS}


@pytest.mark.parametrize("token", ["alice-token", "node1-token", None])
async def test_only_administrators_read_them(api_server, token: str | None) -> None:
    async with api_server.session(token) as session, session.get("/metrics") as answer:
        assert answer.status == 403


async def test_a_flood_of_strange_requests_makes_no_flood_of_labels(api_server) -> None:
    async def flood(session, first: int) -> int:
        for number in range(first, first + 30):
            async with session.get(f"/apis/g{number}.example/v1/things{number}") as answer:
                assert answer.status == 404
            async with session.request(f"VERB{number}", f"/api/v1/pods/x/sub{number}") as answer:
                assert answer.status >= 400
        return len((await scrape(api_server)).splitlines())

    async with api_server.session() as session:
        await flood(session, 0)
        assert await flood(session, 30) == await flood(session, 60)
