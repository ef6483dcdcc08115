"""SPDY/3.1 frames: bytes to values and back. Pure but for the state of the two header compressors; no I/O, no tasks.

``Reader.feed(data)`` yields the frames that are whole; ``Writer`` returns the bytes of frames. Of the protocol this has what Kubernetes'
streams use: SYN_STREAM, SYN_REPLY, RST_STREAM, PING, GOAWAY, HEADERS and data. SETTINGS and WINDOW_UPDATE are read and left out, for the
library in kubectl has no flow control: the WebSocket below has. The specification:
https://www.chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1/

Everything is bounded: the size of a frame, of the headers of a stream when decompressed, and their number. What breaks a bound or the
protocol is a :class:`SpdyError`; the reader cannot be used after it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from lattice.api.errors import LatticeError
from lattice.machinery.spdy.dictionary import DICTIONARY

MAX_FRAME_BYTES: Final = 256 * 1024
"""kubectl copies 32 KiB at a time."""
MAX_HEADER_BYTES: Final = 16 * 1024
_MAX_HEADERS: Final = 64
_HEAD_BYTES: Final = 8
_VERSION: Final = 3
_CONTROL: Final = 0x8000
FIN: Final = 1
_STREAM_MASK: Final = 0x7FFFFFFF

_SYN_STREAM: Final = 1
_SYN_REPLY: Final = 2
_RST_STREAM: Final = 3
_SETTINGS: Final = 4
_PING: Final = 6
_GOAWAY: Final = 7
_HEADERS: Final = 8
_WINDOW_UPDATE: Final = 9

PROTOCOL_ERROR: Final = 1
REFUSED_STREAM: Final = 3
CANCEL: Final = 5


class SpdyError(LatticeError):
    """The peer does not keep to the protocol, or to our bounds."""


@dataclass(frozen=True, slots=True)
class SynStream:
    """A stream begins. ``fin``: the sender sends nothing on it."""

    stream: int
    headers: Mapping[str, str]
    fin: bool = False


@dataclass(frozen=True, slots=True)
class SynReply:
    """The other side takes a stream."""

    stream: int
    headers: Mapping[str, str] = field(default_factory=dict)
    fin: bool = False


@dataclass(frozen=True, slots=True)
class Headers:
    """Further headers of a stream."""

    stream: int
    headers: Mapping[str, str]
    fin: bool = False


@dataclass(frozen=True, slots=True)
class Data:
    """Bytes on a stream. ``fin``: the last ones."""

    stream: int
    data: bytes
    fin: bool = False


@dataclass(frozen=True, slots=True)
class Reset:
    """A stream ends at once."""

    stream: int
    status: int


@dataclass(frozen=True, slots=True)
class Ping:
    """Asks for the same number back; the side that did not send it first answers."""

    number: int


@dataclass(frozen=True, slots=True)
class GoAway:
    """The sender takes no more streams."""

    last_stream: int


Frame: TypeAlias = SynStream | SynReply | Headers | Data | Reset | Ping | GoAway


class Reader:
    """Bytes to frames."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that are whole now.

        Raises:
            SpdyError: what came is not SPDY/3.1, or too large.
        """
        self._rest += data
        while len(self._rest) >= _HEAD_BYTES:
            size = int.from_bytes(self._rest[5:8], "big")
            if size > MAX_FRAME_BYTES:
                raise SpdyError(f"a frame has {size} bytes; at most {MAX_FRAME_BYTES} are taken")
            if len(self._rest) < _HEAD_BYTES + size:
                return
            head, payload = bytes(self._rest[:_HEAD_BYTES]), bytes(self._rest[_HEAD_BYTES : _HEAD_BYTES + size])
            del self._rest[: _HEAD_BYTES + size]
            frame = self._control(head, payload) if head[0] & 0x80 else _data(head, payload)
            if frame is not None:
                yield frame

    def _control(self, head: bytes, payload: bytes) -> Frame | None:
        version, kind, fin = int.from_bytes(head[:2], "big") & ~_CONTROL, int.from_bytes(head[2:4], "big"), bool(head[4] & FIN)
        if version != _VERSION:
            raise SpdyError(f"the frame is of SPDY/{version}; SPDY/{_VERSION} is spoken here")
        match kind:
            case _ if kind == _SYN_STREAM:
                return SynStream(_stream(payload, 10), self._headers(payload[10:]), fin)
            case _ if kind == _SYN_REPLY:
                return SynReply(_stream(payload, 4), self._headers(payload[4:]), fin)
            case _ if kind == _HEADERS:
                return Headers(_stream(payload, 4), self._headers(payload[4:]), fin)
            case _ if kind == _RST_STREAM:
                return Reset(_stream(payload, 8), int.from_bytes(payload[4:8], "big"))
            case _ if kind == _PING:
                return Ping(_number(payload, 4))
            case _ if kind == _GOAWAY:
                return GoAway(_number(payload, 4) & _STREAM_MASK)
            case _ if kind in (_SETTINGS, _WINDOW_UPDATE):
                return None
            case _:
                return None  # unknown control frames are to be left out, says the specification

    def _headers(self, block: bytes) -> dict[str, str]:
        try:
            plain = self._inflate.decompress(block, MAX_HEADER_BYTES + 1)
        except zlib.error as error:
            raise SpdyError(f"the headers cannot be decompressed: {error}") from error
        if len(plain) > MAX_HEADER_BYTES or self._inflate.unconsumed_tail:
            raise SpdyError(f"the headers have over {MAX_HEADER_BYTES} bytes")
        if self._inflate.eof:
            raise SpdyError("the headers' compression ended")
        return _parse_headers(plain)


class Writer:
    """Frames to bytes."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    def write(self, frame: Frame) -> bytes:
        """Return the bytes of a frame. Header blocks depend on those before: send them in this order, and each once."""
        match frame:
            case SynStream(stream, headers, fin):
                return _frame(_SYN_STREAM, fin, stream.to_bytes(4, "big") + bytes(6) + self._block(headers))
            case SynReply(stream, headers, fin):
                return _frame(_SYN_REPLY, fin, stream.to_bytes(4, "big") + self._block(headers))
            case Headers(stream, headers, fin):
                return _frame(_HEADERS, fin, stream.to_bytes(4, "big") + self._block(headers))
            case Data(stream, data, fin):
                return stream.to_bytes(4, "big") + bytes((fin,)) + len(data).to_bytes(3, "big") + data
            case Reset(stream, status):
                return _frame(_RST_STREAM, False, stream.to_bytes(4, "big") + status.to_bytes(4, "big"))
            case Ping(number):
                return _frame(_PING, False, number.to_bytes(4, "big"))
            case GoAway(last):
                return _frame(_GOAWAY, False, last.to_bytes(4, "big") + bytes(4))

    def _block(self, headers: Mapping[str, str]) -> bytes:
        plain = len(headers).to_bytes(4, "big")
        for name, value in headers.items():
            for text in (name.lower().encode(), value.encode()):
                plain += len(text).to_bytes(4, "big") + text
        return self._deflate.compress(plain) + self._deflate.flush(zlib.Z_SYNC_FLUSH)


