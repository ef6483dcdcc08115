"""A private image registry for tests: one image, for those who know the password. HTTP, which engines accept on 127.0.0.1.

Source: github.com/opencontainers/distribution-spec, pulls only; Basic authentication.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from typing import Any, Self

from aiohttp import web

from lattice.testing.processes import free_port

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYER = "application/vnd.docker.image.rootfs.diff.tar"


class PrivateRegistry:
    """Serves ``127.0.0.1:<port>/<name>:1`` while it is entered.

    Args:
        layer: the root filesystem, an uncompressed tar.
        entrypoint: program and arguments.
        architecture: of the program, as Docker names it.
        user: who may pull, with ``password``.
        password: see ``user``.
    """

    def __init__(self, layer: bytes, entrypoint: Sequence[str], architecture: str, *, user: str, password: str) -> None:
        self.port = free_port()
        self.refused = 0
        """Requests without the right credentials."""
        config = {
            "architecture": architecture,
            "os": "linux",
            "config": {"Entrypoint": list(entrypoint)},
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
            "history": [{"created_by": "a test"}],
        }
        parts = {_CONFIG: json.dumps(config).encode(), _LAYER: layer}
        entries = {kind: {"mediaType": kind, "size": len(data), "digest": _digest(data)} for kind, data in parts.items()}
        manifest = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": entries[_CONFIG], "layers": [entries[_LAYER]]}
        self._manifest = json.dumps(manifest).encode()
        self._blobs = {_digest(data): data for data in parts.values()}
        self._expected = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        self._runner: web.AppRunner | None = None

    @property
    def host(self) -> str:
        """Name of the registry, as image references and credentials have it."""
        return f"127.0.0.1:{self.port}"

    @property
    def digest(self) -> str:
        """Digest of the image."""
        return _digest(self._manifest)

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/v2/", self._answer)
        app.router.add_get("/v2/{name:.+}/manifests/{reference}", self._answer)
        app.router.add_get("/v2/{name:.+}/blobs/{digest}", self._answer)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        return self

    async def __aexit__(self, *_error: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != self._expected:
            self.refused += 1
            return _json(401, {"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]}, realm="test")
        if "reference" in request.match_info:
            headers = {"Docker-Content-Digest": self.digest}
            known = request.match_info["reference"] in {"1", self.digest}
            return web.Response(body=self._manifest, content_type=_MANIFEST, headers=headers) if known else _json(404, {"errors": []})
        if "digest" in request.match_info:
            data = self._blobs.get(request.match_info["digest"])
            return web.Response(body=data, content_type="application/octet-stream") if data is not None else _json(404, {"errors": []})
        return _json(200, {})


def _json(status: int, body: Any, *, realm: str = "") -> web.Response:
    headers = {"Docker-Distribution-Api-Version": "registry/2.0"}
    if realm:
        headers["WWW-Authenticate"] = f'Basic realm="{realm}"'
    return web.json_response(body, status=status, headers=headers)


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()
