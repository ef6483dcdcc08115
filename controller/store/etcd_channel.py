"""Calls to etcd: one channel for each endpoint, a deadline on each call, another try where that is safe.

Used by ``etcd.py`` and ``etcd_watch.py``. A call goes to one endpoint, as long as that is connected and answers; then to the next.

* Nothing is sent before a connection stands, so "cannot be reached" is told apart from "sent, no answer": only the latter leaves a write
  in doubt.
* Reads are tried again until their deadline, writes never: the caller reads first.
* etcd that hangs (not dead, not answering) is noticed by keepalive pings within about 15 s; ``ping_timeout`` is what makes gRPC keep that
  promise. Reconnects are tried every 0.1 to 1 s; gRPC's own default grows to minutes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio

from controller.store import base, etcd_errors, etcd_messages
from lattice.api.errors import UsageError
from lattice.machinery.clock import Clock

_DEADLINE_S: Final = 5.0
_CLOSE_S: Final = 6.0
"""Above the deadline, so that closing finishes what was accepted."""
_POLL_S: Final = 0.02
_RETRY_S: Final = 0.05
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.keepalive_time_ms", 10_000),  # etcd refuses more than one ping in 5 s
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.enable_http_proxy", 0),  # a proxy for the web is not one for the store
)
_PATHS: Final = {
    "Range": "/etcdserverpb.KV/Range",
    "Txn": "/etcdserverpb.KV/Txn",
    "Compaction": "/etcdserverpb.KV/Compact",
    "LeaseGrant": "/etcdserverpb.Lease/LeaseGrant",
    "Status": "/etcdserverpb.Maintenance/Status",
    "Alarm": "/etcdserverpb.Maintenance/Alarm",
    "Defragment": "/etcdserverpb.Maintenance/Defragment",
    "Authenticate": "/etcdserverpb.Auth/Authenticate",
}
_WATCH_PATH: Final = "/etcdserverpb.Watch/Watch"
_HAS_LEADER: Final = ("hasleader", "true")  # a member that lost its cluster ends the call instead of keeping it


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcdConfig:
    """Where etcd is and how to be let in."""

    endpoints: tuple[str, ...]
    """``host:port``, ``http://host:port`` or ``https://host:port``."""
    prefix: str = "/lattice/"
    """Everything of this cluster is kept below it; ends with a slash."""
    ca: Path | None = None
    """Certificate authority of etcd; given, the connection uses TLS."""
    cert: Path | None = None
    """Client certificate (chain); given, the connection uses TLS."""
    key: Path | None = None
    """Key of the client certificate."""
    username: str | None = None
    """User, where etcd asks for one."""
    password: str | None = None
    """Password of the user."""


