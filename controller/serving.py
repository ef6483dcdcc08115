"""What every process of a control plane runs: the stores, the API server over them, HTTPS in front.

``main.py`` builds its controllers on top; ``worker.py`` serves and does nothing else. :func:`open_api` starts it all and ends it in the
other order: watches, connections, stores.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from controller import memory
from controller.apiserver import tls
from controller.apiserver.authn import load_token_file
from controller.apiserver.http import HttpServer
from controller.apiserver.request import User
from controller.apiserver.server import ApiServer
from controller.settings import TOKENS_FILE, ServerConfig, ensure_tokens, token_of
from controller.store.opening import open_stores
from lattice.api import errors, names
from lattice.machinery.clock import Clock
from lattice.machinery.tasks import TaskOwner


@dataclass(frozen=True, slots=True)
class Serving:
    """What runs."""

    api: ApiServer
    port: int
    users: Mapping[str, User]
    ca_pem: bytes


@asynccontextmanager
async def open_api(config: ServerConfig, clock: Clock, *, first: bool = True) -> AsyncIterator[Serving]:
    """Serve within the block. ``first``: no other process of this control plane listens yet.

    Raises:
        errors.LatticeError: it could not start; the message says what to do.
    """
    memory.tune_allocator()
    async with AsyncExitStack() as stack:
        users = _load_users(config)
        addresses = [config.host, config.advertised_host, config.peer_host]
        certificates = tls.ensure_certificates(config.data_dir / "tls", addresses=addresses, clock=clock)
        stores = await open_stores(config.store, clock)
        stack.push_async_callback(stores.close)
        api = ApiServer({"main": stores.main, "ephemeral": stores.ephemeral}, users, clock=clock)
        server = HttpServer(api)
        stack.push_async_callback(server.stop)
        stack.push_async_callback(api.stop)
        await api.start()
        try:
            if first and config.share:
                await _refuse_if_taken(config.host, config.port)
            await server.start(config.host, config.port, certificates.server_context(), share=config.share)
        except OSError as error:
            raise errors.UsageError(
                f"cannot listen on {config.host}:{config.port} ({error.strerror or error}); choose another with --listen HOST:PORT"
            ) from error
        if config.store.kind == "etcd":
            port = await server.listen_alone(config.host, certificates.server_context()) if config.share else server.port
            await api.join_peers(url=config.peer_url(port), ca_pem=certificates.ca_pem)
        tasks = await stack.enter_async_context(TaskOwner("serving"))
        tasks.spawn(memory.give_back_for_ever(clock), name="memory")
        yield Serving(api, server.port, users, certificates.ca_pem)


async def _refuse_if_taken(host: str, port: int) -> None:
    """Listen for a moment as if alone: an address that may be shared is shared with any process of this user, a mistake's too."""
    probe = await asyncio.get_running_loop().create_server(asyncio.Protocol, host, port)
    probe.close()
    await probe.wait_closed()


def _load_users(config: ServerConfig) -> Mapping[str, User]:
    if config.token_file is not None:
        users = load_token_file(config.token_file)
        for name in config.nodes:
            if token_of(users, name=f"{names.NODE_USER_PREFIX}{name}") is None:
                raise errors.UsageError(
                    f"{config.token_file} has no user for the node {name}; add a line: "
                    f'TOKEN,{names.NODE_USER_PREFIX}{name},{names.NODE_USER_PREFIX}{name},"{names.GROUP_NODES}"'
                )
        return users
    path = config.data_dir / TOKENS_FILE
    ensure_tokens(path, config.nodes)
    return load_token_file(path)
