"""Record what a real kubectl sends for logs, exec, attach, cp and port-forward: ``python record.py /path/to/kubectl > kubectl-1.32.json``.

A small server that knows one Pod answers as a kube-apiserver does, and writes down every request about that Pod and every message of its
WebSockets. The recordings are the specification for ``controller/apiserver/podstreams`` and ``lattice/machinery/spdy``; run this again with
a newer kubectl to see what has changed.
"""

from __future__ import annotations

import asyncio
import json
import os
import pty
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web

POD = {
    "kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p", "namespace": "default", "uid": "u"},
    "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i", "tty": True, "stdin": True}, {"name": "d", "image": "i"}]},
    "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
}  # fmt: skip
DISCOVERY = {
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
    "/api/v1": {
        "kind": "APIResourceList", "groupVersion": "v1",
        "resources": [{"name": "pods", "singularName": "pod", "namespaced": True, "kind": "Pod", "verbs": ["get"], "shortNames": ["po"]}],
    },
}  # fmt: skip
KEPT = ("Upgrade", "Connection", "Sec-WebSocket-Protocol", "Sec-WebSocket-Version", "Sec-WebSocket-Extensions", "Accept", "Accept-Encoding",
        "X-Stream-Protocol-Version", "Content-Length", "Origin")  # fmt: skip
SUCCESS = json.dumps({"metadata": {}, "status": "Success"}).encode()
EXIT_3 = json.dumps(
    {
        "metadata": {}, "status": "Failure",
        "message": "command terminated with non-zero exit code: exit status 3", "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": "3"}]},
    }
).encode()  # fmt: skip

requests: list[dict[str, Any]] = []


async def answer(request: web.Request) -> web.StreamResponse:
    if request.path in DISCOVERY:
        return web.json_response(DISCOVERY[request.path])
    if request.path.endswith("/pods/p"):
        return web.json_response(POD)
    if not request.path.startswith("/api/v1/namespaces/default/pods/p/"):
        return web.json_response({"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound"}, status=404)
    entry: dict[str, Any] = {
        "method": request.method,
        "path": request.path,
        "query": request.query_string,
        "headers": {name: request.headers[name] for name in KEPT if name in request.headers},
    }
    requests.append(entry)
    if request.path.endswith("/log"):
        return web.Response(text="a line\n")
    offered = [each.strip() for each in request.headers.get("Sec-WebSocket-Protocol", "").split(",")]
    socket = web.WebSocketResponse(protocols=offered[:1])
    await socket.prepare(request)
    frames: list[list[str]] = []
    entry["frames"] = frames
    forward = request.path.endswith("/portforward")
    if not forward:
        for channel in range(1, 4):
            if channel != 3:
                await socket.send_bytes(bytes((channel,)) + b"out\n")
                frames.append(["server", (bytes((channel,)) + b"out\n").hex()])

    async def read() -> None:
        async for message in socket:
            if message.type is WSMsgType.BINARY:
                frames.append(["client", message.data.hex()])
            else:
                frames.append(["client-text", str(message.data)])

    reading = asyncio.ensure_future(read())
    await asyncio.wait({reading}, timeout=2.0 if forward else 1.0)
    if not forward and not socket.closed:
        end = EXIT_3 if "command=fail" in request.query_string else SUCCESS
        await socket.send_bytes(b"\x03" + end)
        frames.append(["server", (b"\x03" + end).hex()])
    await socket.close()
    await reading
    entry["close"] = socket.close_code
    return socket


def run(kubectl: str, kubeconfig: Path, command: str, *, stdin: bytes = b"", tty: bool = False) -> int:
    argv = ["bash", "-c", f"{kubectl} --kubeconfig {kubeconfig} --cache-dir {kubeconfig.parent}/cache {command}"]
    if not tty:
        return subprocess.run(argv, input=stdin, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=20).returncode
    parent, child = pty.openpty()
    os.write(parent, stdin)
    done = subprocess.run(argv, stdin=child, stdout=child, stderr=child, timeout=20).returncode
    os.close(parent)
    os.close(child)
    return done


COMMANDS: tuple[tuple[str, bytes, bool], ...] = (
    ("logs p -c c", b"", False),
    ("logs p -c d -f --tail 5 --since 10s --timestamps --limit-bytes 100", b"", False),
    ("logs p -c d --previous --since-time 2026-01-01T00:00:00Z", b"", False),
    ("logs p --all-containers --prefix", b"", False),
    ("exec p -c c -- echo hello", b"", False),
    ("exec p -c d -- fail 3", b"", False),
    ("exec -i p -c c -- cat", b"input", False),
    ("exec -it p -c c -- sh", b"typed\n", True),
    ("attach p -c d", b"", False),
    ("attach -it p -c c", b"typed\n", True),
    ("cp {dir}/file p:/tmp/file -c c", b"", False),
    ("cp p:/tmp/file {dir}/copy -c c", b"", False),
)


async def main(kubectl: str) -> None:
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    recorded = []
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "file").write_text("contents\n")
        config = directory / "config"
        config.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}], "users": [{"name": "u", "user": {}}],
        }))  # fmt: skip
        for command, stdin, tty in COMMANDS:
            requests.clear()
            code = await asyncio.to_thread(run, kubectl, config, command.format(dir=name), stdin=stdin, tty=tty)
            recorded.append({"command": f"kubectl {command}", "exit": code, "requests": json.loads(json.dumps(requests))})
        requests.clear()
        command = "port-forward p 18976:80"
        process = await asyncio.create_subprocess_shell(
            f"exec {kubectl} --kubeconfig {config} --cache-dir {name}/cache {command}", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert process.stdout is not None
        await process.stdout.readline()
        _reader, writer = await asyncio.open_connection("127.0.0.1", 18976)
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        await asyncio.wait({asyncio.ensure_future(process.wait())}, timeout=4)
        writer.close()
        if process.returncode is None:
            process.terminate()
            await process.wait()
        recorded.append({"command": f"kubectl {command}", "exit": process.returncode, "requests": json.loads(json.dumps(requests))})
    await runner.cleanup()
    json.dump(recorded, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
