"""The networks of this node: one bridge network for each namespace that has Pods here, an address for each Pod, and the rules around them.

Made by ``main.py``; asked by the workers of the Pods. What it must remember is on the engine: a network's namespace and a container's
address are labels. Networks without our labels are never touched. A network that nobody has used for a minute is removed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from lattice.api import pod
from lattice.api.errors import LatticeError
from lattice.machinery.clock import Clock
from nodeagent.facts import Fact
from nodeagent.networks import plan
from nodeagent.networks.helper import Helper
from nodeagent.networks.isolation import Isolation
from nodeagent.runtime import base
from nodeagent.workloads.actions import Wait
from nodeagent.workloads.observed import ContainerTable

logger = logging.getLogger(__name__)

IDLE_S: Final = 60.0
"""How long a network stays without Pods: making one costs 0.1 s, and the Pods of a Job come one after the other."""
_SWEEP_S: Final = 20.0
_TRIES: Final = 5
"""Subnets tried for one network: somebody else may take one between our look and our call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSettings:
    """What the provider has set."""

    isolation: bool
    network_range: str
    max_pods: int
    helper_image: str


class Networks:
    """See the module's docstring; implements ``workloads.seams.Networks``.

    Args:
        runtime: the engine.
        clock: time.
        node_uid: identity of the node.
        table: the containers of this node.
        settings: of the provider.
        changed: called when it has become possible to start Pods, or impossible.
    """

    def __init__(
        self,
        runtime: base.Runtime,
        clock: Clock,
        node_uid: str,
        table: ContainerTable,
        settings: NetworkSettings,
        changed: Callable[[], None],
    ) -> None:
        self._runtime = runtime
        self._clock = clock
        self._uid = node_uid
        self._table = table
        self._range = settings.network_range
        self._prefix = plan.prefix_for(settings.max_pods)
        self._slots = plan.slot_count(self._range, self._prefix)
        self._isolation = Isolation(
            Helper(runtime, clock, node_uid, settings.helper_image),
            clock,
            node_uid,
            self._slots,
            on=settings.isolation,
            engine_away=lambda: not table.available,
            changed=changed,
        )
        self._making = asyncio.Lock()
        self._addresses: dict[str, tuple[str, str]] = {}
        """Pod uid to namespace and address."""
        self._last: dict[str, str] = {}
        """Namespace to the address that was given last."""
        self._idle_since_s: dict[str, float] = {}

    def blocked(self, wanted: pod.Pod) -> Wait | None:
        """Return why no container of this Pod may be started now."""
        problem = self._isolation.problem
        return Wait(reason="NetworkNotIsolated", message=problem) if problem else None

    def fact(self) -> Fact:
        """Return the Node's condition NetworkIsolated."""
        return self._isolation.fact()

    async def run(self) -> None:
        """Keep the rules, and remove networks that nobody uses, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._isolation.run())
            group.create_task(self._sweep())

    async def attach(self, wanted: pod.Pod, config: base.ContainerConfig) -> base.ContainerConfig:
        """Return the configuration with the network of the Pod's namespace, which is made if need be, and the Pod's address in it.

        Raises:
            isolation.NotIsolatedError: the rules are not there.
            plan.NoSubnetError, plan.NoAddressError: none is left.
        """
        await self._isolation.require()
        async with self._making:
            network = await self._ensure(wanted.namespace)
            address = self._choose(wanted, network)
            self._addresses[wanted.uid] = (wanted.namespace, address)
            self._last[wanted.namespace] = address
        labels = {**config.labels, base.LABEL_POD_IP: address}
        return replace(config, network=network.name, ip=address, network_aliases=_aliases(wanted), labels=labels)

    async def check(self, wanted: pod.Pod) -> None:
        """Return if a container of this Pod may be started now.

        Raises:
            isolation.NotIsolatedError: the rules are not there, and cannot be set.
        """
        await self._isolation.require()

    async def detach(self, wanted: pod.Pod | None, pod_uid: str) -> None:
        """Give the address of a Pod back."""
        self._addresses.pop(pod_uid, None)

    async def remove_rules(self) -> None:
        """Take the packet filter rules away: the node is left, and its Pods are gone. Nothing starts afterwards.

        Raises:
            LatticeError: the rules are still there.
        """
        await self._isolation.remove()

    async def _ensure(self, namespace: str) -> base.Network:
        """Return the network of a namespace; it is made if it is not there."""
        name = plan.network_name(self._uid, namespace)
        lost: list[str] = []
        while True:
            there = await self._runtime.networks()
            found = next((network for network in there if network.name == name), None)
            if found is not None:
                return found
            taken = [*(subnet for network in there for subnet in network.subnets), *self._isolation.machine.routes, *lost]
            subnet = plan.choose_subnet(self._range, self._prefix, taken)
            bridge = plan.choose_bridge(self._uid, self._slots, {network.bridge for network in there})
            labels = {base.LABEL_NODE: self._uid, base.LABEL_POD_NAMESPACE: namespace}
            try:
                await self._runtime.create_network(base.Network(name=name, subnets=(subnet,), labels=labels, bridge=bridge))
            except (base.SubnetTakenError, base.NameTakenError):
                lost.append(subnet)
                if len(lost) > _TRIES:
                    raise
            else:
                logger.info("made a network", extra={"namespace": namespace, "subnet": subnet})

    def _choose(self, wanted: pod.Pod, network: base.Network) -> str:
        taken = {address for uid, (namespace, address) in self._addresses.items() if uid != wanted.uid and namespace == wanted.namespace}
        own: list[str] = [self._addresses[wanted.uid][1]] if wanted.uid in self._addresses else []
        for container in self._table.ours():
            if container.labels.get(base.LABEL_POD_NAMESPACE) != wanted.namespace:
                continue
            address = container.labels.get(base.LABEL_POD_IP, "")
            if container.labels.get(base.LABEL_POD_UID) == wanted.uid:
                own.append(address)
            else:
                taken.add(address)
        before = (*own, wanted.status.pod_ip or "")
        return plan.choose_address(network.subnets[0], taken, before=before, last=self._last.get(wanted.namespace, ""))

    async def _sweep(self) -> None:
        while True:
            await self._clock.sleep(_SWEEP_S)
            if self._table.available:
                try:
                    await self._remove_idle()
                except LatticeError as error:
                    logger.info("cannot remove an unused network", extra={"error": str(error)[:200]})

    async def _remove_idle(self) -> None:
        used = {namespace for namespace, _address in self._addresses.values()}
        used |= {container.labels.get(base.LABEL_POD_NAMESPACE, "") for container in self._table.ours()}
        now_s = self._clock.monotonic()
        for network in await self._runtime.networks({base.LABEL_NODE: self._uid}):
            namespace = network.labels.get(base.LABEL_POD_NAMESPACE, "")
            if namespace in used:
                self._idle_since_s.pop(namespace, None)
            elif now_s - self._idle_since_s.setdefault(namespace, now_s) >= IDLE_S:
                async with self._making:
                    if not any(namespace == held for held, _address in self._addresses.values()):
                        await self._runtime.remove_network(network.name)
                self._idle_since_s.pop(namespace, None)


def _aliases(wanted: pod.Pod) -> tuple[str, ...]:
    """Return the names under which other Pods of the namespace find this one, as Kubernetes forms them for a subdomain."""
    if not wanted.spec.subdomain:
        return ()
    name = f"{wanted.spec.hostname or wanted.name}.{wanted.spec.subdomain}"
    return (name, f"{name}.{wanted.namespace}", f"{name}.{wanted.namespace}.svc", f"{name}.{wanted.namespace}.svc.cluster.local")
