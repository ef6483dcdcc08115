"""Pull policy, and what can name an image. Pure."""

from __future__ import annotations

import re
from typing import Final

from lattice.api import pod

_MAX_REFERENCE: Final = 512
_PART: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_LABEL: Final = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_REFERENCE = re.compile(
    rf"(?:{_LABEL}(?:\.{_LABEL})*(?::[0-9]+)?/)?{_PART}(?:/{_PART})*(?::[\w][\w.-]{{0,127}})?(?:@[a-z][a-z0-9]*(?:[-_+.][a-z][a-z0-9]*)*:[0-9a-f]{{32,}})?",
    re.ASCII,
)


def policy_of(container: pod.Container) -> pod.PullPolicy:
    """Return the pull policy: as written, else ``Always`` for the tag ``latest`` or none, else ``IfNotPresent`` (Kubernetes' rule)."""
    if container.image_pull_policy:
        return container.image_pull_policy
    image = container.image or ""
    if "@" in image:
        return "IfNotPresent"
    tag = image.rpartition("/")[2].partition(":")[2]
    return "Always" if tag in ("", "latest") else "IfNotPresent"


def check_reference(image: str) -> str:
    """Return why a text cannot name an image; empty: it can. The grammar is that of ``distribution/reference``."""
    if len(image) > _MAX_REFERENCE or not _REFERENCE.fullmatch(image):
        return f'Failed to apply default image tag "{image[:_MAX_REFERENCE]}": couldn\'t parse image name: invalid reference format'
    return ""
