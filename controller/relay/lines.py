"""The control lines that nodes hold to this process, and questions over them.

``NodeLines.ask(node, question)`` is the one way to ask an agent anything; whoever holds the line, this process or a peer
(``peers.py``). A node has one line: a newer one takes the place of the older, which may be half open. What a node sends is not trusted:
a message that is no answer to a question of ours ends the line, and the agent comes back with growing delays.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Mapping
from typing import Any, Final, Protocol

from lattice.api import errors, line
from lattice.client.sockets import Socket
from lattice.machinery.clock import Clock

logger = logging.getLogger(__name__)

ASK_TIMEOUT_S: Final = 10.0
HEARTBEAT_S: Final = 15.0
"""A line on which a ping is not answered within half of this is closed."""


class Directory(Protocol):
    """Who holds the line of a node, when this process does not."""

    async def held(self, node: str) -> None:
        """Note that this process holds the node's line from now on."""
        ...

    async def lost(self, node: str) -> None:
        """Note that it does not any more."""
        ...

    async def ask(self, node: str, question: Mapping[str, Any], *, timeout_s: float) -> Any:
        """Let the peer that holds the line ask. Raises as :meth:`NodeLines.ask`."""
        ...


class NodeLines:
    """See the module's docstring."""

    def __init__(self, clock: Clock, directory: Directory | None = None) -> None:
        self._clock = clock
        self.directory = directory
        """``None``: this process is the only server."""
        self._lines: dict[str, _Line] = {}

    def __contains__(self, node: str) -> bool:
        """Whether this process holds the node's line."""
        return node in self._lines

    def __len__(self) -> int:
        """How many nodes' lines this process holds."""
        return len(self._lines)

    async def hold(self, node: str, socket: Socket) -> None:
        """Keep a node's line until it ends.

        Raises:
            errors.UnavailableError: it broke.
        """
        held = _Line(node, socket)
        before, self._lines[node] = self._lines.get(node), held
        if before is not None:
            logger.info("a newer line of a node takes the place of an older one", extra={"node": node})
            await before.close()
        try:
            if self.directory is not None:
                await self.directory.held(node)
            logger.info("a node has opened its line", extra={"node": node})
            await held.run()
        except line.MessageError as error:
            logger.warning("a node's line is closed: it sent what is no answer", extra={"node": node, "error": str(error)[:200]})
        finally:
            held.fail(_broke(node))
            if self._lines.get(node) is held:
                del self._lines[node]
                if self.directory is not None:
                    await self.directory.lost(node)

    async def ask(self, node: str, question: Mapping[str, Any], *, timeout_s: float = ASK_TIMEOUT_S) -> Any:
        """Ask a node's agent and return its answer, a JSON value.

        Args:
            node: name of the Node.
            question: a JSON object; ``kind`` says who in the agent answers it (``nodeagent.line.ControlLine.handlers``).
            timeout_s: how long the answer may take.

        Raises:
            errors.ServiceUnavailableError: the node has no line to any server, or it broke.
            errors.TimeoutStatusError: no answer in time.
            errors.ApiError: what the agent answered.
        """
        held = self._lines.get(node)
        if held is None:
            if self.directory is not None:
                return await self.directory.ask(node, question, timeout_s=timeout_s)
            raise no_line(node)
        try:
            async with asyncio.timeout(timeout_s):
                return await held.ask(question)
        except TimeoutError:
            raise errors.TimeoutStatusError(
                f"the node {node} did not answer within {timeout_s:g} s: its line is slow or its agent is busy; try again"
            ) from None

    async def drop(self, node: str) -> None:
        """Close the node's line here: a peer holds a newer one."""
        if (held := self._lines.get(node)) is not None:
            await held.close()

    async def stop(self) -> None:
        """Close all lines."""
        for held in tuple(self._lines.values()):
            await held.close()


class _Line:
    """One node's line."""

    def __init__(self, node: str, socket: Socket) -> None:
        self._node = node
        self._socket = socket
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._sending = asyncio.Lock()
        self._closed = False

    async def run(self) -> None:
        """Hand answers to those who wait, until the line ends."""
        while (message := await self._socket.receive()) is not None:
            said = line.parse(message)
            number = said.get("id")
            if not isinstance(number, int) or isinstance(number, bool) or number < 1:
                raise line.MessageError("an answer has no id")
            waiting = self._waiting.pop(number, None)
            if waiting is None or waiting.done():
                continue  # whoever asked has given up
            try:
                waiting.set_result(line.answer_of(said))
            except errors.ApiError as error:
                waiting.set_exception(error)

    async def ask(self, question: Mapping[str, Any]) -> Any:
        """Ask, and return the answer."""
        if self._closed:
            raise _broke(self._node)
        if len(self._waiting) >= line.MAX_QUESTIONS:
            message = f"the node {self._node} has {line.MAX_QUESTIONS} questions to answer already; try again"
            raise errors.TooManyRequestsError(message, details={"retryAfterSeconds": 1})
        number, answer = next(self._numbers), asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            async with self._sending:
                await self._socket.send(line.encode_question(number, question))
            return await answer
        except errors.UnavailableError:
            raise _broke(self._node) from None
        finally:
            self._waiting.pop(number, None)

    def fail(self, error: errors.ApiError) -> None:
        """Tell all who wait that no answer will come."""
        self._closed = True
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(error)

    async def close(self) -> None:
        """End the line."""
        self.fail(_broke(self._node))
        await self._socket.close()


def no_line(node: str) -> errors.ServiceUnavailableError:
    """Return the refusal for a node that nobody can reach now."""
    return errors.ServiceUnavailableError(
        f"the node {node} is not connected: its agent holds no line to this control plane. What runs there goes on; "
        "see whether its machine and its network are up, the agent connects by itself"
    )


def _broke(node: str) -> errors.ServiceUnavailableError:
    return errors.ServiceUnavailableError(f"the line to the node {node} broke; its agent connects again by itself: try again")
