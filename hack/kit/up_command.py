"""`hack/up`: everything that has to be there before Lattice can run, then Lattice.

This half needs Python alone: virtual environment, engine, images, etcd. The other half, `live.up`, runs in the virtual
environment and where the engine's ports are; it is started from here.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
from pathlib import Path

from kit.console import HackError, main_guard, say
from kit.engine import Engine
from kit.etcd import ensure_program as ensure_etcd
from kit.paths import REPOSITORY, STATE
from kit.setup import Machine, ensure_machine
from kit.venv import ensure_venv

IMAGES = ("postgres", "nftables")


def main(arguments: list[str]) -> int:
    """Set up and run; see `hack/up --help`."""
    parser = argparse.ArgumentParser(prog="hack/up", description="Lattice on this machine, with PostgreSQL from examples/01-postgres.")
    parser.add_argument("--store", choices=("sqlite", "etcd"), help="default: sqlite; with --check: both, one after the other")
    parser.add_argument("--check", action="store_true", help="prove the whole way, kills included, and tear all down")
    options = parser.parse_args(arguments)
    python = ensure_venv()
    if options.store == "etcd" or (options.check and options.store is None):
        ensure_etcd()
    return _check(python, options.store) if options.check else _up(python, options.store or "sqlite")


def _up(python: Path, store: str) -> int:
    _refuse_another_store(store)
    machine = ensure_machine(IMAGES)
    STATE.mkdir(exist_ok=True)
    (STATE / "store").write_text(store)
    # For hack/down, which may run when nothing else does.
    own = machine.own_engine.name if machine.own_engine else None
    (STATE / "engine.json").write_text(json.dumps({"host": machine.api.host, "own": own}))
    command = _live(python, machine, "up", "--data-dir", str(STATE), "--store", store)
    os.chdir(REPOSITORY)
    os.execvpe(command[0], command, _environment())


def _check(python: Path, store: str | None) -> int:
    machine = ensure_machine(IMAGES)
    # A Ctrl-C is for the check, which cleans up after itself; we wait for it and clean up after us.
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        stores = [store] if store else ["sqlite", "etcd"]
        for each in stores:
            command = _live(python, machine, "check", "--store", each)
            code = subprocess.call(command, cwd=REPOSITORY, env=_environment(), stdin=subprocess.DEVNULL)
            if code != 0:
                return code
    finally:
        signal.signal(signal.SIGINT, previous)
        if machine.started:
            Engine().down()
    say(f"hack/up --check: all held, on {' and '.join(stores)}")
    return 0


def _live(python: Path, machine: Machine, *arguments: str) -> list[str]:
    enter = machine.enter
    program = [*enter, str(python), "-B", "-m", "live.up", *arguments, "--docker-host", machine.api.host]
    # How a person gets to the published ports, if not directly.
    return [*program, "--enter", " ".join(enter)] if enter else program


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY / "hack"), "PYTHONUNBUFFERED": "1"}


def _refuse_another_store(store: str) -> None:
    remembered = STATE / "store"
    if remembered.exists() and remembered.read_text() != store:
        raise HackError(
            f"what is in {STATE.name}/ was made with --store {remembered.read_text()}: "
            "use that one, or remove everything with hack/down first"
        )


if __name__ == "__main__":
    main_guard("hack/up", main)
