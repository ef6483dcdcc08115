"""A Pod's log, from its node to a client: cut, stamped, and going on after the line to the node was broken.

The node's entries carry their times. When the stream breaks, the log is asked for again from the last entry's time, until the node is
back or ten minutes have passed; what was seen is skipped. If the last entry that was seen is not in the log any more (it was rotated
meanwhile), others may be lost too, and a line in the log says so: nothing is lost in silence.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final

import orjson

from controller.apiserver.podstreams.options import LogOptions, ended_container, question_about
from controller.apiserver.request import TEXT, ApiStream
from controller.relay.desk import NodeStream, StreamDesk
from controller.relay.entries import Cursor, Entry, Framing
from lattice.api import errors, line
from lattice.machinery.clock import Clock

logger = logging.getLogger(__name__)

_RESUME_FOR_S: Final = 600.0
"""How long a client waits for a node that is away. A reboot takes two minutes."""
_RESUME_FIRST_S: Final = 0.2
_RESUME_MOST_S: Final = 2.0
_STALL_S: Final = 4 * 3600.0
"""How long a reader may stand still, as behind a pager: kubelet's idle limit of streams."""


class PodLog:
    """One client's log of one container."""

    def __init__(self, desk: StreamDesk, clock: Clock, node: str, pod: Mapping[str, Any], container: str, options: LogOptions) -> None:
        self._desk = desk
        self._clock = clock
        self._node = node
        self._options = options
        self._pod = pod
        self._container = container
        self._cursor = Cursor()
        self._left = options.limit_bytes
        self._line_begins = True
        self._stream: NodeStream | None = None

    async def open(self) -> ApiStream:
        """Return the answer, once the node has begun.

        Raises:
            errors.ApiError: the node cannot be reached, or has no such log.
        """
        self._stream = await self._ask()
        return ApiStream(self._batches(), lambda _cut: None, content_type=TEXT, close=self._release, stall_s=_STALL_S)

    def _release(self) -> None:
        if self._stream is not None:
            self._stream.release()

    async def _ask(self) -> NodeStream:
        options = self._options
        more: dict[str, Any] = {"follow": options.follow, "previous": options.previous}
        if options.previous:
            more["endedID"] = ended_container(self._pod, self._container)
        if self._cursor.time:
            more["since"] = self._cursor.time.decode()
        else:
            more |= {"since": options.since_time, "sinceSeconds": options.since_seconds, "tail": options.tail_lines}
        return await self._desk.open(self._node, question_about(self._pod, line.LOGS, self._container, **more))

    async def _batches(self) -> AsyncGenerator[list[bytes]]:
        try:
            while self._stream is not None:
                try:
                    async for entries in _entries(self._stream):
                        if lines := list(self._lines(entries)):
                            yield lines
                        if self._left is not None and self._left <= 0:
                            return
                    return
                except errors.UnavailableError as error:
                    logger.info("a log broke off, going on when the node is back", extra={"node": self._node, "error": str(error)[:200]})
                    await self._stream.close()
                notice = await self._resume()
                if notice:
                    yield [notice]
        finally:
            if self._stream is not None:
                await self._stream.close()

    async def _resume(self) -> bytes:
        """Open the log again where it broke off, and return nothing; or end it, and return what to say."""
        self._stream = None
        give_up_s, delay_s = self._clock.monotonic() + _RESUME_FOR_S, _RESUME_FIRST_S
        while self._clock.monotonic() < give_up_s:
            await self._clock.sleep(delay_s)
            delay_s = min(2 * delay_s, _RESUME_MOST_S)
            try:
                self._stream = await self._ask()
            except (errors.ServiceUnavailableError, errors.TimeoutStatusError, errors.TooManyRequestsError):
                continue
            except errors.ApiError as error:
                return _notice(f"the log ended while the node {self._node} was not connected: {error.message}")
            self._cursor.resume()
            return b""
        return _notice(f"the log broke off: the node {self._node} was not connected for {_RESUME_FOR_S:g} s")

    def _lines(self, entries: list[Entry]) -> list[bytes]:
        found: list[bytes] = []
        for entry in entries:
            new, gap = self._cursor.take(entry)
            if gap:
                since = "after the last line above"
                found.append(
                    _notice(f"lines are missing here: {since} the line to the node {self._node} was broken, and its log was rotated")
                )
            if not new:
                continue
            data = entry.data
            if self._options.timestamps and self._line_begins and entry.time:
                data = entry.time + b" " + data
            self._line_begins = data.endswith(b"\n")
            if self._left is not None:
                data = data[: self._left]
                self._left -= len(data)
            if data:
                found.append(data)
        return found


async def _entries(stream: NodeStream) -> AsyncGenerator[list[Entry]]:
    """Yield entries as they come, until the node says that this is the end.

    Raises:
        errors.UnavailableError: it broke before.
    """
    framing = Framing()
    while (message := await stream.receive()) is not None:
        match message[0]:
            case line.STDOUT:
                yield list(framing.feed(message[1:]))
            case line.STATUS:
                try:
                    failed = orjson.loads(message[1:]).get("status") == "Failure"
                except (orjson.JSONDecodeError, AttributeError):
                    failed = True
                if failed:
                    raise errors.UnavailableError("the node could not read the log to its end")
                return
            case _:
                continue
    raise errors.UnavailableError("the stream ended before the log")


def _notice(text: str) -> bytes:
    return f"[lattice] {text}\n".encode()
