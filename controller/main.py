"""The composition root of the control plane: the only place that wires its parts together.

``lattice server`` and ``python -m controller`` call :func:`run_server`. It starts, in this order: stores, API server (caches), HTTPS,
kubeconfigs, then scheduler and reconcilers over an in-process client. A data directory has one process at a time. On the embedded store
this process is therefore alone; on etcd several may run, each with its own directory, and a Lease elects the one that schedules and
reconciles.

It ends in the other order: controllers, watches, connections, stores; so nothing is written to a store that is closing. A crash in the
controllers restarts them with fresh caches; the API goes on meanwhile. ``config.workers`` adds processes that answer requests and do
nothing else.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

from controller import memory
from controller.apiserver.inprocess import InProcessTransport
from controller.apiserver.request import User
from controller.apiserver.server import ApiServer
from controller.controllers import build_controllers
from controller.datadirectory import DataDirectory
from controller.serving import open_api
from controller.settings import ServerConfig, token_of
from controller.store import base
from controller.store.opening import open_stores
from controller.workers import Workers
from lattice.api import errors, names
from lattice.client import kubeconfig
from lattice.client.client import Client
from lattice.client.leases import ClientLeases
from lattice.machinery.backoff import Backoff, BackoffPolicy
from lattice.machinery.clock import Clock, SystemClock
from lattice.machinery.leaderelection import LeaderElector
from lattice.machinery.tasks import TaskOwner, supervise

logger = logging.getLogger(__name__)

LEASE = "lattice-controllers"
"""Name of the Lease that elects who schedules and reconciles, where several control planes share an etcd."""
_RESTART = BackoffPolicy(base_s=0.5, cap_s=30.0)
_SYNC_POLL_S = 0.02


async def run_server(
    config: ServerConfig, *, stop: asyncio.Event, ready: Callable[[str], None] | None = None, clock: Clock | None = None
) -> None:
    """Serve until ``stop`` is set.

    Args:
        config: all settings.
        stop: set it to end; the function returns when everything is closed.
        ready: called once with the URL, when requests are answered and the controllers run (or wait for their term).
        clock: time.

    Raises:
        errors.LatticeError: it could not start; the message says what to do.
    """
    clock = clock or SystemClock()
    rng = random.Random(secrets.randbits(64))  # noqa: S311 - jitter and names of events, never secrets
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(DataDirectory(config.data_dir))
        serving = await stack.enter_async_context(open_api(config, clock))
        url = config.url(serving.port)
        _write_kubeconfigs(config, serving.users, url=url, ca_pem=serving.ca_pem)
        if config.workers > 1:
            workers = Workers(replace(config, port=serving.port), clock=clock, rng=rng)
            stack.push_async_callback(workers.stop)
            await workers.start()
        tasks = TaskOwner("control-plane")
        stack.push_async_callback(tasks.stop)
        term = _Term(serving.api, clock=clock, rng=rng, identity=directory.identity() if config.store.kind == "etcd" else None)
        tasks.spawn(supervise(term.run, name="controllers", clock=clock, backoff=Backoff(_RESTART, rng)), name="controllers")
        await term.wait_started(stop)
        memory.settle()
        if ready is not None and not stop.is_set():
            ready(url)
        await stop.wait()
        logger.info("stopping")
    logger.info("stopped")


class _Term:
    """Runs scheduler and reconcilers: always (``identity`` is ``None``), or in the terms that this identity is elected for."""

    def __init__(self, api: ApiServer, *, clock: Clock, rng: random.Random, identity: str | None) -> None:
        self._clock = clock
        self._rng = rng
        self._identity = identity
        self._started = asyncio.Event()
        self._reconciler = _client(api, "reconciler")
        self._scheduler = _client(api, "scheduler")

    async def run(self) -> None:
        """Run until cancelled, or until a part fails."""
        if self._identity is None:
            await self._lead()
            return
        elector = LeaderElector(
            ClientLeases(self._reconciler),
            name=LEASE,
            namespace=names.NAMESPACE_SYSTEM,
            identity=self._identity,
            clock=self._clock,
            rng=self._rng,
        )
        self._started.set()  # to wait for a term is to be ready: the API answers
        await elector.run(self._lead)

    async def wait_started(self, stop: asyncio.Event) -> None:
        """Wait until the first caches are filled, or ``stop`` is set."""
        async with asyncio.TaskGroup() as group:
            waiting = [group.create_task(self._started.wait()), group.create_task(stop.wait())]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in waiting:
                task.cancel()

    async def _lead(self) -> None:
        controllers = build_controllers(self._reconciler, clock=self._clock, rng=self._rng, scheduler_client=self._scheduler)
        async with asyncio.TaskGroup() as group:
            group.create_task(controllers.run(), name="controllers")
            while not controllers.synced:
                await self._clock.sleep(_SYNC_POLL_S)
            self._started.set()


def _client(api: ApiServer, role: str) -> Client:
    user = User(f"system:lattice:{role}", groups=(names.GROUP_MASTERS,))
    return Client(InProcessTransport(api, user), field_manager=f"lattice-{role}")


def _write_kubeconfigs(config: ServerConfig, users: Mapping[str, User], *, url: str, ca_pem: bytes) -> None:
    if config.kubeconfig_out is not None:
        token = token_of(users, group=names.GROUP_MASTERS)
        if token is None:
            raise errors.UsageError(
                f"--kubeconfig-out needs an admin: add a user of the group {names.GROUP_MASTERS} to {config.token_file}"
            )
        kubeconfig.write(config.kubeconfig_out, server=url, ca_data=ca_pem, user="admin", token=token)
    for name in config.nodes:
        user = f"{names.NODE_USER_PREFIX}{name}"
        if (token := token_of(users, name=user)) is not None:
            kubeconfig.write(node_kubeconfig(config.data_dir, name), server=url, ca_data=ca_pem, user=name, token=token)


def node_kubeconfig(data_dir: Path, name: str) -> Path:
    """Return where the kubeconfig of a node is written."""
    return data_dir / f"node-{name}.kubeconfig"


async def restore_store(config: ServerConfig, data: bytes, *, overwrite: bool, clock: Clock | None = None) -> int:
    """Write a backup into the store, which nobody may serve meanwhile. Return the new epoch.

    Raises:
        errors.LatticeError: the backup is damaged, or the store cannot take it.
    """
    from controller.apiserver import backup

    with DataDirectory(config.data_dir):
        stores = await open_stores(config.store, clock or SystemClock())
        try:
            cluster = await backup.restore(stores.main, data, overwrite=overwrite)
        except base.StoreError as error:
            raise errors.UsageError(f"the backup could not be restored: {error}") from error
        finally:
            await stores.close()
    return cluster.epoch
