r"""A real kubectl for tests: commands as a user types them, what they print, and commands that go on while others run.

    k = Kubectl(binary, plane.kubeconfig, directory=tmp_path, cache=plane.directory / "kube-cache", namespace="stories")
    assert await k.ok("apply -f web.yaml") == "specimen.example.dev/web created\n"
    assert "not found" in await k.fails("get sp nope")
    watching = k.start("get sp -w -o name")

Commands are split as a shell does, and run in the directory, where the manifests are. The cache may be shared by all who ask one server.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lattice.testing.processes import Process

TIMEOUT_S = 60
_HEADING = re.compile(r"\S+(?: \S+)*")


class Kubectl:
    """kubectl with one kubeconfig, in one namespace.

    Args:
        binary: the real program, not one that picks another by the server's version.
        kubeconfig: where the server is and who asks.
        directory: where commands run, and HOME.
        cache: for what it learns of the server.
        namespace: used where a command names none.
    """

    def __init__(self, binary: str, kubeconfig: Path, *, directory: Path, cache: Path, namespace: str = "default") -> None:
        self.binary, self.directory, self.namespace = binary, directory, namespace
        home = str(directory)
        self.environment = {"KUBECACHEDIR": str(cache), "HOME": home, "TMPDIR": home, "KUBECONFIG": str(kubeconfig)}
        self._started = 0

    async def __call__(
        self, command: str, *, stdin: str | Iterable[Any] | Mapping[str, Any] = "", env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end.

        Args:
            command: without the word ``kubectl``.
            stdin: text, an object, or objects (written as JSON).
            env: further variables.
        """
        return await asyncio.to_thread(
            subprocess.run,
            self._argv(command),
            input=_text(stdin),
            env={**os.environ, **self.environment, **(env or {})},
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )

    async def ok(self, command: str, *, stdin: Any = "", env: Mapping[str, str] | None = None) -> str:
        """Run a command that must succeed, and return its output."""
        done = await self(command, stdin=stdin, env=env)
        assert done.returncode == 0, f"kubectl {command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    async def fails(self, command: str, *, stdin: Any = "", env: Mapping[str, str] | None = None, code: int = 1) -> str:
        """Run a command that must end with ``code``, and return what it complained about."""
        done = await self(command, stdin=stdin, env=env)
        assert done.returncode == code, f"kubectl {command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stderr

    async def json(self, command: str) -> Any:
        """Run a command with ``-o json`` and return what it printed."""
        return json.loads(await self.ok(f"{command} -o json"))

    async def table(self, command: str) -> list[dict[str, str]]:
        """Run a command that prints a table, and return its rows."""
        return table(await self.ok(command))

    def start(self, command: str, *, env: Mapping[str, str] | None = None) -> Process:
        """Start a command that goes on: both its outputs are in ``log``. Stop it at the end."""
        self._started += 1
        log = self.directory / f"kubectl-{self._started}.log"
        process = Process(self._argv(command), log=log, env={**self.environment, **(env or {})})
        process.start()
        return process

    def write(self, name: str, content: str | Iterable[Any] | Mapping[str, Any]) -> str:
        """Write a file that commands may name: text, an object, or objects. Return its name."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_text(content))
        return name

    def _argv(self, command: str) -> list[str]:
        return [self.binary, "--namespace", self.namespace, *shlex.split(command)]


def table(text: str) -> list[dict[str, str]]:
    """Return the rows of what kubectl printed as a table, each with its cells by the columns' names."""
    head, *lines = text.splitlines()
    columns = [(match.group(), match.start()) for match in _HEADING.finditer(head)]
    ends = [start for _, start in columns[1:]] + [None]
    return [
        {name: line[start:end].strip() for (name, start), end in zip(columns, ends, strict=True)}
        for line in lines
        if line and line[0] != " "
    ]


def _text(content: str | Iterable[Any] | Mapping[str, Any]) -> str:
    if isinstance(content, str):
        return content
    documents = [content] if isinstance(content, Mapping) else list(content)
    return "\n".join(json.dumps(document) for document in documents)  # before 1.33 nothing may stand between them
