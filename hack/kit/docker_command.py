"""`hack/docker`: the command line of `kit.engine`."""

from __future__ import annotations

import argparse
import os
import re

from kit.console import HackError, main_guard, say
from kit.engine import Engine
from kit.packages import as_root


def main(arguments: list[str]) -> int:
    """Run one verb; see `hack/docker --help`."""
    parser = argparse.ArgumentParser(prog="hack/docker", description="A Docker engine of our own, without systemd.")
    verbs = {
        "up": "start it (and install what it needs); does nothing when it runs",
        "down": "stop it; its images and volumes stay in .cache",
        "wipe": "stop it and delete all it holds",
        "status": "say whether it runs; exit code 3 when not",
        "socket": "print its socket's path",
    }
    parser.add_argument("verb", choices=verbs, help="; ".join(f"{verb}: {text}" for verb, text in verbs.items()))
    parser.add_argument("name", nargs="?", default="main", help="a further engine, in a network namespace of its own")
    options = parser.parse_args(arguments)
    if not re.fullmatch(r"[a-z][a-z0-9]{0,6}", options.name):
        raise HackError(f"engine name {options.name!r}: 1 to 7 lower-case letters and digits, please")
    engine = Engine(options.name)
    verb: str = options.verb
    if os.geteuid() != 0 and verb in {"down", "wipe"}:
        as_root("kit.docker_command", verb, engine.name)
        return 0
    match verb:
        case "up":
            if not engine.up():
                say(f"Docker engine {engine.name!r} runs already: {engine.api.host}")
        case "down":
            say(f"Docker engine {engine.name!r} {'stopped' if engine.down() else 'was not running'}")
        case "wipe":
            engine.wipe()
            say(f"Docker engine {engine.name!r} is gone")
        case "status":
            running = engine.api.answers()
            say(f"Docker engine {engine.name!r} {'runs' if running else 'does not run'}: {engine.api.host}")
            return 0 if running else 3
        case _:
            say(str(engine.api.socket))
    return 0


if __name__ == "__main__":
    main_guard("hack/docker", main)
