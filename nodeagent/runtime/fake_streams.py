"""Logs, exec, attach and forwarded ports of the fake engine. A part of ``fake.py``.

A test lets a container write by ``say``; ``exec`` of ``cat`` echoes its input, every other command answers as ``exec_results`` say; a
port answers as ``listening`` says. ``rotate`` drops the oldest entries of a log, as an engine does with its oldest file.
"""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from lattice.machinery.clock import Clock
from nodeagent.runtime import base, streams

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(slots=True)
class _Log:
    """What a container has written."""

    entries: list[streams.LogEntry] = field(default_factory=list)
    dropped: int = 0
    began: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class FakeStreams:
    """See ``base.Runtime``."""

    _clock: Clock
    exec_results: dict[tuple[str, ...], base.ExecResult]
    down: bool

    def __init__(self) -> None:
        self._logs: Mapping[base.ContainerId, _Log] = defaultdict(_Log)
        self.listening: dict[int, Callable[[bytes], bytes]] = {}
        """TCP ports on which every container listens, and what each piece that is sent there is answered with."""

    def say(self, container_id: base.ContainerId, text: str, *, channel: int = streams.STDOUT, time: str = "") -> None:
        """Let the program of a container write lines."""
        log = self._log(container_id)
        for line in text.splitlines(keepends=True):
            log.entries.append(streams.LogEntry(channel, time or _stamp(self._clock.now()), line.encode()))
        self._wake(log)

    def rotate(self, container_id: base.ContainerId, *, keep: int) -> None:
        """Drop all but the last ``keep`` entries of a log."""
        log = self._log(container_id)
        dropped = max(len(log.entries) - keep, 0)
        del log.entries[:dropped]
        log.dropped += dropped

    async def follow_logs(self, container_id: base.ContainerId, query: streams.LogQuery) -> AsyncGenerator[Sequence[streams.LogEntry]]:
        """See ``Runtime``."""
        await self._enter()
        self._box(container_id)
        log = self._log(container_id)
        since = _as_stamp(query.since)
        position = log.dropped + next((place for place, entry in enumerate(log.entries) if entry.time >= since), len(log.entries))
        if query.tail is not None:
            position = max(position, log.dropped + len(log.entries) - query.tail)
        while True:
            present = log.entries[max(position - log.dropped, 0) :]
            position = log.dropped + len(log.entries)
            if present:
                yield present
                continue
            if not query.follow or self._box(container_id).seen.state is not base.ContainerState.RUNNING:
                return
            changed = log.changed
            try:
                async with asyncio.timeout(0.02):
                    await changed.wait()
            except TimeoutError:
                if self.down:
                    raise base.RuntimeUnavailableError("cannot follow a log: the engine is away") from None

    async def open_exec(self, container_id: base.ContainerId, command: Sequence[str], *, stdin: bool, tty: bool) -> streams.Process:
        """See ``Runtime``."""
        await self._enter()
        self._running(container_id)
        result = self.exec_results.get(tuple(command), base.ExecResult(exit_code=0, output=""))
        return _FakeProcess(result.output.encode(), result.exit_code, echo=stdin and tuple(command) == ("cat",))

    async def open_attach(self, container_id: base.ContainerId, *, stdin: bool) -> streams.Process:
        """See ``Runtime``."""
        await self._enter()
        self._running(container_id)
        return _FakeProcess(b"", None, echo=stdin)

    async def connect(self, container_id: base.ContainerId, port: int) -> streams.Connection:
        """See ``Runtime``."""
        await self._enter()
        self._running(container_id)
        if port not in self.listening:
            raise base.RuntimeFailedError(f"cannot connect to port {port} of container {container_id}: connection refused")
        return _Answering(self.listening[port])

    def _running(self, container_id: base.ContainerId) -> None:
        if self._box(container_id).seen.state is not base.ContainerState.RUNNING:
            raise base.RuntimeFailedError(f"cannot use container {container_id}: it is not running")

    def _log(self, container_id: base.ContainerId) -> _Log:
        log = self._logs[container_id]
        box = self._box(container_id)
        if not log.began and box.seen.started_at is not None:
            log.began = True
            lines = self._program(box).output.splitlines(keepends=True)
            log.entries[:0] = [streams.LogEntry(streams.STDOUT, _stamp(box.seen.started_at), line.encode()) for line in lines]
        return log

    @staticmethod
    def _wake(log: _Log) -> None:
        log.changed.set()
        log.changed = asyncio.Event()

    async def _enter(self) -> None:
        raise NotImplementedError

    def _box(self, container_id: base.ContainerId) -> Any:
        raise NotImplementedError

    def _program(self, box: Any) -> Any:
        raise NotImplementedError


class _FakeProcess:
    """Writes its output, then, if it echoes, its input until that ends."""

    def __init__(self, output: bytes, code: int | None, *, echo: bool) -> None:
        self._code = code
        self._pieces: asyncio.Queue[bytes] = asyncio.Queue()
        if output:
            self._pieces.put_nowait(output)
        if not echo:
            self._pieces.put_nowait(b"")
        self.sizes: list[tuple[int, int]] = []

    async def read(self) -> tuple[int, bytes] | None:
        """See ``Process``."""
        piece = await self._pieces.get()
        if not piece:
            self._pieces.put_nowait(b"")
            return None
        return streams.STDOUT, piece

    async def write(self, data: bytes) -> None:
        """See ``Process``."""
        self._pieces.put_nowait(data)

    async def close_input(self) -> None:
        """See ``Process``."""
        self._pieces.put_nowait(b"")

    async def resize(self, *, width: int, height: int) -> None:
        """See ``Process``."""
        self.sizes.append((width, height))

    async def exit_code(self) -> int | None:
        """See ``Process``."""
        return self._code

    async def close(self) -> None:
        """See ``Process``."""
        self._pieces.put_nowait(b"")


class _Answering:
    """A connection whose other side answers each piece that it gets."""

    def __init__(self, answer: Callable[[bytes], bytes]) -> None:
        self._answer = answer
        self._pieces: asyncio.Queue[bytes] = asyncio.Queue()

    async def read(self) -> bytes:
        """See ``Connection``."""
        piece = await self._pieces.get()
        if not piece:
            self._pieces.put_nowait(b"")
        return piece

    async def write(self, data: bytes) -> None:
        """See ``Connection``."""
        self._pieces.put_nowait(self._answer(data))

    async def close_output(self) -> None:
        """See ``Connection``."""
        self._pieces.put_nowait(b"")

    async def close(self) -> None:
        """See ``Connection``."""
        self._pieces.put_nowait(b"")


def _stamp(moment: datetime) -> str:
    return f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}000Z"


def _as_stamp(since: str) -> str:
    """Return a query's time as entries have it."""
    try:
        seconds = float(since)
    except ValueError:
        return since
    whole = math.floor(seconds)
    return _stamp(datetime.fromtimestamp(whole, UTC).replace(microsecond=int((seconds - whole) * 1e6)))
