"""The blueprint of a container, under the names by which the workers use it. See ``nodeagent/blueprint``."""

from __future__ import annotations

from nodeagent.blueprint.environment import expand
from nodeagent.blueprint.mounts import with_memory
from nodeagent.blueprint.naming import container_name, host_ports_text, parse_host_ports, spec_hash, with_address, with_attempt
from nodeagent.blueprint.plan import make_blueprint
from nodeagent.blueprint.values import Address, Blueprint, ConfigError, Node, References, Rules

__all__ = [
    "Address",
    "Blueprint",
    "ConfigError",
    "Node",
    "References",
    "Rules",
    "container_name",
    "expand",
    "host_ports_text",
    "make_blueprint",
    "parse_host_ports",
    "spec_hash",
    "with_address",
    "with_attempt",
    "with_memory",
]
