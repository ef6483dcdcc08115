"""A real API server for integration tests: SQLite on disk, TLS, tokens; and a client in its process."""

import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from controller.apiserver import tls
from controller.apiserver.authn import load_token_file
from controller.apiserver.http import HttpServer
from controller.apiserver.inprocess import InProcessTransport
from controller.apiserver.request import User
from controller.apiserver.server import ApiServer
from controller.store.opening import StoreConfig, Stores, open_stores
from lattice.client.client import Client
from lattice.client.http import HttpTransport
from lattice.machinery.clock import SystemClock

ADMIN = User("admin", "1", ("system:masters", "system:authenticated"))
TOKENS = """admin-token,admin,1,"system:masters"
alice-token,alice,2,
node1-token,system:node:node1,3,"system:nodes"
node2-token,system:node:node2,4,"system:nodes"
"""


@dataclass
class RunningServer:
    """An API server on a directory; ``restart`` keeps the data and the port."""

    directory: Path
    clock: SystemClock = field(default_factory=SystemClock)
    port: int = 0

    async def start(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        token_file = self.directory / "tokens.csv"
        token_file.write_text(TOKENS)
        self.stores: Stores = await open_stores(StoreConfig(data_dir=self.directory, durability="off"), self.clock)
        self.api = ApiServer({"main": self.stores.main, "ephemeral": self.stores.ephemeral}, load_token_file(token_file), clock=self.clock)
        await self.api.start()
        self.certificates = tls.ensure_certificates(self.directory / "tls", addresses=["127.0.0.1"], clock=self.clock)
        self.http = HttpServer(self.api)
        await self.http.start("127.0.0.1", self.port, self.certificates.server_context())
        self.port = self.http.port
        self.clients: list[Client] = []

    async def stop(self) -> None:
        for client in self.clients:
            await client.close()
        await self.api.stop()
        await self.http.stop()
        await self.stores.close()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def ca_data(self) -> bytes:
        return self.certificates.ca_pem

    def client(self, token: str = "admin-token") -> Client:
        client = Client(HttpTransport(self.url, ca_data=self.ca_data, token=token))
        self.clients.append(client)
        return client

    def local_client(self, user: User = ADMIN) -> Client:
        return Client(InProcessTransport(self.api, user))

    def client_context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cadata=self.ca_data.decode())

    def session(self, token: str | None = "admin-token") -> aiohttp.ClientSession:
        context = self.client_context()
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return aiohttp.ClientSession(self.url, headers=headers, connector=aiohttp.TCPConnector(ssl=context))


@pytest.fixture
async def api_server(tmp_path: Path) -> AsyncIterator[RunningServer]:
    server = RunningServer(tmp_path / "server")
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def client(api_server: RunningServer) -> Client:
    return api_server.local_client()
