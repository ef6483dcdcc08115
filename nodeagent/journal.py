"""The journal: results of Pods that the server has not taken yet, on the node's disk, so that they outlive the agent and the line.

Written by the reporter. A *result* is a status in which a container has ended, or the Pod has: what nobody else could say again once
Docker has forgotten the container. Other statuses are only the newest of what can be looked up, and are not kept.

One record a line, appended and never changed: eight hex digits of CRC-32, a space, JSON::

    {"n": 7, "uid", "namespace", "name", "status", "ports"}     result number 7
    {"done": 7}                                                 the server has it, or never will
    {"next": 1000}                                              numbers below 1000 may have been used

Every status that is sent has a number of its own, higher than all before, across restarts of the agent. The server refuses a lower one
than it has, so a request that was overtaken on the line changes nothing. A line that is damaged or torn is skipped. The file is written
anew, with what is still needed, when it is large.
"""

from __future__ import annotations

import asyncio
import logging
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from lattice.api import meta, pod

logger = logging.getLogger(__name__)

_BLOCK: Final = 1000
"""Numbers that one line reserves."""
_LARGE_BYTES: Final = 256 * 1024
_PER_POD: Final = 10
"""Unsent results of a Pod that are kept, the newest: one that crashes each minute, for weeks without a line, must not fill the disk. How
often it crashed is in each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A status to be handed in."""

    uid: meta.Uid
    namespace: str
    name: str
    status: pod.PodStatus
    ports: str
    """Text of the annotation with the published ports, empty for none."""


def results_of(status: pod.PodStatus) -> frozenset[tuple[str, str, str]]:
    """Return the ends that a status tells of: container, its id, when; and the Pod's own. Two statuses are compared by this."""
    found: set[tuple[str, str, str]] = set()
    for field in ("init_container_statuses", "container_statuses", "ephemeral_container_statuses"):
        for container in getattr(status, field, ()):
            for state in (container.state, container.last_state):
                if (end := state.terminated) is not None:
                    found.add((container.name, end.container_id or container.container_id or "", str(end.finished_at)))
    if status.phase in ("Succeeded", "Failed"):
        found.add(("", status.phase, ""))
    return frozenset(found)


class Journal:
    """See the module's docstring. Calls do not wait for the disk, but :meth:`sync` does; a full disk loses durability, never a result.

    Args:
        path: its file. The directory exists.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle = -1
        self._size_bytes = 0
        self._dirty = False
        self._failing = False
        self._number = 0
        self._reserved = 0
        self.pending: dict[int, Result] = {}
        """Results that are not handed in, by number, in order."""

    @property
    def last_number(self) -> int:
        """The highest number given so far, in this life or before."""
        return self._number

    def open(self) -> None:
        """Read what an earlier life has left."""
        content = b""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            logger.debug("no journal yet")
        except OSError as error:
            logger.warning("cannot read the journal of results", extra={"error": str(error)[:200]})
        damaged = sum(not self._take(line) for line in content.split(b"\n") if line)
        if damaged:
            logger.warning("the journal of results has damaged lines", extra={"lines": damaged})
        self._number = max(self._number, self._reserved)
        self.pending = dict(sorted(self.pending.items()))
        self._rewrite()

    def close(self) -> None:
        """Give the file back."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def number(self) -> int:
        """Return a number higher than all before."""
        self._number += 1
        if self._number >= self._reserved:
            self._reserved = self._number + _BLOCK
            self._append({"next": self._reserved})
        return self._number

    def raise_to(self, number: int) -> None:
        """Give only higher numbers than this from now on: the server has seen it."""
        self._number = max(self._number, number)

    def add(self, number: int, result: Result) -> None:
        """Keep a result until it is done. Of the older ones of this Pod some may be dropped, see ``_PER_POD``."""
        self.pending[number] = result
        self._append(_line_of(number, result))
        mine = [n for n, held in self.pending.items() if held.uid == result.uid]
        for old in mine[:-_PER_POD]:
            self.done(old)

    def done(self, number: int) -> None:
        """Forget a result: the server has it, or it cannot be handed in any more."""
        if self.pending.pop(number, None) is not None:
            self._append({"done": number})
            if self._size_bytes > _LARGE_BYTES:
                self._rewrite()

    async def sync(self) -> None:
        """Wait until what was added is on the disk. Returns also if the disk cannot take it: then only memory has it."""
        if self._failing:
            self._rewrite()
        if self._dirty and self._handle >= 0:
            self._dirty = False
            duplicate = os.dup(self._handle)  # a rewrite meanwhile closes the other
            try:
                await asyncio.to_thread(os.fsync, duplicate)
            except OSError as error:
                self._complain(error)
            finally:
                os.close(duplicate)

    def _take(self, line: bytes) -> bool:
        """Read one line; return whether it is whole."""
        checksum, _, body = line.partition(b" ")
        if checksum != b"%08x" % zlib.crc32(body):
            return False
        try:
            data = orjson.loads(body)
            if "next" in data:
                self._reserved = max(self._reserved, int(data["next"]))
            elif "done" in data:
                self.pending.pop(int(data["done"]), None)
            else:
                status = pod.PodStatus.model_validate(data["status"])
                self.pending[int(data["n"])] = Result(
                    uid=meta.Uid(data["uid"]), namespace=data["namespace"], name=data["name"], status=status, ports=data["ports"]
                )
                self._number = max(self._number, int(data["n"]))
        except (ValueError, KeyError, TypeError):  # of a newer agent, perhaps
            return False
        return True

    def _append(self, record: Mapping[str, Any]) -> None:
        if self._handle < 0:
            return
        line = _encode(record)
        try:
            written = os.write(self._handle, line)
            if written != len(line):
                raise OSError(28, "No space left on device")  # noqa: TRY301 - a short write is what a full disk does
        except OSError as error:
            self._complain(error)
            return
        self._size_bytes += len(line)
        self._dirty = True

    def _complain(self, error: OSError) -> None:
        if not self._failing:
            logger.warning("cannot write the journal of results, keeping them in memory", extra={"error": str(error)[:200]})
        self._failing = True

    def _rewrite(self) -> None:
        """Replace the file by one with what is still needed."""
        self._reserved = max(self._reserved, self._number + 1)
        lines = [_encode({"next": self._reserved}), *(_encode(_line_of(number, result)) for number, result in self.pending.items())]
        temporary = self._path.with_name(f".{self._path.name}.new")
        try:
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                content = b"".join(lines)
                if os.write(handle, content) != len(content):
                    raise OSError(28, "No space left on device")  # noqa: TRY301 - as above
                os.fsync(handle)
                temporary.replace(self._path)
            except OSError:
                os.close(handle)
                raise
        except OSError as error:
            self._complain(error)
            return
        self.close()
        self._handle, self._size_bytes, self._failing, self._dirty = handle, sum(map(len, lines)), False, False


def _line_of(number: int, result: Result) -> dict[str, Any]:
    return {
        "n": number,
        "uid": result.uid,
        "namespace": result.namespace,
        "name": result.name,
        "status": result.status.to_dict(),
        "ports": result.ports,
    }


def _encode(record: Mapping[str, Any]) -> bytes:
    body = orjson.dumps(record)
    return b"%08x %s\n" % (zlib.crc32(body), body)
