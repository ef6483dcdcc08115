"""Names, labels and the hash of a container. Pure.

They outlive the agent: an agent of a newer release finds by them what an older one made, so what is here changes only in a compatible way.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import orjson

from lattice.api import pod
from nodeagent.blueprint.fields import ADDRESS_LATER
from nodeagent.blueprint.values import Blueprint, Node, missing
from nodeagent.runtime import base


def spec_hash(wanted: pod.Pod, container: pod.Container) -> str:
    """Return a hash of what must not change without a new container of a Pod; each of its containers has its own.

    Only fields that change what runs count, and only as they were written: values of Secrets do not (a rotation restarts nothing, as in
    Kubernetes), nor defaults that a newer server would fill in. The list never grows: a Pod's spec does not change but in its images, and
    another hash of an unchanged Pod would restart every container with the next upgrade of the agent.
    """
    fields = [
        container.name,
        container.image,
        container.command,
        container.args,
        container.working_dir,
        [_without_defaults(variable.to_dict()) for variable in container.env],
        [source.to_dict() for source in container.env_from],
        [mount.to_dict() for mount in container.volume_mounts],
        dict(container.resources.limits),
        container.security_context.to_dict() if container.security_context else None,
    ]
    return hashlib.sha256(orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def _without_defaults(variable: dict[str, Any]) -> dict[str, Any]:
    """Return a variable as it was before servers filled in ``fieldRef.apiVersion``."""
    source = variable.get("valueFrom") or {}
    if (source.get("fieldRef") or {}).get("apiVersion") != "v1":
        return variable
    reference = {key: value for key, value in source["fieldRef"].items() if key != "apiVersion"}
    return {**variable, "valueFrom": {**source, "fieldRef": reference}}


def container_name(wanted: pod.Pod, container: str, restarts: int) -> str:
    """Return the container's name in Docker. The uid tells it from another Pod of this name: of an earlier life, or a cluster."""
    return f"lattice_{wanted.namespace}_{wanted.name}_{container}_{wanted.uid[:8]}_{restarts}"


def labels(wanted: pod.Pod, container: str, digest: str, node: Node) -> dict[str, str]:
    """Return the labels by which a container is found again."""
    return {
        base.LABEL_NODE: node.uid,
        base.LABEL_CLUSTER: node.cluster_id,
        base.LABEL_POD_UID: wanted.uid,
        base.LABEL_POD_NAME: wanted.name,
        base.LABEL_POD_NAMESPACE: wanted.namespace,
        base.LABEL_CONTAINER: container,
        base.LABEL_SPEC_HASH: digest,
    }


def with_attempt(blueprint: Blueprint, wanted: pod.Pod, *, restarts: int, ports: tuple[base.PortBinding, ...]) -> base.ContainerConfig:
    """Return the configuration of one attempt: its name, its number, its host ports."""
    config = blueprint.config
    texts = {**config.labels, base.LABEL_RESTARTS: str(restarts)}
    if ports:
        texts[base.LABEL_HOST_PORTS] = host_ports_text(ports)
    return replace(config, name=container_name(wanted, config.labels[base.LABEL_CONTAINER], restarts), labels=texts, ports=ports)


def with_address(config: base.ContainerConfig) -> base.ContainerConfig:
    """Return the configuration with the address of its network where the blueprint left a gap for it.

    Raises:
        ConfigError: it asks for the address, and its network has none before it starts.
    """
    texts = [*(value for _, value in config.env), *(config.entrypoint or ()), *(config.command or ())]
    if not any(ADDRESS_LATER in text for text in texts):
        return config
    if not config.ip:
        raise missing("field status.podIP: the Pod has no address before it starts, for Docker chooses it on the network of this node")
    ip = config.ip
    return replace(
        config,
        env=tuple((name, value.replace(ADDRESS_LATER, ip)) for name, value in config.env),
        entrypoint=None if config.entrypoint is None else tuple(text.replace(ADDRESS_LATER, ip) for text in config.entrypoint),
        command=None if config.command is None else tuple(text.replace(ADDRESS_LATER, ip) for text in config.command),
    )


def host_ports_text(ports: tuple[base.PortBinding, ...]) -> str:
    """Return the text of the ``lattice.dev/host-ports`` annotation and label."""
    return orjson.dumps(
        [
            {"containerPort": port.container_port, "protocol": port.protocol, "hostIP": port.host_ip, "hostPort": port.host_port}
            for port in ports
        ]
    ).decode()


def parse_host_ports(text: str) -> tuple[base.PortBinding, ...]:
    """Parse what :func:`host_ports_text` wrote; anything else is nothing (a user may have edited the annotation)."""
    try:
        return tuple(
            base.PortBinding(
                container_port=int(entry["containerPort"]),
                host_port=int(entry["hostPort"]),
                host_ip=str(entry["hostIP"]),
                protocol=str(entry.get("protocol", "TCP")),
            )
            for entry in orjson.loads(text)
        )
    except (ValueError, TypeError, KeyError):
        return ()
