"""The program of pause containers: made here byte by byte, so it is run here too."""

import asyncio
import io
import platform
import signal
import tarfile
from pathlib import Path

import pytest

from lattice.testing.polling import eventually
from nodeagent.runtime import base, pause

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), "")


@pytest.mark.skipif(not ARCHITECTURE, reason="the program is for amd64 and arm64")
async def test_the_program_waits_ignores_its_children_and_ends_with_a_signal(tmp_path: Path) -> None:
    program = tmp_path / "pause"
    program.write_bytes(pause.pause_program(ARCHITECTURE))
    program.chmod(0o755)
    for number in (signal.SIGTERM, signal.SIGINT):
        process = await asyncio.create_subprocess_exec(program)
        status = Path(f"/proc/{process.pid}/status")

        def waits(status: Path = status) -> bool:
            masks = dict(line.split(":\t") for line in status.read_text().splitlines() if line.startswith("Sig"))
            # In rt_sigtimedwait the signals that are waited for are not shown as blocked.
            return bool(int(masks["SigIgn"], 16) & 1 << 16) and "S (sleeping)" in status.read_text()

        await eventually(waits, 20, "the program to wait")
        process.send_signal(signal.SIGSTOP)
        process.send_signal(signal.SIGCONT)  # interrupts the wait: it begins again
        process.send_signal(signal.SIGCHLD)
        await eventually(waits, 20, "the program to wait again")
        process.send_signal(number)
        assert await process.wait() == 0


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_the_image_is_one_small_file_and_always_the_same(architecture: str) -> None:
    archive = pause.pause_archive(architecture)
    assert archive == pause.pause_archive(architecture)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        (entry,) = tar.getmembers()
        assert (entry.name, entry.mode) == ("pause", 0o755)
        assert entry.size < 300
        content = tar.extractfile(entry)
        assert content is not None
        assert content.read(4) == b"\x7fELF"


def test_another_architecture_is_said() -> None:
    with pytest.raises(base.RuntimeFailedError, match="amd64 and arm64"):
        pause.pause_program("riscv64")
