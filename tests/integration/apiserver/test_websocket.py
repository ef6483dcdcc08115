"""Watches over WebSocket: each event is a message, a token comes as a sub-protocol, and everything else is an ordinary answer."""

import asyncio
import base64
import json

import aiohttp
import pytest

from lattice.testing.polling import eventually

CM = "/api/v1/namespaces/default/configmaps"


def token_protocol(token):
    return f"base64url.bearer.authorization.k8s.io.{base64.urlsafe_b64encode(token.encode()).rstrip(b'=').decode()}"


@pytest.fixture
async def admin(api_server):
    async with api_server.session() as session:
        yield session


@pytest.fixture
async def nobody(api_server):
    async with api_server.session(token=None) as session:
        yield session


async def create(session, name):
    async with session.post(CM, json={"metadata": {"name": name}}) as answer:
        assert answer.status == 201


async def next_event(socket):
    async with asyncio.timeout(10):
        event = json.loads(await socket.receive_str())
    return event["type"], event["object"]["metadata"].get("name")


async def test_every_event_is_a_message(admin):
    await create(admin, "a")
    async with admin.ws_connect(f"{CM}?watch=true&fieldSelector=metadata.name!=kube-root-ca.crt") as socket:
        assert await next_event(socket) == ("ADDED", "a")
        await socket.send_str("whatever")
        await create(admin, "b")
        assert await next_event(socket) == ("ADDED", "b")


async def test_it_ends_in_order_after_its_time(admin):
    async with admin.ws_connect(f"{CM}?watch=true&timeoutSeconds=1&fieldSelector=metadata.name=none") as socket:
        async with asyncio.timeout(10):
            message = await socket.receive()
        assert (message.type, socket.close_code) == (aiohttp.WSMsgType.CLOSE, 1000)


async def test_a_client_that_goes_away_ends_its_watch(api_server, admin):
    cache = api_server.api.registry.cache(api_server.api.table.find("", "v1", "configmaps"))
    before = len(cache.watchers())
    async with admin.ws_connect(f"{CM}?watch=true"):
        assert len(cache.watchers()) == before + 1
    await eventually(lambda: len(cache.watchers()) == before)


async def test_a_token_as_a_sub_protocol(nobody):
    protocols = [token_protocol("admin-token"), "v4.lattice"]
    async with nobody.ws_connect(f"{CM}?watch=true&resourceVersion=0", protocols=protocols) as socket:
        assert socket.protocol == "v4.lattice"


@pytest.mark.parametrize(
    "protocols",
    [[], ["v4"], [token_protocol("wrong"), "v4"], [token_protocol("admin-token")], ["base64url.bearer.authorization.k8s.io.!!", "v4"]],
)
async def test_without_a_good_token_there_is_no_socket(nobody, protocols):
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await nobody.ws_connect(f"{CM}?watch=true", protocols=protocols)
    assert caught.value.status in {401, 403}


async def test_what_is_no_watch_is_answered_as_usual(admin):
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await admin.ws_connect(CM)
    assert caught.value.status == 200
