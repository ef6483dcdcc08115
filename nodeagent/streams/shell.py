"""The node's streams: opened when the server asks, a few kept warm. Run by ``main.py``; ``dial`` answers the line's question of that name.

Every stream is a task; there are at most 64. What goes wrong in one is told to whoever uses it and ends no other. Only containers of this
node's Pods can be named (``targets.py``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from lattice.api import errors, line
from lattice.client import base as client_base
from lattice.client.sockets import Socket
from lattice.machinery.backoff import Backoff
from lattice.machinery.clock import Clock
from lattice.machinery.tasks import TaskOwner
from nodeagent.runtime import base, streams
from nodeagent.streams import serving, targets
from nodeagent.workloads.observed import ContainerTable

logger = logging.getLogger(__name__)

_HANDSHAKE_S: Final = 15.0
_WARM: Final = 2
_WARM_POLL_S: Final = 1.0


class StreamServer:
    """See the module's docstring.

    Args:
        transport: the way to the server.
        node: name of the Node.
        runtime: the engine.
        table: the containers.
        clock: time.
        backoff: delays before a warm connection is opened again.
        connected: whether the control line stands: without it nothing is kept warm.
    """

    def __init__(
        self,
        transport: client_base.Transport,
        node: str,
        runtime: base.Runtime,
        table: ContainerTable,
        *,
        clock: Clock,
        backoff: Backoff,
        connected: Callable[[], bool],
    ) -> None:
        self._transport = transport
        self._path = f"/api/v1/nodes/{node}/streams"
        self._runtime = runtime
        self._table = table
        self._clock = clock
        self._backoff = backoff
        self._connected = connected
        self._streams = TaskOwner("streams")
        self._warm = TaskOwner("warm-streams")

    async def dial(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Open the stream that the server waits for."""
        stream_id = question.get("stream")
        if not isinstance(stream_id, str) or not stream_id:
            raise errors.BadRequestError("the stream to dial has no id")
        self._make_room()
        self._streams.spawn(self._dialled(stream_id), name="stream")
        return {}

    async def keep_warm(self) -> None:
        """Keep connections ready for the next streams, until cancelled."""
        while True:
            while self._connected() and len(self._warm) < _WARM:
                self._warm.spawn(self._wait_warm(), name="warm")
            await self._clock.sleep(_WARM_POLL_S)

    async def stop(self) -> None:
        """End all streams. Programs and connections in containers are let go, not ended."""
        await self._warm.stop()
        await self._streams.stop()

    def _make_room(self) -> None:
        if len(self._streams) >= line.MAX_STREAMS:
            raise errors.TooManyRequestsError(f"{line.MAX_STREAMS} streams to this node are open already; close one and try again")

    async def _dialled(self, stream_id: str) -> None:
        try:
            socket = await self._connect({"id": stream_id})
        except errors.LatticeError as error:
            logger.info("cannot open a stream", extra={"error": str(error)[:300]})
            return
        await self._serve(socket, None)

    async def _wait_warm(self) -> None:
        """Hold one connection until the server uses it; then another takes its place."""
        opened_s = self._clock.monotonic()
        socket: Socket | None = None
        try:
            socket = await self._connect({})
            first = await socket.receive()
            if first is not None:
                self._streams.spawn(self._serve(socket, first), name="stream")
                socket = None
                self._backoff.reset()
                return
        except errors.LatticeError as error:
            logger.debug("a warm stream ended", extra={"error": str(error)[:200]})
        finally:
            if socket is not None:
                await socket.close()
        if self._clock.monotonic() - opened_s > 60.0:
            self._backoff.reset()
        await self._clock.sleep(self._backoff.next_s())

    async def _connect(self, query: Mapping[str, str]) -> Socket:
        return await self._transport.connect(client_base.Request("GET", self._path, query, timeout_s=_HANDSHAKE_S))

    async def _serve(self, socket: Socket, first: bytes | str | None) -> None:
        """Answer a stream's question and do what it asks."""
        try:
            question = line.parse(first if first is not None else await socket.receive()).get("question")
            if not isinstance(question, dict):
                raise line.MessageError("the question is no object")
            try:
                self._make_room_for_one_more()
                await self._do(question, socket)
            except _NotBegunError as error:
                await socket.send(line.encode_error(None, error.reason))
        except errors.LatticeError as error:
            logger.debug("a stream broke", extra={"error": str(error)[:300]})
        finally:
            await socket.close()

    def _make_room_for_one_more(self) -> None:
        if len(self._streams) > line.MAX_STREAMS:
            message = f"{line.MAX_STREAMS} streams to this node are open already; close one and try again"
            raise _NotBegunError(errors.TooManyRequestsError(message))

    async def _do(self, question: Mapping[str, Any], socket: Socket) -> None:
        begun = False

        async def begin() -> None:
            nonlocal begun
            await socket.send(line.encode_answer(None, {}))
            begun = True

        try:
            target = targets.Target.of(question)
            containers = self._table.of_pod(target.pod_uid)
            match question.get("kind"):
                case line.LOGS:
                    container = targets.logged(
                        containers, target, previous=bool(question.get("previous")), ended_id=str(question.get("endedID") or "")
                    )
                    await serving.send_log(self._runtime, container, self._log_query(question), socket, begin)
                case line.EXEC:
                    container = targets.running(containers, target)
                    command = [str(each) for each in question.get("command") or ()]
                    stdin, tty = bool(question.get("stdin")), bool(question.get("tty"))
                    process = await self._runtime.open_exec(container.id, command, stdin=stdin, tty=tty)
                    await self._join(process, socket, begin)
                case line.ATTACH:
                    container = targets.running(containers, target)
                    await self._join(await self._runtime.open_attach(container.id, stdin=bool(question.get("stdin"))), socket, begin)
                case line.FORWARD:
                    port = question.get("port")
                    if not isinstance(port, int) or not 0 < port < 65536:
                        raise errors.BadRequestError("the port is no number from 1 to 65535")
                    connection = await self._runtime.connect(targets.reachable(containers, target).id, port)
                    try:
                        await begin()
                    except BaseException:
                        await connection.close()
                        raise
                    await serving.join_connection(connection, socket)
                case other:
                    raise errors.BadRequestError(
                        f"this agent does not know streams of kind {str(other)[:40]!r}: it is older than the server"
                    )
        except base.ContainerGoneError as error:
            raise _unless(begun, errors.NotFoundError(str(error)), error) from error
        except base.RuntimeUnavailableError as error:
            raise _unless(begun, errors.ServiceUnavailableError(str(error)), error) from error
        except errors.UnavailableError:
            raise
        except errors.LatticeError as error:
            said = error if isinstance(error, errors.ApiError) else errors.InternalError(str(error))
            raise _unless(begun, said, error) from error

    def _log_query(self, question: Mapping[str, Any]) -> streams.LogQuery:
        since, tail, seconds = str(question.get("since") or ""), question.get("tail"), question.get("sinceSeconds")
        if not since and isinstance(seconds, int):
            since = f"{self._clock.now().timestamp() - seconds:.6f}"  # by this machine's clock, as the stamps of its engine
        return streams.LogQuery(follow=bool(question.get("follow")), since=since, tail=tail if isinstance(tail, int) else None)

    @staticmethod
    async def _join(process: streams.Process, socket: Socket, begin: serving.Begin) -> None:
        try:
            await begin()
        except BaseException:
            await process.close()
            raise
        await serving.join_process(process, socket)


class _NotBegunError(errors.LatticeError):
    """What was asked cannot be done; the server is told ``reason``."""

    def __init__(self, reason: errors.ApiError) -> None:
        super().__init__(str(reason))
        self.reason = reason


def _unless(begun: bool, said: errors.ApiError, error: errors.LatticeError) -> errors.LatticeError:
    """Return what is raised: before the beginning what the server is told, after it what ends the stream."""
    return error if begun else _NotBegunError(said)
