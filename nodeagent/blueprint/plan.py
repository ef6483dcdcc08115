"""From a Pod to what one of its containers needs. Pure.

Called by the worker of a Pod before it creates a container. Guarantees: the same inputs give an equal :class:`Blueprint`; nothing is
guessed: what is missing or not allowed raises :class:`ConfigError`, whose reason and sentence become the container's waiting state. Host
ports are not chosen here (``nodeagent/ports``), files are not written here (``nodeagent/volumes``).
"""

from __future__ import annotations

from typing import Final

from lattice.api import pod, quantity
from nodeagent.blueprint import environment, mounts, naming, network, resources, security
from nodeagent.blueprint.values import Address, Blueprint, ConfigError, Node, References
from nodeagent.images import plan as images
from nodeagent.runtime import base

_UNKNOWN: Final = Address()


def make_blueprint(wanted: pod.Pod, container: pod.Container, references: References, node: Node, address: Address = _UNKNOWN) -> Blueprint:
    """Return what to create for one container of a Pod, as if it had a network of its own.

    Args:
        wanted: the Pod.
        container: a main one, an init container, a sidecar, or an ephemeral one.
        references: what it may refer to.
        node: this node.
        address: of the Pod, as far as it is known.

    Raises:
        ConfigError: something it needs is missing, or not supported, or not allowed.
    """
    if not container.image:
        raise ConfigError("InvalidImageName", f"container {container.name} has no image")
    if why := images.check_reference(container.image):
        raise ConfigError("InvalidImageName", why)
    variables = environment.make_environment(wanted, container, references, node, address)
    found = mounts.make_mounts(wanted, container, variables, references, node, address)
    rights = security.make_rights(wanted, container, node)
    limits = resources.make_limits(wanted, container, quantity.to_units(node.allocatable.get("memory", "0")))
    names = network.make_names(wanted)
    config = base.ContainerConfig(
        name=naming.container_name(wanted, container.name, 0),
        image=container.image,
        labels=naming.labels(wanted, container.name, naming.spec_hash(wanted, container), node),
        entrypoint=tuple(environment.expand(part, variables) for part in container.command) or None,
        command=tuple(environment.expand(part, variables) for part in container.args) or (() if container.command else None),
        env=tuple(variables.items()),
        working_dir=container.working_dir,
        user=rights.user,
        groups=rights.groups,
        tty=bool(container.tty),
        stdin=bool(container.stdin),
        stdin_once=bool(container.stdin_once),
        stop_signal=container.lifecycle.stop_signal if container.lifecycle else None,
        mounts=tuple(found.mounts),
        read_only_root=rights.read_only_root,
        hostname=names.hostname,
        domainname=names.domainname,
        dns_servers=names.dns_servers,
        dns_searches=names.dns_searches,
        dns_options=names.dns_options,
        extra_hosts=names.extra_hosts,
        sysctls=names.sysctls,
        cpu_millis=limits.cpu_millis,
        cpu_shares=limits.cpu_shares,
        memory_bytes=limits.memory_bytes,
        pids_limit=node.rules.pids_limit,
        oom_score_adj=limits.oom_score_adj,
        gpus=limits.gpus,
        log_max_size_bytes=node.rules.log_max_size_bytes,
        log_max_files=node.rules.log_max_files,
        capabilities=rights.capabilities,
        privileged=rights.privileged,
        no_new_privileges=rights.no_new_privileges,
        seccomp=rights.seccomp,
    )
    return Blueprint(
        config=config,
        files=tuple(found.files.values()),
        volumes=tuple(found.claims),
        scratch=tuple(found.scratch.values()),
        guarded=tuple(found.guarded),
        owned=tuple(found.owned.values()),
        seccomp_file=rights.seccomp_file,
        non_root=rights.non_root,
        group=rights.group,
    )
