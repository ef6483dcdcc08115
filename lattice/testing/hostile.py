"""A reverse proxy that lies: it stands between a real agent and a real API server, and answers as broken or hostile servers do.

    async with HostileProxy(server_url, ssl_context=..., certificate=...) as proxy:
        ...                                  # the agent talks to proxy.url, and hears the truth
        await proxy.lie(BEHAVIOURS["an empty list"])

A behaviour is a function of the proxy and the request. It gets every request of the agent while it is on, or only its watch of the
desired state. What it does not answer itself, it passes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, Self

import aiohttp
import orjson
from aiohttp import web

Behaviour = Callable[["HostileProxy", web.Request], Awaitable[web.StreamResponse]]
_HOP_BY_HOP: Final = frozenset({"connection", "transfer-encoding", "content-length", "keep-alive", "host", "content-encoding"})


class HostileProxy:
    """See the module's docstring.

    Args:
        upstream: address of the real server.
        client_context: trusts the real server.
        server_context: the certificate that agents see.
    """

    def __init__(self, upstream: str, *, client_context: ssl.SSLContext, server_context: ssl.SSLContext) -> None:
        self._upstream = upstream
        self._client_context = client_context
        self._server_context = server_context
        self._behaviour: Behaviour | None = None
        self._open: set[asyncio.Transport] = set()
        self.broken = asyncio.Event()
        """Set, and replaced, when connections are broken: what holds a stream open waits for it."""
        self.lies = 0
        """Requests that a behaviour has answered, or is answering."""
        self.lied_about: set[str] = set()
        """Methods and last parts of the paths of the requests that were answered so."""
        self.truths = 0
        """Snapshots of the desired state that were passed on whole."""
        self.snapshot: list[dict[str, Any]] = []
        """Events of the last true snapshot, its bookmark last: material for lies."""
        self.port = 0

    @property
    def url(self) -> str:
        """Return the address for the agent."""
        return f"https://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._client_context, limit=0),
            auto_decompress=True,
            timeout=aiohttp.ClientTimeout(total=None),
        )
        app = web.Application(client_max_size=2**26)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._server_context)
        await site.start()
        server = site._server  # aiohttp has no other way to tell the port
        assert isinstance(server, asyncio.Server)
        self.port = server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_error: object) -> None:
        self.cut()
        await self._runner.cleanup()
        await self._session.close()

    def set(self, behaviour: Behaviour | None) -> None:
        """Answer like this from now on; ``None``: pass everything on. Open streams break."""
        self._behaviour = behaviour
        self.lied_about.clear()
        self.cut()

    def cut(self) -> None:
        """Break every open connection."""
        self.broken.set()
        self.broken = asyncio.Event()
        for transport in self._open:
            transport.abort()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        transport = request.transport
        if transport is None:
            return web.Response(status=500)
        self._open.add(transport)
        try:
            if self._behaviour is not None:
                return await self._behaviour(self, request)
            return await self.forward(request)
        except (aiohttp.ClientError, ConnectionError):
            return web.Response(status=502, text="the server is away")
        finally:
            self._open.discard(transport)

    async def forward(
        self, request: web.Request, *, edit: Callable[[dict[str, Any]], Iterable[dict[str, Any]]] | None = None
    ) -> web.StreamResponse:
        """Pass a request on, and the answer back. ``edit`` replaces each event of the watch of the desired state by others."""
        if request.headers.get("upgrade", "").lower() == "websocket":
            return web.Response(status=503, text="no control line through here")
        headers = {key: value for key, value in request.headers.items() if key.lower() not in _HOP_BY_HOP | {"accept-encoding"}}
        watch = is_watch(request)
        async with self._session.request(
            request.method, self._upstream + request.raw_path, data=await request.read(), headers=headers, allow_redirects=False
        ) as answer:
            out = web.StreamResponse(
                status=answer.status, headers={k: v for k, v in answer.headers.items() if k.lower() not in _HOP_BY_HOP}
            )
            if not watch or answer.status != 200:
                whole = await answer.read()
                return web.Response(status=answer.status, headers=out.headers, body=whole)
            await out.prepare(request)
            told: list[dict[str, Any]] | None = []
            async for line in answer.content:
                event = orjson.loads(line)
                for each in (event,) if edit is None else edit(event):
                    await out.write(orjson.dumps(each) + b"\n")
                if told is not None:
                    told.append(event)
                    if is_end(event):
                        self.snapshot, told = told, None
                        self.truths += edit is None
            return out


def is_watch(request: web.Request) -> bool:
    """Return whether a request is the agent's watch of the desired state."""
    return request.path.endswith("/desired")


