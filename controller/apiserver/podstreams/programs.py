"""exec and attach: a client's WebSocket joined to a node's stream.

Both speak the channels of ``v5.channel.k8s.io``, so messages pass as they came; what a client may not send is left out.

Kubernetes' protocol: https://github.com/kubernetes/enhancements/tree/master/keps/sig-api-machinery/4006-transition-spdy-to-websockets
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

import orjson

from controller.relay.desk import NodeStream
from lattice.api import errors, line
from lattice.client.sockets import Socket
from lattice.machinery.clock import Clock
from lattice.machinery.tasks import TimeLimit

logger = logging.getLogger(__name__)

PROTOCOLS: Final = ("v5.channel.k8s.io", "v4.channel.k8s.io")
"""v4 has no message that closes a channel: a client of it cannot end a program's input but by going away."""
IDLE_S: Final = 4 * 3600.0
"""Without a byte in either direction: kubelet's limit."""


class _EndError(Exception):
    """The client has gone."""


async def join(client: Socket, stream: NodeStream, clock: Clock, *, stdin: bool, first_channel: int) -> None:
    """Pass messages both ways until the node says how it ended, or the client goes away."""
    try:
        async with TimeLimit(clock, IDLE_S) as limit:
            await client.send(bytes((first_channel,)))  # tells that it has begun, as kube-apiserver does
            async with asyncio.TaskGroup() as group:
                upward = group.create_task(_up(client, stream, limit, stdin=stdin))
                await _down(client, stream, limit)
                upward.cancel()
    except* _EndError:
        logger.debug("a client has gone", extra={"node": stream.node})
    except* TimeoutError:
        await _say(client, errors.TimeoutStatusError(f"the stream was idle for {IDLE_S / 3600:g} hours"))
    except* errors.UnavailableError as group_error:
        logger.debug("a stream broke", extra={"node": stream.node, "error": str(group_error.exceptions[0])[:200]})
    finally:
        await stream.close()


async def _up(client: Socket, stream: NodeStream, limit: TimeLimit, *, stdin: bool) -> None:
    while (message := await client.receive()) is not None:
        limit.touch()
        data = message.encode(errors="surrogateescape") if isinstance(message, str) else message
        if not data:
            continue
        closes = data[0] == line.CLOSE and data[1:2] == bytes((line.STDIN,))
        if data[0] == line.RESIZE or (stdin and (data[0] == line.STDIN or closes)):
            try:
                await stream.send_raw(data)
            except errors.UnavailableError:
                return  # the other direction says why
    raise _EndError


async def _down(client: Socket, stream: NodeStream, limit: TimeLimit) -> None:
    try:
        while (message := await stream.receive()) is not None:
            limit.touch()
            if message[0] in (line.STDOUT, line.STDERR):
                await client.send(message)
            elif message[0] == line.STATUS:
                await client.send(message)
                return
    except errors.UnavailableError as error:
        logger.debug("a node's stream broke", extra={"node": stream.node, "error": str(error)[:200]})
    await _say(client, errors.InternalError(f"the stream to the node {stream.node} broke; how the command ended is not known"))


async def _say(client: Socket, error: errors.ApiError) -> None:
    try:
        await client.send(bytes((line.STATUS,)) + orjson.dumps(error.to_status()))
    except errors.UnavailableError:
        logger.debug("nobody was there to be told that a stream broke")
