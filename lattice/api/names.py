"""Well-known labels, annotations, taints and finalizers: each spelled once, with its meaning and its writer."""

from __future__ import annotations

from typing import Final

GROUP: Final = "lattice.dev"

# Labels on objects
LABEL_WORKLOAD: Final = "lattice.dev/workload"
"""On everything a Workload owns: the Workload's name. Written by the workload reconciler."""
LABEL_ORDINAL: Final = "lattice.dev/ordinal"
"""On a Workload's Pods and claims: the replica's number, from 0."""
LABEL_TEMPLATE_HASH: Final = "lattice.dev/template-hash"
"""On a Workload's Pods: hash of the Pod template they were made from."""
LABEL_ATTEMPT: Final = "lattice.dev/attempt"
"""On a Workload's Pods: number of the replacement, from 0."""
LABEL_HOSTNAME: Final = "kubernetes.io/hostname"
"""On Nodes: the Node's name; the key of a local volume's node affinity."""
LABEL_NAMESPACE_NAME: Final = "kubernetes.io/metadata.name"
"""On Namespaces: the namespace's own name. Written by the API server."""
LABEL_OS: Final = "kubernetes.io/os"
LABEL_ARCH: Final = "kubernetes.io/arch"

# Annotations
ANNOTATION_HOST_PORTS: Final = "lattice.dev/host-ports"
"""On Pods: JSON list of ``{containerPort, protocol, hostIP, hostPort}`` as published. Written by the agent with the status, read by it
before a re-create, so that a port stays."""
ANNOTATION_KEEP_IMAGES: Final = "lattice.dev/keep-images"
"""On Pods: names of further images, with commas between, that the Pod's node does not remove while the Pod is there: those of revisions
that one may want to go back to. Written by whoever makes the Pod."""
ANNOTATION_RECLAIM_POLICY: Final = "lattice.dev/reclaim-policy"
"""On claims: ``Delete`` makes the volume, and its data, go with the claim; default ``Retain``. Written by the owner of the claim."""
ANNOTATION_STATUS_RECORD: Final = "lattice.dev/status-record"
"""On Pods: number of the status in the agent's journal. Written by the agent with the status; the API server refuses a lower one."""
ANNOTATION_REMOVALS_HELD: Final = "lattice.dev/removals-held"
"""On Nodes: names the occasion on which the agent holds removals back, because they are too many at once. Written by the agent."""
ANNOTATION_REMOVALS_APPROVED: Final = "lattice.dev/removals-approved"
"""On Nodes: the occasion whose removals a person has approved. Written by ``lattice node approve-removals``, removed by the agent."""
REASON_OLDER_RECORD: Final = "OlderRecord"
"""Reason of the cause in the 409 that refuses it."""

# Taints
TAINT_NOT_READY: Final = "node.kubernetes.io/not-ready"
TAINT_UNREACHABLE: Final = "node.kubernetes.io/unreachable"
TAINT_UNSCHEDULABLE: Final = "node.kubernetes.io/unschedulable"
TAINT_DISK_PRESSURE: Final = "node.kubernetes.io/disk-pressure"
TAINT_MEMORY_PRESSURE: Final = "node.kubernetes.io/memory-pressure"
TAINT_PID_PRESSURE: Final = "node.kubernetes.io/pid-pressure"
TAINT_PAUSED: Final = "lattice.dev/paused"
"""The machine's owner has paused it."""
TAINT_NETWORK_ISOLATION: Final = "lattice.dev/network-isolation"
"""The agent cannot keep Pods out of the provider's own network."""

# Conditions of Nodes besides Kubernetes' own
CONDITION_UNKNOWN_PODS: Final = "UnknownPods"
"""On Nodes, while it is true: the node keeps containers of Pods that the server does not know. Written by the agent."""
CONDITION_REMOVALS_HELD: Final = "RemovalsHeld"
"""On Nodes, while it is true: removals that are too many at once wait for a person. Written by the agent."""
CONDITION_PAUSED: Final = "Paused"
"""True: the machine's owner lets nothing new start here. Written by the agent."""
CONDITION_NETWORK_ISOLATED: Final = "NetworkIsolated"
"""False: Pods here may reach the provider's own network. Written by the agent."""

# Finalizers
FINALIZER_NODE_VOLUME: Final = "lattice.dev/node-volume"
"""On PersistentVolumes: the node's agent must remove the Docker volume before the object goes."""
FINALIZER_CLAIM_PROTECTION: Final = "kubernetes.io/pvc-protection"
"""On claims: not removed while a Pod uses it."""
FINALIZER_FOREGROUND: Final = "foregroundDeletion"
FINALIZER_ORPHAN: Final = "orphan"

STORAGE_CLASS_LOCAL: Final = "lattice-local"
"""The one StorageClass: a Docker volume on the node where the first consumer runs. Read-only."""
VOLUME_DRIVER: Final = "local.lattice.dev"
"""CSI driver name in the PersistentVolumes that we make; ``volumeHandle`` is the Docker volume's name."""

NAMESPACE_DEFAULT: Final = "default"
NAMESPACE_NODE_LEASE: Final = "kube-node-lease"
NAMESPACE_SYSTEM: Final = "kube-system"
BOOTSTRAP_NAMESPACES: Final = (NAMESPACE_DEFAULT, NAMESPACE_NODE_LEASE, NAMESPACE_SYSTEM)

GROUP_MASTERS: Final = "system:masters"
"""Users of this group have the role admin."""
GROUP_AUTHENTICATED: Final = "system:authenticated"
"""Every user with good credentials is in this group."""
GROUP_NODES: Final = "system:nodes"
"""Users ``system:node:<name>`` of this group have the role node."""
GROUP_PEERS: Final = "system:lattice:peers"
"""The other API servers of this control plane. Only their own paths."""
NODE_USER_PREFIX: Final = "system:node:"

HEADER_CLUSTER_ID: Final = "Lattice-Cluster-Id"
"""On every answer: the UUID of the cluster."""
HEADER_EPOCH: Final = "Lattice-Store-Epoch"
"""On every answer: a number that every restore raises. An agent that sees another id or a lower epoch removes nothing."""
