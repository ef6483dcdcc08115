"""The images of one Pod's containers: whether each may be taken as there, and its pull. Used by the Pod's worker alone.

What to pull when is ``plan.decide``'s decision; how, the puller's, which all Pods of the node share. Kept here is what only this worker
knows: that it has pulled since it began, that the engine said the image is missing, that a pull is under way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from lattice.api import pod
from nodeagent import podevents
from nodeagent.images import credentials
from nodeagent.images import plan as images
from nodeagent.runtime import base
from nodeagent.workloads.tools import Tools


class PodImages:
    """See the module's docstring.

    Args:
        tools: of the node.
        ended: called with the name of the container and the outcome of its pull; ``None``: the image is there.
    """

    def __init__(self, tools: Tools, ended: Callable[[str, Exception | None], None]) -> None:
        self._tools = tools
        self._ended = ended
        self._pulled: set[str] = set()
        self._missing: set[str] = set()
        self._pulling: dict[str, asyncio.Future[Exception | None]] = {}

    def was_pulled(self, name: str) -> bool:
        """Return whether this worker has pulled the image of a container."""
        return name in self._pulled

    def pulling(self, name: str) -> bool:
        """Return whether a pull for a container is under way."""
        return name in self._pulling

    def ready(self, container: pod.Container, *, restarts: int) -> bool:
        """Return whether a container may be made without a pull. ``restarts``: -1 before the first attempt of the container."""
        if container.name in self._pulled:
            return True
        if container.name in self._missing:
            return False
        # A restart never depends on a registry: "Always" counts for the first attempt of a Pod on this node.
        return images.policy_of(container) != "Always" or restarts >= 0

    def missing(self, container: pod.Container) -> None:
        """Note that the engine does not have the image: whatever the policy, it takes a pull."""
        self._missing.add(container.name)
        self._pulled.discard(container.name)

    def pull(self, wanted: pod.Pod, container: pod.Container) -> None:
        """Begin a pull, with the credentials that the Pod names.

        Raises:
            base.ImageNotFoundError: the container's policy forbids it.
        """
        image = container.image or ""
        if images.policy_of(container) == "Never":
            self._missing.discard(container.name)
            raise base.ImageNotFoundError(f"image {image} is not on this node, and its pull policy is Never")
        named = {reference.name for reference in wanted.spec.image_pull_secrets}
        secrets = [secret for (space, name), secret in self._tools.desired.secrets.items() if space == wanted.namespace and name in named]
        future = self._pulling[container.name] = self._tools.puller.pull(
            image, credentials.logins(image, secrets, self._tools.docker_config())
        )
        self._tools.events.say(wanted, container.name, "Normal", podevents.PULLING, f'Pulling image "{image}"')
        future.add_done_callback(lambda done: self._done(wanted, container, done))

    def _done(self, wanted: pod.Pod, container: pod.Container, future: asyncio.Future[Exception | None]) -> None:
        self._pulling.pop(container.name, None)
        error, image, events = future.result(), container.image or "", self._tools.events
        if error is None:
            self._pulled.add(container.name)
            self._missing.discard(container.name)
            events.say(wanted, container.name, "Normal", podevents.PULLED, f'Successfully pulled image "{image}"')
        else:
            text = f'Failed to pull image "{image}": {error}'
            events.say(wanted, container.name, "Warning", podevents.FAILED, text)
        self._ended(container.name, error)