def is_end(event: dict[str, Any]) -> bool:
    """Return whether an event ends a snapshot."""
    annotations = event["object"].get("metadata", {}).get("annotations") or {}
    return event["type"] == "BOOKMARK" and annotations.get("k8s.io/initial-events-end") == "true"


# Parts of lies


def answered(status: int, body: bytes = b"", *, everything: bool = True, **headers: str) -> Behaviour:
    """Return the behaviour that answers so: to everything, or to the watch alone."""

    async def behaviour(proxy: HostileProxy, request: web.Request) -> web.StreamResponse:
        if not everything and not is_watch(request):
            return await proxy.forward(request)
        proxy.lies += 1
        proxy.lied_about.add(f"{request.method} {request.path.rpartition('/')[2]}")
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        return web.Response(status=status, body=body, headers={"content-type": "application/json", **named})

    return behaviour


def told(script: Callable[[HostileProxy], Iterable[dict[str, Any] | bytes]], *, then: str = "hold", pause_s: float = 0.0) -> Behaviour:
    """Return the behaviour that streams these events to the watch, and passes everything else on.

    Args:
        script: events, or raw bytes, of what the last true snapshot was.
        then: ``hold`` the stream open in silence, ``close`` it, or ``reset`` the connection.
        pause_s: between two pieces.
    """

    async def behaviour(proxy: HostileProxy, request: web.Request) -> web.StreamResponse:
        if not is_watch(request):
            return await proxy.forward(request)
        out = web.StreamResponse(status=200, headers={"content-type": "application/json"})
        await out.prepare(request)
        try:
            for piece in script(proxy):
                await out.write(piece if isinstance(piece, bytes) else orjson.dumps(piece) + b"\n")
                if pause_s:
                    await asyncio.sleep(pause_s)  # noqa: TID251 - real time passes here: a slow server is the subject
        finally:
            proxy.lies += 1  # also where the agent has heard enough and hung up
        if then == "hold":
            await proxy.broken.wait()
        elif then == "reset" and request.transport is not None:
            request.transport.abort()
        return out

    return behaviour


async def _silent(proxy: HostileProxy, _request: web.Request) -> web.StreamResponse:
    """Take every request and answer none."""
    proxy.lies += 1
    await proxy.broken.wait()
    return web.Response(status=500)


async def _hung_up(proxy: HostileProxy, request: web.Request) -> web.StreamResponse:
    """Reset every connection."""
    proxy.lies += 1
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


async def _raw_garbage(proxy: HostileProxy, request: web.Request) -> web.StreamResponse:
    """Answer what is not HTTP."""
    proxy.lies += 1
    if request.transport is not None:
        with contextlib.suppress(RuntimeError):
            request.transport.write(b"\x16\x03\x01 not HTTP at all \xff\xfe\r\n\r\n")
        request.transport.close()
    return web.Response(status=500)


def _pods(proxy: HostileProxy) -> list[dict[str, Any]]:
    return [event["object"] for event in proxy.snapshot if event["object"].get("kind") == "Pod"]


def _others(proxy: HostileProxy) -> list[dict[str, Any]]:
    return [event for event in proxy.snapshot[:-1] if event["object"].get("kind") != "Pod"]


