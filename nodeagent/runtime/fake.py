"""A runtime without an engine, whose failures are data: for tests, and for loading a control plane with nodes that cost nothing.

A test says what goes wrong by setting fields (``down``, ``foreign_ports``, ``pull_failures``, ``programs``);
nothing here decides at random.
``changes`` is the log of every call that would change something on a real engine, in order: the proof of "a second pass does nothing".
The suite ``tests/contract/test_runtime.py`` proves that this behaves as Docker does; what it does not test, nobody may rely on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from lattice.api.errors import LatticeError
from lattice.machinery.clock import Clock
from lattice.machinery.tasks import TaskOwner
from nodeagent.runtime import base
from nodeagent.runtime.fake_disk import IMAGE_SIZE_BYTES, FakeDisk, Figures
from nodeagent.runtime.fake_networks import FakeNetworks
from nodeagent.runtime.fake_streams import FakeStreams

_GIB: Final = 1024**3


@dataclass(slots=True)
class Program:
    """What a command does when it is started."""

    run_for_s: float | None = None
    """Ends by itself after this time; ``None``: runs until it is stopped."""
    exit_code: int = 0
    """Exit code of an end by itself."""
    start_error: str = ""
    """If set, it cannot be started, and this is the engine's message."""
    output: str = ""
    """What ``logs`` shows."""
    ignores_stop: bool = False
    """Only SIGKILL ends it, after the grace period."""


@dataclass(slots=True)
class _Box:
    """One container: what Docker keeps of it."""

    config: base.ContainerConfig
    seen: base.Container
    files: list[tuple[str, bytes]] = field(default_factory=list)


