"""A client of ``grpc.health.v1.Health/Check``, small enough for the agent: HTTP/2 by the library ``h2``, three protobuf fields by hand.

Called by ``checks.py``. One call is one connection, as a kubelet makes it. The agent has no gRPC library in its process: that one alone
would take a third of its memory.

The protocol: "gRPC over HTTP2" (PROTOCOL-HTTP2.md of gRPC) and "GRPC Health Checking Protocol". A request is
``HealthCheckRequest{1: service}``, an answer ``HealthCheckResponse{1: status}``, each behind five bytes: not compressed, length.
"""

from __future__ import annotations

import asyncio
import struct
from contextlib import suppress
from typing import Final

import h2.config
import h2.connection
import h2.events
import h2.exceptions

SERVING: Final = "SERVING"
_STATUSES: Final = {0: "UNKNOWN", 1: SERVING, 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
_MAX_ANSWER_BYTES: Final = 64 * 1024
_CHUNK_BYTES: Final = 16 * 1024
_CODES: Final = {"5": "NOT_FOUND", "12": "UNIMPLEMENTED", "14": "UNAVAILABLE"}


async def check(host: str, port: int, service: str) -> str:
    """Return the status of a service: ``SERVING``, ``NOT_SERVING``, …, or the name of the call's own failure.

    Raises:
        OSError: nobody answers.
        ValueError: what answers does not speak gRPC.
    """
    reader, writer = await asyncio.open_connection(host, port)
    try:
        return await _call(reader, writer, f"{host}:{port}", service)
    except h2.exceptions.ProtocolError as error:
        raise ValueError(f"the server on port {port} does not speak gRPC: {error}") from error
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def _call(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, authority: str, service: str) -> str:
    connection = h2.connection.H2Connection(config=h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
    connection.initiate_connection()
    headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/grpc.health.v1.Health/Check"),
        (":authority", authority),
        ("content-type", "application/grpc"),
        ("user-agent", "lattice-probe/1"),
        ("te", "trailers"),
    ]
    connection.send_headers(1, headers)
    connection.send_data(1, frame(encode_request(service)), end_stream=True)
    writer.write(connection.data_to_send())
    await writer.drain()
    body, seen = bytearray(), dict[str, str]()
    while True:
        data = await reader.read(_CHUNK_BYTES)
        if not data:
            raise ConnectionResetError("the server closed the connection")
        for event in connection.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
                seen.update({str(name): str(value) for name, value in event.headers or ()})
            elif isinstance(event, h2.events.DataReceived):
                body += event.data or b""
                connection.acknowledge_received_data(event.flow_controlled_length or 0, 1)
                if len(body) > _MAX_ANSWER_BYTES:
                    raise ValueError("the answer is longer than a health check's can be")
            elif isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated):
                raise ConnectionResetError("the server refused the call")
            if isinstance(event, h2.events.StreamEnded):
                return outcome(seen, bytes(body))
        if pending := connection.data_to_send():
            writer.write(pending)
            await writer.drain()


def outcome(headers: dict[str, str], body: bytes) -> str:
    """Return what an answer says.

    Raises:
        ValueError: it is no gRPC answer.
    """
    code = headers.get("grpc-status", "") if headers.get(":status") == "200" else ""
    if code == "0":
        return _STATUSES.get(decode_status(unframe(body)), "UNKNOWN")
    if code:
        return _CODES.get(code, f"gRPC status {code}")
    raise ValueError(f"the server answered with HTTP status {headers.get(':status', 'none')}, not with gRPC")


def encode_request(service: str) -> bytes:
    """Return a ``HealthCheckRequest``."""
    text = service.encode()
    return b"\x0a" + _varint(len(text)) + text if text else b""


def frame(message: bytes) -> bytes:
    """Return a message as gRPC sends it."""
    return struct.pack(">BI", 0, len(message)) + message


def unframe(body: bytes) -> bytes:
    """Return the message of a body.

    Raises:
        ValueError: it is compressed, or cut.
    """
    if len(body) < 5 or body[0] != 0:
        raise ValueError("the answer is not a gRPC message")
    (size,) = struct.unpack(">I", body[1:5])
    if len(body) < 5 + size:
        raise ValueError("the answer is cut")
    return body[5 : 5 + size]


def decode_status(message: bytes) -> int:
    """Return field 1 of a ``HealthCheckResponse``; absent: 0.

    Raises:
        ValueError: it is not one.
    """
    if not message:
        return 0
    if message[0] != 0x08 or len(message) < 2 or message[1] > 0x7F:
        raise ValueError("the answer is not a HealthCheckResponse")
    return message[1]


def _varint(number: int) -> bytes:
    result = bytearray()
    while number > 0x7F:
        result.append(number & 0x7F | 0x80)
        number >>= 7
    result.append(number)
    return bytes(result)
