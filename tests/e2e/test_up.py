"""The README's first command, as a newcomer types it: `hack/up --check` proves the whole way on both stores and tears all down."""

import asyncio
import os
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.etcd, pytest.mark.slow, pytest.mark.timeout(420)]


@pytest.mark.parametrize("store", ["sqlite", "etcd"])
async def test_hack_up_check_holds(docker_host: str, store: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("COVERAGE", "PYTEST"))}
    done = await asyncio.to_thread(
        subprocess.run,
        [str(REPOSITORY / "hack/up"), "--check", "--store", store],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert f"all held, on {store}" in done.stdout