def _end(proxy: HostileProxy, *, newer: int = 0, **annotations: str | None) -> dict[str, Any]:
    """Return the bookmark of the last true snapshot with other annotations (``None``: without it), ``newer`` revisions later."""
    metadata = proxy.snapshot[-1]["object"]["metadata"]
    wanted = {f"lattice.dev/{key.replace('_', '-')}": value for key, value in annotations.items()}
    merged = {**metadata["annotations"], **wanted}
    revision = str(int(metadata["resourceVersion"]) + newer)
    kept = {key: value for key, value in merged.items() if value is not None}
    return {"type": "BOOKMARK", "object": {**proxy.snapshot[-1]["object"], "metadata": {"resourceVersion": revision, "annotations": kept}}}


def _added(*objects: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"type": "ADDED", "object": obj} for obj in objects]


def _with(obj: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {**obj, "metadata": {**obj["metadata"], **metadata}}


def _ending(proxy: HostileProxy) -> list[dict[str, Any]]:
    gone = {"deletionTimestamp": "2020-01-01T00:00:00Z", "deletionGracePeriodSeconds": 0}
    return _added(*(_with(found, **gone) for found in _pods(proxy)))


def _older(proxy: HostileProxy, revision: int) -> list[dict[str, Any]]:
    """Return the Pods as if of an earlier revision, with another image then."""
    found = []
    for one in _pods(proxy):
        containers = [{**container, "image": "an-older-image:1"} for container in one["spec"]["containers"]]
        found.append({**_with(one, resourceVersion=str(revision)), "spec": {**one["spec"], "containers": containers}})
    return _added(*found)


def _tombstones(*uids: str) -> list[dict[str, Any]]:
    spec = {"nodeName": "n1", "podNamespace": "default", "podName": "x"}
    return _added(
        *(
            {
                "apiVersion": "lattice.dev/v1",
                "kind": "Tombstone",
                "metadata": {"name": uid, "uid": f"t-{uid}", "resourceVersion": "1"},
                "spec": {**spec, "podUid": uid},
            }
            for uid in uids
        )
    )


def _other_cluster(proxy: HostileProxy) -> dict[str, Any]:
    return _end(proxy, cluster_id="00000000-0000-4000-8000-000000000000")


_HTML: Final = b"<!doctype html><html><body>Please log in to the guest network</body></html>"
_SERVICE: Final = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "default", "uid": "s"}}

