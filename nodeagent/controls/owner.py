"""What the owner of the machine may ask and do, as one object: implements ``api.Controls`` over the parts of the agent."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from lattice.api import errors, node
from lattice.machinery.clock import Clock
from nodeagent.config import AgentConfig, HostPath
from nodeagent.controls import inventory, status
from nodeagent.controls.cleaning import Cleaner
from nodeagent.controls.inventory import Item
from nodeagent.controls.pause import Pause
from nodeagent.controls.status import Usage
from nodeagent.desired import Desired
from nodeagent.facts import Fact
from nodeagent.failures.store import FailureStore
from nodeagent.images.ahead import PullAhead
from nodeagent.ports.plan import PortRange
from nodeagent.reporter import StatusReporter
from nodeagent.settings.table import SETTINGS
from nodeagent.workloads.observed import ContainerTable

MAX_FAILURES = 200


class Owner:
    """See the module's docstring."""

    def __init__(
        self,
        config: AgentConfig,
        node_uid: str,
        clock: Clock,
        *,
        desired: Desired,
        table: ContainerTable,
        reporter: StatusReporter,
        pause: Pause,
        cleaner: Cleaner,
        failures: FailureStore,
        ahead: PullAhead,
        connected: Callable[[], bool],
        engine_problem: Callable[[], str],
        facts: Callable[[], Sequence[Fact]],
        node_status: Callable[[], node.NodeStatus | None],
        usage: Callable[[], Awaitable[Mapping[str, Usage]]],
    ) -> None:
        self._config = config
        self._uid = node_uid
        self._clock = clock
        self._desired = desired
        self._table = table
        self._reporter = reporter
        self._pause = pause
        self._cleaner = cleaner
        self._failures = failures
        self._ahead = ahead
        self._connected = connected
        self._engine_problem = engine_problem
        self._facts = facts
        self._node_status = node_status
        self._usage = usage

    async def status(self) -> Mapping[str, Any]:
        """See ``api.Controls``."""
        desired, known = self._desired, self._node_status() or node.NodeStatus()
        try:
            usage = await self._usage()
        except errors.LatticeError:  # the engine is away, as the document says
            usage = {}
        problem = desired.frozen or ("" if desired.synced else "not heard since the agent started")
        return status.make(
            status.Seen(
                name=self._config.name,
                uid=self._uid,
                now=self._clock.now(),
                connected=not problem and self._connected(),
                server_problem=problem or ("" if self._connected() else "does not answer now"),
                engine_problem=self._engine_problem(),
                engine=known.node_info.container_runtime_version if known.node_info is not None else "",
                paused=self._pause.state,
                facts=self._facts(),
                capacity=known.capacity,
                allocatable=known.allocatable,
                pods=[(each, self._reporter.last(each)) for each in desired.pods.values()],
                containers=self._table.ours(),
                unknown=frozenset(desired.unknown),
                images_wanted=self._ahead.states(),
                usage=usage,
                failures=len(self._failures.all()),
            )
        )

    async def settings(self) -> Mapping[str, Any]:
        """See ``api.Controls``."""
        listed = [
            {"name": row.key, "value": _plain(getattr(self._config, row.name)), "source": self._config.sources.get(row.name, "default")}
            for row in SETTINGS
        ]
        return {"settings": listed}

    async def failures(self, query: Mapping[str, str]) -> Mapping[str, Any]:
        """See ``api.Controls``."""
        namespace, name = query.get("namespace", ""), query.get("pod", "")
        found = self._failures.of_pod(namespace=namespace or "default", name=name) if name else self._failures.all()
        return {"failures": [each.to_dict() for each in found[-MAX_FAILURES:]]}

    async def pause(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """See ``api.Controls``."""
        stop, reason = body.get("stop", False), body.get("reason", "")
        if not isinstance(stop, bool) or not isinstance(reason, str) or len(reason) > 200 or not reason.isprintable():
            raise errors.BadRequestError("stop is true or false; reason is a text of at most 200 printable characters")
        return {"paused": self._pause.pause(stop=stop, reason=reason).to_dict()}

    async def resume(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """See ``api.Controls``."""
        if body:
            raise errors.BadRequestError("resume takes nothing")
        return {"resumed": self._pause.resume()}

    async def prune_list(self) -> Mapping[str, Any]:
        """See ``api.Controls``. Digests are of all, and of what is no data."""
        return _listing(await self._cleaner.prune_list())

    async def prune(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """See ``api.Controls``."""
        return {"lines": list(await self._cleaner.prune(_digest(body), data=_flag(body, "data")))}

    async def leave_list(self) -> Mapping[str, Any]:
        """See ``api.Controls``."""
        return _listing(await self._cleaner.leave_list())

    def leave(self, body: Mapping[str, Any]) -> AsyncGenerator[str]:
        """See ``api.Controls``."""
        return self._cleaner.leave(_digest(body), data=_flag(body, "data"), force=_flag(body, "force"), offline=_flag(body, "offline"))


def _listing(items: Sequence[Item]) -> Mapping[str, Any]:
    without = [item for item in items if not item.data]
    return {"items": [item.to_dict() for item in items], "digest": inventory.digest(items), "digestWithoutData": inventory.digest(without)}


def _digest(body: Mapping[str, Any]) -> str:
    digest = body.get("digest")
    if not isinstance(digest, str):
        raise errors.BadRequestError("say the digest of the listing that was shown")
    return digest


def _flag(body: Mapping[str, Any], name: str) -> bool:
    value = body.get(name, False)
    if not isinstance(value, bool):
        raise errors.BadRequestError(f"{name} is true or false")
    return value


def _plain(value: Any) -> Any:
    """Return a setting's value as JSON has it."""
    match value:
        case Path():
            return str(value)
        case HostPath(prefix=prefix, writable=writable):
            return f"{prefix}:{'rw' if writable else 'ro'}"
        case PortRange(first=first, last=last):
            return f"{first}-{last}"
        case tuple():
            return [_plain(item) for item in value]
        case Mapping():
            return dict(value)
        case _ if is_dataclass(value):
            return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
        case _:
            return value
