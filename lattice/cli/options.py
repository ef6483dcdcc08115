"""Options that verbs share, and the way from them to a client."""

from __future__ import annotations

import asyncio
import functools
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from lattice.client import kubeconfig
from lattice.client.client import Client
from lattice.client.kubeconfig import KubeConfig

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """Which server, and which namespace."""

    kubeconfig: Path | None = None
    context: str | None = None
    namespace: str | None = None

    def load(self) -> KubeConfig:
        """Return the context of the kubeconfig. Raises ``UsageError``."""
        return kubeconfig.load(self.kubeconfig, context=self.context)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[tuple[Client, str]]:
        """Open a client; yields it with the namespace to use."""
        config = self.load()
        client = Client(config.transport(), field_manager="lattice-cli")
        try:
            yield client, self.namespace or config.namespace
        finally:
            await client.close()


def connected(function: F) -> F:
    """Add ``--kubeconfig``, ``--context`` and ``-n``; the function gets them as ``connection``."""

    @click.option("--kubeconfig", type=click.Path(path_type=Path), help="Kubeconfig; default $KUBECONFIG, then ~/.kube/config.")
    @click.option("--context", help="Context of the kubeconfig; default the current one.")
    @click.option("-n", "--namespace", help="Namespace; default that of the context.")
    @click.pass_context
    @functools.wraps(function)
    def wrapper(
        ctx: click.Context, /, *args: Any, kubeconfig: Path | None, context: str | None, namespace: str | None, **kwargs: Any
    ) -> Any:
        outer = ctx.obj if isinstance(ctx.obj, Connection) else Connection()
        connection = Connection(kubeconfig=kubeconfig or outer.kubeconfig, context=context or outer.context, namespace=namespace)
        return function(*args, connection=connection, **kwargs)

    return wrapper  # type: ignore[return-value]


def run_async(main: Coroutine[Any, Any, Any]) -> Any:
    """Run a verb's coroutine; Ctrl-C cancels it."""
    return asyncio.run(main)


def run_daemon(main: Callable[[asyncio.Event], Coroutine[Any, Any, None]], *, stop_on_eof: bool = False) -> None:
    """Run a long-lived program until SIGINT, SIGTERM or, with ``stop_on_eof``, the end of standard input; on uvloop where it is there.

    The end of standard input is how a child of ``lattice up`` learns that its parent has died, however it died.
    """

    async def supervised() -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        if stop_on_eof:
            loop.add_reader(0, _read_end, loop, stop)
        await main(stop)

    try:
        import uvloop
    except ImportError:
        asyncio.run(supervised())
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(supervised())


def _read_end(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    import os

    if not os.read(0, 1024):
        loop.remove_reader(0)
        stop.set()
