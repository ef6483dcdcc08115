"""Networks of a Docker engine. A part of ``docker.py``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

import orjson

from nodeagent.runtime import base
from nodeagent.runtime.docker_engine import DockerEngine, filters

_BRIDGE_NAME: Final = "com.docker.network.bridge.name"


class DockerNetworks:
    """See ``base.Runtime``."""

    _engine: DockerEngine

    async def networks(self, labels: Mapping[str, str] | None = None) -> Sequence[base.Network]:
        """See ``Runtime``. Networks without addresses of their own (``host``, ``none``) are left out."""
        rows = await self._engine.json("networks", params={"filters": filters(labels or {})}, doing="list networks")
        found = [_network(row) for row in rows]
        return sorted((network for network in found if network.subnets), key=lambda network: network.name)

    async def create_network(self, network: base.Network) -> None:
        """See ``Runtime``."""
        body: dict[str, Any] = {
            "Name": network.name,
            "Driver": "bridge",
            "CheckDuplicate": True,  # engines before 25 allow two networks of one name without it
            "Labels": dict(network.labels),
            "IPAM": {"Driver": "default", "Config": [{"Subnet": subnet} for subnet in network.subnets]},
            "Options": {_BRIDGE_NAME: network.bridge} if network.bridge else {},
        }
        await self._engine.json("networks/create", "POST", data=orjson.dumps(body), doing=f"create network {network.name}")

    async def remove_network(self, name: str) -> None:
        """See ``Runtime``."""
        try:
            await self._engine.text(f"networks/{quote(name, safe='')}", "DELETE", doing=f"remove network {name}")
        except base.NetworkGoneError:
            return


def _network(data: Mapping[str, Any]) -> base.Network:
    """Return the value of one entry of ``GET /networks``."""
    configs = (data.get("IPAM") or {}).get("Config") or ()
    return base.Network(
        name=data["Name"],
        subnets=tuple(config["Subnet"] for config in configs if config.get("Subnet")),
        labels=data.get("Labels") or {},
        bridge=(data.get("Options") or {}).get(_BRIDGE_NAME, ""),
    )
