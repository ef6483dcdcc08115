"""The second half of `hack/up`: runs Lattice and shows the example coming up, or checks the whole way.

Started by `kit.up_command`, in the virtual environment and in the network namespace of the engine.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import tempfile
from pathlib import Path
from types import FrameType

from check import MANIFEST, NAME, check
from kit.console import HackError, main_guard, say, wait_until
from kit.etcd import Etcd
from kit.paths import CACHE, REPOSITORY

from live.progress import wait_until_running
from live.session import Json, Session

WATCH_EVERY_S = 0.5
FOREVER_S = float("inf")


def main(arguments: list[str]) -> int:
    """`up` or `check`; see `kit.up_command` for who calls with what."""
    parser = argparse.ArgumentParser(prog="hack/up")
    parser.add_argument("verb", choices=("up", "check"))
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--store", required=True)
    parser.add_argument("--docker-host", required=True)
    parser.add_argument("--enter", default="")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    if options.verb == "check":
        _check(options.store, options.docker_host)
    else:
        _up(options.data_dir, options.store, options.docker_host, options.enter)
    return 0


def _up(data_dir: Path, store: str, docker_host: str, enter: str) -> None:
    _refuse_if_running(data_dir)
    etcd = Etcd(data_dir / "etcd") if store == "etcd" else None
    if etcd:
        etcd.up()
    session = Session(data_dir, docker_host, etcd_endpoint=etcd.endpoint if etcd else None)
    say(f"starting control plane and agent (log: {_short(session.log)})")
    try:
        session.start()
        _remember_nodes(session)
        say(f"applying {_short(MANIFEST)}")
        session.lattice("apply", "-f", str(MANIFEST))
        workload = wait_until_running(session, NAME)
        _remember_nodes(session)
        _show(session, workload, enter)
        wait_until(lambda: session.exit_code() is not None, timeout_s=FOREVER_S, every_s=WATCH_EVERY_S)
        if session.exit_code() != 0:
            raise HackError(f"`lattice up` ended with code {session.exit_code()}; see {_short(session.log)}")
        say("\ncontrol plane and agent were stopped from elsewhere, by hack/down or SIGTERM")
        return
    except KeyboardInterrupt:
        say("\nstopping control plane and agent")
    finally:
        session.stop()
        if etcd:
            etcd.down()
    say("They are stopped; the workloads run on. Back with hack/up; everything removed with hack/down.")


def _check(store: str, docker_host: str) -> None:
    parent = CACHE / "check"
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{store}-", dir=parent))
    say(f"checking the whole way on {store}")
    etcd = Etcd(folder / "etcd") if store == "etcd" else None
    passed = False
    try:
        if etcd:
            etcd.up()
        check(Session(folder, docker_host, etcd_endpoint=etcd.endpoint if etcd else None), docker_host)
        passed = True
    finally:
        if etcd:
            etcd.down()
        if passed:
            shutil.rmtree(folder)
        else:
            say(f"what it left to look at: {_short(folder)}")


def _show(session: Session, workload: Json, enter: str) -> None:
    endpoint = workload["status"]["endpoints"][0]
    secret = session.secret(f"{NAME}-credentials")
    kubeconfig = _short(session.kubeconfig)
    get_secret = f"kubectl get secret {NAME}-credentials -o jsonpath='{{.data.password}}' | base64 -d"
    prefix = f"{enter} " if enter else ""
    say(
        f"""
PostgreSQL runs. Connect:
  export KUBECONFIG={kubeconfig}
  export PGPASSWORD=$({prefix}{get_secret})
  {prefix}psql -h {endpoint["hostIP"]} -p {endpoint["hostPort"]} -U {secret["username"]} {secret["database"]}
Look around:
  {prefix}.venv/bin/lattice get workloads
  {prefix}kubectl get pods,nodes
Ctrl-C stops control plane and agent and leaves the database running; hack/down removes everything."""
    )


def _remember_nodes(session: Session) -> None:
    """Write down by what the labels in Docker name this node, for hack/down."""
    known: set[str] = set()
    for node in session.items("/api/v1/nodes"):
        info = (node.get("status") or {}).get("nodeInfo") or {}
        known |= {node["metadata"]["uid"], info.get("machineID") or "", info.get("systemUUID") or ""}
    (session.data_dir / "node-ids.json").write_text(json.dumps(sorted(known - {""})))


def _refuse_if_running(data_dir: Path) -> None:
    try:
        pid = int((data_dir / "lattice.pid").read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return
    if str(data_dir).encode() in command:
        raise HackError(f"Lattice runs already in {_short(data_dir)} (pid {pid}): stop it there with Ctrl-C, or hack/down")


def _short(path: Path) -> str:
    return str(path.relative_to(REPOSITORY)) if path.is_relative_to(REPOSITORY) else str(path)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main_guard("hack/up", main)
