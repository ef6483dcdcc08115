"""A provider's home network made of network namespaces: his host, another machine behind the same router, and an internet beyond it.

    with Lan("demo") as lan:
        lan.run(lan.host, "ip", "addr")          # where the engine and the agent of the test live
        lan.serve(lan.router, lan.router_ip, 8080)

Two namespaces joined by one cable: ``host`` and ``router``. The router has every other address: the gateway's and resolver's, a further
machine's of the LAN, and an address of the internet that is reached through it. Nothing leads out of the two, so nothing that a test
sends can leave the machine. Needs root; everything is gone at the end, whatever the test did.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import select
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from lattice.testing.polling import eventually

HOST: Final = "192.168.77.2"
ROUTER: Final = "192.168.77.1"
"""Gateway, resolver, and a machine of the LAN like any other."""
PUBLIC_ON_LAN: Final = "198.51.100.9"
"""A machine of the LAN that has an address which is not private: only that it is on the cable tells that it is the provider's."""
INTERNET: Final = "203.0.113.10"
HOST6: Final = "fd77::2"
ROUTER6: Final = "fd77::1"
PUBLIC_ON_LAN6: Final = "2001:db8:77::9"
INTERNET6: Final = "2001:db8:ffff::10"

_CLONE_NEWNET: Final = 0x40000000
_SERVER: Final = Path(__file__).with_name("lanserver.py")


@dataclass(slots=True)
class Lan:
    """See the module's docstring.

    Args:
        name: part of the namespaces' names; two of one name must not live at a time. A random one if it is empty.
    """

    name: str = ""
    _servers: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def host(self) -> str:
        """Namespace of the provider's host."""
        return f"lt-{self.name}-host"

    @property
    def router(self) -> str:
        """Namespace of everything else."""
        return f"lt-{self.name}-router"

    def __enter__(self) -> Self:
        self.name = self.name or secrets.token_hex(3)
        self.destroy()
        for namespace in (self.host, self.router):
            _run("ip", "netns", "add", namespace)
            self.run(namespace, "ip", "link", "set", "lo", "up")
        _run("ip", "link", "add", "eth0", "netns", self.host, "type", "veth", "peer", "name", "eth0", "netns", self.router)
        host = [f"addr add {HOST}/24 dev eth0", "addr add 198.51.100.2/24 dev eth0"]
        host += [f"addr add {HOST6}/64 dev eth0 nodad", "addr add 2001:db8:77::2/64 dev eth0 nodad"]
        router = [f"addr add {ROUTER}/24 dev eth0", f"addr add {PUBLIC_ON_LAN}/24 dev eth0", f"addr add {INTERNET}/32 dev lo"]
        router += [f"addr add {address}/64 dev eth0 nodad" for address in (ROUTER6, PUBLIC_ON_LAN6)]
        router += [f"addr add {INTERNET6}/128 dev lo nodad"]
        for namespace, commands in ((self.host, host), (self.router, router)):
            for command in [*commands, "link set eth0 up"]:
                self.run(namespace, "ip", *command.split())
            # A router routes both families, and so does a host of containers.
            self.run(namespace, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        self.run(self.host, "ip", "route", "add", "default", "via", ROUTER)
        self.run(self.host, "ip", "-6", "route", "add", "default", "via", ROUTER6)
        return self

    def __exit__(self, *_error: object) -> None:
        for server in self._servers:
            server.kill()
            server.communicate()
        self._servers.clear()
        self.destroy()

    def destroy(self) -> None:
        """Remove the namespaces, with the cable; what is not there is no error."""
        for namespace in (self.host, self.router):
            with contextlib.suppress(subprocess.CalledProcessError):
                _run("ip", "netns", "delete", namespace)

    def enter(self, namespace: str) -> tuple[str, ...]:
        """Return the prefix of a command that shall run in a namespace.

        NB: not ``ip netns exec``, which mounts /sys anew and so hides the cgroups from a Docker engine.
        """
        return ("nsenter", f"--net=/run/netns/{namespace}", "--")

    @contextlib.contextmanager
    def inside(self, namespace: str) -> Iterator[None]:
        """Let this thread live in a namespace: sockets that it opens and processes that it starts are there, until the end of the block.

        So a whole cluster of separate processes, and the test that talks to it over 127.0.0.1, move without knowing it.
        """
        own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
        try:
            _set_namespace(there)
            yield
        finally:
            _set_namespace(own)
            os.close(there)
            os.close(own)

    def run(self, namespace: str, *argv: str) -> str:
        """Run a command in a namespace and return its output.

        Raises:
            subprocess.CalledProcessError: it failed; what it said is in the error's notes.
        """
        return _run(*self.enter(namespace), *argv)

    async def serve(self, namespace: str, *sockets: str) -> None:
        """Answer in a namespace until the end: ``tcp:ADDRESS:PORT`` says what it is, ``dns:ADDRESS:PORT`` resolves (``lanserver.py``)."""
        argv = [*self.enter(namespace), sys.executable, str(_SERVER), *sockets]
        server = subprocess.Popen(argv, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)  # noqa: S603, ASYNC220 - the test's own command
        self._servers.append(server)
        assert server.stdout is not None
        reading = server.stdout.fileno()

        def is_listening() -> bool:
            assert server.poll() is None, f"the server of {sockets} ended"
            return bool(select.select([reading], [], [], 0)[0]) and os.read(reading, 100).strip() == b"listening"

        await eventually(is_listening, 30.0, f"{', '.join(sockets)} to answer")


def _set_namespace(fd: int) -> None:
    """Call setns(2), which Python has from 3.12 on."""
    if ctypes.CDLL(None, use_errno=True).setns(fd, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "cannot enter the network namespace; are we root?")


def _run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603 - the test's own command
    if done.returncode != 0:
        error = subprocess.CalledProcessError(done.returncode, argv, done.stdout, done.stderr)
        error.add_note(done.stderr.strip())
        raise error
    return done.stdout
