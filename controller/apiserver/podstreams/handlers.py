"""Answers requests for a Pod's ``log``, ``exec``, ``attach`` and ``portforward``.

A connection is upgraded only when the node has begun what is asked. Until then every failure is an ordinary Status, whose sentence kubectl
shows; it asks twice then, the second time for SPDY, and gets the same answer.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from controller.apiserver.podstreams import forward, options, programs
from controller.apiserver.podstreams.logs import PodLog
from controller.apiserver.registry import Registry
from controller.apiserver.request import TEXT, Answer, ApiRequest, ApiResponse, ApiUpgrade, RequestInfo, is_upgrade, offered_protocols
from controller.apiserver.resources import Resource
from controller.relay.desk import StreamDesk
from lattice.api import errors, line
from lattice.client.sockets import Socket

SUBRESOURCES: Final = frozenset({"log", "exec", "attach", "portforward"})


class PodStreams:
    """See the module's docstring."""

    def __init__(self, registry: Registry, desk: StreamDesk) -> None:
        self._registry = registry
        self._desk = desk

    async def answer(self, request: ApiRequest, info: RequestInfo, resource: Resource) -> Answer:
        """Answer a request.

        Raises:
            errors.ApiError: it is wrong, or cannot be done now.
        """
        pod = orjson.loads(await self._registry.get(resource, info.namespace, info.name))
        if info.subresource == "log":
            return await self._log(request, pod)
        if info.subresource == "portforward":
            return self._forward(request, pod)
        return await self._program(request, pod, info.subresource)

    async def _log(self, request: ApiRequest, pod: dict[str, Any]) -> Answer:
        wanted = options.parse_log(request.query, pod["metadata"]["name"])
        container = options.container_of(pod, wanted.container)
        node = options.node_of(pod)
        if not node:  # kube-apiserver answers so: there is no log, and that is no error
            return ApiResponse(200, b"", TEXT)
        return await PodLog(self._desk, self._registry.clock, node, pod, container, wanted).open()

    async def _program(self, request: ApiRequest, pod: dict[str, Any], subresource: str) -> ApiUpgrade:
        wanted = options.parse_program(request.raw_query)
        container = options.container_of(pod, wanted.container)
        node = self._node(pod)
        if subresource == "exec" and not wanted.command:
            raise errors.BadRequestError("you must specify at least one command for the container")
        protocol = _agreed(request, programs.PROTOCOLS)
        kind = line.EXEC if subresource == "exec" else line.ATTACH
        more = {"command": wanted.command, "stdin": wanted.stdin, "tty": wanted.tty}
        stream = await self._desk.open(node, options.question_about(pod, kind, container, **more))
        first = line.STDOUT if wanted.stdout else line.STDERR if wanted.stderr else line.STATUS

        async def serve(client: Socket) -> None:
            await programs.join(client, stream, self._registry.clock, stdin=wanted.stdin, first_channel=first)

        return ApiUpgrade(serve, protocol=protocol, close=stream.release)

    def _forward(self, request: ApiRequest, pod: dict[str, Any]) -> ApiUpgrade:
        node = self._node(pod)
        protocol = _agreed(request, forward.PROTOCOLS)

        async def serve(client: Socket) -> None:
            await forward.Session(client, self._desk, self._registry.clock, node, pod).run()

        return ApiUpgrade(serve, protocol=protocol)

    @staticmethod
    def _node(pod: dict[str, Any]) -> str:
        if not (node := options.node_of(pod)):
            raise errors.BadRequestError(f"pod {pod['metadata']['name']} does not have a host assigned")
        return node


def _agreed(request: ApiRequest, known: tuple[str, ...]) -> str:
    """Return the sub-protocol that client and server know.

    Raises:
        errors.BadRequestError: there is none, or no upgrade to a WebSocket is asked for.
    """
    if not is_upgrade(request.headers):
        other = request.headers.get("upgrade", "")
        if other.lower().startswith("spdy"):
            raise errors.BadRequestError(
                f"unable to upgrade to {other[:32]}: this server speaks WebSockets ({known[0]}): use kubectl 1.31 or newer, "
                "and see whether a proxy on the way refuses WebSockets"
            )
        raise errors.BadRequestError("Upgrade request required")
    offered = offered_protocols(request.headers)
    found = next((protocol for protocol in offered if protocol in known), None)
    if found is None:
        raise errors.BadRequestError(
            f"none of the protocols {', '.join(offered)[:200] or '(none)'} is spoken here: use {' or '.join(known)}"
        )
    return found
