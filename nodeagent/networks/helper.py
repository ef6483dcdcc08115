"""The short-lived container that sets packet filter rules: so the agent needs the engine's socket and no rights of its own.

Called by ``shell.py``. It runs in the machine's network namespace with the one capability NET_ADMIN, gets the rules as an argument, tells
what the machine knows of its network, and is gone after some tenths of a second. The image has to have ``sh``, ``cat`` and ``nft``.
"""

from __future__ import annotations

from typing import Final

from lattice.api.errors import LatticeError
from lattice.machinery.clock import Clock
from nodeagent.networks import facts, plan
from nodeagent.runtime import base

LABEL_HELPER: Final = "lattice.dev/network-helper"
"""Identity of the node. The helper has no other label of ours: it is no Pod's container."""
_SECTION: Final = "=== "
_APPLIED: Final = "=== applied"
_SCRIPT: Final = f"""
for file in {facts.ROUTES} {facts.RESOLVERS}; do echo "{_SECTION}$file"; cat "$file"; echo; done
echo "{_SECTION}nft"
printf '%s\\n' "$1" | nft -f - && echo "{_APPLIED}"
"""
_TIMEOUT_S: Final = 60.0
"""It takes half a second; a machine that starts up and pulls at the same time takes longer."""
_LOOK_S: Final = 0.05
_LINES: Final = 2000


class HelperFailedError(LatticeError):
    """The rules are not set. The message has what the engine or ``nft`` said."""


class Helper:
    """Sets rules by way of a container.

    Args:
        runtime: the engine.
        clock: time.
        node_uid: whose helper it is.
        image: see the module's docstring.
    """

    def __init__(self, runtime: base.Runtime, clock: Clock, node_uid: str, image: str) -> None:
        self._runtime = runtime
        self._clock = clock
        self._uid = node_uid
        self._image = image

    async def apply(self, rules: str) -> facts.MachineFacts:
        """Hand rules to ``nft -f`` on the engine's machine, and return what that machine says of its network.

        Raises:
            HelperFailedError: they are not set.
            LatticeError: the engine or the registry failed.
        """
        if not await self._runtime.has_image(self._image):
            await self._runtime.pull(self._image)
        labels = {LABEL_HELPER: self._uid}
        for left in await self._runtime.list(labels):  # of an agent that was killed meanwhile
            await self._runtime.remove(left.id)
        container_id = await self._runtime.create(
            base.ContainerConfig(
                name=f"lattice_network_{self._uid[:8]}",
                image=self._image,
                labels=labels,
                entrypoint=("/bin/sh", "-c", _SCRIPT),
                command=("sh", rules),
                user="0:0",
                network="host",
                capabilities=("NET_ADMIN",),
                read_only_root=True,
                memory_bytes=256 * 1024**2,
                pids_limit=64,
            )
        )
        try:
            await self._runtime.start(container_id)
            ended = await self._end_of(container_id)
            output = await self._runtime.logs(container_id, tail=_LINES)
        finally:
            await self._runtime.remove(container_id)
        if ended.exit_code != 0:
            said = output.partition(f"{_SECTION}nft")[2].strip() or output.strip()
            raise HelperFailedError(f"the network rules cannot be set on this machine (exit code {ended.exit_code}): {said[:300]}")
        sections = _sections(output)
        return facts.MachineFacts(
            routes=facts.parse_routes(sections.get(facts.ROUTES, ""), but=plan.bridge_prefix(self._uid)),
            resolvers=facts.parse_resolvers(sections.get(facts.RESOLVERS, "")),
        )

    async def _end_of(self, container_id: base.ContainerId) -> base.Container:
        give_up_s = self._clock.monotonic() + _TIMEOUT_S
        while True:
            found = await self._runtime.inspect(container_id)
            if found.state in (base.ContainerState.EXITED, base.ContainerState.DEAD):
                return found
            if self._clock.monotonic() > give_up_s:
                raise HelperFailedError(f"the container that sets the network rules did not end within {_TIMEOUT_S:g} s")
            await self._clock.sleep(_LOOK_S)


def _sections(output: str) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    title = ""
    for line in output.splitlines():
        if line.startswith(_SECTION):
            title = line.removeprefix(_SECTION).strip()
        found.setdefault(title, []).append(line)
    return {title: "\n".join(lines) for title, lines in found.items()}
