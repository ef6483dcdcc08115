"""The HTTP transport against a server that misbehaves in every way."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from lattice.api import errors, namespace
from lattice.client import http
from lattice.client.base import Request
from lattice.client.client import Client

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Serve = Callable[[Handler], Awaitable[str]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    runners: list[web.AppRunner] = []

    async def start(handler: Handler) -> str:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", handler)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        runners.append(runner)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        assert site._server is not None
        return f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"

    yield start
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
async def transport_to() -> AsyncIterator[Callable[..., http.HttpTransport]]:
    made: list[http.HttpTransport] = []

    def make(url: str, **options: object) -> http.HttpTransport:
        made.append(http.HttpTransport(url, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for transport in made:
        await transport.close()


async def test_a_request_arrives_as_it_was_built(serve, transport_to) -> None:
    seen: dict[str, object] = {}

    async def handler(request: web.Request) -> web.Response:
        seen.update(
            path=request.raw_path,
            auth=request.headers.get("Authorization"),
            type=request.headers.get("Content-Type"),
            body=await request.read(),
        )
        return web.Response(status=201, body=b"{}", headers={"Lattice-Cluster-Id": "c1"})

    transport = transport_to(await serve(handler), token="secret")
    assert await transport.headers() == {}
    answer = await transport.send(Request("POST", "/api/v1/a%2Fb", query={"labelSelector": "a=b,c in (d)"}, body=b"x"))
    assert (answer.status, answer.body) == (201, b"{}")
    assert seen["path"] == "/api/v1/a%2Fb?labelSelector=a%3Db%2Cc+in+%28d%29"
    assert seen["auth"] == "Bearer secret"
    assert seen["body"] == b"x"
    assert (await transport.headers())["lattice-cluster-id"] == "c1"


async def test_an_error_answer_is_an_answer(serve, transport_to) -> None:
    async def handler(_request: web.Request) -> web.Response:
        return web.json_response({"kind": "Status", "code": 404, "reason": "NotFound", "message": "gone"}, status=404)

    transport = transport_to(await serve(handler))
    assert (await transport.send(Request("GET", "/"))).status == 404
    with pytest.raises(errors.NotFoundError, match="gone"):
        await Client(transport).get(namespace.Namespace, "x")
    with pytest.raises(errors.NotFoundError, match="gone"):
        async for _ in transport.stream(Request("GET", "/", timeout_s=None)):
            pass


async def test_a_redirect_is_not_followed(serve, transport_to) -> None:
    async def handler(_request: web.Request) -> web.Response:
        raise web.HTTPFound("https://elsewhere.example/")

    assert (await transport_to(await serve(handler), token="t").send(Request("GET", "/"))).status == 302


async def test_nobody_listens(transport_to) -> None:
    with socket.socket() as taken:  # bound and not listening
        taken.bind(("127.0.0.1", 0))
        transport = transport_to(f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(errors.UnavailableError, match=r"GET http://127\.0\.0\.1:\d+/x: connection refused: nothing listens there"):
            await transport.send(Request("GET", "/x"))


async def test_a_server_that_hangs_ends_at_the_deadline(serve, transport_to) -> None:
    async def handler(_request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    transport = transport_to(await serve(handler))
    with pytest.raises(errors.UnavailableError, match=r"no answer came within 0\.05 s"):
        await transport.send(Request("GET", "/", timeout_s=0.05))


async def test_a_server_that_closes_without_an_answer(serve, transport_to) -> None:
    async def handler(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    with pytest.raises(errors.UnavailableError, match="POST"):
        await transport_to(await serve(handler)).send(Request("POST", "/"))


async def test_not_http_at_all(transport_to) -> None:
    async def talk(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        for scheme in ("http", "https"):
            with pytest.raises(errors.UnavailableError):
                await transport_to(f"{scheme}://127.0.0.1:{port}").send(Request("GET", "/"))


def _streaming(*pieces: bytes, end: str = "close") -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        for piece in pieces:
            await answer.write(piece)
        if end == "abort":
            assert request.transport is not None
            request.transport.abort()
        return answer

    return handler


async def test_a_stream_comes_line_by_line(serve, transport_to) -> None:
    transport = transport_to(await serve(_streaming(b'{"a"', b":1}\n\n{}\n", b"x" * 300_000 + b"\n")))
    lines = [line async for line in transport.stream(Request("GET", "/", timeout_s=None))]
    assert lines == [b'{"a":1}', b"{}", b"x" * 300_000]


async def test_a_stream_that_ends_inside_of_a_line_is_broken(serve, transport_to) -> None:
    transport = transport_to(await serve(_streaming(b"{}\n{")))
    lines = []
    with pytest.raises(errors.UnavailableError, match="broke off"):  # noqa: PT012 - what came before the break counts
        async for line in transport.stream(Request("GET", "/", timeout_s=None)):
            lines.append(line)  # noqa: PERF401
    assert lines == [b"{}"]


async def test_a_stream_whose_connection_dies_is_broken(serve, transport_to) -> None:
    transport = transport_to(await serve(_streaming(b"{}\n", end="abort")))
    with pytest.raises(errors.UnavailableError):
        async for _ in transport.stream(Request("GET", "/", timeout_s=None)):
            pass


async def test_a_stream_can_be_left_and_the_transport_used_on(serve, transport_to) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        await answer.write(b"{}\n")
        await asyncio.Event().wait()
        return answer

    transport = transport_to(await serve(handler))
    for _ in range(3):
        stream = transport.stream(Request("GET", "/", timeout_s=None))
        assert await anext(stream) == b"{}"
        await stream.aclose()


async def test_a_closed_transport_says_so(transport_to) -> None:
    transport = transport_to("http://127.0.0.1:1")
    await transport.close()
    await transport.close()
    with pytest.raises(errors.UnavailableError, match="closed"):
        await transport.send(Request("GET", "/"))


async def test_a_token_file_is_read_again(serve, transport_to, tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(text=request.headers.get("Authorization", ""))

    file = tmp_path / "token"
    transport = transport_to(await serve(handler), token_file=file)
    with pytest.raises(errors.UsageError, match="token file"):
        await transport.send(Request("GET", "/"))
    for number in range(2):
        replacement = tmp_path / f"new{number}"
        replacement.write_text(f"t{number}\n")
        replacement.replace(file)
        assert (await transport.send(Request("GET", "/"))).body == f"Bearer t{number}".encode()
    file.unlink()
    assert (await transport.send(Request("GET", "/"))).body == b"Bearer t1"


@pytest.mark.parametrize("server", ["", "127.0.0.1:7443", "ftp://x", "https://", "https://x:port", "http://[::1"])
def test_what_is_not_an_address_is_refused(server: str) -> None:
    with pytest.raises(errors.UsageError, match="https://HOST:PORT"):
        http.HttpTransport(server)


def test_a_token_is_not_sent_in_the_clear_to_another_machine() -> None:
    with pytest.raises(errors.UsageError, match="not encrypted"):
        http.HttpTransport("http://192.0.2.1:80", token="t")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"ca_data": b"no pem"}, "authority"),
        ({"client_cert_data": b"x"}, "needs its key"),
        ({"client_cert_data": b"x", "client_key_data": b"y"}, "client certificate"),
    ],
)
def test_unreadable_certificates_are_refused(options, sentence: str) -> None:
    with pytest.raises(errors.UsageError, match=sentence):
        http.HttpTransport("https://127.0.0.1:1", **options)


@given(st.binary().map(lambda data: data.replace(b"\n", b"")).flatmap(lambda _: st.lists(st.binary(max_size=20))), st.data())
def test_lines_do_not_depend_on_where_the_chunks_are_cut(lines: list[bytes], data: st.DataObject) -> None:
    lines = [line.replace(b"\n", b"") for line in lines]
    rest = b"".join(line + b"\n" for line in lines)
    chunks = []
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        chunks.append(rest[:size])
        rest = rest[size:]

    async def stream() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    async def collect() -> list[bytes]:
        return [line async for line in http.split_lines(stream())]

    assert asyncio.run(collect()) == [line for line in lines if line]


async def test_a_line_without_end_is_given_up() -> None:
    async def stream() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 10

    with pytest.raises(errors.UnavailableError, match="over 100 bytes"):
        async for _ in http.split_lines(stream(), max_line_bytes=100):
            pass


@pytest.mark.parametrize("body", [b"<html>Please log in</html>", b"null", b"[]", b"7", b"", b'{"items": 7}', b'{"metadata": []}'])
async def test_what_is_no_answer_of_an_api_server_is_no_answer(serve: Serve, body: bytes) -> None:
    async def portal(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, content_type="application/json")

    client = Client(http.HttpTransport(await serve(portal)))
    made = namespace.Namespace.model_validate({"metadata": {"name": "a"}})
    calls = [client.list(namespace.Namespace)]
    if body != b'{"items": 7}':
        calls += [client.get(namespace.Namespace, "a"), client.create(made), client.patch(namespace.Namespace, "a", None, {})]  # type: ignore[list-item]
    for call in calls:
        with pytest.raises(errors.UnavailableError, match="no Namespace"):
            await call
    await client.close()
