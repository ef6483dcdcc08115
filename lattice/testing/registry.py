"""A real image registry with a password, on a loopback port: Debian's ``docker-registry``, the distribution project's own server.

The program is the one that ``LATTICE_REGISTRY`` names, or ``docker-registry`` on the PATH. Docker takes 127.0.0.0/8 without TLS.
"""

from __future__ import annotations

import base64
import os
import shutil
from pathlib import Path
from typing import Self

import aiohttp
import orjson

from lattice.testing.engine import Engine
from lattice.testing.polling import eventually
from lattice.testing.processes import Process, free_port

USER = "puller"
PASSWORD = "open-sesame"  # noqa: S105 - a test's password
_HASH = "$2y$04$.Z2qy70NO3CKXNsh42vKvubrIKIljJ72XXJWaSwj5ZH5zMV.DTUu6"
"""Of the password, by bcrypt at its least cost: the only form that the registry takes."""


def find_registry() -> str | None:
    """Return the registry program to use, or ``None`` where there is none."""
    return shutil.which(os.environ.get("LATTICE_REGISTRY") or "docker-registry")


class Registry:
    """One registry, empty at first.

    Args:
        directory: everything is kept below it.
    """

    def __init__(self, directory: Path) -> None:
        program = find_registry()
        if program is None:
            raise RuntimeError("there is no registry: install one (apt-get install docker-registry), or name it in LATTICE_REGISTRY")
        directory.mkdir(parents=True, exist_ok=True)
        self.address = f"127.0.0.1:{free_port()}"
        (directory / "users").write_text(f"{USER}:{_HASH}\n")
        config = {
            "version": 0.1,
            "storage": {"filesystem": {"rootdirectory": str(directory / "data")}, "delete": {"enabled": True}},
            "http": {"addr": self.address},
            "auth": {"htpasswd": {"realm": "test", "path": str(directory / "users")}},
        }
        path = directory / "config.yml"
        path.write_bytes(orjson.dumps(config))  # JSON is YAML
        self._process = Process((program, "serve", str(path)), log=directory / "registry.log")

    async def __aenter__(self) -> Self:
        self._process.start()
        await eventually(self._answers, 30, "the registry to answer")
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._process.stop()

    async def _answers(self) -> bool:
        assert self._process.running, self._process.tail()
        try:
            async with aiohttp.ClientSession() as session, session.get(f"http://{self.address}/v2/") as answer:
                return answer.status == 401
        except aiohttp.ClientError:
            return False

    async def push(self, engine: Engine, image: str, name: str, tag: str) -> str:
        """Push an image of the engine under a name; return its digest. The engine does not keep the name."""
        full = f"{self.address}/{name}"
        await engine.call("POST", f"/images/{image}/tag", query={"repo": full, "tag": tag})
        login = {"username": USER, "password": PASSWORD, "serveraddress": self.address}
        headers = {"X-Registry-Auth": base64.urlsafe_b64encode(orjson.dumps(login)).decode()}
        answer = await engine.call("POST", f"/images/{full}/push", query={"tag": tag}, headers=headers)
        lines = [answer] if isinstance(answer, dict) else [orjson.loads(line) for line in bytes(answer).splitlines() if line.strip()]
        await engine.call("DELETE", f"/images/{full}:{tag}")
        return next(str(line["aux"]["Digest"]) for line in lines if "aux" in line)
