"""Which images go, in which order, and how much must go. Pure; called by ``imagecare/shell.py``.

An image may go if this agent has pulled it (what the owner has brought is the owner's), no container is made from it, whoever made that,
running or not, nobody wants it (a Pod of this node, the owner's list, a kept revision), and it is not brand new. The one that was used
longest ago goes first, as with kubelet.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from lattice.api import names, pod
from nodeagent.runtime import base

MIN_AGE_S: Final = 120.0
"""As kubelet's ``imageMinimumGCAge``: between a pull and its container there is a moment in which nothing uses the image."""
_EXPANSION: Final = 3
"""What a pull takes of the disk, in the size of what is downloaded: the download itself, and what it unpacks to, some twice that."""


def reference(image: str) -> str:
    """Return an image's name in the form in which two that mean the same are equal: with its tag, without Docker Hub's own names."""
    name = image.removeprefix("docker.io/").removeprefix("index.docker.io/").removeprefix("library/")
    last = name.rpartition("/")[2]
    return name if ":" in last or "@" in last else f"{name}:latest"


def wanted_images(pods: Iterable[pod.Pod], configured: Iterable[str]) -> frozenset[str]:
    """Return the names of the images that must stay."""
    found = {reference(image) for image in configured}
    for each in pods:
        spec = each.spec
        for container in (*spec.init_containers, *spec.containers, *spec.ephemeral_containers):
            if container.image:
                found.add(reference(container.image))
        kept = each.metadata.annotations.get(names.ANNOTATION_KEEP_IMAGES, "")
        found |= {reference(image.strip()) for image in kept.split(",") if image.strip()}
    return frozenset(found)


def bytes_to_free(size_bytes: int, free_bytes: int, *, high_percent: int, low_percent: int) -> int:
    """Return how much must go: nothing below the upper watermark, else all above the lower one."""
    used = size_bytes - free_bytes
    if size_bytes <= 0 or used * 100 < size_bytes * high_percent:
        return 0
    return max(used - size_bytes * min(low_percent, high_percent) // 100, 0)


def removable(
    images: Iterable[base.Image], *, pulled_at_s: Mapping[str, float], used_at_s: Mapping[str, float], in_use: Collection[str],
    wanted: Collection[str], now_s: float,
) -> tuple[base.Image, ...]:  # fmt: skip
    """Return the images that may go, the first first.

    Args:
        images: all of the engine.
        pulled_at_s: id to when this agent pulled it, Unix time; others are not ours.
        used_at_s: id to when a container was last seen on it.
        in_use: ids and names that containers are made from.
        wanted: names that must stay, as :func:`wanted_images` returns them.
        now_s: Unix time.
    """
    used = set(in_use)
    found = []
    for image in images:
        at_s = pulled_at_s.get(image.id)
        if at_s is None or now_s - at_s < MIN_AGE_S or image.id in used:
            continue
        known = {reference(name) for name in image.names}
        if known & set(wanted) or known & {reference(name) for name in used if not name.startswith("sha256:")} or image.id in wanted:
            continue
        found.append(image)
    return tuple(sorted(found, key=lambda image: (used_at_s.get(image.id, pulled_at_s[image.id]), image.id)))


def is_too_large(download_bytes: int, free_bytes: int, reserve_bytes: int) -> bool:
    """Return whether a pull would take from the disk what must stay free. ``download_bytes``: what is known of its size so far."""
    return free_bytes - download_bytes * _EXPANSION < reserve_bytes
