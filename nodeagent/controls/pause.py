"""The owner's pause: nothing new starts on this machine until it is taken back; on request, what runs is stopped, too.

Kept in the data directory (``paused.json``), so that it outlives agent and machine, and needs no server. Seen from outside as the
Node's condition ``Paused``, which the control plane makes a taint of. Nothing is deleted: Pods stay bound here, those that wait say
``NodePaused``, and go on when the pause ends. Whoever wants them elsewhere drains the node.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from lattice.api import errors, names, pod
from lattice.machinery.clock import Clock
from lattice.machinery.tasks import TimeLimit
from nodeagent.controls.stamps import stamp
from nodeagent.facts import Fact
from nodeagent.runtime import base
from nodeagent.workloads.actions import PAUSE, Wait
from nodeagent.workloads.observed import ContainerTable

logger = logging.getLogger(__name__)

FILE_NAME: Final = "paused.json"
REASON: Final = "NodePaused"
DEFAULT_GRACE_S: Final = 30
LOOK_S: Final = 5.0
"""What somebody starts by hand while everything is to be stopped is stopped again within this time."""
_PARALLEL_STOPS: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Paused:
    """A pause."""

    since: str
    """RFC 3339."""
    stop: bool = False
    """What runs is stopped, too."""
    reason: str = ""
    """In the owner's words."""

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {"since": self.since, "stop": self.stop, "reason": self.reason}


class Pause:
    """See the module's docstring.

    Args:
        root: the data directory.
        table: the containers of this node.
        clock: time.
        changed: called after each change: wakes the workers.
    """

    def __init__(self, root: Path, table: ContainerTable, clock: Clock, changed: Callable[[], None]) -> None:
        self._path = root / FILE_NAME
        self._table = table
        self._clock = clock
        self._changed = changed
        self._wake = asyncio.Event()
        self._stopping: set[base.ContainerId] = set()
        """Containers that were stopped for the pause, so that their ends count as no failures."""
        self.state: Paused | None = None

    def load(self) -> None:
        """Go on with a pause of an earlier life. A file that cannot be read pauses: the owner wanted quiet, and can say otherwise."""
        try:
            data = orjson.loads(self._path.read_bytes())
            self.state = Paused(since=str(data["since"]), stop=bool(data["stop"]), reason=str(data.get("reason", "")))
        except FileNotFoundError:
            self.state = None
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.warning("cannot read the pause, staying paused", extra={"error": str(error)[:200]})
            self.state = Paused(since=stamp(self._clock.now()))

    def pause(self, *, stop: bool, reason: str) -> Paused:
        """Begin, or change, a pause.

        Raises:
            errors.UnavailableError: it cannot be written: it would not outlive the agent.
        """
        since = self.state.since if self.state is not None else stamp(self._clock.now())
        state = Paused(since=since, stop=stop, reason=reason)
        self._write(state)
        self.state = state
        logger.info("paused by the owner", extra={"stop": stop, "reason": reason})
        self._told()
        return state

    def resume(self) -> bool:
        """End the pause; return whether there was one.

        Raises:
            errors.UnavailableError: the file cannot be removed.
        """
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            raise errors.UnavailableError(f"cannot remove {self._path}: {error.strerror}") from error
        was, self.state = self.state is not None, None
        self._stopping.clear()
        if was:
            logger.info("resumed by the owner")
        self._told()
        return was

    def hold(self, wanted: pod.Pod) -> Wait | None:
        """Return why a container of this Pod may not be started: a Pod that has containers here goes on, unless all are to stop."""
        state = self.state
        if state is None or (not state.stop and self._table.of_pod(wanted.uid)):
            return None
        return Wait(reason=REASON, message=f"the owner of this machine has paused it{f': {state.reason}' if state.reason else ''}")

    def facts(self) -> tuple[Fact, ...]:
        """Return the Node's condition, none while it is not paused."""
        if self.state is None:
            return ()
        what = "has stopped what ran here, and lets nothing start" if self.state.stop else "lets nothing new start here"
        said = f": {self.state.reason}" if self.state.reason else ""
        message = f"the owner of this machine {what}{said}"
        return (Fact(type=names.CONDITION_PAUSED, status="True", reason="PausedByOwner", message=message),)

    def is_stopping(self, container_id: base.ContainerId) -> bool:
        """Return whether a container was stopped because of the pause."""
        return container_id in self._stopping

    async def run(self, runtime: base.Runtime, desired: Mapping[str, pod.Pod]) -> None:
        """Stop what runs while everything is to be stopped, until cancelled."""
        while True:
            self._wake.clear()
            if self.state is not None and self.state.stop and self._table.available:
                await self._stop_all(runtime, desired)
            with contextlib.suppress(TimeoutError):
                async with TimeLimit(self._clock, LOOK_S):
                    await self._wake.wait()

    async def _stop_all(self, runtime: base.Runtime, desired: Mapping[str, pod.Pod]) -> None:
        gate = asyncio.Semaphore(_PARALLEL_STOPS)

        async def stop(container: base.Container) -> None:
            wanted = desired.get(container.labels.get(base.LABEL_POD_UID, ""))
            set_s = wanted.spec.termination_grace_period_seconds if wanted is not None else None
            async with gate:
                if self.state is None or not self.state.stop:
                    return
                self._stopping.add(container.id)
                try:
                    await runtime.stop(container.id, grace_s=DEFAULT_GRACE_S if set_s is None else set_s)
                except errors.LatticeError as error:
                    logger.warning("cannot stop a container", extra={"container": container.id[:12], "error": str(error)[:200]})

        running = [container for container in self._table.ours() if container.state is base.ContainerState.RUNNING]
        # A pause container holds the network of the others: last.
        for last in (False, True):
            batch = [each for each in running if (each.labels.get(base.LABEL_CONTAINER) == PAUSE) is last]
            async with asyncio.TaskGroup() as group:
                for container in batch:
                    group.create_task(stop(container))

    def _told(self) -> None:
        self._wake.set()
        self._changed()

    def _write(self, state: Paused) -> None:
        temporary = self._path.with_suffix(".new")
        try:
            temporary.unlink(missing_ok=True)
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(orjson.dumps(state.to_dict()))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._path)
        except OSError as error:
            raise errors.UnavailableError(f"cannot write the pause into {self._path.parent}: {error.strerror}") from error
