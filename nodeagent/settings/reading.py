"""From flags, environment and file to :class:`nodeagent.config.AgentConfig`.

Who wins: a flag over ``LATTICE_NODE_*`` over the file over the default, setting by setting; lists are replaced, not joined. The file is
``--config``, else ``$LATTICE_NODE_CONFIG``, else ``node.yaml`` in the data directory where there is one. A key or a variable that is no
setting is an error, for a misspelt limit would be no limit.
"""

from __future__ import annotations

import difflib
import socket
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from lattice.api import errors
from nodeagent.config import AgentConfig
from nodeagent.settings.table import ENVIRONMENT_PREFIX, SETTINGS, Setting

CONFIG_VARIABLE: Final = f"{ENVIRONMENT_PREFIX}CONFIG"
FILE_NAME: Final = "node.yaml"
_MAX_FILE_BYTES: Final = 1024 * 1024
_PATHS: Final = ("data_dir", "run_dir", "kubeconfig", "docker_config", "seccomp_dir", "api_socket")


@dataclass(frozen=True, slots=True)
class Settings:
    """What an agent runs by, and where each value came from."""

    config: AgentConfig
    file: Path | None = None
    """The file that was read."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Setting to ``flag --cpu``, ``LATTICE_NODE_CPU`` or ``<file>: cpu``; settings that nobody set are missing."""


def default_data_dir(environment: Mapping[str, str]) -> Path:
    """Return where the node's state is if nothing is said: where ``lattice up`` has it too."""
    base = environment.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "lattice" / "node"


def read(flags: Mapping[str, Any], environment: Mapping[str, str]) -> Settings:
    """Return the settings.

    Args:
        flags: setting to what its option was given, as text or as a list of texts; ``None`` and missing: not given. ``config``: the file.
        environment: of the process.

    Raises:
        errors.UsageError: a value, a key or the file is wrong. The sentence names it and says what to write.
    """
    _check_variables(environment)
    given = {name: value for name, value in flags.items() if value is not None and value != ()}
    chosen = given.get("config") or environment.get(CONFIG_VARIABLE)
    written = Path(chosen).expanduser() if chosen else _data_dir(given, environment) / FILE_NAME
    content = _read_file(written, must_exist=bool(chosen))
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for row in SETTINGS:
        found = _find(row, given, environment, content, written)
        if found is not None:
            sources[row.name], raw = found
            values[row.name] = _parse(row, sources[row.name], raw)
    base = written.absolute().parent
    for name in _PATHS:
        if name in values:
            values[name] = (base if sources[name].startswith(str(written)) else Path.cwd()) / values[name]
    values.setdefault("name", socket.gethostname().lower().rstrip(".") or "localhost")
    values.setdefault("data_dir", default_data_dir(environment))
    values.setdefault("docker_host", environment.get("DOCKER_HOST") or None)
    config = AgentConfig(**values, sources=sources)
    _check_together(config, sources)
    return Settings(config, written if content is not None else None, sources)


def _data_dir(given: Mapping[str, Any], environment: Mapping[str, str]) -> Path:
    text = given.get("data_dir") or environment.get(f"{ENVIRONMENT_PREFIX}DATA_DIR")
    return Path(text).expanduser() if text else default_data_dir(environment)


def _find(
    row: Setting, given: Mapping[str, Any], environment: Mapping[str, str], content: Mapping[str, Any] | None, file: Path
) -> tuple[str, Any] | None:
    """Return where the value comes from and what was written there; ``None``: nobody said anything."""
    if row.name in given:
        return f"flag {row.flag}", given[row.name]
    if row.variable in environment:
        return row.variable, environment[row.variable]
    if content is not None and content.get(row.key) is not None:
        return f"{file}: {row.key}", content[row.key]
    return None


def _parse(row: Setting, source: str, raw: Any) -> Any:
    try:
        return row.kind.parse(raw)
    except ValueError as error:
        written = ",".join(map(str, raw)) if isinstance(raw, list | tuple) else raw
        raise errors.UsageError(f"{source.removeprefix('flag ')} {str(written)[:200]!r}: {error}") from None


def _read_file(path: Path, *, must_exist: bool) -> Mapping[str, Any] | None:
    try:
        if not must_exist and not path.is_file():
            return None
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise errors.UsageError(f"the settings file {path} is larger than 1 MiB: it cannot be one")
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise errors.UsageError(f"cannot read the settings file {path}: {getattr(error, 'strerror', None) or error}") from error
    except yaml.YAMLError as error:
        raise errors.UsageError(f"the settings file {path} is not YAML: {' '.join(str(error).split())[:300]}") from error
    if content is None:
        return {}
    if not isinstance(content, Mapping):
        raise errors.UsageError(f"the settings file {path} must be a mapping of settings, such as maxPods: 20")
    known = [row.key for row in SETTINGS]
    for key in content:
        if key not in known:
            raise errors.UsageError(f"the settings file {path} has {str(key)!r}, which is no setting{_meant(str(key), known)}")
    return content


def _check_variables(environment: Mapping[str, str]) -> None:
    known = [row.variable for row in SETTINGS] + [CONFIG_VARIABLE]
    for variable in sorted(environment):
        if variable.startswith(ENVIRONMENT_PREFIX) and variable not in known:
            raise errors.UsageError(f"the environment has {variable}, which is no setting{_meant(variable, known)}")


def _meant(written: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(written, known, n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else "; docs/reference/node-settings.md lists them"


def _check_together(config: AgentConfig, sources: Mapping[str, str]) -> None:
    if config.image_gc_low_percent >= config.image_gc_high_percent:
        where = sources.get("image_gc_low_percent") or sources.get("image_gc_high_percent") or ""
        raise errors.UsageError(
            f"{where.removeprefix('flag ')}: image_gc_low_percent ({config.image_gc_low_percent}) must be below image_gc_high_percent "
            f"({config.image_gc_high_percent}), or images would be removed for ever"
        )
