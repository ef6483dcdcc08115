"""gRPC health checks: against a real gRPC server, against servers of other protocols, and the two messages byte by byte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
import pytest

from nodeagent.probes import grpchealth

ANSWERS = {b"": b"\x08\x01", b"\x0a\x04down": b"\x08\x02", b"\x0a\x07unknown": b""}
"""Request to answer: SERVING, NOT_SERVING, and the default value that is not sent."""


class Health(grpc.GenericRpcHandler):
    """Answers Check as a health server does; an unlisted service is NOT_FOUND."""

    def service(self, call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        if call_details.method != "/grpc.health.v1.Health/Check":
            return None

        async def check(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
            if request not in ANSWERS:
                await context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
            return ANSWERS[request]

        return grpc.unary_unary_rpc_method_handler(check)


@pytest.fixture
async def port() -> AsyncIterator[int]:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Health(),))
    number = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield number
    await server.stop(None)


@pytest.mark.parametrize(
    ("service", "expected"), [("", "SERVING"), ("down", "NOT_SERVING"), ("unknown", "UNKNOWN"), ("absent", "NOT_FOUND")]
)
async def test_a_grpc_server_is_asked_for_its_health(port: int, service: str, expected: str) -> None:
    assert await grpchealth.check("127.0.0.1", port, service) == expected


async def serve(answer: bytes) -> tuple[asyncio.Server, int]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(64)
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", b"\0" * 64, b"SSH-2.0-x\r\n"])
async def test_what_does_not_speak_grpc_is_said_to(answer: bytes) -> None:
    server, number = await serve(answer)
    async with server:
        with pytest.raises((ValueError, OSError)):
            await grpchealth.check("127.0.0.1", number, "")


def test_messages_are_those_of_the_protocol() -> None:
    assert grpchealth.frame(grpchealth.encode_request("ab")) == b"\0\0\0\0\x04\x0a\x02ab"
    assert grpchealth.encode_request("x" * 200)[:3] == b"\x0a\xc8\x01"
    assert grpchealth.outcome({":status": "200", "grpc-status": "0"}, b"\0\0\0\0\x02\x08\x01") == "SERVING"


@pytest.mark.parametrize(
    "call",
    [
        lambda: grpchealth.outcome({":status": "404", "grpc-status": "0"}, b"\0\0\0\0\x02\x08\x01"),
        lambda: grpchealth.unframe(b"\1\0\0\0\x02\x08\x01"),
        lambda: grpchealth.unframe(b"\0\0\0\0\x09\x08\x01"),
        lambda: grpchealth.decode_status(b"\x12\x01"),
    ],
)
def test_broken_answers_are_refused(call: Callable[[], Awaitable[str] | str]) -> None:
    with pytest.raises(ValueError, match=r"."):
        call()
