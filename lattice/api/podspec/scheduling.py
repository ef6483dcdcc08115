"""Where a Pod may run."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from lattice.api import meta, selectors


class Toleration(meta.Model):
    """A taint that this Pod does not mind."""

    key: str | None = None
    """Taint key; empty with ``Exists``: all."""
    operator: Literal["Exists", "Equal"] | None = None
    """Default ``Equal``."""
    value: str | None = None
    """Taint value."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Taint effect; absent: all."""
    toleration_seconds: int | None = None
    """For ``NoExecute``: how long."""


class NodeSelector(meta.Model):
    """Nodes that fit one of several terms."""

    model_config = ConfigDict(json_schema_extra=meta.ATOMIC)

    node_selector_terms: meta.AtomicList[selectors.NodeSelectorTerm] = ()
    """Terms; one must match."""


class PreferredSchedulingTerm(meta.Model):
    """A term that a Node gets points for."""

    weight: int = Field(ge=1, le=100)
    """Points."""
    preference: selectors.NodeSelectorTerm
    """The term."""


class NodeAffinity(meta.Model):
    """Nodes that the Pod wants."""

    required_during_scheduling_ignored_during_execution: NodeSelector | None = None
    """Nodes that it can run on."""
    preferred_during_scheduling_ignored_during_execution: meta.AtomicList[PreferredSchedulingTerm] = ()
    """Nodes that it prefers."""


class LabelSelector(meta.Model):
    """Objects by their labels."""

    model_config = ConfigDict(json_schema_extra=meta.ATOMIC)

    match_labels: dict[str, str] = Field(default_factory=dict)
    """Labels that must have these values."""
    match_expressions: meta.AtomicList[selectors.LabelSelectorRequirement] = ()
    """More demands."""


class PodAffinityTerm(meta.Model):
    """Pods near which, or away from which, the Pod wants to be."""

    label_selector: LabelSelector | None = None
    """Which Pods."""
    namespaces: meta.AtomicList[str] = ()
    """In which namespaces; default its own."""
    namespace_selector: LabelSelector | None = None
    """In which namespaces, by labels."""
    topology_key: str
    """Label of Nodes whose equal values mean near."""
    match_label_keys: meta.AtomicList[str] = ()
    """Keys whose values of the Pod's own labels are added to the selector."""
    mismatch_label_keys: meta.AtomicList[str] = ()
    """The same, with other values."""


class WeightedPodAffinityTerm(meta.Model):
    """A term with points."""

    weight: int = Field(ge=1, le=100)
    """Points."""
    pod_affinity_term: PodAffinityTerm
    """The term."""


class PodAffinity(meta.Model):
    """Pods near which the Pod wants to be."""

    required_during_scheduling_ignored_during_execution: meta.AtomicList[PodAffinityTerm] = ()
    """Must hold."""
    preferred_during_scheduling_ignored_during_execution: meta.AtomicList[WeightedPodAffinityTerm] = ()
    """Should hold."""


class PodAntiAffinity(meta.Model):
    """Pods away from which the Pod wants to be."""

    required_during_scheduling_ignored_during_execution: meta.AtomicList[PodAffinityTerm] = ()
    """Must hold."""
    preferred_during_scheduling_ignored_during_execution: meta.AtomicList[WeightedPodAffinityTerm] = ()
    """Should hold."""


class Affinity(meta.Model):
    """Nodes and neighbours that the Pod wants."""

    node_affinity: NodeAffinity | None = None
    """Nodes."""
    pod_affinity: PodAffinity | None = None
    """Neighbours."""
    pod_anti_affinity: PodAntiAffinity | None = None
    """Neighbours that it does not want."""


class TopologySpreadConstraint(meta.Model):
    """How evenly Pods are spread."""

    max_skew: int = Field(ge=1)
    """Greatest difference."""
    topology_key: str
    """Label of Nodes that makes the groups."""
    when_unsatisfiable: str
    """``DoNotSchedule`` or ``ScheduleAnyway``."""
    label_selector: LabelSelector | None = None
    """Which Pods are counted."""
    min_domains: int | None = None
    """Least number of groups."""
    node_affinity_policy: str | None = None
    """Whether the Pod's node affinity counts."""
    node_taints_policy: str | None = None
    """Whether taints count."""
    match_label_keys: meta.AtomicList[str] = ()
    """Keys whose values of the Pod's own labels are added to the selector."""


class PodSchedulingGate(meta.Model):
    """A party that must agree before the Pod is scheduled."""

    name: str
    """Name of the gate."""


class PodReadinessGate(meta.Model):
    """A condition that must hold before the Pod is ready."""

    condition_type: str
    """Type of the condition, which somebody else writes into the Pod's status."""


class PodOS(meta.Model):
    """The operating system of the containers."""

    name: Annotated[str, Field(min_length=1)]
    """``linux``."""
