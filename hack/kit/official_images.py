"""Official images from a registry, when one answers."""

from __future__ import annotations

import os
from collections.abc import Iterable

from kit.console import HackError, say
from kit.engine_api import EngineApi

OFFICIAL = {
    "busybox": "busybox:latest",
    "postgres": "postgres:15",
    "redis": "redis:7",
    "nginx": "nginx:alpine",
    "nftables": "registry.k8s.io/build-image/distroless-iptables:v0.6.5",
}
"""What the examples and tests need, by the names that `hack/images` takes."""

PROBE_TIMEOUT_S = float(os.environ.get("LATTICE_REGISTRY_TIMEOUT_S", "20"))
"""How long the smallest image may take before we say that no registry answers; a refused look-up is known at once."""
PULL_TIMEOUT_S = 900


def pull(api: EngineApi, names: Iterable[str]) -> bool:
    """Pull what is missing of these images; False if no registry answers.

    Raises:
        HackError: A registry answers, and yet an image cannot be had.
    """
    missing = [OFFICIAL[name] for name in names if api.labels(OFFICIAL[name]) is None]
    if not missing:
        return True
    try:
        _pull(api, OFFICIAL["busybox"], PROBE_TIMEOUT_S)
    except HackError:
        return False
    for image in missing:
        say(f"pulling {image}")
        _pull(api, image, PULL_TIMEOUT_S)
    return True


def _pull(api: EngineApi, image: str, timeout_s: float) -> None:
    name, tag = image.rsplit(":", 1)
    api.call("POST", "/images/create", {"fromImage": name, "tag": tag}, timeout_s=timeout_s)
