"""Pulls of images, one at a time for each image: Pods that wait for the same image share one pull. Errors go to all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Protocol

from lattice.machinery.tasks import TaskOwner
from nodeagent.runtime import base


class Pull(Protocol):
    """How one image is pulled (``imagecare/shell.py``: with room for it)."""

    async def __call__(self, image: str, auth: Mapping[str, str] | None) -> None:
        """Pull, or raise a ``LatticeError``."""


class Puller:
    """Owns running pulls. A pull goes on when the Pod that asked for it is deleted: the next one will want the image."""

    def __init__(self, pull: Pull, tasks: TaskOwner) -> None:
        self._pull_image = pull
        self._tasks = tasks
        self._running: dict[tuple[str, str], asyncio.Future[Exception | None]] = {}

    def pull(self, image: str, logins: Sequence[Mapping[str, str]] = ()) -> asyncio.Future[Exception | None]:
        """Start a pull, or join the one that runs with the same logins. The future's result is the error, ``None``: it is there.

        Logins are tried in their order, as long as the registry says that there is no such image for who asks; without any, or when all
        have failed, nobody's error but the last one's is told.
        """
        key = (image, repr([sorted(login.items()) for login in logins]))
        if (running := self._running.get(key)) is not None:
            return running
        future: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self._running[key] = future
        self._tasks.spawn(self._pull(image, logins, future, key), name=f"pull {image}")
        return future

    async def _pull(
        self, image: str, logins: Sequence[Mapping[str, str]], future: asyncio.Future[Exception | None], key: tuple[str, str]
    ) -> None:
        error: Exception | None = None
        try:
            for login in logins[:-1]:
                try:
                    return await self._pull_image(image, login)
                except base.ImageNotFoundError:
                    continue  # not for this login
            await self._pull_image(image, logins[-1] if logins else None)
        except Exception as caught:  # noqa: BLE001 - handed to the Pods that wait, whatever it is
            error = caught
        finally:
            del self._running[key]
            if not future.done():
                future.set_result(error)
