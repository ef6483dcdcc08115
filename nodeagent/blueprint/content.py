"""The data of Secrets and ConfigMaps, by key. Pure."""

from __future__ import annotations

import base64

from nodeagent.blueprint.values import References, missing


def content(namespace: str, name: str, references: References, *, secret: bool, optional: bool) -> dict[str, bytes]:
    """Return the values of an object; an optional one that is absent has none.

    Raises:
        ConfigError: it is absent.
    """
    if secret:
        found = references.secrets.get((namespace, name))
        if found is not None:
            return {key: base64.b64decode(value) for key, value in found.data.items()}
    else:
        config_map = references.config_maps.get((namespace, name))
        if config_map is not None:
            binary = {key: base64.b64decode(value) for key, value in config_map.binary_data.items()}
            return {**{key: value.encode() for key, value in config_map.data.items()}, **binary}
    if optional:
        return {}
    raise missing(f'{"secret" if secret else "configmap"} "{name}" not found')
