"""A Docker engine of a test's own, which it may stop, kill and restart: in a network namespace, with its own data and its own mounts.

    async with OwnEngine("chaos") as engine:
        await engine.load("busybox:latest", source=docker_host)
        async with LocalCluster(tmp_path, docker_host=engine.host) as cluster:
            await cluster.start()
            await engine.kill9()
            await engine.start()

The test itself lives in the engine's network namespace meanwhile, and with it all that it starts: the control plane and its agents, whose
127.0.0.1 is the engine's. Only what was listening before (an etcd of another fixture) is out of its reach.

Other engines of this machine neither see it nor what it runs: dockerds in one network namespace fight over their packet filter rules, so
each of these has a fake LAN (``lan.py``) of its own. It also has a mount namespace of its own, in which its ``/etc/resolv.conf`` names
the LAN's resolver; what it mounted disappears with its last process. The end is thorough: whatever dockerd left behind after a SIGKILL
(containerd, shims, the programs of containers) is killed, what is still mounted is unmounted lazily, and only then the data is deleted.
Needs root and the ``dockerd`` that ``hack/docker`` installs.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import threading
from pathlib import Path
from typing import Final, Self

import aiohttp
import orjson

from lattice.testing import lan
from lattice.testing.polling import eventually

_RUN: Final = Path("/run/lattice-test")
"""Short, because a Unix socket's path may have 107 bytes and containerd makes deep ones."""
_START_S: Final = 90.0
_STOP_S: Final = 60.0
_STUBBORN_S: Final = 30.0


