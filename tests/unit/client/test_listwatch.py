"""What a cache gets to keep of objects that nobody reads."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping

import orjson
import pytest

from lattice.api import errors, scheme
from lattice.client import base, listwatch
from lattice.client.client import Client

KIND = scheme.custom_kind(group="example.dev", version="v1", kind="Specimen", plural="specimens", namespaced=True)
OBJECT = {
    "metadata": {"name": "a", "namespace": "n", "uid": "u", "resourceVersion": "7", "finalizers": ["x/y"], "annotations": {"big": "x"}},
    "spec": {"big": "x"},
}
KEPT = {
    "apiVersion": "example.dev/v1",
    "kind": "Specimen",
    "metadata": {"name": "a", "namespace": "n", "uid": "u", "resourceVersion": "7", "finalizers": ["x/y"]},
}


class FakeTransport:
    """Answers with what it was made with, and remembers what it was asked."""

    def __init__(self, body: bytes = b"", lines: tuple[bytes, ...] = ()) -> None:
        self.body = body
        self.lines = lines
        self.asked: list[base.Request] = []

    async def send(self, request: base.Request) -> base.Response:
        self.asked.append(request)
        return base.Response(200, {}, self.body)

    async def stream(self, request: base.Request) -> AsyncGenerator[bytes]:
        self.asked.append(request)
        for line in self.lines:
            yield line

    async def headers(self) -> Mapping[str, str]:
        return {}

    async def close(self) -> None:
        return None


async def test_list_keeps_who_owns_whom() -> None:
    transport = FakeTransport(orjson.dumps({"metadata": {"resourceVersion": "9"}, "items": [OBJECT]}))
    listing = await listwatch.SlimListWatch(Client(transport), KIND).list()
    assert listing.resource_version == "9"
    assert [orjson.loads(item) for item in listing.items] == [KEPT]
    assert transport.asked[0].path == "/apis/example.dev/v1/specimens"


async def test_watch_keeps_who_owns_whom() -> None:
    bookmark = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "12"}}}
    transport = FakeTransport(lines=(orjson.dumps({"type": "ADDED", "object": OBJECT}), orjson.dumps(bookmark)))
    events = [event async for event in listwatch.SlimListWatch(Client(transport), KIND).watch("9")]
    assert [event.type for event in events] == ["ADDED", "BOOKMARK"]
    assert orjson.loads(events[0].raw) == KEPT
    assert orjson.loads(events[1].raw)["metadata"] == {"resourceVersion": "12"}
    assert transport.asked[0].query["resourceVersion"] == "9"


async def test_error_line_is_raised() -> None:
    status = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
    transport = FakeTransport(lines=(orjson.dumps({"type": "ERROR", "object": status}),))
    with pytest.raises(errors.GoneError):
        async for _ in listwatch.SlimListWatch(Client(transport), KIND).watch("1"):
            pass
