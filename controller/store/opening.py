"""Opens the two stores of a control plane: ``main``, and ``ephemeral`` for Events and node Leases.

SQLite: two files, each with its own revisions; the ephemeral one does not wait for the disk
(at a loss of power its last writes may go, the file stays whole). etcd: one store serves both. The etcd client
is loaded only when it is asked for, so that an installation without the ``etcd`` extra works.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from controller.store import base, compaction, sqlite
from lattice.api.errors import UsageError
from lattice.machinery.clock import Clock
from lattice.machinery.tasks import TaskOwner

StoreKind = Literal["sqlite", "etcd"]
MAIN_FILE = "main.db"
EPHEMERAL_FILE = "ephemeral.db"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreConfig:
    """Which store, and where."""

    kind: StoreKind = "sqlite"
    data_dir: Path
    """Directory of the SQLite files."""
    durability: sqlite.Durability = "full"
    """Of the main SQLite file."""
    etcd_endpoints: tuple[str, ...] = ()
    """``host:port`` or ``https://host:port``, several for a cluster."""
    etcd_prefix: str = "/lattice/"
    """Everything is kept below it."""
    etcd_ca: Path | None = None
    """Certificate authority of etcd."""
    etcd_cert: Path | None = None
    """Client certificate."""
    etcd_key: Path | None = None
    """Key of the client certificate."""
    etcd_username: str | None = None
    """User, where etcd asks for one."""
    etcd_password: str | None = None
    """Password of the user."""


class Stores:
    """The two stores, and their upkeep. Close them when nothing uses them any more."""

    def __init__(self, main: base.Store, ephemeral: base.Store, clock: Clock) -> None:
        self.main = main
        self.ephemeral = ephemeral
        self._upkeep = TaskOwner("store-upkeep")
        for store in self._distinct():
            self._upkeep.spawn(compaction.compact_for_ever(store, clock), name="compaction")

    async def close(self) -> None:
        """Stop upkeep, then close both. Idempotent."""
        await self._upkeep.stop()
        for store in self._distinct():
            await store.close()

    def _distinct(self) -> tuple[base.Store, ...]:
        return (self.main,) if self.main is self.ephemeral else (self.main, self.ephemeral)


async def open_stores(config: StoreConfig, clock: Clock) -> Stores:
    """Open both stores.

    Raises:
        base.StoreError: they cannot be opened; the message says what to do.
        UsageError: etcd was asked for without endpoints, or without its client library.
    """
    if config.kind == "etcd":
        etcd_store = await _open_etcd(config, clock)
        return Stores(etcd_store, etcd_store, clock)
    main = await sqlite.open_sqlite(config.data_dir / MAIN_FILE, durability=config.durability, clock=clock)
    try:
        ephemeral = await sqlite.open_sqlite(config.data_dir / EPHEMERAL_FILE, durability="normal", clock=clock)
    except BaseException:
        await main.close()
        raise
    return Stores(main, ephemeral, clock)


async def _open_etcd(config: StoreConfig, clock: Clock) -> base.Store:
    if not config.etcd_endpoints:
        raise UsageError("--store etcd needs --etcd-endpoints HOST:PORT[,HOST:PORT…]")
    try:
        from controller.store import etcd
    except ImportError as error:
        raise UsageError(f"the etcd client is not installed ({error}); install it with: pip install 'lattice-fleet[etcd]'") from error
    return await etcd.EtcdStore.connect(
        etcd.EtcdConfig(
            endpoints=config.etcd_endpoints,
            prefix=config.etcd_prefix,
            ca=config.etcd_ca,
            cert=config.etcd_cert,
            key=config.etcd_key,
            username=config.etcd_username,
            password=config.etcd_password,
        ),
        clock,
    )