class OwnEngine:
    """See the module's docstring.

    Args:
        name: part of the names of everything of it; at most 7 characters of ``a-z0-9``.
        directory: where its data go, a few megabytes and its images; below ``/var/tmp`` if it is ``None``.
        live_restore: whether containers outlive dockerd.
        options: further settings of ``daemon.json``.
    """

    def __init__(
        self, name: str, directory: Path | None = None, *, live_restore: bool = True, options: dict[str, object] | None = None
    ) -> None:
        assert 1 <= len(name) <= 7
        self.name = f"{name}{os.getpid() % 100000}"
        self.lan = lan.Lan(self.name)
        self.run_dir = _RUN / self.name
        self.data_dir = (directory or Path("/var/tmp")) / f"lattice-engine-{self.name}"  # noqa: S108 - ours by its name
        self.socket = self.run_dir / "docker.sock"
        self._config: dict[str, object] = {
            "data-root": str(self.data_dir / "data"),
            "exec-root": str(self.run_dir / "exec"),
            "pidfile": str(self.run_dir / "docker.pid"),
            "hosts": [self.host],
            "bip": "10.214.0.1/24",
            "default-address-pools": [{"base": "10.215.0.0/16", "size": 26}],
            "live-restore": live_restore,
            "shutdown-timeout": 5,
            **(options or {}),
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._holder: subprocess.Popen[bytes] | None = None
        self._stack = contextlib.ExitStack()

    @property
    def host(self) -> str:
        """What an agent takes as ``--docker-host``."""
        return f"unix://{self.socket}"

    @property
    def enter(self) -> tuple[str, ...]:
        """Prefix of the command of an agent, or of anything that needs the ports this engine publishes on 127.0.0.1."""
        return self.lan.enter(self.lan.host)

    @property
    def log(self) -> Path:
        """The output of dockerd."""
        return self.run_dir / "dockerd.log"

    @property
    def running(self) -> bool:
        """Whether dockerd runs."""
        return self._process is not None and self._process.poll() is None

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._clear)
        self.run_dir.mkdir(parents=True)
        self.data_dir.mkdir(parents=True)
        try:
            self._stack.enter_context(self.lan)
            self._stack.enter_context(self.lan.inside(self.lan.host))
            (self.run_dir / "resolv.conf").write_text(f"nameserver {lan.ROUTER}\n")
            (self.run_dir / "etc").mkdir()
            (self.run_dir / "daemon.json").write_bytes(orjson.dumps(self._config))
            await self.start()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_error: object) -> None:
        if self.running:
            with contextlib.suppress(AssertionError):  # a dockerd that does not stop is killed with the rest
                await self.stop()
        await asyncio.to_thread(self._clear)
        self._stack.close()

    async def start(self) -> None:
        """Start dockerd (again) and wait until it answers."""
        assert not self.running
        holder = self._mount_namespace()
        self._forget_dead_containerd()
        argv = ["nsenter", f"--mount=/proc/{holder}/ns/mnt", f"--net=/run/netns/{self.lan.host}", "--"]
        argv += ["dockerd", "--config-file", str(self.run_dir / "daemon.json")]
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(  # noqa: S603, ASYNC220 - the test's own command
                argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"},
            )

        async def answers() -> bool:
            assert self.running or self.log.exists()
            if not self.running:
                raise RuntimeError(f"dockerd ended:\n{self.tail()}")
            return await self._ping()

        await eventually(answers, _START_S, f"dockerd to answer; its log ends:\n{self.tail()}")

    def _forget_dead_containerd(self) -> None:
        """Remove the pid file of a containerd that died with its dockerd.

        Where no init reaps it, it stays as a zombie, and dockerd would wait for its socket in vain.
        """
        pid_file = self.run_dir / "exec/containerd/containerd.pid"
        with contextlib.suppress(OSError, ValueError):
            if _state(int(pid_file.read_text())) == "Z":
                pid_file.unlink()

    async def _containerd_ended(self) -> None:
        """Wait for the end of the containerd of a dockerd that was killed: the kernel kills it too, a moment later."""
        pid_file = self.run_dir / "exec/containerd/containerd.pid"
        with contextlib.suppress(OSError, ValueError):
            pid = int(pid_file.read_text())
            await eventually(lambda: _state(pid) in {"Z", ""}, _STUBBORN_S, "containerd to end with its dockerd")

    def _mount_namespace(self) -> int:
        """Return the process that holds the mount namespace: one for all starts, for a restarted dockerd must find its mounts again."""
        if self._holder is None:
            # /etc/docker holds the key that is the engine's id, the same for all engines of a machine unless it is hidden.
            inside = (
                f"mount --bind {self.run_dir}/resolv.conf /etc/resolv.conf && mkdir -p /etc/docker && "
                f"mount --bind {self.run_dir}/etc /etc/docker && echo ready && exec sleep infinity"
            )
            self._holder = subprocess.Popen(  # noqa: S603 - the test's own command
                ["unshare", "--mount", "--propagation", "private", "sh", "-c", inside],  # noqa: S607 - as above
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
            assert self._holder.stdout is not None
            assert self._holder.stdout.readline() == b"ready\n", "no mount namespace could be made; are we root?"
        return self._holder.pid

    async def stop(self) -> None:
        """SIGTERM dockerd and wait for its end."""
        await self._signal(signal.SIGTERM)

    async def kill9(self) -> None:
        """SIGKILL dockerd alone; its containerd goes with it, shims and containers may live on."""
        await self._signal(signal.SIGKILL)
        await self._containerd_ended()

    async def _signal(self, number: signal.Signals) -> None:
        process = self._process
        assert process is not None
        process.send_signal(number)
        await eventually(lambda: process.poll() is not None, _STOP_S, "dockerd to end")

    async def load(self, *images: str, source: str) -> None:
        """Copy images from another engine.

        Args:
            images: by name.
            source: ``unix:///path`` of the engine that has them.
        """
        connector = aiohttp.UnixConnector(path=source.removeprefix("unix://"))
        async with (
            aiohttp.ClientSession(connector=connector) as theirs,
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=str(self.socket))) as ours,
            theirs.get("http://engine/images/get", params=[("names", image) for image in images]) as saved,
        ):
            saved.raise_for_status()
            headers = {"Content-Type": "application/x-tar"}
            async with ours.post("http://engine/images/load", params={"quiet": "1"}, data=saved.content, headers=headers) as loaded:
                text = await loaded.text()
                assert loaded.status == 200, text
                assert '"error"' not in text, text

    def tail(self, lines: int = 20) -> str:
        """Return the end of dockerd's output."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""

    async def _ping(self) -> bool:
        try:
            async with (
                aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=str(self.socket))) as session,
                session.get("http://engine/_ping", timeout=aiohttp.ClientTimeout(total=5)) as answer,
            ):
                return answer.status == 200
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False

    def _clear(self) -> None:
        """End every process of this engine, undo its mounts and delete what it kept. Never fails because of what dockerd left."""
        deadline = _Deadline(_STUBBORN_S)
        while left := self._processes():
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if deadline.over():
                break
            deadline.pause()
        for child in (self._process, self._holder):
            if child is not None:
                child.kill()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.communicate(timeout=5)
        self._holder = None
        for folder in (self.run_dir, self.data_dir):
            while folder.exists():
                for mount in _mounts_below(folder):
                    subprocess.run(["umount", "-l", mount], check=False, capture_output=True)  # noqa: S603, S607 - a path of ours
                shutil.rmtree(folder, ignore_errors=True)
                if deadline.over():
                    break
                if folder.exists():
                    deadline.pause()

    def _processes(self) -> set[int]:
        """Return what belongs to this engine: what names its folders or lives on its mounts, and all that descends from that."""
        marks = (os.fsencode(f"{self.run_dir}/"), os.fsencode(f"{self.data_dir}/"))
        ours = Path("/proc/self/ns/mnt").readlink()
        parents: dict[int, int] = {}
        found: set[int] = set()
        for process in Path("/proc").glob("[0-9]*"):
            try:
                pid = int(process.name)
                state, parent = (process / "stat").read_text().rpartition(")")[2].split()[:2]
                parents[pid] = int(parent)
                if state == "Z":
                    continue
                line = (process / "cmdline").read_bytes()
                is_engines = Path(os.fsdecode(line.split(b"\0")[0])).name.startswith(("dockerd", "containerd", "docker-proxy", "runc"))
                elsewhere = (process / "ns/mnt").readlink() != ours  # NB: only then do the mounts tell whose it is
                text = (line if is_engines else b"") + ((process / "mounts").read_bytes() if elsewhere else b"")
                if any(mark in text for mark in marks):
                    found.add(pid)
            except (OSError, ValueError):  # it ended while we looked
                continue
        while more := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= more
        return found - {os.getpid()}


def _state(pid: int) -> str:
    """Return the letter that the kernel has for a process' state, empty if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


class _Deadline:
    """A bounded wait of the clean-up, which runs in a thread: it must work where the test's loop is being cancelled."""

    def __init__(self, seconds: float) -> None:
        self._left_s = seconds
        self._never = threading.Event()

    def pause(self) -> None:
        self._never.wait(0.1)
        self._left_s -= 0.1

    def over(self) -> bool:
        return self._left_s <= 0


def _mounts_below(folder: Path) -> list[str]:
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    return sorted((path for path in mounts if path.startswith(f"{folder}/")), reverse=True)
