"""What the owner of a node allows, from the agent's settings."""

from __future__ import annotations

from nodeagent.blueprint.values import Rules
from nodeagent.config import AgentConfig


def rules_of(config: AgentConfig) -> Rules:
    """Return the rules that the settings of an agent make."""
    return Rules(
        host_paths=tuple((path.prefix, path.writable) for path in config.allow_host_paths),
        privileged=config.allow_privileged,
        capabilities=frozenset(name.upper().removeprefix("CAP_") for name in config.allowed_capabilities),
        unconfined=config.allow_unconfined,
        seccomp_dir=str(config.seccomp_dir) if config.seccomp_dir else "",
        pids_limit=config.pids_limit,
        log_max_size_bytes=config.log_max_size_bytes(),
        log_max_files=config.log_max_files,
    )
