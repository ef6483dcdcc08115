"""``nodes/<name>/line`` and ``nodes/<name>/streams``: the sockets that agents open. See ``lattice.api.line`` for what they carry.

Authorization has judged already that the agent asks for its own node. The Node must exist: a machine that was removed gets no line.
"""

from __future__ import annotations

from typing import Final

from controller.apiserver.peers import Peers
from controller.apiserver.registry import Registry
from controller.apiserver.request import ApiRequest, ApiUpgrade, is_upgrade
from controller.relay.desk import StreamDesk
from controller.relay.lines import HEARTBEAT_S, NodeLines
from lattice.api import errors, node
from lattice.client.sockets import LINE_MESSAGE_BYTES, Socket

LINE: Final = "line"
STREAMS: Final = "streams"


class NodeSockets:
    """Answers the requests of agents for sockets."""

    def __init__(self, registry: Registry, lines: NodeLines, desk: StreamDesk) -> None:
        self._registry = registry
        self._lines = lines
        self._desk = desk
        self.peers: Peers | None = None
        """Set where several processes serve one store."""

    async def answer(self, request: ApiRequest, name: str, subresource: str) -> ApiUpgrade:
        """Return the socket.

        Raises:
            errors.ApiError: there is no such Node, or the request asks for no upgrade.
        """
        nodes = self._registry.table.of(node.Node)
        await self._registry.get(nodes, "", name)
        if not is_upgrade(request.headers):
            raise errors.BadRequestError(f"nodes/{subresource} is a WebSocket for the node's agent: ask for an upgrade")
        if subresource == LINE:

            async def hold(socket: Socket) -> None:
                await self._lines.hold(name, socket)

            return ApiUpgrade(hold, max_message_bytes=LINE_MESSAGE_BYTES, heartbeat_s=HEARTBEAT_S)
        stream_id = request.query.get("id", "")
        if stream_id and not self._desk.expects(name, stream_id):
            if self.peers is not None:
                return await self.peers.join(name, stream_id)
            raise errors.NotFoundError("nobody waits for this stream (any more)")

        async def take(socket: Socket) -> None:
            await self._desk.take(name, stream_id, socket)

        return ApiUpgrade(take)
