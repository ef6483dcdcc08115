"""Presets as data: how to run well-known servers. A new preset, or a new version, is an entry here and nothing else.

Read by ``template.py`` and ``plan.py``. Versions are the images' major versions, run as ``<image>:<version>`` and never as anything else.
No entry may put a secret on a command line or into an environment variable: the credentials are files in ``SECRET_DIR``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from lattice.api import pod

SECRET_DIR = "/run/secrets/lattice"  # noqa: S105 - a directory
"""Where the credentials are mounted, one file for each key of the Secret."""

_IDENTIFIER = re.compile(r"^[A-Za-z_][A-Za-z0-9_]{0,62}$", re.ASCII)
"""What PostgreSQL takes without quoting, in at most 63 bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PresetRecipe:
    """How to run one server."""

    image: str
    versions: tuple[str, ...]
    port: int
    port_name: str
    mount_path: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    """Known parameters and their defaults. Values must be identifiers."""
    reserved_env: frozenset[str] = frozenset()
    """Variables that a user may not set, because the preset does, or because they would carry a secret."""
    env: Callable[[Mapping[str, str]], tuple[pod.EnvVar, ...]]
    args: tuple[str, ...] = ()
    """The command line, before the user's ``args``."""
    readiness: Callable[[Mapping[str, str]], tuple[str, ...]]
    """The command of the readiness probe."""
    secret_files: Callable[[Mapping[str, str], str], Mapping[str, str]]
    """Keys of the credentials Secret, from parameters and password."""


def _redis_quote(text: str) -> str:
    """Quote for redis.conf: everything but letters and digits as a hexadecimal escape."""
    return '"' + "".join(chr(b) if chr(b).isalnum() and b < 128 else f"\\x{b:02x}" for b in text.encode()) + '"'


def _postgres_env(parameters: Mapping[str, str]) -> tuple[pod.EnvVar, ...]:
    return (
        pod.EnvVar(name="POSTGRES_USER", value=parameters["user"]),
        pod.EnvVar(name="POSTGRES_DB", value=parameters["database"]),
        pod.EnvVar(name="POSTGRES_PASSWORD_FILE", value=f"{SECRET_DIR}/password"),
    )


PRESETS: Mapping[str, PresetRecipe] = {
    "postgresql": PresetRecipe(
        image="postgres",
        versions=("13", "14", "15"),
        port=5432,
        port_name="postgresql",
        mount_path="/var/lib/postgresql/data",
        parameters={"database": "postgres", "user": "postgres"},
        reserved_env=frozenset(
            {
                "POSTGRES_USER",
                "POSTGRES_DB",
                "POSTGRES_PASSWORD",
                "POSTGRES_PASSWORD_FILE",
                "POSTGRES_USER_FILE",
                "POSTGRES_DB_FILE",
                "PGDATA",
            }
        ),
        env=_postgres_env,
        args=("postgres",),
        # Over TCP, because the server that initializes the database listens on the socket only, and is not the real one.
        readiness=lambda p: ("pg_isready", "-U", p["user"], "-d", p["database"], "-h", "127.0.0.1"),
        secret_files=lambda p, password: {"username": p["user"], "password": password, "database": p["database"]},
    ),
    "redis": PresetRecipe(
        image="redis",
        versions=("6", "7"),
        port=6379,
        port_name="redis",
        mount_path="/data",
        env=lambda _: (),
        args=("redis-server", f"{SECRET_DIR}/redis.conf"),
        readiness=lambda _: (
            "sh",
            "-c",
            f'REDISCLI_AUTH="$(cat {SECRET_DIR}/password)" redis-cli -h 127.0.0.1 ping | grep -q PONG',
        ),
        secret_files=lambda _, password: {
            "username": "default",
            "password": password,
            "redis.conf": f"requirepass {_redis_quote(password)}\nappendonly yes\ndir /data\n",
        },
    ),
}


def check_parameter(value: str) -> bool:
    """Return whether a parameter's value can be used as a name."""
    return _IDENTIFIER.match(value) is not None
