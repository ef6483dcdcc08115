"""One check of a container: a command, an HTTP request, a TCP connection, a gRPC health call. Also what lifecycle hooks do.

Called by the probes (``shell.py``) and by the hooks of the workers. Network checks go to the Pod's own address: a published port accepts
connections whether or not anybody listens behind it. Outcomes are values; only cancellation is raised.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import aiohttp

from lattice.api import pod
from lattice.api.errors import LatticeError
from lattice.machinery.clock import Clock
from nodeagent.runtime import base

OUTPUT_CHARS: Final = 1024
"""What is kept of a command's output or an answer's body in a message; kubelet's are cut too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is checked."""

    container_id: base.ContainerId
    ip: str
    """The Pod's address."""
    ports: tuple[pod.ContainerPort, ...]
    """Of the container's spec, for named ports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a check said. ``success`` is ``None`` where nothing was learnt: the engine was away."""

    success: bool | None
    message: str = ""


_LEARNT_NOTHING: Final = Outcome(success=None)
_GOOD: Final = Outcome(success=True)


class Checker:
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

    async def probe(self, target: Target, probe: pod.Probe) -> Outcome:
        """Make one check of a probe, within its timeout."""
        if probe.exec is not None:
            return await self._exec(target, probe.exec.command, timeout_s=probe.timeout_seconds)
        try:
            async with asyncio.timeout(probe.timeout_seconds):
                if probe.tcp_socket is not None:
                    return await _connect(probe.tcp_socket.host or target.ip, port_number(probe.tcp_socket.port, target.ports))
                if probe.http_get is not None:
                    return await self._get(target, probe.http_get, agent="lattice-probe/1")
                if probe.grpc is not None:
                    from nodeagent.probes import grpchealth  # a megabyte, and few Pods have such probes

                    return _grpc(await grpchealth.check(target.ip, probe.grpc.port, probe.grpc.service or ""), probe.grpc.port)
            return _GOOD
        except TimeoutError:
            return Outcome(success=False, message=f"no answer within {probe.timeout_seconds} s")
        except (OSError, aiohttp.ClientError, ValueError) as error:
            return Outcome(success=False, message=_sentence(error))

    async def hook(self, target: Target, handler: pod.LifecycleHandler, *, timeout_s: float) -> Outcome:
        """Run a lifecycle hook to its end, at most ``timeout_s``."""
        if handler.exec is not None:
            return await self._exec(target, handler.exec.command, timeout_s=timeout_s)
        try:
            async with asyncio.timeout(timeout_s):
                if handler.sleep is not None:
                    await self._clock.sleep(handler.sleep.seconds)
                elif handler.http_get is not None:
                    return await self._get(target, handler.http_get, agent="lattice-lifecycle/1")
            return _GOOD
        except TimeoutError:
            return Outcome(success=False, message=f"it did not end within {timeout_s:g} s")
        except (OSError, aiohttp.ClientError, ValueError) as error:
            return Outcome(success=False, message=_sentence(error))

    async def _exec(self, target: Target, command: Sequence[str], *, timeout_s: float) -> Outcome:
        try:
            result = await self._runtime.exec(target.container_id, command, timeout_s=timeout_s)
        except TimeoutError:
            return Outcome(success=False, message=f'command "{" ".join(command)[:200]}" timed out after {timeout_s:g} s')
        except (base.RuntimeUnavailableError, base.ContainerGoneError):
            return _LEARNT_NOTHING
        except LatticeError as error:
            return Outcome(success=False, message=f"the command could not be run: {error}"[:OUTPUT_CHARS])
        if result.exit_code == 0:
            return _GOOD
        output = result.output.strip()[-OUTPUT_CHARS:]
        return Outcome(success=False, message=f"exit code {result.exit_code}" + (f": {output}" if output else ""))

    async def _get(self, target: Target, action: pod.HTTPGetAction, *, agent: str) -> Outcome:
        scheme = (action.scheme or "HTTP").lower()
        path = action.path or "/"
        host = action.host or target.ip
        host = f"[{host}]" if ":" in host else host
        url = f"{scheme}://{host}:{port_number(action.port, target.ports)}{path if path.startswith('/') else '/' + path}"
        if self._session is None:
            self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        trust: ssl.SSLContext | bool = False  # as a kubelet: the certificate of a container is not checked
        headers = {"user-agent": agent, "accept": "*/*", "connection": "close"}
        headers.update({header.name.lower(): header.value for header in action.http_headers})
        async with self._session.get(url, headers=headers, allow_redirects=False, ssl=trust) as answer:
            if 200 <= answer.status < 400:
                return _GOOD
            return Outcome(success=False, message=f"HTTP probe failed with statuscode: {answer.status}")


async def _connect(host: str, port: int) -> Outcome:
    _, writer = await asyncio.open_connection(host, port)
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return _GOOD


_SERVING: Final = "SERVING"
"""As ``grpchealth.py`` names it."""


def _grpc(status: str, port: int) -> Outcome:
    if status == _SERVING:
        return _GOOD
    return Outcome(success=False, message=f"service unhealthy (responded with {status!r}) on port {port}")


def port_number(port: int | str, ports: Sequence[pod.ContainerPort]) -> int:
    """Return the number of a port that may be named.

    Raises:
        ValueError: there is no port of this name.
    """
    if isinstance(port, int):
        return port
    for known in ports:
        if known.name == port:
            return known.container_port
    if port.isdigit():
        return int(port)
    raise ValueError(f"the container has no port named {port!r}")


def _sentence(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:OUTPUT_CHARS] if str(error) else type(error).__name__
