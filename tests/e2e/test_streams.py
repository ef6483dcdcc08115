"""A real kubectl reads logs, runs commands, attaches and copies on real Docker, through an agent that nobody can dial."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lattice.testing.cluster import LATTICE, LocalCluster
from lattice.testing.kubectl import Kubectl
from lattice.testing.polling import eventually
from lattice.testing.processes import Process

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.kubectl, pytest.mark.timeout(300)]

TALKS = "trap 'exit 0' TERM; echo first; sleep 0.5; echo oops >&2; i=0; while true; do i=$((i+1)); echo tick $i; sleep 0.5; done"
READS = "while read line; do echo got $line; done"


def manifest(name: str, script: str, **container: Any) -> dict[str, Any]:
    fields = {"name": "main", "image": "busybox:latest", "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", script], **container}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [fields], "terminationGracePeriodSeconds": 1},
    }


@pytest.fixture
async def k(cluster: LocalCluster, kubectl: str, tmp_path: Path) -> Kubectl:
    k = Kubectl(kubectl, cluster.kubeconfig, directory=tmp_path, cache=tmp_path / "kube-cache")
    await k.ok("create -f -", stdin=[manifest("talks", TALKS), manifest("reads", READS, stdin=True)])
    await k.ok("wait --for=condition=Ready pod/talks pod/reads --timeout=60s")
    return k


async def typed(k: Kubectl, command: str, keys: bytes, *, until: bytes) -> bytes:
    """Run a command on a terminal of 40 lines and 120 columns, type ``keys``, and return what it showed up to ``until`` and its end."""
    parent, child = pty.openpty()
    import fcntl
    import struct
    import termios

    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    process = await asyncio.create_subprocess_exec(
        k.binary, "--namespace", k.namespace, *command.split(), stdin=child, stdout=child, stderr=child, env={**os.environ, **k.environment}
    )
    os.close(child)
    shown = b""

    def read() -> None:
        nonlocal shown
        with contextlib.suppress(OSError):
            while data := os.read(parent, 4096):
                shown += data

    reading = asyncio.ensure_future(asyncio.to_thread(read))
    await eventually(lambda: b"$" in shown or b"#" in shown or b"prompt" in shown, 30, "the prompt")
    os.write(parent, keys)
    await eventually(lambda: until in shown, 30, f"{until!r} in {shown!r}")
    os.write(parent, b"exit\n")
    async with asyncio.timeout(30):
        await process.wait()
    await reading
    os.close(parent)
    return shown


async def test_kubectl_logs_exec_attach_and_cp(k: Kubectl, cluster: LocalCluster, tmp_path: Path) -> None:
    # logs
    async def complete() -> bool:
        text = await k.ok("logs pod/talks -c main")
        return "oops\n" in text and "tick 2\n" in text

    await eventually(complete, 30, "the first lines")
    assert "first\n" in await k.ok("logs talks")
    assert await k.ok("logs talks --limit-bytes=5") == "first"
    assert len((await k.ok("logs talks --tail=1")).splitlines()) == 1
    assert re.match(r"\d{4}-\d\d-\d\dT[\d:.]{18}Z first\n", await k.ok("logs talks --timestamps"))
    assert (await k.ok("logs talks --all-containers --prefix --tail=1")).startswith("[pod/talks/main] tick")
    assert "first" not in await k.ok("logs talks --since=1s")
    assert "container nope is not valid for pod talks" in await k.fails("logs talks -c nope")
    # previous: what the container before said, also while the next one waits to be started
    await k.ok("create -f -", stdin=manifest("fails", "echo life $(cat /proc/sys/kernel/random/uuid); sleep 1; exit 1"))

    async def restarted() -> str:
        return (await k("logs fails --previous")).stdout

    before = await eventually(restarted, 60, "a restart")
    assert before.startswith("life ")
    following = k.start("logs -f talks --tail=1")
    await eventually(lambda: following.tail().count("tick") >= 3, 30, "three lines")
    # The agent is killed and started again: the log goes on, and no line is missing.
    await cluster.agents[cluster.name].kill9()
    await cluster.start_agent()
    seen = following.tail().count("tick")
    await eventually(lambda: following.tail().count("tick") >= seen + 3, 60, "more lines")
    numbers = [int(line.split()[1]) for line in following.tail().splitlines() if line.startswith("tick")]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    await following.stop()
    # exec
    assert await k.ok("exec talks -- echo 'two words'") == "two words\n"
    assert (await k("exec talks -- sh -c 'echo out; echo err >&2; exit 7'")).returncode == 7
    assert (await k("exec talks -- sh -c 'echo out; echo err >&2; exit 7'")).stderr == "err\ncommand terminated with exit code 7\n"
    assert await k.ok("exec -i talks -- cat", stdin="typed\n") == "typed\n"
    assert await k.ok("exec -i talks -- wc -c", stdin="x" * 3_000_000) == "3000000\n"
    assert (await k("exec talks -- /no/such/program")).returncode in (126, 127)
    assert "b\r\n" not in await k.ok("exec talks -- printf 'a\\nb\\n'")
    shown = await typed(k, "exec -it talks -- sh", b"stty size; exit 3\n", until=b"40 120")
    assert b"exit code 3" in shown
    # attach
    attached = await asyncio.to_thread(
        subprocess.run,
        ["bash", "-c", f"(sleep 2; echo hello; sleep 2) | timeout 20 {k.binary} attach -i reads"],
        env={**os.environ, **k.environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "got hello" in attached.stdout
    # cp
    (tmp_path / "blob").write_bytes(os.urandom(1_500_000))
    await k.ok("cp blob talks:/tmp/blob")
    await k.ok("cp talks:/tmp/blob back")
    assert (tmp_path / "back").read_bytes() == (tmp_path / "blob").read_bytes()
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    (tmp_path / "folder" / "inner" / "file").write_text("deep\n")
    await k.ok("cp folder talks:/tmp/folder")
    assert await k.ok("exec talks -- cat /tmp/folder/inner/file") == "deep\n"


async def test_kubectl_port_forward(cluster: LocalCluster, kubectl: str, tmp_path: Path) -> None:
    k = Kubectl(kubectl, cluster.kubeconfig, directory=tmp_path, cache=tmp_path / "kube-cache")
    redis = manifest("cache", "exec redis-server --bind 127.0.0.1 --port 6379 --save ''", image="redis:7")
    await k.ok("create -f -", stdin=redis)
    await k.ok("wait --for=condition=Ready pod/cache --timeout=60s")
    forwarding = k.start("port-forward pod/cache :6379 :9")
    found = await eventually(lambda: re.findall(r"127\.0\.0\.1:(\d+) -> (\d+)", forwarding.tail()), 30, "the ports")
    await eventually(lambda: len(re.findall("127.0.0.1:", forwarding.tail())) == 2, 30, "both ports")
    found = re.findall(r"127\.0\.0\.1:(\d+) -> (\d+)", forwarding.tail())
    ports = {int(there): int(here) for here, there in found}

    async def ask(sent: bytes, size: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", ports[6379])
        writer.write(sent)
        async with asyncio.timeout(60):
            got = await reader.readexactly(size)
        writer.close()
        return got

    assert await eventually(lambda: ask(b"PING\r\n", 7), 30) == b"+PONG\r\n"  # the program on the loopback of its container
    blob = os.urandom(3_000_000)
    command = b"*2\r\n$4\r\nECHO\r\n$%d\r\n%s\r\n" % (len(blob), blob)
    answers = await asyncio.gather(*(ask(command, len(blob) + 12) for _ in range(3)), *(ask(b"PING\r\n", 7) for _ in range(10)))
    assert [answer[10:-2] for answer in answers[:3]] == [blob] * 3
    assert answers[3:] == [b"+PONG\r\n"] * 10
    reader, writer = await asyncio.open_connection("127.0.0.1", ports[9])
    async with asyncio.timeout(30):
        assert await reader.read() == b""
    writer.close()
    await eventually(lambda: "connection refused" in forwarding.tail(), 30, "the reason")
    await forwarding.stop()


async def test_lattice_logs_exec_and_port_forward(cluster: LocalCluster, kubectl: str, tmp_path: Path) -> None:
    k = Kubectl(kubectl, cluster.kubeconfig, directory=tmp_path, cache=tmp_path / "kube-cache")
    await k.ok("create -f -", stdin=manifest("cache", "echo starts; exec redis-server --port 6379 --save ''", image="redis:7"))
    await k.ok("wait --for=condition=Ready pod/cache --timeout=60s")

    def lattice(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        argv = [*LATTICE, "--kubeconfig", str(cluster.kubeconfig), *arguments]
        return subprocess.run(argv, input=stdin, capture_output=True, timeout=60)

    assert (await asyncio.to_thread(lattice, "logs", "cache")).stdout.startswith(b"starts\n")
    assert len((await asyncio.to_thread(lattice, "logs", "pod/cache", "--tail", "1", "--timestamps")).stdout.splitlines()) == 1
    prefixed = await asyncio.to_thread(lattice, "logs", "cache", "--all-containers", "--since", "1h")
    assert prefixed.stdout.startswith(b"starts\n")
    done = await asyncio.to_thread(lattice, "exec", "cache", "--", "sh", "-c", "echo out; echo err >&2; exit 5")
    assert (done.stdout, done.stderr, done.returncode) == (b"out\n", b"err\n", 5)
    assert (await asyncio.to_thread(lambda: lattice("exec", "-i", "cache", "--", "cat", stdin=b"x" * 200_000))).stdout == b"x" * 200_000
    refused = await asyncio.to_thread(lattice, "exec", "cache", "-c", "nope", "--", "true")
    assert b"container nope is not valid for pod cache" in refused.stderr
    forwarding = Process(
        (*LATTICE, "--kubeconfig", str(cluster.kubeconfig), "port-forward", "cache", ":6379"), log=tmp_path / "forward.log"
    )
    forwarding.start()
    found = await eventually(lambda: re.search(r"127\.0\.0\.1:(\d+) -> 6379", forwarding.tail()), 30, "the port")
    for _ in range(3):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(found[1]))
        writer.write(b"PING\r\n")
        async with asyncio.timeout(30):
            assert await reader.readline() == b"+PONG\r\n"
        writer.close()
    await forwarding.stop()


async def test_kubectl_logs_of_several_containers_and_debug(cluster: LocalCluster, kubectl: str, tmp_path: Path) -> None:
    k = Kubectl(kubectl, cluster.kubeconfig, directory=tmp_path, cache=tmp_path / "kube-cache")
    several = manifest("several", "echo from-main; sleep 1000")
    image = {"image": "busybox:latest", "imagePullPolicy": "IfNotPresent"}
    several["spec"]["initContainers"] = [{"name": "first", **image, "command": ["echo", "from-first"]}]
    several["spec"]["containers"].append({"name": "other", **image, "command": ["sh", "-c", "echo from-other; sleep 1000"]})
    await k.ok("create -f -", stdin=several)
    await k.ok("wait --for=condition=Ready pod/several --timeout=90s")

    async def everything() -> bool:
        found = sorted((await k.ok("logs several --all-containers --prefix")).splitlines())
        return found == ["[pod/several/first] from-first", "[pod/several/main] from-main", "[pod/several/other] from-other"]

    await eventually(everything, 30, "the log of each container")
    assert await k.ok("exec several -c other -- echo here") == "here\n"
    debugging = f"{k.binary} debug -i several --image=busybox:latest --image-pull-policy=IfNotPresent -c dbg --profile=baseline -- sh"
    done = await asyncio.to_thread(
        subprocess.run,
        ["bash", "-c", f"(sleep 8; echo 'echo debug-$((40+2))'; sleep 2; echo exit; sleep 1) | timeout 60 {debugging}"],
        env={**os.environ, **k.environment},
        capture_output=True,
        text=True,
        timeout=90,
    )
    logged = await k("logs several -c dbg")
    assert "debug-42" in done.stdout + logged.stdout, (done, logged)