def _frame(kind: int, fin: bool, payload: bytes) -> bytes:
    return (_CONTROL | _VERSION).to_bytes(2, "big") + kind.to_bytes(2, "big") + bytes((fin,)) + len(payload).to_bytes(3, "big") + payload


def _data(head: bytes, payload: bytes) -> Data:
    stream = int.from_bytes(head[:4], "big")
    if not stream:
        raise SpdyError("data for stream 0, which does not exist")
    return Data(stream, payload, bool(head[4] & FIN))


def _stream(payload: bytes, least_bytes: int) -> int:
    if len(payload) < least_bytes:
        raise SpdyError(f"a control frame has {len(payload)} bytes; its kind has at least {least_bytes}")
    stream = int.from_bytes(payload[:4], "big") & _STREAM_MASK
    if not stream:
        raise SpdyError("a frame is about stream 0, which does not exist")
    return stream


def _number(payload: bytes, least_bytes: int) -> int:
    if len(payload) < least_bytes:
        raise SpdyError(f"a control frame has {len(payload)} bytes; its kind has at least {least_bytes}")
    return int.from_bytes(payload[:4], "big")


def _parse_headers(plain: bytes) -> dict[str, str]:
    position = 0

    def take() -> int:
        nonlocal position
        if position + 4 > len(plain):
            raise SpdyError("the headers end too early")
        position += 4
        return int.from_bytes(plain[position - 4 : position], "big")

    def text() -> str:
        nonlocal position
        size = take()
        if position + size > len(plain):
            raise SpdyError("the headers end too early")
        position += size
        try:
            return plain[position - size : position].decode()
        except UnicodeDecodeError as error:
            raise SpdyError("a header is no text") from error

    count = take()
    if count > _MAX_HEADERS:
        raise SpdyError(f"a stream has {count} headers; at most {_MAX_HEADERS} are taken")
    found = {}
    for _ in range(count):
        name = text().lower()
        found[name] = text()
    return found