class EtcdChannel:
    """The calls. Make it inside the event loop that uses it."""

    def __init__(self, config: EtcdConfig, clock: Clock) -> None:
        if not config.endpoints:
            raise UsageError("etcd needs at least one endpoint, such as 127.0.0.1:2379")
        self._config = config
        self._clock = clock
        self._token: str | None = None
        self._closed = False
        self._busy = 0
        self._streams: set[Any] = set()
        credentials = _credentials(config)
        self._channels = [_open(endpoint, credentials) for endpoint in config.endpoints]
        self._stubs = [{name: _stub(channel, name) for name in _PATHS} for channel in self._channels]
        self._watches = [
            channel.stream_stream(
                _WATCH_PATH,
                request_serializer=etcd_messages.WatchRequest.SerializeToString,
                response_deserializer=etcd_messages.WatchResponse.FromString,
            )
            for channel in self._channels
        ]
        self._chosen = 0

    @property
    def closed(self) -> bool:
        """Return whether it was closed."""
        return self._closed

    @property
    def members(self) -> range:
        """Return the indices of the endpoints, for :meth:`call`."""
        return range(len(self._channels))

    async def call(
        self, name: str, request: Any, *, write: bool = False, deadline_s: float = _DEADLINE_S, member: int | None = None
    ) -> Any:
        """Make a unary call and return the answer.

        Args:
            name: of the method, a key of the table above.
            request: the message.
            write: it changes something: never sent twice.
            deadline_s: for all tries together.
            member: index of the endpoint; by default whichever answers.

        Raises:
            base.StoreError: see :func:`controller.store.etcd_errors.translate`.
        """
        with self._counted():
            give_up_at = self._clock.monotonic() + deadline_s
            renewed = False
            while True:
                chosen = await self._ready(give_up_at, member)
                if self._config.username is not None and self._token is None and name != "Authenticate":
                    await self._authenticate()
                left_s = max(0.001, give_up_at - self._clock.monotonic())
                try:
                    return await self._stubs[chosen][name](request, timeout=left_s, metadata=self._metadata())
                except grpc.aio.AioRpcError as error:
                    if etcd_errors.stale_token(error) and not renewed and name != "Authenticate":
                        renewed, self._token = True, None
                        continue
                    failure = etcd_errors.translate(error, what=name, write=write)
                    if etcd_errors.transient(error) or error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                        self._chosen = (chosen + 1) % len(self._channels)
                    again = not write and etcd_errors.transient(error) and self._clock.monotonic() + _RETRY_S < give_up_at
                    if not again:
                        raise failure from error
                except asyncio.CancelledError:
                    self._raise_if_closed(f"the store was closed during {name}")
                    raise
                await self._clock.sleep(_RETRY_S)

    @asynccontextmanager
    async def watching(self, chosen: int, first: Any) -> AsyncGenerator[Any]:
        """Open a watch stream with one endpoint and send the first request.

        It is always cancelled at the end: one that is only dropped stays on the server. It is not cancelled by :meth:`close` before the
        first request is sent: grpc.aio then never ends the write.
        """
        stream: Any = None
        try:
            with self._counted():
                stream = self._watches[chosen](metadata=self._metadata())
                await stream.write(first)
            self._streams.add(stream)
            if self._closed:
                raise base.StoreUnavailableError("the store was closed")
            yield stream
        finally:
            if stream is not None:
                self._streams.discard(stream)
                stream.cancel()

    async def ready(self, deadline_s: float = _DEADLINE_S) -> int:
        """Wait for a connection and a token; return the index of the endpoint.

        Raises:
            base.StoreUnavailableError: there is none in time.
        """
        chosen = await self._ready(self._clock.monotonic() + deadline_s, None)
        if self._config.username is not None and self._token is None:
            await self._authenticate()
        return chosen

    def failed(self, chosen: int, *, token: bool = False) -> None:
        """Prefer another endpoint than this one from now on; ``token``: it was the token that failed."""
        if token:
            self._token = None
        else:
            self._chosen = (chosen + 1) % len(self._channels)

    async def close(self) -> None:
        """Finish the calls under way, end the watches, disconnect. Idempotent."""
        if self._closed:
            return
        self._closed = True
        for stream in tuple(self._streams):
            stream.cancel()
        give_up_at = self._clock.monotonic() + _CLOSE_S
        while self._busy and self._clock.monotonic() < give_up_at:
            await self._clock.sleep(_POLL_S)
        for channel in self._channels:
            await channel.close()

    def _raise_if_closed(self, message: str) -> None:
        """Raise if it was our closing that cancelled a call, and not the task's owner."""
        task = asyncio.current_task()
        if self._closed and task is not None and not task.cancelling():
            raise base.OutcomeUnknownError(message)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        if self._closed:
            raise base.StoreUnavailableError("the store was closed")
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1

    async def _ready(self, give_up_at: float, member: int | None) -> int:
        """Return the endpoint to use: the chosen one if it is connected, else the first that is."""
        while True:
            candidates = [member] if member is not None else [(self._chosen + i) % len(self._channels) for i in self.members]
            for index in candidates:
                # Asking makes the channel connect; those behind a connected one are left alone.
                if self._channels[index].get_state(try_to_connect=True) is grpc.ChannelConnectivity.READY:
                    if member is None:
                        self._chosen = index
                    return index
            if self._clock.monotonic() >= give_up_at or self._closed:
                where = ", ".join(self._config.endpoints)
                raise base.StoreUnavailableError(f"cannot reach etcd at {where}; check that it runs, the address and the certificates")
            await self._clock.sleep(_POLL_S)

    async def _authenticate(self) -> None:
        request = etcd_messages.AuthenticateRequest(name=self._config.username, password=self._config.password or "")
        self._token = (await self.call("Authenticate", request)).token

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return (_HAS_LEADER,) if self._token is None else (_HAS_LEADER, ("token", self._token))


def _credentials(config: EtcdConfig) -> grpc.ChannelCredentials | None:
    if config.ca is None and config.cert is None and not any(e.startswith("https://") for e in config.endpoints):
        return None
    if (config.cert is None) != (config.key is None):
        raise UsageError("a client certificate for etcd needs both --etcd-cert and --etcd-key")
    try:
        ca, cert, key = (path.read_bytes() if path else None for path in (config.ca, config.cert, config.key))
    except OSError as error:
        raise UsageError(f"cannot read a certificate for etcd: {error}") from error
    return grpc.ssl_channel_credentials(root_certificates=ca, private_key=key, certificate_chain=cert)


def _open(endpoint: str, credentials: grpc.ChannelCredentials | None) -> Any:
    scheme, _, rest = endpoint.rpartition("://")
    target = rest.rstrip("/")
    if not target.rpartition(":")[2].isdigit():
        target += ":2379"
    if credentials is None or scheme == "http":
        return grpc.aio.insecure_channel(target, options=_OPTIONS)
    return grpc.aio.secure_channel(target, credentials, options=_OPTIONS)


def _stub(channel: Any, name: str) -> Any:
    return channel.unary_unary(
        _PATHS[name],
        request_serializer=etcd_messages.MESSAGES[f"{name}Request"].SerializeToString,
        response_deserializer=etcd_messages.MESSAGES[f"{name}Response"].FromString,
    )
