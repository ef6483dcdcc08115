"""A Docker engine of our own, without systemd: start, stop, find.

Called by `hack/docker`, `hack/up`, `hack/down` and `hack/test`. It has its own data root, exec root, pid file, socket,
bridge and containerd, so it neither sees nor touches what the user's engine runs; the label `lattice.dev/hack` in
`docker info` tells it from any other. Stopping it removes its network; its images stay in `.cache` until it is wiped.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from kit import network
from kit.cgroups import mount_missing_controllers
from kit.console import HackError, run, say, wait_until
from kit.engine_api import EngineApi
from kit.packages import as_root, ensure_programs, find_program
from kit.paths import CACHE, KEY, RUN
from kit.processes import read_live_pid

LABEL = "lattice.dev/hack"
START_TIMEOUT_S = 60
"""A start takes about a second; a machine under load and a first start on a slow disk take longer."""
STOP_TIMEOUT_S = 60
SHUTDOWN_GRACE_S = 10
"""How long dockerd waits for containers whose first process ignores SIGTERM."""

PACKAGES = {
    "dockerd": "docker.io",
    "containerd": "containerd",
    "runc": "runc",
    "iptables": "iptables",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "sysctl": "procps",
    "update-ca-certificates": "ca-certificates",
}


@dataclass(frozen=True, slots=True)
class Engine:
    """One engine of ours, by name; `main` is the one that `hack/up` and the tests use."""

    name: str = "main"

    @property
    def run_dir(self) -> Path:
        return RUN / self.name

    @property
    def data_dir(self) -> Path:
        return CACHE / "engine" / self.name

    @property
    def api(self) -> EngineApi:
        return EngineApi(self.run_dir / "docker.sock")

    @property
    def network_name(self) -> str:
        """Interface names have 15 characters at most: lat + 4 of the key + 7 of the name, and a `v` for the veth."""
        return f"lat{KEY[:4]}{self.name[:7]}"

    @property
    def namespace(self) -> Path | None:
        """The network namespace it was started in; None for ours."""
        path = Path("/run/netns") / self.network_name
        return path if path.exists() else None

    def pid(self) -> int | None:
        """The dockerd's process; None when it does not run."""
        return read_live_pid(self.run_dir / "docker.pid", "dockerd")

    def up(self) -> bool:
        """Start it unless it answers. True if this call started it.

        Raises:
            HackError: It cannot be started; the message ends with its log.
        """
        if self.pid() is not None and self.api.answers():
            return False
        if os.geteuid() != 0:
            CACHE.mkdir(parents=True, exist_ok=True)  # so that it is ours and not root's
            as_root("kit.docker_command", "up", self.name)
            return True
        ensure_programs(PACKAGES)
        self.down()
        mount_missing_controllers()
        own_namespace = self.name != "main" or network.foreign_engine_here()
        net = network.create(self.network_name, own_namespace=own_namespace)
        self._start(net)
        where = "in a network namespace of its own" if own_namespace else "on a bridge of its own"
        say(f"Docker engine {self.name!r} is up {where}: {self.api.host}")
        return True

    def _start(self, net: network.Network) -> None:
        self.run_dir.mkdir(parents=True, exist_ok=True)
        self.data_dir.mkdir(parents=True, exist_ok=True)
        config = self.run_dir / "daemon.json"
        config.write_text(json.dumps(self._config(net), indent=1))
        log = self.data_dir / "dockerd.log"
        dockerd = find_program("dockerd") or "dockerd"
        with log.open("ab") as output:
            process = subprocess.Popen(
                [*net.enter(), dockerd, "--config-file", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # a Ctrl-C meant for us is not meant for it
                env={**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"},
            )
        wait_until(lambda: process.poll() is not None or self.api.answers(), timeout_s=START_TIMEOUT_S)
        if process.poll() is not None or not self.api.answers():
            process.kill()
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-12:])
            network.destroy(net.name)
            raise HackError(f"dockerd did not start; the end of {log}:\n{tail}")

    def _config(self, net: network.Network) -> dict[str, object]:
        config: dict[str, object] = {
            "data-root": str(self.data_dir / "data"),
            "exec-root": str(self.run_dir / "exec"),
            "pidfile": str(self.run_dir / "docker.pid"),
            "hosts": [self.api.host],
            "bridge": net.name,
            "fixed-cidr": str(net.bridge.network),
            "default-address-pools": [{"base": str(net.pool), "size": network.POOL_NETWORK_BITS}],
            "log-driver": "json-file",
            "log-opts": {"max-size": "10m", "max-file": "3"},
            "labels": [f"{LABEL}={KEY}"],
            "shutdown-timeout": SHUTDOWN_GRACE_S,
        }
        if gid := os.environ.get("SUDO_GID"):
            config["group"] = gid  # who called sudo may use the socket
        if Path("/sys/fs/cgroup/cgroup.controllers").exists() and not Path("/run/systemd/system").exists():
            config["exec-opts"] = ["native.cgroupdriver=cgroupfs"]
        return config

    def down(self) -> bool:
        """Stop it and remove its network; idempotent. True if it was running."""
        pid = self.pid()
        if os.geteuid() != 0 and self.run_dir.exists():
            as_root("kit.docker_command", "down", self.name)
            return pid is not None
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
            if not wait_until(lambda: self.pid() is None, timeout_s=STOP_TIMEOUT_S):
                raise HackError(f"dockerd (pid {pid}) did not stop within {STOP_TIMEOUT_S} s")
        if self.run_dir.exists():
            was_here = self.namespace is None
            network.destroy(self.network_name)
            if was_here:
                network.remove_docker_rules(self.network_name)
            _unmount_below(self.run_dir)
            _unmount_below(self.data_dir)
            shutil.rmtree(self.run_dir)
            with contextlib.suppress(OSError):  # another engine of this clone is there
                RUN.rmdir()
        return pid is not None

    def wipe(self) -> None:
        """Stop it and delete everything it ever held: containers, volumes, images."""
        if os.geteuid() != 0 and self.data_dir.exists():
            as_root("kit.docker_command", "wipe", self.name)
            return
        self.down()
        shutil.rmtree(self.data_dir, ignore_errors=True)


def is_ours(api: EngineApi) -> bool:
    """Whether the engine behind this socket was started by a script of this folder."""
    info = api.call("GET", "/info")
    return any(label.startswith(f"{LABEL}=") for label in info.get("Labels") or [])


def users_engine() -> EngineApi | None:
    """The engine that the user already runs on this machine, if any answers."""
    host = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    if not host.startswith("unix://"):
        return None
    api = EngineApi(Path(host.removeprefix("unix://")))
    return api if api.answers() else None


def _unmount_below(folder: Path) -> None:
    """Undo mounts that a killed dockerd left."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in sorted((path for path in mounts if path.startswith(f"{folder}/")), reverse=True):
        run(["umount", "-l", mount], check=False)
