"""Keeps room on the disk for images: collects at two watermarks, and refuses pulls that would cross the reserve.

Run by ``main.py``; the puller (``images/shell.py``) pulls through :meth:`ImageCare.pull`. Nothing is decided from memory: disk, images and
containers are looked at when images go, and the engine itself refuses to remove what a container is made from.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from lattice.api import errors, pod
from lattice.machinery.clock import Clock
from nodeagent import machine
from nodeagent.imagecare import plan
from nodeagent.imagecare.ledger import Ledger
from nodeagent.pressure.plan import Share
from nodeagent.runtime import base

logger = logging.getLogger(__name__)

PERIOD_S: Final = 60.0
"""kubelet looks every 5 minutes; one look at a disk costs nothing here, and a home machine's disk fills by other programs too."""


class DiskReserveError(errors.LatticeError):
    """A pull would take disk that must stay free."""


class ImageCare:
    """See the module's docstring.

    Args:
        runtime: the engine.
        ledger: what was pulled.
        clock: time.
        paths: directories on the disk of images, the first that exists counts.
        pods: the Pods of this node.
        images: the owner's list of images that stay.
        watermarks: upper and lower, percent of the disk.
        reserve: what pulls leave free.
        parallel: pulls at a time.
    """

    def __init__(
        self,
        runtime: base.Runtime,
        ledger: Ledger,
        clock: Clock,
        *,
        paths: Callable[[], tuple[Path, ...]],
        pods: Callable[[], Iterable[pod.Pod]],
        images: Iterable[str],
        watermarks: tuple[int, int],
        reserve: Share,
        parallel: int,
    ) -> None:
        self._runtime = runtime
        self._ledger = ledger
        self._clock = clock
        self._paths = paths
        self._pods = pods
        self._images = tuple(images)
        self._watermarks = watermarks
        self._reserve = reserve
        self._slots = asyncio.Semaphore(parallel)
        self._lock = asyncio.Lock()
        self._used_at_s: dict[str, float] = {}
        self.removed = 0
        """Images that were collected since the start, and their size."""
        self.removed_bytes = 0

    async def run(self) -> None:
        """Look every minute, until cancelled."""
        while True:
            try:
                await self.look()
            except errors.LatticeError as error:
                logger.info("cannot look after images now", extra={"error": str(error)[:200]})
            await self._clock.sleep(PERIOD_S)

    async def look(self) -> None:
        """Collect if the upper watermark is crossed.

        Raises:
            errors.LatticeError: the engine failed.
        """
        high, low = self._watermarks
        disk = machine.disk_of(self._paths())
        if disk is not None and (wanted := plan.bytes_to_free(disk.size_bytes, disk.free_bytes, high_percent=high, low_percent=low)):
            await self.collect(disk.free_bytes + wanted)

    async def collect(self, free_bytes: int) -> None:
        """Remove images that nobody needs, until so much of the disk is free or none is left.

        Raises:
            errors.LatticeError: the engine failed.
        """
        async with self._lock:
            images, containers = await self._runtime.images(), await self._runtime.list()
            now_s = self._clock.now().timestamp()
            in_use = {name for container in containers for name in (container.image_id, container.image) if name}
            self._used_at_s.update(dict.fromkeys((container.image_id for container in containers), now_s))
            self._used_at_s = {image.id: self._used_at_s[image.id] for image in images if image.id in self._used_at_s}
            self._ledger.keep_only([image.id for image in images])
            candidates = plan.removable(
                images,
                pulled_at_s=self._ledger.pulled_at_s,
                used_at_s=self._used_at_s,
                in_use=in_use,
                wanted=plan.wanted_images(self._pods(), self._images),
                now_s=now_s,
            )
            for image in candidates:
                if self._free_bytes() >= free_bytes:
                    return
                if plan.wanted_images(self._pods(), self._images) & {plan.reference(name) for name in image.names}:
                    continue  # a Pod has come since
                await self._remove(image)
            if (free := self._free_bytes()) < free_bytes:
                logger.warning("the disk is full of what images' collection may not touch", extra={"free_bytes": free})

    async def _remove(self, image: base.Image) -> None:
        for name in image.names or (image.id,):
            if not await self._runtime.remove_image(name):
                return
        self.removed += 1
        self.removed_bytes += image.size_bytes
        logger.info("removed an image that nobody uses", extra={"image": (image.names or (image.id,))[0], "size_bytes": image.size_bytes})

    async def pull(self, image: str, auth: Mapping[str, str] | None) -> None:
        """Pull an image, with room for it: what nobody needs goes first.

        Raises:
            DiskReserveError: it would cross the reserve; nothing of it stays.
            errors.LatticeError: as ``Runtime.pull``.
        """
        async with self._slots:
            if self._crosses(0) and (disk := machine.disk_of(self._paths())) is not None:
                await self.collect(self._reserve.of(disk.size_bytes))
            self._check(image, 0)
            before = {found.id for found in await self._runtime.images()}
            await self._runtime.pull(image, auth=auth, progress=lambda known_bytes: self._check(image, known_bytes))
            found = await self._runtime.inspect_image(image)
            if found is not None and found.id not in before:
                self._ledger.add(found.id, self._clock.now().timestamp())

    def _check(self, image: str, known_bytes: int) -> None:
        if self._crosses(known_bytes):
            raise DiskReserveError(
                f"image {image} is not pulled: {self._reserve} of the disk with Docker's data must stay free; remove what is not needed "
                "there, or change the setting diskReserve of the node"
            )

    def _crosses(self, known_bytes: int) -> bool:
        disk = machine.disk_of(self._paths())
        return disk is not None and plan.is_too_large(known_bytes, disk.free_bytes, self._reserve.of(disk.size_bytes))

    def _free_bytes(self) -> int:
        disk = machine.disk_of(self._paths())
        return disk.free_bytes if disk is not None else 0