class FakeRuntime(FakeDisk, FakeStreams):
    """Implements ``Runtime`` in memory."""

    def __init__(self, clock: Clock, *, images: Sequence[str] = ("busybox:latest", base.NETWORK_HELPER_IMAGE)) -> None:
        super().__init__()
        self._clock = clock
        self._boxes: dict[base.ContainerId, _Box] = {}
        self._volumes: dict[str, dict[str, str]] = {}
        self._networks = FakeNetworks()
        self._images = set(images)
        self._count = 0
        self._subscribers: list[asyncio.Queue[base.RuntimeEvent | None]] = []
        self._tasks = TaskOwner("fake-runtime")
        self.down = False
        """The engine does not answer."""
        self.start_delay_s = 0.0
        """How long a start takes."""
        self.foreign_ports: set[int] = set()
        """Host ports that other programs listen on."""
        self.registry: set[str] = set()
        """Images that a pull finds."""
        self.pull_failures: dict[str, LatticeError] = {}
        """Raised by a pull of this image."""
        self.image_details: dict[str, base.ImageDetails] = {}
        """What images say of themselves; what is not named says nothing."""
        self.programs: dict[tuple[str, ...], Program] = {}
        """By entrypoint and command together; what is not named runs until it is stopped."""
        self.programs_of_images = {base.NETWORK_HELPER_IMAGE: Program(run_for_s=0)}
        """By image, for commands that a test cannot know."""
        self.exec_results: dict[tuple[str, ...], base.ExecResult] = {}
        """By command; what is not named answers 0."""
        self.figures = Figures()
        """What is measured."""
        self.changes: list[str] = []
        """Calls that changed something, as ``verb name``."""
        self.calls = 0
        """All calls."""

    # What tests do to the world

    def set_down(self, down: bool) -> None:
        """Stop or start the engine. Event streams end when it stops; containers keep running (live restore)."""
        self.down = down
        if down:
            for queue in self._subscribers:
                queue.put_nowait(None)

    def end(self, container_id: base.ContainerId, *, exit_code: int, oom_killed: bool = False) -> None:
        """Let the program of a container end by itself."""
        box = self._boxes[container_id]
        if box.seen.state is base.ContainerState.RUNNING:
            box.seen = replace(
                box.seen,
                state=base.ContainerState.EXITED,
                finished_at=self._clock.now(),
                exit_code=exit_code,
                oom_killed=oom_killed,
                ip="",
            )
            self._tell(box, "die")

    # The protocol

    async def info(self) -> base.EngineInfo:
        """See ``Runtime``."""
        await self._enter()
        return base.EngineInfo(
            version="0-fake", os_image="Fake", kernel_version="0", architecture="amd64", cpus=4, memory_bytes=8 * _GIB, data_root="/nowhere"
        )

    async def ping(self) -> None:
        """See ``Runtime``."""
        await self._enter()

    async def list(self, labels: Mapping[str, str] | None = None) -> Sequence[base.Container]:
        """See ``Runtime``."""
        await self._enter()
        return [box.seen for box in self._boxes.values() if _has(box.seen.labels, labels or {})]

    async def inspect(self, container_id: base.ContainerId) -> base.Container:
        """See ``Runtime``."""
        await self._enter()
        return self._box(container_id).seen

    async def create(self, config: base.ContainerConfig) -> base.ContainerId:
        """See ``Runtime``."""
        await self._enter()
        if config.image not in self._images:
            raise base.ImageNotFoundError(f"cannot create container {config.name}: No such image: {config.image}")
        if any(box.seen.name == config.name for box in self._boxes.values()):
            raise base.NameTakenError(f"cannot create container {config.name}: the name is in use")
        if any(not mount.target.startswith("/") for mount in config.mounts):
            raise base.InvalidContainerError(f"cannot create container {config.name}: a mount path must be absolute")
        self._count += 1
        container_id = base.ContainerId(f"{self._count:064x}")
        volumes = tuple(mount.source for mount in config.mounts if mount.kind == "volume")
        for volume in volumes:
            self._volumes.setdefault(volume, {})
        seen = base.Container(
            id=container_id,
            name=config.name,
            image=config.image,
            image_id=f"sha256:{config.image}",
            image_digest=next(iter(details.digests), "") if (details := self.image_details.get(config.image)) else "",
            labels=dict(config.labels),
            state=base.ContainerState.CREATED,
            created_at=self._clock.now(),
            ports=config.ports,
            volumes=volumes,
            memory_limited=config.memory_bytes is not None,
        )
        box = self._boxes[container_id] = _Box(config, seen)
        self.changes.append(f"create {config.name}")
        self._tell(box, "create")
        return container_id

    async def start(self, container_id: base.ContainerId) -> None:
        """See ``Runtime``."""
        await self._enter()
        box = self._box(container_id)
        if box.seen.state is base.ContainerState.RUNNING:
            return
        self.changes.append(f"start {box.seen.name}")
        if self.start_delay_s:
            await self._clock.sleep(self.start_delay_s)
            await self._enter()
            box = self._box(container_id)
        program = self._program(box)
        if program.start_error:
            box.seen = replace(box.seen, exit_code=127, error=program.start_error)
            raise base.InvalidContainerError(f"cannot start container {box.seen.name}: {program.start_error}")
        self._check_ports(box)
        running = [other.seen for other in self._boxes.values() if other.seen.state is base.ContainerState.RUNNING]
        ip = self._networks.address(box.config, (seen.ip for seen in running))
        box.seen = replace(
            box.seen,
            state=base.ContainerState.RUNNING,
            started_at=self._clock.now(),
            finished_at=None,
            exit_code=None,
            oom_killed=False,
            ip=ip,
        )
        self._tell(box, "start")
        if program.run_for_s is not None:
            self._tasks.spawn(self._end_later(container_id, program), name=box.seen.name)

    async def stop(self, container_id: base.ContainerId, *, grace_s: int) -> None:
        """See ``Runtime``."""
        await self._enter()
        box = self._boxes.get(container_id)
        if box is None or box.seen.state is not base.ContainerState.RUNNING:
            return
        self.changes.append(f"stop {box.seen.name}")
        if self._program(box).ignores_stop:
            await self._clock.sleep(grace_s)
            self.end(container_id, exit_code=137)
        else:
            self.end(container_id, exit_code=143)

    async def remove(self, container_id: base.ContainerId) -> None:
        """See ``Runtime``."""
        await self._enter()
        box = self._boxes.get(container_id)
        if box is None:
            return
        self.changes.append(f"remove {box.seen.name}")
        self.end(container_id, exit_code=137)
        self._boxes.pop(container_id, None)
        self._tell(box, "destroy")

    async def exec(self, container_id: base.ContainerId, command: Sequence[str], *, timeout_s: float) -> base.ExecResult:
        """See ``Runtime``."""
        await self._enter()
        box = self._box(container_id)
        if box.seen.state is not base.ContainerState.RUNNING:
            raise base.RuntimeFailedError(f"cannot run {command[0]} in container {box.seen.name}: it is not running")
        program = self.programs.get(tuple(command), Program())
        if program.run_for_s is not None and program.run_for_s > timeout_s:
            await self._clock.sleep(timeout_s)
            raise TimeoutError
        return self.exec_results.get(tuple(command), base.ExecResult(exit_code=0, output=""))

    async def logs(self, container_id: base.ContainerId, *, tail: int) -> str:
        """See ``Runtime``."""
        await self._enter()
        return "".join(self._program(self._box(container_id)).output.splitlines(keepends=True)[-tail:])

    async def put_archive(self, container_id: base.ContainerId, path: str, tar: bytes) -> None:
        """See ``Runtime``."""
        await self._enter()
        self._box(container_id).files.append((path, tar))

    async def pull(self, image: str, *, auth: Mapping[str, str] | None = None, progress: Callable[[int], None] | None = None) -> None:
        """See ``Runtime``."""
        await self._enter()
        self.changes.append(f"pull {image}")
        if image in self.pull_failures:
            raise self.pull_failures[image]
        if image not in self.registry:
            raise base.ImageNotFoundError(f"cannot pull image {image}: manifest unknown")
        if progress is not None and image not in self._images:
            progress(self.figures.image_bytes.get(image, IMAGE_SIZE_BYTES))
        self._images.add(image)

    async def inspect_image(self, image: str) -> base.ImageDetails | None:
        """See ``Runtime``."""
        await self._enter()
        return self.image_details.get(image, base.ImageDetails(id=f"sha256:{image}")) if image in self._images else None

    async def import_image(self, image: str, tar: bytes, *, entrypoint: Sequence[str]) -> None:
        """See ``Runtime``."""
        await self._enter()
        self.changes.append(f"import-image {image}")
        self._images.add(image)
        self.image_details[image] = base.ImageDetails(id=f"sha256:{image}", size_bytes=len(tar), entrypoint=tuple(entrypoint))

    async def has_image(self, image: str) -> bool:
        """See ``Runtime``."""
        await self._enter()
        return image in self._images

    async def images(self) -> Sequence[base.Image]:
        """See ``Runtime``."""
        await self._enter()
        sizes = self.figures.image_bytes
        return [
            base.Image(id=f"sha256:{image}", names=(image,), size_bytes=sizes.get(image, IMAGE_SIZE_BYTES))
            for image in sorted(self._images)
        ]

    async def ensure_volume(self, name: str, *, labels: Mapping[str, str], options: Mapping[str, str] | None = None) -> bool:
        """See ``Runtime``."""
        await self._enter()
        if name in self._volumes:
            return False
        self.changes.append(f"create-volume {name}")
        self._volumes[name] = dict(labels)
        return True

    async def volume_path(self, name: str) -> str | None:
        """See ``Runtime``."""
        await self._enter()
        return f"/nowhere/volumes/{name}/_data" if name in self._volumes else None

    async def has_volume_sub_paths(self) -> bool:
        """See ``Runtime``."""
        await self._enter()
        return False

    async def volumes(self, labels: Mapping[str, str]) -> Sequence[str]:
        """See ``Runtime``."""
        await self._enter()
        return sorted(name for name, held in self._volumes.items() if _has(held, labels))

    async def remove_volume(self, name: str) -> None:
        """See ``Runtime``."""
        await self._enter()
        users = [box.seen.name for box in self._boxes.values() if name in box.seen.volumes]
        if users:
            raise base.RuntimeFailedError(f"cannot remove volume {name}: it is in use by {users[0]}")
        if self._volumes.pop(name, None) is not None:
            self.changes.append(f"remove-volume {name}")

    async def networks(self, labels: Mapping[str, str] | None = None) -> Sequence[base.Network]:
        """See ``Runtime``."""
        await self._enter()
        return self._networks.find(labels or {})

    async def create_network(self, network: base.Network) -> None:
        """See ``Runtime``."""
        await self._enter()
        self._networks.add(network)
        self.changes.append(f"create-network {network.name}")

    async def remove_network(self, name: str) -> None:
        """See ``Runtime``."""
        await self._enter()
        boxes = self._boxes.values()
        used = [box.config.network for box in boxes if box.seen.state is base.ContainerState.RUNNING and box.config.network]
        if self._networks.remove(name, used):
            self.changes.append(f"remove-network {name}")

    async def events(self) -> AsyncGenerator[base.RuntimeEvent]:
        """See ``Runtime``."""
        await self._enter()
        queue: asyncio.Queue[base.RuntimeEvent | None] = asyncio.Queue()
        self._subscribers.append(queue)
        try:
            yield base.RuntimeEvent(container_id=base.ContainerId(""), action=base.EVENT_SUBSCRIBED, labels={})
            while (event := await queue.get()) is not None:
                yield event
        finally:
            self._subscribers.remove(queue)
        raise base.RuntimeUnavailableError("cannot follow events: the engine is away")

    async def close(self) -> None:
        """See ``Runtime``."""
        await self._tasks.stop()

    # Inside

    async def _enter(self) -> None:
        self.calls += 1
        await asyncio.sleep(0)  # noqa: TID251 - yields as a real call does, waits for no time
        if self.down:
            raise base.RuntimeUnavailableError("cannot reach the engine: connection refused")

    def _box(self, container_id: base.ContainerId) -> _Box:
        try:
            return self._boxes[container_id]
        except KeyError:
            raise base.ContainerGoneError(f"no such container: {container_id}") from None

    def _program(self, box: _Box) -> Program:
        command = (*(box.config.entrypoint or ()), *(box.config.command or ()))
        return self.programs.get(command) or self.programs_of_images.get(box.config.image) or Program()

    def _check_ports(self, box: _Box) -> None:
        running = (other.seen for other in self._boxes.values() if other.seen.state is base.ContainerState.RUNNING)
        taken = self.foreign_ports | {port.host_port for seen in running for port in seen.ports}
        for port in box.config.ports:
            if port.host_port in taken:
                message = f"cannot start container {box.seen.name}: port {port.host_port} is already allocated"
                raise base.PortTakenError(message, host_port=port.host_port)

    async def _end_later(self, container_id: base.ContainerId, program: Program) -> None:
        await self._clock.sleep(program.run_for_s or 0.0)
        if container_id in self._boxes:
            self.end(container_id, exit_code=program.exit_code)

    def _tell(self, box: _Box, action: str) -> None:
        for queue in self._subscribers:
            queue.put_nowait(
                base.RuntimeEvent(
                    container_id=box.seen.id,
                    action=action,
                    labels=box.seen.labels,
                    exit_code=box.seen.exit_code if action == "die" else None,
                    at=self._clock.now(),
                )
            )


def _has(held: Mapping[str, str], asked: Mapping[str, str]) -> bool:
    return all(key in held and (not value or held[key] == value) for key, value in asked.items())
