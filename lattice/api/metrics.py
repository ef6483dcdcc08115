"""``metrics.k8s.io/v1beta1``: what nodes and Pods use now, for ``kubectl top``. Nothing is stored; the agents are asked.

Names and shapes are those of https://github.com/kubernetes-sigs/metrics-server. CPU is in cores (``"12345678n"``), memory is the working
set, ``window`` is over what time CPU was counted.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from lattice.api import meta, quantity

GROUP = "metrics.k8s.io"
VERSION = "v1beta1"


class NodeMetrics(meta.Object):
    """What a node uses."""

    GROUP: ClassVar[str] = GROUP
    VERSION: ClassVar[str] = VERSION
    KIND: ClassVar[str] = "NodeMetrics"
    PLURAL: ClassVar[str] = "nodes"
    NAMESPACED: ClassVar[bool] = False

    timestamp: meta.Time | None = None
    """When it was measured."""
    window: str = ""
    """Over what time CPU was counted, such as ``15s``."""
    usage: quantity.ResourceList = Field(default_factory=dict)
    """``cpu`` and ``memory``."""


class ContainerMetrics(meta.Model):
    """What a container uses."""

    name: str
    """Name of the container."""
    usage: quantity.ResourceList = Field(default_factory=dict)
    """``cpu`` and ``memory``."""


class PodMetrics(meta.Object):
    """What a Pod uses."""

    GROUP: ClassVar[str] = GROUP
    VERSION: ClassVar[str] = VERSION
    KIND: ClassVar[str] = "PodMetrics"
    PLURAL: ClassVar[str] = "pods"
    NAMESPACED: ClassVar[bool] = True

    timestamp: meta.Time | None = None
    """When it was measured."""
    window: str = ""
    """Over what time CPU was counted, such as ``15s``."""
    containers: meta.AtomicList[ContainerMetrics] = ()
    """One for each running container."""
