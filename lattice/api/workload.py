"""Workload (``lattice.dev/v1``): replicas of a preset or an image, with their data.

The workload reconciler makes Pods ``<workload>-<template hash>-<ordinal>-<attempt>``, and for each replica with storage a claim
``<workload>-data-<ordinal>``. A preset is a recipe for a well-known server (``controller/reconcilers/workload/presets.py``).
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from lattice.api import meta, names, pod, quantity

WorkloadPhase = Literal["Pending", "Validating", "Building", "Deploying", "Running", "Stopped", "Failed"]


class PasswordSource(meta.Model):
    """The key of a Secret that holds a preset's password."""

    name: str = Field(min_length=1)
    """Name of a Secret in the Workload's namespace."""
    key: str = Field(default="password", min_length=1)
    """Key in the Secret."""


class Preset(meta.Model):
    """A well-known server that Lattice knows how to run."""

    name: Literal["postgresql", "redis"]
    """Which server."""
    version: str = Field(min_length=1)
    """Major version: PostgreSQL 13, 14, 15; Redis 6, 7."""
    parameters: dict[str, str] = Field(default_factory=dict)
    """PostgreSQL: ``database`` (default ``postgres``) and ``user`` (default ``postgres``). Redis has none."""
    password_secret_ref: PasswordSource | None = None
    """Password to use; where absent one is generated into the Secret ``<workload>-credentials``."""


class WorkloadStorage(meta.Model):
    """Data that outlives the Pods."""

    size: quantity.Quantity = "1Gi"
    """Size of each replica's volume."""
    mount_path: str | None = None
    """Where it is mounted; a preset knows its own place."""
    when_deleted: Literal["Retain", "Delete"] = "Retain"
    """What happens to claims, data and generated credentials when the Workload is deleted."""


class WorkloadSpec(meta.Model):
    """Desired state of a Workload. Exactly one of ``preset`` and ``image``."""

    replicas: int = Field(default=1, ge=0, le=1000)
    """How many Pods run. 0 stops the Workload."""
    preset: Preset | None = None
    """A well-known server."""
    image: str | None = Field(default=None, min_length=1)
    """Any image."""
    command: meta.AtomicList[str] = ()
    """Replaces the image's entrypoint."""
    args: meta.AtomicList[str] = ()
    """Replaces the image's command."""
    env: Annotated[tuple[pod.EnvVar, ...], meta.list_map("name")] = ()
    """Environment."""
    ports: Annotated[tuple[pod.ContainerPort, ...], meta.list_map("containerPort", "protocol")] = ()
    """Ports to publish; a preset knows its own, and takes hostPort and hostIP from an entry with the same containerPort."""
    resources: pod.ResourceRequirements = Field(default_factory=pod.ResourceRequirements)
    """Requests and limits of each replica."""
    storage: WorkloadStorage | None = None
    """A volume for each replica. Presets have one by default."""
    readiness_probe: pod.Probe | None = None
    """When a replica is ready; a preset knows its own."""
    liveness_probe: pod.Probe | None = None
    """When a replica is restarted."""
    image_pull_policy: pod.PullPolicy | None = None
    """When to pull."""
    node_selector: Annotated[dict[str, str], meta.ATOMIC_MAP] = Field(default_factory=dict)
    """Labels that the Node must have."""
    tolerations: meta.AtomicList[pod.Toleration] = ()
    """Taints that do not keep it away."""
    termination_grace_period_seconds: int | None = Field(default=None, ge=0)
    """Seconds from the stop signal to SIGKILL; default 30."""
    restart_policy: Literal["Always"] | None = None
    """Only ``Always``: what runs to completion is a Job."""


class WorkloadEndpoint(meta.Model):
    """A published port of a running replica."""

    pod_name: str
    """Pod."""
    node_name: str
    """Node."""
    host_ip: str = Field(alias="hostIP")
    """Address on the node."""
    host_port: int
    """Port on the node."""
    container_port: int
    """Port in the container."""
    protocol: pod.Protocol = "TCP"
    """Protocol."""


class WorkloadStatus(meta.Model):
    """Observed state of a Workload, written by the workload reconciler."""

    phase: WorkloadPhase | None = None
    """Where in its life the Workload is. ``Running``: all replicas are observed ready."""
    replicas: int = 0
    """Pods that exist."""
    ready_replicas: int = 0
    """Pods that are ready."""
    updated_replicas: int = 0
    """Pods of the present template."""
    observed_generation: int | None = None
    """Generation of the spec that this status was made from."""
    conditions: Annotated[tuple[meta.Condition, ...], meta.list_map("type")] = ()
    """``Available``, ``Progressing``, ``Stalled``: what it waits for, in a sentence."""
    endpoints: meta.AtomicList[WorkloadEndpoint] = ()
    """Where the ready replicas can be reached."""
    credentials_secret: str | None = None
    """Secret with the credentials that were generated or given."""
    selector: str | None = None
    """Label selector of the Pods, for the scale subresource."""


class Workload(meta.Object):
    """Replicas of a preset or an image."""

    GROUP: ClassVar[str] = names.GROUP
    KIND: ClassVar[str] = "Workload"
    PLURAL: ClassVar[str] = "workloads"

    spec: WorkloadSpec = Field(default_factory=WorkloadSpec)
    """Desired state."""
    status: WorkloadStatus = Field(default_factory=WorkloadStatus)
    """Observed state."""
