"""Small servers of a fake LAN, as a program of its own, since they run in other network namespaces than the test: see ``lan.py``.

    python lanserver.py tcp:192.168.77.1:8080 tcp:[fd77::1]:8080 dns:192.168.77.1:53

``tcp`` sends ``hello from ADDRESS to PEER`` to whoever connects; ``dns`` answers every question for an A record, over UDP and TCP, with the
address of the fake internet. Prints ``listening`` once all of them do, and runs until it is killed. Standard library only.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from typing import cast

ANSWER = "203.0.113.10"


def make_answer(question: bytes) -> bytes:
    """Return the answer to a DNS question: one A record; for another type no record (RFC 1035 §4.1)."""
    end = 12
    while question[end]:
        end += question[end] + 1
    end += 5
    (kind,) = struct.unpack("!H", question[end - 4 : end - 2])
    is_address = kind == 1
    header = question[:2] + struct.pack("!HHHHH", 0x8180, 1, int(is_address), 0, 0)
    record = struct.pack("!HHHIH", 0xC00C, 1, 1, 60, 4) + socket.inet_aton(ANSWER) if is_address else b""
    return header + question[12:end] + record


class _Datagrams(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        self._transport.sendto(make_answer(data), address)


async def _names(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        (size,) = struct.unpack("!H", await reader.readexactly(2))
        answer = make_answer(await reader.readexactly(size))
        writer.write(struct.pack("!H", len(answer)) + answer)
        await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def _hello(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        own, peer = writer.get_extra_info("sockname")[0], writer.get_extra_info("peername")[0]
        writer.write(f"hello from {own} to {peer}\n".encode())
        await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def serve(sockets: list[str]) -> None:
    """Open all of them, say so, and answer for ever."""
    loop = asyncio.get_running_loop()
    for text in sockets:
        kind, _, rest = text.partition(":")
        address, _, port = rest.rpartition(":")
        address = address.strip("[]")
        await asyncio.start_server(_names if kind == "dns" else _hello, address, int(port))
        if kind == "dns":
            await loop.create_datagram_endpoint(_Datagrams, local_addr=(address, int(port)))
    sys.stdout.write("listening\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1:]))
