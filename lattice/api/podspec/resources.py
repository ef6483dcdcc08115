"""What containers need and may use."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from lattice.api import meta, quantity


class ResourceClaimName(meta.Model):
    """A claim of ``spec.resourceClaims``."""

    name: str
    """Name of the claim in the Pod."""
    request: str | None = None
    """One request of the claim."""


class ResourceRequirements(meta.Model):
    """What a container needs and may use."""

    requests: quantity.ResourceList = Field(default_factory=dict)
    """Reserved by the scheduler; where absent, the limit counts."""
    limits: quantity.ResourceList = Field(default_factory=dict)
    """Hard limits: a CPU quota, memory without swap, ephemeral storage; extended resources such as ``nvidia.com/gpu``."""
    claims: Annotated[tuple[ResourceClaimName, ...], meta.list_map("name")] = ()
    """Claims of dynamic resources."""


class ContainerResizePolicy(meta.Model):
    """What a change of a resource does to a running container."""

    resource_name: str
    """``cpu`` or ``memory``."""
    restart_policy: str
    """``NotRequired`` or ``RestartContainer``."""


class PodResourceClaim(meta.Model):
    """A claim of a dynamic resource that the containers name."""

    name: str
    """Name in the Pod."""
    resource_claim_name: str | None = None
    """An existing claim."""
    resource_claim_template_name: str | None = None
    """A template to make one from."""