BEHAVIOURS: Final[dict[str, Behaviour]] = {
    # Empty and incomplete
    "an empty list": told(lambda p: [_end(p)]),
    "everything but the Pods": told(lambda p: [*_others(p), _end(p)]),
    "the Pods without what they use": told(lambda p: [*_added(*_pods(p)), _end(p)]),
    "nothing, and silence": told(lambda _p: []),
    "nothing, and the end": told(lambda _p: [], then="close"),
    "half a snapshot": told(lambda p: p.snapshot[: len(p.snapshot) // 2], then="reset"),
    "half a line": told(lambda p: [orjson.dumps(p.snapshot[0])[:40]], then="reset"),
    "a line that is cut, then the end": told(lambda p: [orjson.dumps(p.snapshot[0])[:-9] + b"\n", _end(p)]),
    "a slow drip": told(lambda p: (b"%c" % byte for byte in orjson.dumps(_end(p))[:60]), then="reset", pause_s=0.01),
    # Another store
    "another cluster, empty": told(lambda p: [_other_cluster(p)]),
    "another cluster that ends everything": told(lambda p: [*_ending(p), _other_cluster(p)]),
    "another cluster that buries everything": told(lambda p: [*_tombstones(*(o["metadata"]["uid"] for o in _pods(p))), _other_cluster(p)]),
    "an older epoch that ends everything": told(lambda p: [*_ending(p), _end(p, store_epoch="0")]),
    "an older revision, empty": told(lambda p: [_end(p, newer=-5)]),
    "an older revision of every Pod": told(lambda p: [*_older(p, 1), _end(p, newer=-5)]),
    "older Pods under the right revision": told(lambda p: [*_older(p, 1), _end(p)]),
    "older Pods, live": told(lambda p: [*p.snapshot, *({**event, "type": "MODIFIED"} for event in _older(p, 1))]),
    "no cluster": told(lambda p: [*_ending(p), _end(p, cluster_id=None)]),
    "no epoch": told(lambda p: [*_ending(p), _end(p, store_epoch=None)]),
    "an epoch that is no number": told(lambda p: [*_ending(p), _end(p, store_epoch="latest")]),
    # Absence, said in many ways
    "deleted, live": told(lambda p: [*p.snapshot, *({"type": "DELETED", "object": o} for o in _pods(p))]),
    "deleted within the snapshot": told(lambda p: [*p.snapshot[:-1], *({"type": "DELETED", "object": o} for o in _pods(p)), _end(p)]),
    "the same names with other uids": told(
        lambda p: [*_added(*(_with(o, uid=f"other-{o['metadata']['uid'][:8]}") for o in _pods(p))), _end(p)]
    ),
    "tombstones of strangers": told(lambda p: [*p.snapshot[:-1], *_tombstones("stranger-1", "stranger-2"), _end(p)]),
    # Nonsense
    "wrong kinds": told(lambda p: [*_added({"apiVersion": "v9", "kind": "Frobnicator", "metadata": {"name": "x"}}, _SERVICE), _end(p)]),
    "everything twice": told(lambda p: [*p.snapshot[:-1], *p.snapshot[:-1], _end(p)]),
    "Pods without containers": told(lambda p: [*_added(*({**o, "spec": {"nodeName": "n1", "containers": []}} for o in _pods(p))), _end(p)]),
    "Pods of another node": told(lambda p: [*_added(*({**o, "spec": {**o["spec"], "nodeName": "n2"}} for o in _pods(p))), _end(p)]),
    "Pods without uids": told(lambda p: [*_added(*(_with(o, uid="") for o in _pods(p))), _end(p)]),
    "values of other types": told(lambda p: [*_added(*({**o, "spec": 7, "metadata": []} for o in _pods(p))), _end(p)]),
    "null, a list, a number": told(lambda p: [b"null\n", b"[]\n", b"7\n", _end(p)]),
    "events of unknown types": told(lambda p: [*({**event, "type": "REMOVED"} for event in p.snapshot[:-1]), _end(p)]),
    "an error in the stream": told(lambda _p: [{"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired"}}]),
    "a line without an end": told(lambda _p: (b"x" * 2**20 for _ in range(70)), then="reset"),
    # HTTP
    "404 to everything": answered(404, orjson.dumps({"kind": "Status", "code": 404, "reason": "NotFound", "message": "no"})),
    "404 to the watch": answered(404, b"404 page not found", everything=False),
    "401 to everything": answered(401, b"{}"),
    "403 to everything": answered(403, b"{}"),
    "409 to everything": answered(409, b"{}"),
    "410 to everything": answered(410, b"{}"),
    "422 to everything": answered(422, b"{}"),
    "429 to everything": answered(429, b"{}", Retry_After="1"),
    "500 to everything": answered(500, b"oops"),
    "503 to everything": answered(503, b""),
    "204 to everything": answered(204),
    "a redirect of everything": answered(302, Location="https://127.0.0.1:1/elsewhere"),
    "a login page to everything": answered(200, _HTML),
    "null to everything": answered(200, b"null"),
    "a list to everything": answered(200, b"[]"),
    "an empty object to everything": answered(200, b"{}"),
    "a Pod to everything": answered(
        200, orjson.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {"containers": []}})
    ),
    "a body that is not what its encoding says": answered(200, b"not gzip", Content_Encoding="gzip"),
    "another cluster's name on everything": answered(200, b"{}", Lattice_Cluster_Id="another", Lattice_Store_Epoch="99"),
    "no answer at all": _silent,
    "connections that break": _hung_up,
    "what is not HTTP": _raw_garbage,
}
"""By what the server does. None of them is a reason to stop, restart or remove anything."""
