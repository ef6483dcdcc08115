"""What the workers of all Pods of a node share: one of each, made by ``nodeagent.main``, handed on by the supervisor.

A record and nothing more: each part keeps its own promises. Everything in it is used from the agent's one event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from lattice.client.client import Client
from lattice.machinery.clock import Clock
from nodeagent.desired import Desired
from nodeagent.images.shell import Puller
from nodeagent.podevents import PodEvents
from nodeagent.ports.shell import Ports
from nodeagent.probes.shell import Prober
from nodeagent.reporter import StatusReporter
from nodeagent.runtime import base
from nodeagent.volumes.files import RunDirectory
from nodeagent.volumes.messages import TerminationMessages
from nodeagent.volumes.shell import PodVolumes
from nodeagent.workloads import seams, spec
from nodeagent.workloads.observed import ContainerTable


@dataclass(slots=True, kw_only=True)
class Tools:
    """What all workers of a node share."""

    runtime: base.Runtime
    client: Client
    clock: Clock
    desired: Desired
    table: ContainerTable
    ports: Ports
    files: RunDirectory
    messages: TerminationMessages
    volumes: PodVolumes
    puller: Puller
    prober: Prober
    reporter: StatusReporter
    events: PodEvents
    node: spec.Node
    starts: asyncio.Semaphore
    """At most four starts at a time: more only lengthen the queue inside Docker (measured)."""
    mark_ended: Callable[[str], None]
    """Notes durably that a Pod has ended here, see ``nodeagent.checkpoint``."""
    volume_claims: dict[str, str]
    """Docker volume to the uid of the Pod that is about to mount it. Claimed without an await between look and claim."""
    docker_config: Callable[[], bytes] = bytes
    """Returns the provider's own registry logins, Docker's ``config.json``; empty: there are none."""
    networks: seams.Networks = field(default_factory=seams.EngineNetwork)
    endings: seams.Endings = field(default_factory=seams.NoEndings)
    probe_failures: dict[base.ContainerId, str] = field(default_factory=dict)
    """What the probe said because of which a container is being stopped, until its end is noted."""
    holds: list[seams.Holds] = field(default_factory=list)
    """Why nothing is started now: asked before every start, changes are told by a poke."""
    verdicts: dict[str, seams.Verdict] = field(default_factory=dict)
    """Pods that this node ends, by uid; whoever adds one pokes the Pod. Forgotten with the Pod."""
