"""The image of one Pod: whether it may be taken as there, and its pull. Used by the Pod's worker alone.

What to pull when is ``plan.step``'s decision; how, the puller's, which all Pods of the node share. Kept here is what only this worker
knows: that it has pulled since it began, that the engine said the image is missing, that a pull is under way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from lattice.api import pod
from nodeagent.images import plan as images
from nodeagent.runtime import base
from nodeagent.workloads.tools import Tools


class PodImage:
    """See the module's docstring.

    Args:
        tools: of the node.
        ended: called with the outcome of each pull; ``None``: the image is there.
    """

    def __init__(self, tools: Tools, ended: Callable[[Exception | None], None]) -> None:
        self._tools = tools
        self._ended = ended
        self._pulled = False
        self._must_pull = False
        self._pulling: asyncio.Future[Exception | None] | None = None

    @property
    def pulling(self) -> bool:
        """Return whether a pull is under way."""
        return self._pulling is not None

    def ready(self, wanted: pod.Pod | None, *, restarts: int) -> bool:
        """Return whether a container may be made without a pull. ``restarts``: -1 before the first container of the Pod."""
        if wanted is None or self._pulled:
            return True
        if self._must_pull:
            return False
        # A restart never depends on a registry: "Always" counts for the first container of a Pod on this node.
        return images.policy_of(wanted.spec.containers[0]) != "Always" or restarts >= 0

    def missing(self) -> None:
        """Note that the engine does not have the image: whatever the policy, it takes a pull."""
        self._must_pull, self._pulled = True, False

    def pull(self, wanted: pod.Pod) -> None:
        """Begin a pull, with the credentials that the Pod names.

        Raises:
            base.ImageNotFoundError: the Pod's policy forbids it.
        """
        image = wanted.spec.containers[0].image or ""
        if images.policy_of(wanted.spec.containers[0]) == "Never":
            self._must_pull = False
            raise base.ImageNotFoundError(f"image {image} is not on this node, and its pull policy is Never")
        named = {reference.name for reference in wanted.spec.image_pull_secrets}
        secrets = [secret for (space, name), secret in self._tools.desired.secrets.items() if space == wanted.namespace and name in named]
        self._pulling = self._tools.puller.pull(image, images.credentials(image, secrets))
        self._pulling.add_done_callback(self._done)

    def _done(self, future: asyncio.Future[Exception | None]) -> None:
        self._pulling = None
        error = future.result()
        if error is None:
            self._pulled, self._must_pull = True, False
        self._ended(error)
