"""The few calls of Docker's Engine API that the scripts need, over a Unix socket, without a Docker client installed.

Used by the engine, image and check scripts. Every call has a deadline; an answer of 400 or more is a `HackError` with
Docker's own sentence.
"""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, urlencode

from kit.console import HackError


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("docker", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


@dataclass(frozen=True, slots=True)
class EngineApi:
    """A Docker engine behind one Unix socket."""

    socket: Path

    @property
    def host(self) -> str:
        """What goes into DOCKER_HOST."""
        return f"unix://{self.socket}"

    def answers(self) -> bool:
        """Whether an engine is there and well."""
        try:
            with self._response("GET", "/_ping", timeout_s=2) as response:
                return response.status == 200
        except (OSError, http.client.HTTPException):
            return False

    def call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        body: BinaryIO | bytes | None = None,
        timeout_s: float = 60,
    ) -> Any:
        """One call; the decoded JSON, or None for an empty answer.

        Raises:
            HackError: Docker refused, or reported a failure in its progress stream.
        """
        target = quote(path) + ("?" + urlencode(query) if query else "")
        try:
            with self._response(method, target, body=body, timeout_s=timeout_s) as response:
                text = response.read().decode()
                status = response.status
        except (OSError, http.client.HTTPException) as error:
            raise HackError(f"Docker at {self.host} did not answer {method} {path}: {error}") from error
        if status >= 400:
            raise HackError(f"Docker refused {method} {path}: {_message(text)}")
        lines = [json.loads(line) for line in text.splitlines() if line.strip()]
        for line in lines:
            if isinstance(line, dict) and "error" in line:
                raise HackError(f"Docker failed in {method} {path}: {line['error']}")
        return lines[0] if len(lines) == 1 else lines or None

    def labels(self, image: str) -> dict[str, str] | None:
        """The labels of an image; None when it is not there."""
        for found in self.call("GET", "/images/json") or []:
            if image in (found.get("RepoTags") or []):
                return found.get("Labels") or {}
        return None

    @contextmanager
    def _response(
        self, method: str, target: str, *, body: BinaryIO | bytes | None = None, timeout_s: float
    ) -> Iterator[http.client.HTTPResponse]:
        connection = _UnixConnection(self.socket, timeout_s)
        try:
            connection.request(method, target, body=body, headers={"Content-Type": "application/x-tar"} if body else {})
            yield connection.getresponse()
        finally:
            connection.close()


def _message(text: str) -> str:
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text.strip()[:300]
