"""`hack/down`: removes everything that `hack/up` made, data included.

Works from what is written in `.lattice/`, whether Lattice runs or not. In the user's engine it removes only containers
and volumes that carry the identity of this clone's node; an engine of ours goes altogether.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

from kit.console import HackError, main_guard, run, say, wait_until
from kit.engine import Engine
from kit.engine_api import EngineApi
from kit.etcd import Etcd
from kit.packages import find_program
from kit.paths import CACHE, STATE

STOP_TIMEOUT_S = 30


def main(arguments: list[str]) -> int:
    """Remove everything; see `hack/down --help`."""
    argparse.ArgumentParser(
        prog="hack/down", description="Stop Lattice and remove its containers, their data, its store and hack's engine."
    ).parse_args(arguments)
    _stop_lattice()
    ours = _node_ids()
    Etcd(STATE / "etcd").wipe()
    _clean_users_engine(ours)
    own = Engine()
    if own.data_dir.exists() or own.run_dir.exists():
        own.wipe()
        say("hack's Docker engine is gone, with all containers, volumes and images in it")
    _remove_rules(ours)
    for folder in (STATE, CACHE / "check"):
        shutil.rmtree(folder, ignore_errors=True)
    say("everything is removed; .cache/ and .venv/ stay, so that the next hack/up is quick")
    return 0


def _stop_lattice() -> None:
    try:
        pid = int((STATE / "lattice.pid").read_text())
    except (OSError, ValueError):
        return
    process = Path(f"/proc/{pid}/cmdline")

    def is_ended() -> bool:
        try:
            return str(STATE).encode() not in process.read_bytes()  # a zombie has no command line left
        except OSError:
            return True

    if is_ended():
        return
    os.kill(pid, signal.SIGTERM)
    if not wait_until(is_ended, timeout_s=STOP_TIMEOUT_S):
        raise HackError(f"Lattice (pid {pid}) does not stop; end it with `kill -9 {pid}` and try again")
    say("Lattice is stopped")


def _node_ids() -> set[str]:
    """The identities of this clone's nodes."""
    try:
        return set(json.loads((STATE / "node-ids.json").read_text()))
    except (OSError, ValueError):
        return set()


def _remove_rules(node_ids: set[str]) -> None:
    """Take away the packet filter rules and the bridges of our nodes, which outlive the engine that they were made for."""
    if not node_ids or find_program("nft") is None or find_program("ip") is None:
        return
    root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    links = json.loads(run(["ip", "-j", "link", "show", "type", "bridge"], check=False).stdout or "[]")
    for node_id in node_ids:
        run([*root, "nft", "delete", "table", "inet", f"lattice_{node_id[:8]}"], check=False)
        for name in (link["ifname"] for link in links if link.get("ifname", "").startswith(f"lt{node_id[:8]}")):
            run([*root, "ip", "link", "delete", name], check=False)


def _clean_users_engine(ours: set[str]) -> None:
    try:
        engine = json.loads((STATE / "engine.json").read_text())
    except (OSError, ValueError):
        return
    if engine["own"] is not None or not ours:
        return
    api = EngineApi(Path(engine["host"].removeprefix("unix://")))
    for container in api.call("GET", "/containers/json", {"all": "1"}) or []:
        if _belongs(container, ours):
            api.call("DELETE", f"/containers/{container['Id']}", {"force": "1"})
            say(f"container {container['Names'][0].lstrip('/')} is removed")
    for volume in api.call("GET", "/volumes")["Volumes"] or []:
        if _belongs(volume, ours):
            api.call("DELETE", f"/volumes/{volume['Name']}")
            say(f"volume {volume['Name']} is removed")
    for network in api.call("GET", "/networks") or []:
        if _belongs(network, ours):
            api.call("DELETE", f"/networks/{network['Name']}")
            say(f"network {network['Name']} is removed")


def _belongs(found: dict[str, Any], node_ids: set[str]) -> bool:
    """Whether a label of Lattice on it names one of our nodes."""
    labels: dict[str, str] = found.get("Labels") or {}
    return any(key.startswith("lattice.dev/") and value in node_ids for key, value in labels.items())


if __name__ == "__main__":
    main_guard("hack/down", main)
