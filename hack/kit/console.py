"""Talking to the person at the terminal, and running commands.

Used by every other module of the kit. Guarantees that a failure is one sentence (`HackError`), with the end of the
failed command's output behind it, and that `say` never interleaves with buffered output.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path


class HackError(Exception):
    """Something a person has to know; its text is the whole message."""


def say(text: str) -> None:
    """Print one line of progress at once."""
    print(text, flush=True)


def run(
    argv: Sequence[str | Path],
    *,
    check: bool = True,
    env: dict[str, str] | None = None,
    input_text: str | None = None,
    timeout_s: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command quietly and return what it printed.

    Args:
        argv: The command.
        check: Raise when it fails.
        env: Variables on top of the present environment.
        input_text: What it reads.
        timeout_s: Kill it after this many seconds.

    Raises:
        HackError: It failed and `check` is set; the message ends with its last lines.
    """
    command = [str(part) for part in argv]
    try:
        done = subprocess.run(
            command,
            text=True,
            input=input_text,
            stdin=None if input_text is not None else subprocess.DEVNULL,
            capture_output=True,
            env={**os.environ, **(env or {})},
            timeout=timeout_s,
            check=False,
        )
    except FileNotFoundError as error:
        raise HackError(f"{command[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise HackError(f"{shlex.join(command)} did not end within {timeout_s} s") from error
    if check and done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise HackError(f"{shlex.join(command)} failed (exit {done.returncode}):\n{tail}")
    return done


def wait_until(ready: Callable[[], bool], *, timeout_s: float, every_s: float = 0.1) -> bool:
    """Ask until the answer is yes; False when the time is over."""
    deadline = time.monotonic() + timeout_s
    while not ready():
        if time.monotonic() > deadline:
            return False
        time.sleep(every_s)
    return True


def main_guard(name: str, main: Callable[[list[str]], int]) -> None:
    """Run the main of the script `name`: one sentence instead of a traceback for what a person can act on."""
    try:
        code = main(sys.argv[1:])
    except HackError as error:
        print(f"{name}: {error}", file=sys.stderr, flush=True)
        code = 1
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)
