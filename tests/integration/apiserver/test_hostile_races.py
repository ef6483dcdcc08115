"""Many at once on the same thing: nothing is lost, nothing of a former life comes back, and no answer blames the server."""

import asyncio
import random

import aiohttp
import orjson
import pytest

from lattice.testing.specimens import definition, specimen

WRITERS = 32
ROUNDS = 4
GROUP = "races.example.dev"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
OBJECTS = f"/apis/{GROUP}/v1/namespaces/default/specimens"
APPLY, MERGE = "application/apply-patch+yaml", "application/merge-patch+json"


async def call(session, method, path, body=None, kind="application/json"):
    raw = b"" if body is None else orjson.dumps(body)
    async with session.request(method, path, data=raw, headers={"Content-Type": kind}) as answer:
        text = await answer.read()
        return answer.status, orjson.loads(text) if answer.content_type == "application/json" else text


@pytest.fixture
async def admin(api_server):
    async with api_server.session() as session:
        yield session


async def test_as_many_appliers_as_there_may_be_lose_nothing(admin):
    """Each applies its own label and its own port, in a list that all share, and changes them three times."""
    assert (await call(admin, "POST", CRDS, definition(GROUP)))[0] == 201

    async def apply(number):
        for turn in range(3):
            obj = specimen(GROUP, "shared", ports=[{"containerPort": number + 1, "protocol": f"P{turn}" if turn == 2 else "TCP"}])
            obj["metadata"]["labels"] = {f"l{number}": str(turn)}
            while True:
                status, body = await call(admin, "PATCH", f"{OBJECTS}/shared?fieldManager=m{number}", obj, APPLY)
                if status != 409 or body["details"].get("causes"):
                    break
            assert status in {200, 201}, body

    await asyncio.gather(*(apply(number) for number in range(WRITERS)))
    _, shared = await call(admin, "GET", f"{OBJECTS}/shared")
    assert shared["metadata"]["labels"] == {f"l{number}": "2" for number in range(WRITERS)}
    assert {port["containerPort"]: port["protocol"] for port in shared["spec"]["ports"]} == {n + 1: "P2" for n in range(WRITERS)}
    assert sorted(entry["manager"] for entry in shared["metadata"]["managedFields"]) == sorted(f"m{n}" for n in range(WRITERS))
    for entry in shared["metadata"]["managedFields"]:
        number = entry["manager"].removeprefix("m")
        assert set(entry["fieldsV1"]["f:metadata"]["f:labels"]) - {"."} == {f"f:l{number}"}


async def test_writers_of_every_kind_lose_no_acknowledged_change(admin):
    """Merge patches, JSON patches, replacements and applies of different fields of one object, all at the same time."""
    path = "/api/v1/namespaces/default/configmaps"
    assert (await call(admin, "POST", path, {"metadata": {"name": "shared"}, "data": {"base": "0"}}))[0] == 201

    async def write(number):
        key = f"k{number}"
        for turn in map(str, range(3)):
            while True:
                match number % 4:
                    case 0:
                        answer = await call(admin, "PATCH", f"{path}/shared", {"data": {key: turn}}, MERGE)
                    case 1:
                        change = [{"op": "add", "path": f"/data/{key}", "value": turn}]
                        answer = await call(admin, "PATCH", f"{path}/shared", change, "application/json-patch+json")
                    case 2:
                        _, live = await call(admin, "GET", f"{path}/shared")
                        live["data"][key] = turn
                        answer = await call(admin, "PUT", f"{path}/shared", live)
                    case _:
                        applied = {"apiVersion": "v1", "kind": "ConfigMap", "data": {key: turn}}
                        answer = await call(admin, "PATCH", f"{path}/shared?fieldManager={key}", applied, APPLY)
                if answer[0] != 409:
                    break
            assert answer[0] == 200, answer

    await asyncio.gather(*(write(number) for number in range(WRITERS)))
    _, shared = await call(admin, "GET", f"{path}/shared")
    assert shared["data"] == {"base": "0"} | {f"k{number}": "2" for number in range(WRITERS)}


async def test_a_kind_that_comes_and_goes_under_its_users(api_server, admin):
    """No answer but those of a kind that is or is not there, and no object of one life in the next."""
    rng, life, over = random.Random(1), 0, False
    answers: dict[tuple[str, int], int] = {}
    strangers: list[tuple[int, str]] = []

    async def use(number):
        nonlocal answers
        while not over:
            born = life
            name = f"o{born}-{number}-{rng.randrange(10**6)}"
            status, body = await call(admin, "POST", OBJECTS, specimen(GROUP, name))
            answers["create", status] = answers.get(("create", status), 0) + 1
            assert status < 500, body
            before = life
            status, body = await call(admin, "GET", OBJECTS)
            answers["list", status] = answers.get(("list", status), 0) + 1
            assert status < 500, body
            if status == 200 and before == life:
                strangers.extend(
                    (life, item["metadata"]["name"]) for item in body["items"] if int(item["metadata"]["name"][1:].split("-")[0]) < life - 1
                )

    async def watch():
        while not over:
            before = life
            try:
                async with admin.get(f"{OBJECTS}?watch=true&timeoutSeconds=5") as answer:
                    assert answer.status in {200, 404}
                    async for line in answer.content:
                        event = orjson.loads(line)
                        name = event["object"].get("metadata", {}).get("name", "") if event["type"] == "ADDED" else ""
                        if name and int(name[1:].split("-")[0]) < before - 1:
                            strangers.append((before, name))
            except (aiohttp.ClientError, ValueError):
                pass
            await asyncio.sleep(0.01)  # noqa: TID251 - between two tries of a client

    async def live():
        nonlocal life, over
        try:
            for _ in range(ROUNDS):
                status, body = await call(admin, "POST", CRDS, definition(GROUP))
                assert status == 201, body
                life += 1
                await asyncio.sleep(0.3)  # noqa: TID251 - the users' turn
                assert (await call(admin, "DELETE", f"{CRDS}/specimens.{GROUP}"))[0] == 200
                while True:  # what the reconciler of definitions does
                    _, listed = await call(admin, "GET", OBJECTS)
                    if not listed["items"]:
                        break
                    for item in listed["items"]:
                        await call(admin, "DELETE", f"{OBJECTS}/{item['metadata']['name']}")
                released = {"metadata": {"finalizers": None}}
                assert (await call(admin, "PATCH", f"{CRDS}/specimens.{GROUP}", released, MERGE))[0] == 200
        finally:
            over = True

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(live())
        for number in range(12):
            group.create_task(use(number))
        for _ in range(4):
            group.create_task(watch())
    assert strangers == []
    assert answers["create", 201] > 0
    assert set(answers) <= {("create", 201), ("create", 404), ("create", 405), ("list", 200), ("list", 404)}
    left = await api_server.stores.main.list(f"/lattice/v1/{GROUP}/", limit=10)
    assert left.records == (), "objects that nobody can reach any more"
