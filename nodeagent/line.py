"""The node's end of the control line: it is opened, kept and reopened here, and what the server asks is handed to who can answer.

Run by ``main.py`` once the node is registered. ``handlers`` maps the ``kind`` of a question to a coroutine function that takes the
question and returns a JSON value, or raises a ``LatticeError``, which the server is told. Questions are answered side by side; nothing
that a server sends ends the agent, and a line that breaks is opened again with growing delays. A server that is not ours (another
cluster's, or one of an older store) gets no line.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from lattice.api import errors, line
from lattice.client import base, sockets
from lattice.machinery.backoff import Backoff
from lattice.machinery.clock import Clock
from lattice.machinery.tasks import TaskOwner

logger = logging.getLogger(__name__)

Handler = Callable[[Mapping[str, Any]], Awaitable[Any]]

HEARTBEAT_S: Final = 15.0
"""The line carries no data for hours; this keeps it open in routers, and finds it dead within 23 s."""
_HANDSHAKE_S: Final = 20.0
_STEADY_S: Final = 30.0
"""A line that lived so long was good: the next delay is the first one again."""


class ControlLine:
    """See the module's docstring.

    Args:
        transport: the way to the server.
        node: name of the Node.
        clock: time.
        backoff: delays between attempts.
        refusal: why a server that answers with these headers is not ours; empty: it is.
    """

    def __init__(
        self, transport: base.Transport, node: str, clock: Clock, backoff: Backoff, refusal: Callable[[Mapping[str, str]], str]
    ) -> None:
        self._transport = transport
        self._node = node
        self._clock = clock
        self._backoff = backoff
        self._refusal = refusal
        self.handlers: dict[str, Handler] = {}
        """Kind of question to who answers it. Filled by ``main.py`` before ``run``."""
        self.connected = False
        """Whether the server can ask us now."""

    async def run(self) -> None:
        """Keep the line until cancelled."""
        told = ""
        while True:
            opened_s = self._clock.monotonic()
            try:
                await self._hold()
                why = "the server closed it"
            except errors.LatticeError as error:
                why = str(error)[:300]
            finally:
                self.connected = False
            if self._clock.monotonic() - opened_s >= _STEADY_S:
                self._backoff.reset()
                told = ""
            if why != told:  # a server that is away for a day is said once
                logger.info("no control line, opening it again", extra={"error": why})
                told = why
            await self._clock.sleep(self._backoff.next_s())

    async def _hold(self) -> None:
        """Open the line and answer, until it ends."""
        request = base.Request("GET", f"/api/v1/nodes/{self._node}/line", timeout_s=_HANDSHAKE_S)
        socket = await self._transport.connect(request, max_message_bytes=sockets.LINE_MESSAGE_BYTES, heartbeat_s=HEARTBEAT_S)
        try:
            if reason := self._refusal(await self._transport.headers()):
                raise errors.UnavailableError(reason)
            self.connected = True
            async with TaskOwner("questions") as tasks:
                while (message := await socket.receive()) is not None:
                    asked = line.parse(message)
                    number, question = asked.get("id"), asked.get("question")
                    if not isinstance(number, int) or not isinstance(question, dict):
                        raise line.MessageError("a question has no id or no object")
                    if len(tasks) >= line.MAX_QUESTIONS:
                        await socket.send(line.encode_error(number, errors.TooManyRequestsError("the agent is busy; try again")))
                        continue
                    tasks.spawn(self._reply(socket, number, question), name=_kind(question))
        finally:
            await socket.close()

    async def _reply(self, socket: sockets.Socket, number: int, question: Mapping[str, Any]) -> None:
        try:
            answer = line.encode_answer(number, await self._answer(question))
            if len(answer.encode()) > sockets.LINE_MESSAGE_BYTES:
                answer = line.encode_error(number, errors.InternalError("the agent's answer is too large for its line"))
        except errors.LatticeError as error:
            answer = line.encode_error(number, error)
        except Exception:
            logger.exception("a question was not answered", extra={"kind": _kind(question)})
            answer = line.encode_error(number, errors.InternalError("the agent failed on this question; its log says why"))
        try:
            await socket.send(answer)
        except errors.UnavailableError as error:
            logger.debug("an answer was not sent", extra={"error": str(error)[:200]})

    async def _answer(self, question: Mapping[str, Any]) -> Any:
        handler = self.handlers.get(_kind(question))
        if handler is None:
            raise errors.BadRequestError(f"this agent does not know the question {_kind(question)!r}: it is older than the server")
        return await handler(question)


def _kind(question: Mapping[str, Any]) -> str:
    return str(question.get("kind"))[:40]
