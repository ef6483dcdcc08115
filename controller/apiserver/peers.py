"""Several API servers on one etcd: who holds which node's line, questions to it, and streams that a node dialled to another server.

Nodes and clients connect to any process, so a client's stream and its node's line meet by chance only. A process that holds a line writes
its own id under the node's name; each process keeps a record with its address, its certificate authority and a time to live. From that,

* a question to a node goes to the process that holds its line (``POST /lattice/v1/peers/ask/<node>``), which asks over the line;
* a stream that a node dials carries in its id the process that waits for it; one that got it instead joins both
  (``GET /lattice/v1/peers/streams``, a WebSocket). So data passes through one process more than needed at most.

Peers know each other by a secret that the first of them has put into the store. Keys, all in the ephemeral store, which is in no backup:

    /lattice/v1/_peers/secret              the secret
    /lattice/v1/_peers/servers/<id>        {"url", "ca"}, with a time to live
    /lattice/v1/_peers/lines/<node>        id of a server
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Mapping
from typing import Any, Final

import orjson

from controller.apiserver.request import Answer, ApiRequest, ApiUpgrade, User, is_upgrade, json_response
from controller.relay.desk import StreamDesk
from controller.relay.lines import NodeLines, no_line
from controller.store import base as store_base
from lattice.api import errors, names
from lattice.client import base
from lattice.client.client import parse_error
from lattice.client.http import HttpTransport
from lattice.client.sockets import Socket
from lattice.machinery.clock import Clock
from lattice.machinery.tasks import TaskOwner

logger = logging.getLogger(__name__)

PATH: Final = "/lattice/v1/peers/"
PEER: Final = User("system:lattice:peer", groups=(names.GROUP_PEERS,))
_PREFIX: Final = "/lattice/v1/_peers/"
_SECRET: Final = f"{_PREFIX}secret"
_TTL_S: Final = 60
_RENEW_S: Final = 20.0
_CONNECTIONS: Final = 2048
"""To one peer: a connection for each stream that it and we join."""
_HOPS_S: Final = 5.0
"""What a question may take longer over a peer."""


class Peers:
    """See the module's docstring.

    Args:
        store: the ephemeral one.
        lines: of this process.
        desk: of this process.
        clock: time.
        url: where the other processes reach this one.
        ca_pem: what its certificate is signed by.
    """

    def __init__(self, store: store_base.Store, lines: NodeLines, desk: StreamDesk, clock: Clock, *, url: str, ca_pem: bytes) -> None:
        self._store = store
        self._lines = lines
        self._desk = desk
        self._clock = clock
        self._record = orjson.dumps({"url": url, "ca": ca_pem.decode()})
        self._tasks = TaskOwner("peers")
        self._transports: dict[str, HttpTransport] = {}
        self.id = secrets.token_hex(8)
        self.secret = ""

    async def start(self) -> None:
        """Agree on the secret, be known, and take part."""
        self.secret = await self._agree()
        self._desk.server_id = self.id
        await self._renew()
        self._lines.directory = self
        self._tasks.spawn(self._keep(), name="renew")

    async def stop(self) -> None:
        """Be forgotten."""
        await self._tasks.stop()
        with contextlib.suppress(store_base.StoreError):
            await self._store.txn([store_base.Delete(f"{_PREFIX}servers/{self.id}")])
        for transport in self._transports.values():
            await transport.close()

    # What NodeLines needs

    async def held(self, node: str) -> None:
        """See :class:`controller.relay.lines.Directory`."""
        await self._store.txn([store_base.Put(f"{_PREFIX}lines/{node}", self.id.encode())])

    async def lost(self, node: str) -> None:
        """See :class:`controller.relay.lines.Directory`. A newer line to another process is left alone."""
        key = f"{_PREFIX}lines/{node}"
        with contextlib.suppress(store_base.StoreError):
            record = await self._store.get(key)
            if record is not None and record.value == self.id.encode():
                await self._store.txn([store_base.Delete(key, record.mod_revision)])

    async def ask(self, node: str, question: Mapping[str, Any], *, timeout_s: float) -> Any:
        """See :class:`controller.relay.lines.Directory`."""
        record = await self._store.get(f"{_PREFIX}lines/{node}")
        server = "" if record is None else record.value.decode()
        if not server or server == self.id:
            raise no_line(node)
        transport = await self._transport(server)
        if transport is None:
            raise no_line(node)
        body = orjson.dumps({"question": dict(question), "timeoutSeconds": timeout_s})
        request = base.Request("POST", f"{PATH}ask/{node}", headers=_JSON, body=body, timeout_s=timeout_s + _HOPS_S)
        try:
            answer = await transport.send(request)
        except errors.UnavailableError as error:
            raise errors.ServiceUnavailableError(
                f"the API server that holds the line of the node {node} does not answer: {error}"
            ) from error
        if answer.status != 200:
            raise parse_error(answer)
        return orjson.loads(answer.body)["answer"]

    # Streams that were dialled to us and are waited for elsewhere

    async def join(self, node: str, stream_id: str) -> ApiUpgrade:
        """Return the socket for a node that dialled a stream of another process.

        Raises:
            errors.NotFoundError: nobody waits for it.
        """
        server = stream_id.partition(".")[0]
        transport = await self._transport(server) if server and server != self.id else None
        if transport is None:
            raise errors.NotFoundError("nobody waits for this stream (any more)")
        try:
            far = await transport.connect(base.Request("GET", f"{PATH}streams", {"node": node, "id": stream_id}))
        except errors.UnavailableError as error:
            raise errors.NotFoundError(f"whoever waits for this stream cannot be reached: {error}") from error

        async def serve(near: Socket) -> None:
            await bridge(near, far)

        def close() -> None:
            with contextlib.suppress(RuntimeError):  # the process ends, and all connections with it
                self._tasks.spawn(far.close(), name="close")

        return ApiUpgrade(serve, close=close)

    # What peers ask of us

    async def answer(self, request: ApiRequest) -> Answer:
        """Answer a peer.

        Raises:
            errors.ApiError: what the node says, or it is not here.
        """
        what, _, node = request.path.removeprefix(PATH).partition("/")
        if what == "ask" and request.method == "POST" and node:
            if node not in self._lines:
                raise no_line(node)
            asked = orjson.loads(request.body)
            return json_response({"answer": await self._lines.ask(node, asked["question"], timeout_s=float(asked["timeoutSeconds"]))})
        if what == "streams" and is_upgrade(request.headers):
            node, stream_id = request.query.get("node", ""), request.query.get("id", "")
            if not self._desk.expects(node, stream_id):
                raise errors.NotFoundError("nobody waits for this stream (any more)")

            async def take(socket: Socket) -> None:
                await self._desk.take(node, stream_id, socket)

            return ApiUpgrade(take)
        raise errors.NotFoundError("peers ask for nothing else")

    # Inside

    async def _agree(self) -> str:
        record = await self._store.get(_SECRET)
        if record is None:
            made = secrets.token_urlsafe(32)
            result = await self._store.txn([store_base.Put(_SECRET, made.encode(), store_base.NO_REVISION)])
            record = None if result.committed else result.previous[0]
            if record is None:
                return made
        return record.value.decode()

    async def _keep(self) -> None:
        while True:
            await self._clock.sleep(_RENEW_S)
            try:
                await self._renew()
            except store_base.StoreError as error:
                logger.warning("cannot renew this server's address among its peers", extra={"error": str(error)[:200]})

    async def _renew(self) -> None:
        await self._store.txn([store_base.Put(f"{_PREFIX}servers/{self.id}", self._record, ttl_s=_TTL_S)])

    async def _transport(self, server: str) -> HttpTransport | None:
        """Return the way to a peer, ``None`` if there is no such peer (any more)."""
        record = await self._store.get(f"{_PREFIX}servers/{server}") if server.isalnum() else None
        if record is None:
            if (gone := self._transports.pop(server, None)) is not None:
                await gone.close()
            return None
        if server not in self._transports:
            said = orjson.loads(record.value)
            self._transports[server] = HttpTransport(said["url"], ca_data=said["ca"], token=self.secret, max_connections=_CONNECTIONS)
        return self._transports[server]


_JSON: Final = {"content-type": "application/json"}


async def bridge(one: Socket, other: Socket) -> None:
    """Pass messages both ways until one side ends or breaks; then close both."""

    async def copy(source: Socket, target: Socket) -> None:
        while (message := await source.receive()) is not None:
            await target.send(message)

    try:
        async with asyncio.TaskGroup() as group:
            copies = [group.create_task(copy(one, other)), group.create_task(copy(other, one))]
            await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
            for task in copies:
                task.cancel()
    except* errors.UnavailableError as broken:
        logger.debug("a bridged stream broke", extra={"error": str(broken.exceptions[0])[:200]})
    finally:
        await one.close()
        await other.close()
