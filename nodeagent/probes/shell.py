"""Runs the probes of one container: exec, TCP and HTTP. Called by the worker of its Pod, as a task that lives as long as the container.

TCP and HTTP go to the container's own address: a published port accepts connections whether or not anybody listens behind it. An engine
that is away is no result: the check is repeated, and changes nothing.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import aiohttp

from lattice.api import pod
from lattice.machinery.clock import Clock
from nodeagent.probes import plan
from nodeagent.runtime import base


@dataclass(slots=True)
class Health:
    """What the probes of one container say. Written by its probe task, read by its worker."""

    started: bool = False
    ready: bool = False
    unhealthy: str = ""
    """Why it has to be restarted."""


class Prober:
    """Checks containers. One for the agent; it holds the HTTP session."""

    def __init__(self, runtime: base.Runtime, clock: Clock) -> None:
        self._runtime = runtime
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the HTTP session."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def initial(self, spec: pod.Container) -> Health:
        """Return the health before any check: without a probe, a running container is started and ready."""
        return Health(started=spec.startup_probe is None, ready=spec.startup_probe is None and spec.readiness_probe is None)

    async def run(self, container: base.Container, spec: pod.Container, health: Health, changed: Callable[[], None]) -> None:
        """Check until cancelled; call ``changed`` after every change of ``health``."""
        if spec.startup_probe is not None:
            await self._start_up(container, spec, spec.startup_probe, health, changed)
        health.started = True
        health.ready = health.ready or spec.readiness_probe is None
        changed()
        async with asyncio.TaskGroup() as group:
            if spec.readiness_probe is not None:
                group.create_task(self._readiness(container, spec, spec.readiness_probe, health, changed))
            if spec.liveness_probe is not None:
                group.create_task(self._liveness(container, spec, spec.liveness_probe, health, changed))

    async def _start_up(
        self, container: base.Container, spec: pod.Container, probe: pod.Probe, health: Health, changed: Callable[[], None]
    ) -> None:
        def judge(state: plan.ProbeState) -> bool:
            if state.healthy is False and not health.unhealthy:
                health.unhealthy = f"the startup probe failed: {state.message}"
                changed()
            return state.healthy is True

        await self._repeat(container, spec, probe, judge, eager=True)

    async def _readiness(
        self, container: base.Container, spec: pod.Container, probe: pod.Probe, health: Health, changed: Callable[[], None]
    ) -> None:
        def judge(state: plan.ProbeState) -> bool:
            if state.healthy is not None and health.ready != state.healthy:
                health.ready = state.healthy
                changed()
            return False

        await self._repeat(container, spec, probe, judge, eager=True)

    async def _liveness(
        self, container: base.Container, spec: pod.Container, probe: pod.Probe, health: Health, changed: Callable[[], None]
    ) -> None:
        def judge(state: plan.ProbeState) -> bool:
            if state.healthy is False and not health.unhealthy:
                health.unhealthy = f"the liveness probe failed: {state.message}"
                changed()
            return False

        await self._repeat(container, spec, probe, judge, eager=False)

    async def _repeat(
        self, container: base.Container, spec: pod.Container, probe: pod.Probe, judge: Callable[[plan.ProbeState], bool], *, eager: bool
    ) -> None:
        """Check again and again, until ``judge`` says that it is enough."""
        state = plan.ProbeState()
        await self._clock.sleep(probe.initial_delay_seconds)
        begun_s = self._clock.monotonic()
        last_failure_s: float | None = None
        while True:
            message = await self._check(container, spec, probe)
            elapsed_s = self._clock.monotonic() - begun_s
            if message == "":
                state, last_failure_s = plan.record(state, probe, success=True), None
            elif message is not None and plan.counts_failure(probe, elapsed_s=elapsed_s, last_failure_s=last_failure_s):
                state, last_failure_s = plan.record(state, probe, success=False, message=message), elapsed_s
            if judge(state):
                return
            await self._clock.sleep(plan.next_check_s(probe, state, elapsed_s=elapsed_s, eager=eager))

    async def _check(self, container: base.Container, spec: pod.Container, probe: pod.Probe) -> str | None:
        """Return "" for a success, the reason of a failure, ``None`` if nothing was learnt."""
        try:
            if probe.exec is not None:
                result = await self._runtime.exec(container.id, probe.exec.command, timeout_s=probe.timeout_seconds)
                return "" if result.exit_code == 0 else f"exit code {result.exit_code}"
            async with asyncio.timeout(probe.timeout_seconds):
                if probe.tcp_socket is not None:
                    return await _connect(probe.tcp_socket.host or container.ip, _number(probe.tcp_socket.port, spec))
                if probe.http_get is not None:
                    return await self._get(container, spec, probe.http_get)
            return ""
        except TimeoutError:
            return f"no answer within {probe.timeout_seconds} s"
        except (base.RuntimeUnavailableError, base.ContainerGoneError):
            return None
        except base.RuntimeFailedError:
            return "the command could not be run"
        except (OSError, aiohttp.ClientError, ValueError) as error:
            return f"{type(error).__name__}"

    async def _get(self, container: base.Container, spec: pod.Container, action: pod.HTTPGetAction) -> str:
        scheme = (action.scheme or "HTTP").lower()
        path = action.path or "/"
        url = f"{scheme}://{action.host or container.ip}:{_number(action.port, spec)}{path if path.startswith('/') else '/' + path}"
        if self._session is None:
            self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), headers={"user-agent": "lattice-probe/1"})
        trust: ssl.SSLContext | bool = False  # as a kubelet: the certificate of a container is not checked
        headers = {header.name: header.value for header in action.http_headers}
        async with self._session.get(url, headers=headers, allow_redirects=False, ssl=trust) as answer:
            return "" if 200 <= answer.status < 400 else f"HTTP status {answer.status}"


async def _connect(host: str, port: int) -> str:
    _, writer = await asyncio.open_connection(host, port)
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return ""


def _number(port: int | str, spec: pod.Container) -> int:
    if isinstance(port, int):
        return port
    for known in spec.ports:
        if known.name == port:
            return known.container_port
    return int(port)
