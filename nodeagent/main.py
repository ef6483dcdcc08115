"""The agent's composition root: the only place of ``nodeagent`` that wires. Called by ``python -m nodeagent`` and the verbs of ``lattice``.

One event loop, one TaskGroup: registration and heartbeat, the watch of the desired state, the engine's events, the reporter, the workers.
It starts without the server (from the last desired set) and without the engine (and waits for it). Stopping touches no container.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace

from lattice.api import errors, line, names
from lattice.client import kubeconfig
from lattice.client.client import Client
from lattice.client.eventsink import ClientEventSink
from lattice.machinery.backoff import Backoff, BackoffPolicy
from lattice.machinery.clock import Clock, SystemClock
from lattice.machinery.events import EventRecorder
from lattice.machinery.tasks import TaskOwner
from nodeagent import memory, strays
from nodeagent.blueprint.rules import rules_of
from nodeagent.checkpoint import ClusterMark, DataDirectory
from nodeagent.config import AgentConfig
from nodeagent.controls.api import LocalApi
from nodeagent.controls.cleaning import Cleaner, check_left
from nodeagent.controls.owner import Owner
from nodeagent.controls.pause import Pause
from nodeagent.controls.status import Usage
from nodeagent.desired import Desired, DesiredWatch, refusal
from nodeagent.events import BelievedSink
from nodeagent.facts import Fact
from nodeagent.failures.shell import FailureKeeper
from nodeagent.failures.store import FailureStore
from nodeagent.imagecare.ledger import Ledger
from nodeagent.imagecare.shell import ImageCare
from nodeagent.images import credentials
from nodeagent.images.ahead import PullAhead
from nodeagent.images.shell import Puller
from nodeagent.line import ControlLine
from nodeagent.metrics.shell import MetricsServer, Sources
from nodeagent.networks.shell import Networks, NetworkSettings
from nodeagent.node import NodeKeeper
from nodeagent.podevents import PodEvents
from nodeagent.ports.addresses import address_rule
from nodeagent.ports.shell import Ports, range_of_this_machine
from nodeagent.pressure import plan as pressure_plan
from nodeagent.pressure.shell import PressureWatch
from nodeagent.pressure.storage import StorageLimits
from nodeagent.probes.shell import Prober
from nodeagent.removals.shell import RemovalGuard
from nodeagent.reporter import StatusReporter
from nodeagent.runtime import base
from nodeagent.runtime.docker import DockerRuntime
from nodeagent.settings import flags, reading
from nodeagent.streams.shell import StreamServer
from nodeagent.supervisor import Supervisor
from nodeagent.usage.shell import UsageMeter
from nodeagent.volumes.files import RunDirectory
from nodeagent.volumes.live import LiveFiles
from nodeagent.volumes.messages import TerminationMessages
from nodeagent.volumes.shell import PodVolumes
from nodeagent.workloads import spec
from nodeagent.workloads.observed import ContainerTable
from nodeagent.workloads.tools import Tools

logger = logging.getLogger(__name__)

_RETRY = BackoffPolicy(base_s=0.2, cap_s=5.0)
"""For server and engine: both come back at once or soon, and each retry is one request from one node."""
_AHEAD_RETRY = BackoffPolicy(base_s=10.0, cap_s=600.0)
"""For images that are pulled ahead: nobody waits for them, and registries count requests."""
_LINE_RETRY = BackoffPolicy(base_s=0.2, cap_s=15.0)
"""For the control line: whoever waits for a log sees it go on soon after the server is back."""


async def run_agent(config: AgentConfig, *, stop: asyncio.Event, runtime: base.Runtime | None = None, clock: Clock | None = None) -> None:
    """Run a node's agent until ``stop`` is set.

    Args:
        config: settings.
        stop: set it to end; containers go on running.
        runtime: the engine; ``None``: Docker at ``config.docker_host``.
        clock: time; ``None``: the machine's.

    Raises:
        errors.UsageError: the settings cannot work: another agent under this name or on this data directory.
    """
    clock = clock or SystemClock()
    check_left(config.data_dir)
    data = DataDirectory(config.data_dir)
    data.open()
    async with AsyncExitStack() as stack:
        stack.callback(data.close)
        if runtime is None:
            runtime = DockerRuntime(config.docker_host)
            stack.push_async_callback(runtime.close)
        transport = config.transport
        if transport is None:  # this process is an agent and nothing else
            memory.tune()
            transport = kubeconfig.load(config.kubeconfig).transport()
            stack.push_async_callback(transport.close)
        client = Client(transport, field_manager="lattice-node")
        await _Agent(config, data, client, runtime, clock).run(stop)


class _Agent:
    """The parts of a running agent."""

    def __init__(self, config: AgentConfig, data: DataDirectory, client: Client, runtime: base.Runtime, clock: Clock) -> None:
        rng = random.Random()  # noqa: S311 - spreads retries, guards nothing
        self._data = data
        self._clock = clock
        self._desired = Desired(clock)
        node_uid = data.node_uid()
        mark = data.cluster_mark()
        files = RunDirectory(config.run_directory(node_uid))
        files.prepare()
        self._pulls = TaskOwner("pulls")
        self._prober = Prober(runtime, clock)
        self._reporter = StatusReporter(client, clock, Backoff(_RETRY, rng), self._unheard, data.journal, self._desired.shown)
        sink = BelievedSink(ClientEventSink(client), self._unheard)
        self._recorder = EventRecorder(sink, "lattice-node", clock=clock, rng=rng, host=config.name)
        self._images = ImageCare(
            runtime,
            Ledger(config.data_dir / "images.json"),
            clock,
            paths=lambda: self._keeper.disk_paths(),
            pods=lambda: self._desired.pods.values(),
            images=config.images,
            watermarks=(config.image_gc_high_percent, config.image_gc_low_percent),
            reserve=pressure_plan.parse_share(config.disk_reserve),
            parallel=config.max_parallel_pulls,
        )
        table = ContainerTable(node_uid)
        self._networks = Networks(
            runtime,
            clock,
            node_uid,
            table,
            NetworkSettings(
                isolation=config.isolation,
                network_range=config.network_range,
                max_pods=config.max_pods,
                helper_image=config.network_helper_image,
            ),
            changed=lambda: self._supervisor.poke(None),
        )
        self._tools = Tools(
            runtime=runtime,
            client=client,
            clock=clock,
            desired=self._desired,
            table=table,
            networks=self._networks,
            ports=Ports(config.port_range or range_of_this_machine()),
            files=files,
            messages=TerminationMessages(config.data_dir / "messages"),
            volumes=PodVolumes(runtime, files, node_uid),
            puller=Puller(self._images.pull, self._pulls),
            docker_config=lambda: _docker_config(config),
            prober=self._prober,
            reporter=self._reporter,
            events=PodEvents(self._recorder),
            node=spec.Node(
                name=config.name,
                uid=node_uid,
                cluster_id=mark.cluster_id if mark else "",
                host_ip=config.host_ip,
                run_dir=str(config.run_directory(node_uid)),
                rules=rules_of(config),
            ),
            starts=asyncio.Semaphore(config.max_parallel_starts),
            mark_ended=data.mark_ended,
            volume_claims={},
        )
        self._live = LiveFiles(files)
        self._pause = Pause(config.data_dir, self._tools.table, clock, lambda: self._supervisor.poke(None))
        self._tools.holds += [self._pause.hold, address_rule(config.publish_addresses)]
        self._supervisor = Supervisor(self._tools, Backoff(_RETRY, rng))
        self._keeper = NodeKeeper(
            config,
            node_uid,
            client,
            runtime,
            clock,
            facts=self._facts,
            unavailable=lambda: self._supervisor.unavailable,
            frozen=lambda: self._desired.frozen,
            refusal=self._refusal,
        )
        self._storage = StorageLimits(self._tools, self._supervisor.poke)
        self._pressure = PressureWatch(_thresholds(config), self._keeper.disk_paths, clock)
        self._watch = DesiredWatch(client, config.name, self._desired, data, clock, Backoff(_RETRY, rng), self._changed)
        self._guard = RemovalGuard(client, config.name, self._desired, clock, self._changed, self._recorder)
        self.line = ControlLine(client.transport, config.name, clock, Backoff(_LINE_RETRY, rng), self._refusal)
        self.usage = UsageMeter(runtime, self._tools.table, clock)
        self.line.handlers[line.USAGE] = self.usage.answer
        self._streams = StreamServer(
            client.transport,
            config.name,
            runtime,
            self._tools.table,
            clock=clock,
            backoff=Backoff(_LINE_RETRY, rng),
            connected=lambda: self.line.connected,
        )
        self.line.handlers[line.DIAL] = self._streams.dial
        self._metrics = MetricsServer(
            config.metrics_address,
            Sources(
                tools=self._tools,
                meter=self.usage,
                images=self._images,
                storage=self._storage,
                facts=self._pressure.facts,
                connected=lambda: self.line.connected,
                paths=self._keeper.disk_paths,
            ),
        )
        self._backoff = Backoff(_RETRY, rng)
        self._save_failed = False
        self._left = asyncio.Event()
        """Set when this machine has left its cluster: the agent ends."""
        self._failures = FailureStore(config.data_dir)
        keeper = FailureKeeper(runtime, self._failures, self._desired, clock, self._tools.events, self._pause.is_stopping)
        self._tools.endings = keeper
        self.line.handlers[line.FAILURES] = keeper.answer
        ahead = Backoff(_AHEAD_RETRY, rng)
        self._ahead = PullAhead(
            config.images,
            runtime,
            self._tools.puller,
            clock,
            ahead,
            lambda image: credentials.logins(image, (), self._tools.docker_config()),
        )
        self._api = LocalApi(config.socket_path(), self._owner(config, client, runtime))

    def _owner(self, config: AgentConfig, client: Client, runtime: base.Runtime) -> Owner:
        """Return what the owner of the machine controls."""
        tools = self._tools
        cleaner = Cleaner(
            config,
            tools.node.uid,
            client,
            runtime,
            self._clock,
            self._desired,
            tools.table,
            self._pause,
            remove_rules=self._networks.remove_rules,
            wake=lambda: self._supervisor.poke(None),
            end=self._left.set,
        )
        return Owner(
            config,
            tools.node.uid,
            self._clock,
            desired=self._desired,
            table=tools.table,
            reporter=self._reporter,
            pause=self._pause,
            cleaner=cleaner,
            failures=self._failures,
            ahead=self._ahead,
            connected=lambda: self.line.connected,
            engine_problem=lambda: self._supervisor.unavailable,
            facts=self._facts,
            node_status=lambda: self._keeper.written,
            usage=self._usage_of_pods,
        )

    async def run(self, stop: asyncio.Event) -> None:
        for obj in self._data.load_desired():
            self._desired.remember(obj)
        self._failures.load()
        self._pause.load()
        self._recorder.start()
        try:
            await self._api.start()
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(coroutine)
                    for coroutine in (
                        self._supervisor.follow_engine(),
                        self._supervisor.resync(),
                        self._reporter.run(),
                        self._pressure.run(),
                        self._pause.run(self._tools.runtime, self._desired.pods),
                        self._ahead.run(),
                        self._images.run(),
                        self._storage.run(),
                        self._metrics.run(),
                        memory.keep_small(self._clock),
                        self._networks.run(),
                        self._serve(),
                        self._every_second(),
                    )
                ]
                await first_of(stop, self._left)
                for task in tasks:
                    task.cancel()
        except BaseExceptionGroup as group_error:
            usage, _ = group_error.split(errors.UsageError)
            if usage is not None:
                raise _first(usage) from None
            raise
        finally:
            await self._api.stop()
            await self._supervisor.stop()
            await self._streams.stop()
            await self._pulls.stop()
            await self._prober.close()
            await self._recorder.stop()
            if not self._left.is_set():
                self._save()

    async def _serve(self) -> None:
        """Register, however long the server is away; then keep node, lease and watch going."""
        while True:
            try:
                await self._keeper.register()
                break
            except errors.UsageError:
                raise
            except errors.LatticeError as error:
                logger.warning("cannot register the node, trying again", extra={"error": str(error)[:300]})
            await self._clock.sleep(self._backoff.next_s())
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keeper.keep_status())
            group.create_task(self._keeper.beat())
            group.create_task(self._watch.run())
            group.create_task(self.line.run())
            group.create_task(self._streams.keep_warm())
            group.create_task(self._guard.run())

    async def _every_second(self) -> None:
        while True:
            await self._clock.sleep(1.0)
            self._save()
            await self._supervisor.volumes_changed()
            self._refresh_files()

    async def _usage_of_pods(self) -> Mapping[str, Usage]:
        """Return what each Pod uses, by uid; a Pod is missing before there are two samples of it."""
        found: dict[str, Usage] = {}
        for each in (await self.usage.measure()).containers:
            if each.usage is not None:
                uid, before = each.pod[2], found.get(each.pod[2], Usage())
                found[uid] = Usage(
                    cpu_millis=before.cpu_millis + each.usage.cpu_nanocores // 10**6,
                    memory_bytes=before.memory_bytes + each.usage.memory_bytes,
                )
        return found

    def _facts(self) -> list[Fact]:
        """Return all conditions of the Node but Ready."""
        kept = (strays.unknown_fact(self._supervisor.unknown_pods), self._guard.fact())
        return [*self._pressure.facts(), *self._pause.facts(), self._networks.fact(), *(fact for fact in kept if fact is not None)]

    def _refresh_files(self) -> None:
        """Bring the files of Pods up to date with the objects that they show."""
        offered = self._keeper.allocatable()
        if offered and offered != self._tools.node.allocatable:
            self._tools.node = replace(self._tools.node, allocatable=offered)
        try:
            self._live.refresh(self._desired.pods.values(), self._desired.references(), self._tools.node)
        except OSError as error:
            logger.warning("cannot renew the files of Pods, trying again every second", extra={"error": str(error)[:200]})

    def _refusal(self, headers: Mapping[str, str]) -> str:
        """Return why a server that answers with these headers is not ours; an answer without them says nothing (yet)."""
        cluster_id, epoch = headers.get(names.HEADER_CLUSTER_ID.lower(), ""), headers.get(names.HEADER_EPOCH.lower(), "")
        if not cluster_id or not epoch.isdigit():
            return ""
        reason = refusal(self._data.cluster_mark(), ClusterMark(cluster_id=cluster_id, epoch=int(epoch)))
        if reason:
            self._desired.frozen = reason
        return reason

    def _unheard(self) -> str:
        """Return why no status is sent now: only a server whose snapshot was believed gets one."""
        return self._desired.frozen or ("" if self._desired.synced else "no snapshot was received yet")

    def _save(self) -> None:
        if self._desired.unsaved and not self._desired.frozen:
            try:
                self._data.save_desired(*self._desired.kept())
            except OSError as error:  # a full disk must not end the agent: what runs needs it, and the next second tries again
                if not self._save_failed:
                    logger.warning("cannot write the last desired set, trying again every second", extra={"error": str(error)[:200]})
                self._save_failed = True
                return
            self._desired.unsaved = self._save_failed = False

    def _changed(self, pod_uid: str | None) -> None:
        mark = self._data.cluster_mark()
        if mark is not None and mark.cluster_id != self._tools.node.cluster_id:
            self._tools.node = replace(self._tools.node, cluster_id=mark.cluster_id)
        self._supervisor.poke(pod_uid)


async def first_of(*events: asyncio.Event) -> None:
    """Wait until one of the events is set."""
    async with TaskOwner("events") as tasks:
        waiting = [tasks.spawn(event.wait(), name="wait") for event in events]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)


def _docker_config(config: AgentConfig) -> bytes:
    """Return the provider's own registry logins; read for each pull, because ``docker login`` changes them."""
    if config.docker_config is None:
        return b""
    try:
        return config.docker_config.read_bytes()
    except OSError as error:
        logger.warning("cannot read Docker's configuration", extra={"path": str(config.docker_config), "error": str(error)[:200]})
        return b""


def _thresholds(config: AgentConfig) -> pressure_plan.Thresholds:
    return pressure_plan.Thresholds(
        disk=pressure_plan.parse_share(config.eviction_disk_available),
        memory=pressure_plan.parse_share(config.eviction_memory_available),
        pids=pressure_plan.parse_share(config.eviction_pids_available),
    )


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def parse_arguments(arguments: Sequence[str]) -> AgentConfig:
    """Return the settings of a command line, the environment and the settings file.

    Raises:
        errors.UsageError: one of them is wrong.
    """
    return reading.read(flags.parse(arguments), os.environ).config


def main(arguments: Sequence[str] | None = None) -> int:
    """Run an agent until SIGTERM or SIGINT; return the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")

    async def run(config: AgentConfig) -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await run_agent(config, stop=stop)

    try:
        asyncio.run(run(parse_arguments(sys.argv[1:] if arguments is None else arguments)))
    except errors.UsageError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0
