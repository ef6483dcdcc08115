"""``lattice up`` keeps its two children running, and leaves none behind. No engine is needed: the agent waits for one."""

import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lattice.testing.polling import eventually
from lattice.testing.processes import Process, free_port

LATTICE = (sys.executable, "-m", "lattice.cli.main")
_START_S = 30.0


def children(pid: int) -> dict[str, int]:
    """Return the verbs and process ids of the children that live."""
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        words = Path(f"/proc/{child}/cmdline").read_bytes().decode().split("\0")
        found |= {verb: int(child) for verb in ("server", "node") if verb in words}
    return found


def alive(pid: int) -> bool:
    try:
        return b"\0" in Path(f"/proc/{pid}/cmdline").read_bytes()  # a zombie has no command line
    except OSError:
        return False


def up_in(directory: Path, *flags: str) -> Process:
    listen = f"127.0.0.1:{free_port()}"
    base = ("up", "--data-dir", str(directory / "data"), "--listen", listen, "--name", "here")
    return Process((*LATTICE, *base, "--docker-host", f"unix://{directory}/no.sock", *flags), log=directory / "log")


async def wait_both(up: Process) -> dict[str, int]:
    async def both() -> bool:
        assert up.running, up.tail()
        return "Lattice runs" in up.tail(400) and len(children(up.pid)) == 2

    await eventually(both, _START_S, "control plane and agent")
    return children(up.pid)


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[Process]:
    process = up_in(tmp_path)
    process.start()
    yield process
    await process.stop()


async def test_sigterm_ends_both_and_is_a_success(up: Process) -> None:
    started = await wait_both(up)
    assert await up.stop() == 0
    assert not any(alive(pid) for pid in started.values())


@pytest.mark.parametrize("verb", ["server", "node"])
async def test_a_child_that_is_killed_is_started_again(up: Process, verb: str) -> None:
    before = await wait_both(up)
    os.kill(before[verb], signal.SIGKILL)

    async def again() -> bool:
        now = children(up.pid)
        return len(now) == 2 and now[verb] != before[verb]

    await eventually(again, _START_S, f"another {verb}")
    other = "node" if verb == "server" else "server"
    assert children(up.pid)[other] == before[other]


async def test_the_children_of_a_killed_parent_end_and_the_next_one_takes_over(up: Process) -> None:
    before = await wait_both(up)
    await up.kill9()
    up.log.unlink()
    up.start()  # at once: the predecessors may still hold the data directories
    after = await wait_both(up)
    assert set(after.values()).isdisjoint(before.values())

    async def ended() -> bool:
        return not any(alive(pid) for pid in before.values())

    await eventually(ended, _START_S, "the children of the killed parent to end")


async def test_a_second_one_is_refused_and_disturbs_nothing(up: Process, tmp_path: Path) -> None:
    before = await wait_both(up)
    second = up_in(tmp_path)
    second.log = tmp_path / "second"
    second.start()
    await eventually(lambda: not second.running, _START_S, "the end of the second")
    assert await second.stop() == 4
    assert "another `lattice up` uses" in second.tail()
    assert children(up.pid) == before
    assert (tmp_path / "data" / "kubeconfig").exists()


async def test_users_of_ones_own(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.csv"
    tokens.write_text('one,boss,1,"system:masters"\n')
    up = up_in(tmp_path, "--token-file", str(tokens))
    up.start()

    async def refused() -> bool:
        return not up.running

    await eventually(refused, _START_S, "the end")
    assert "has no user for the node here" in up.tail()
    assert await up.stop() == 2
    with tokens.open("a") as file:
        file.write('two,system:node:here,2,"system:nodes"\n')
    up.start()
    await wait_both(up)
    assert await up.stop() == 0
