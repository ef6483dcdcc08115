"""The environment of a container, and ``$(VAR)`` in its command, arguments and paths. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from lattice.api import pod
from nodeagent.blueprint import fields
from nodeagent.blueprint.content import content
from nodeagent.blueprint.values import Address, Node, References, missing

_VARIABLE = re.compile(r"\$(?:\$|\(([^()]*)\))")


def expand(text: str, environment: Mapping[str, str]) -> str:
    """Replace ``$(VAR)`` by its value, ``$$`` by ``$``; an unknown variable stays as it is written (Kubernetes' rule)."""

    def value(match: re.Match[str]) -> str:
        return "$" if match.group(1) is None else environment.get(match.group(1), match.group(0))

    return _VARIABLE.sub(value, text)


def make_environment(wanted: pod.Pod, container: pod.Container, references: References, node: Node, address: Address) -> dict[str, str]:
    """Return the variables in the order in which they are defined: ``envFrom`` first, ``env`` over it, each seeing those before it.

    Raises:
        ConfigError: a value is missing.
    """
    result: dict[str, str] = {}
    for source in container.env_from:
        for reference, secret in ((source.config_map_ref, False), (source.secret_ref, True)):
            if reference is not None:
                held = content(wanted.namespace, reference.name, references, secret=secret, optional=bool(reference.optional))
                named = {f"{source.prefix or ''}{key}": value for key, value in sorted(held.items())}
                result.update({name: value.decode(errors="replace") for name, value in named.items() if _is_name(name)})
    for variable in container.env:
        if variable.value_from is None:
            result[variable.name] = expand(variable.value or "", result)
        else:
            value = _value_from(wanted, container, variable.value_from, references, node, address)
            if value is not None:
                result[variable.name] = value
    return result


def _is_name(text: str) -> bool:
    """Return whether a key can be a variable: printable ASCII without ``=`` (Kubernetes 1.32). Others are left out."""
    return bool(text) and text.isascii() and text.isprintable() and "=" not in text


def _value_from(
    wanted: pod.Pod, container: pod.Container, source: pod.EnvVarSource, references: References, node: Node, address: Address
) -> str | None:
    if source.field_ref is not None:
        return fields.field_text(wanted, source.field_ref.field_path, node, address)
    if source.resource_field_ref is not None:
        return fields.resource_text(wanted, container, source.resource_field_ref, node)
    secret = source.secret_key_ref is not None
    selector = source.secret_key_ref or source.config_map_key_ref
    if selector is None:
        return ""
    held = content(wanted.namespace, selector.name, references, secret=secret, optional=bool(selector.optional))
    if selector.key in held:
        return held[selector.key].decode(errors="replace")
    if selector.optional:
        return None
    kind = "Secret" if secret else "ConfigMap"
    raise missing(f"couldn't find key {selector.key} in {kind} {wanted.namespace}/{selector.name}")
