"""Images named in the settings: pulled before anybody needs them, and again if they are removed. A failure is a warning, never more."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from lattice.api import errors
from lattice.machinery.backoff import Backoff
from lattice.machinery.clock import Clock
from nodeagent.images.shell import Puller
from nodeagent.runtime import base

logger = logging.getLogger(__name__)

LOOK_S: Final = 300.0
"""An image that somebody removed is there again within this time."""

Logins = Callable[[str], Sequence[Mapping[str, str]]]


class PullAhead:
    """See the module's docstring.

    Args:
        images: what is wanted.
        runtime: where they go.
        puller: pulls them; a Pod that wants one meanwhile shares the pull.
        clock: time.
        backoff: delays between attempts while something is missing.
        logins: the provider's own for an image.
    """

    def __init__(
        self, images: Sequence[str], runtime: base.Runtime, puller: Puller, clock: Clock, backoff: Backoff, logins: Logins
    ) -> None:
        self._images = tuple(images)
        self._runtime = runtime
        self._puller = puller
        self._clock = clock
        self._backoff = backoff
        self._logins = logins
        self._states = dict.fromkeys(self._images, "waiting")

    def states(self) -> Mapping[str, str]:
        """Return each image with ``present``, ``waiting``, ``pulling``, or why it is not there."""
        return dict(self._states)

    async def run(self) -> None:
        """Keep them there until cancelled. One at a time: Pods go first."""
        while self._images:
            missing = False
            for image in self._images:
                missing = not await self._ensure(image) or missing
            if not missing:
                self._backoff.reset()
            await self._clock.sleep(self._backoff.next_s() if missing else LOOK_S)

    async def _ensure(self, image: str) -> bool:
        before = self._states[image]
        try:
            if await self._runtime.has_image(image):
                self._states[image] = "present"
                return True
            self._states[image] = "pulling"
            error = await asyncio.shield(self._puller.pull(image, self._logins(image)))
        except errors.LatticeError as failure:
            error = failure
        if error is None:
            self._states[image] = "present"
            logger.info("pulled an image ahead", extra={"image": image})
            return True
        self._states[image] = why = f"failed: {str(error)[:200]}"
        if why != before:  # a registry that is away for a day is said once
            logger.warning("cannot pull an image ahead, trying again", extra={"image": image, "error": str(error)[:200]})
        return False
