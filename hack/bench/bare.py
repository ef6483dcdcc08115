"""The limit of the HTTP stack: a server that answers a constant of an object's size over TLS, and does nothing else.

    python hack/bench/bare.py PORT CERTIFICATE KEY

`wire.py` measures it before and after each store: the ratio to it is what two runs can be compared by.
"""

import asyncio
import ssl
import sys

import uvloop
from aiohttp import web

ANSWER = b'{"x":"' + b"x" * 1000 + b'"}'


async def answer(request: web.BaseRequest) -> web.Response:
    await request.read()
    return web.Response(body=ANSWER, content_type="application/json")


async def main(port: int, certificate: str, key: str) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    runner = web.ServerRunner(web.Server(answer, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
