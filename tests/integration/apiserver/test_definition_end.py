"""What watchers see of the end of a kind: the definition's end first, that of their own stream a moment later."""

import asyncio

import orjson
import pytest

from lattice.api import errors
from lattice.testing.polling import eventually
from lattice.testing.rawobjects import Collection
from lattice.testing.specimens import definition, specimen

GROUP = "ends.example.dev"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SPECIMENS = f"/apis/{GROUP}/v1/namespaces/default/specimens"
WATCH = {"watch": "true", "allowWatchBookmarks": "true"}


async def test_a_watch_outlives_its_kind_by_a_moment_in_silence(client) -> None:
    definitions, specimens = Collection(client, DEFINITIONS), Collection(client, SPECIMENS)
    made = await definitions.create(definition(GROUP))
    seen: list[tuple[str, str]] = []

    async def follow(path: str, who: str) -> None:
        async for event in client.stream_events(path, query=WATCH):
            name = orjson.loads(event.raw)["metadata"].get("name", "")
            if who == "objects" or name == made["metadata"]["name"]:
                seen.append((who, event.type))
        seen.append((who, "end"))

    async with asyncio.timeout(15), asyncio.TaskGroup() as group:
        on_definitions = group.create_task(follow(DEFINITIONS, "definitions"))
        group.create_task(follow(SPECIMENS, "objects"))
        await specimens.create(specimen(GROUP, "a"))
        await eventually(lambda: ("objects", "ADDED") in seen, 5, "the watch of the kind")
        await specimens.delete("a")
        await definitions.delete(made["metadata"]["name"])
        await definitions.patch(made["metadata"]["name"], {"metadata": {"finalizers": None}})  # its objects are gone: nobody else is here
        await eventually(lambda: ("definitions", "DELETED") in seen, 5, "the end of the definition")
        assert ("objects", "end") not in seen
        with pytest.raises(errors.NotFoundError):
            await specimens.list()
        # Made again under the same name: the old watch shows nothing of it, and no bookmark that would lead past its start.
        await definitions.create(definition(GROUP))
        await specimens.create(specimen(GROUP, "b"))
        await eventually(lambda: ("objects", "end") in seen, 5, "the end of the watch")
        on_definitions.cancel()
    assert [what for who, what in seen if who == "objects"] == ["ADDED", "DELETED", "end"]
