"""Everything that has to be there before a container of a Pod can be made: files, Docker volumes, mounts, their owners.

Called by the worker of a Pod::

    blueprint = await volumes.prepare(uid, blueprint)     # before the container is created
    container_id = await runtime.create(...)
    await volumes.settle(blueprint, container_id)         # before it is started
    await volumes.remove(uid)                             # with the Pod

An agent that is root on the engine's machine sets owners on the volumes themselves, and can mount paths below them. One that has only
Docker's socket sets them through the container that it has just made, and refuses what it cannot do safely.
"""

from __future__ import annotations

import asyncio
import io
import logging
import os
import stat
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Final

from nodeagent.blueprint import security
from nodeagent.blueprint.values import Blueprint, ConfigError, GuardedMount, Owned, Scratch
from nodeagent.runtime import base
from nodeagent.volumes import owners
from nodeagent.volumes.files import RunDirectory
from nodeagent.volumes.paths import GuardedPaths, PathError, open_below

logger = logging.getLogger(__name__)

_FRESH_MODE: Final = 0o755


class PodVolumes:
    """See the module's docstring.

    Args:
        runtime: the engine.
        files: where the files of Pods are.
        node_uid: marks volumes as this node's.
    """

    def __init__(self, runtime: base.Runtime, files: RunDirectory, node_uid: str) -> None:
        self._runtime = runtime
        self._files = files
        self._paths = GuardedPaths(files.root)
        self._labels = {base.LABEL_NODE: node_uid}
        self._made: set[str] = set()
        """Volumes that were made by this agent and whose owner is not set yet."""

    async def prepare(self, pod_uid: str, blueprint: Blueprint) -> Blueprint:
        """Have everything there for a container; return the blueprint with what was found out.

        Raises:
            ConfigError: a path, a profile or the image's user does not allow it.
            base.RuntimeUnavailableError: and the other errors of the engine.
        """
        config = blueprint.config
        self._files.write(pod_uid, blueprint.files)
        for volume in blueprint.volumes:
            await self._ensure(volume, {**self._labels, base.LABEL_VOLUME: volume}, {})
        for scratch in blueprint.scratch:
            await self._ensure(scratch.volume, {**self._labels, base.LABEL_POD_UID: pod_uid}, scratch.options())
            await self._open_scratch(scratch)
        for owned in blueprint.owned:
            await self._own(owned)
        mounts = [*config.mounts]
        for number, guarded in enumerate(blueprint.guarded):
            mounts.append(await self._guarded(pod_uid, f"{config.labels[base.LABEL_CONTAINER]}.{number}", guarded))
        user = await self._user(blueprint)
        seccomp = _profile(blueprint.seccomp_file) if blueprint.seccomp_file else config.seccomp
        return replace(blueprint, config=replace(config, mounts=tuple(mounts), user=user, seccomp=seccomp))

    async def settle(self, blueprint: Blueprint, container_id: base.ContainerId) -> None:
        """Set the owners of volumes that are new, where it has to go through the container."""
        for scratch in blueprint.scratch:
            if scratch.volume in self._made:
                if not scratch.memory:
                    await self._set(container_id, scratch.target, scratch.mode, scratch.gid)
                self._made.discard(scratch.volume)
        for owned in blueprint.owned:
            if owned.volume in self._made:
                await self._set(container_id, owned.target, owners.DIRECTORY_BITS | _FRESH_MODE, owned.gid)
        for volume in blueprint.volumes:
            self._made.discard(volume)

    async def _set(self, container_id: base.ContainerId, target: str, mode: int, gid: int) -> None:
        """Set mode and group of what is mounted at ``target``, from the directory above: Docker skips an archive's own root."""
        above, _, name = target.rstrip("/").rpartition("/")
        try:
            await self._runtime.put_archive(container_id, above or "/", directory_archive(name, mode, gid))
        except base.RuntimeFailedError as error:
            if "read-only" not in str(error):
                raise
            text = f"{target} cannot be opened to the container's user: with readOnlyRootFilesystem that takes an agent that runs as root"
            raise ConfigError("Unsupported", text) from error

    async def remove(self, pod_uid: str) -> None:
        """Remove what belongs to a Pod alone: its scratch volumes, its files, its mounts. Idempotent; touches no claim's data."""
        for volume in await self._runtime.volumes({**self._labels, base.LABEL_POD_UID: pod_uid}):
            await self._runtime.remove_volume(volume)
            self._made.discard(volume)
        self._paths.remove(pod_uid)
        self._files.remove(pod_uid)

    async def _ensure(self, volume: str, labels: dict[str, str], options: dict[str, str]) -> None:
        if await self._runtime.ensure_volume(volume, labels=labels, options=options):
            self._made.add(volume)

    async def _directory_of(self, volume: str) -> Path | None:
        """Return the directory of a volume, where this agent may change it."""
        if not self._paths.available:
            return None
        path = await self._runtime.volume_path(volume)
        return _existing(path) if path is not None else None

    async def _open_scratch(self, scratch: Scratch) -> None:
        """Let everybody write to a new volume of a Pod. One that an agent left unfinished looks like a new one: empty, and root's alone."""
        if scratch.memory:
            return  # its mount options say it
        directory = await self._directory_of(scratch.volume)
        if directory is None:
            return
        seen = directory.stat()
        if scratch.volume in self._made or (
            stat.S_IMODE(seen.st_mode) in (_FRESH_MODE, 0o701) and seen.st_uid == 0 and not any(directory.iterdir())
        ):
            os.chown(directory, -1, scratch.gid)
            directory.chmod(scratch.mode)
        self._made.discard(scratch.volume)

    async def _own(self, owned: Owned) -> None:
        directory = await self._directory_of(owned.volume)
        if directory is None:
            if owned.volume not in self._made:
                logger.info("the owner of a volume stays: only an agent that is root can change it", extra={"volume": owned.volume})
            return
        await asyncio.to_thread(owners.give_to_group, directory, owned.gid, only_if_root_differs=owned.only_if_root_differs)
        self._made.discard(owned.volume)

    async def _guarded(self, pod_uid: str, name: str, guarded: GuardedMount) -> base.Mount:
        plain = base.Mount(kind="bind", target=guarded.target, read_only=guarded.read_only)
        if guarded.volume and not self._paths.available:
            if await self._runtime.has_volume_sub_paths():
                return replace(plain, kind="volume", source=guarded.volume, sub_path=guarded.path, copy_image=False)
            raise ConfigError("Unsupported", f"subPath of {guarded.target} takes an agent that runs as root, or Docker 26")
        root = guarded.prefix
        if guarded.volume:
            root = await self._runtime.volume_path(guarded.volume) or ""
        try:
            descriptor = open_below(root, guarded.path, kind=guarded.type, create=guarded.create)
        except PathError as error:
            raise ConfigError("CreateContainerConfigError", str(error)) from error
        try:
            if self._paths.available:
                return replace(plain, source=self._paths.bind(pod_uid, name, descriptor))
        finally:
            os.close(descriptor)
        if guarded.path:
            text = f"{guarded.target}: an agent that is not root mounts only the allowed directory itself, not {guarded.path!r} below it"
            raise ConfigError("Unsupported", text)
        return replace(plain, source=guarded.prefix)

    async def _user(self, blueprint: Blueprint) -> str | None:
        """Return who the container runs as, where the image has a say in it."""
        config = blueprint.config
        if not blueprint.non_root and blueprint.group is None:
            return config.user
        details = await self._runtime.inspect_image(config.image)
        if details is None:
            return config.user  # there is nothing to make it from: that is said when it is created
        if blueprint.non_root:
            root = security.runs_as_root(details.user)
            if root is None:
                text = f"container has runAsNonRoot and image has non-numeric user ({details.user}), cannot verify user is non-root"
                raise ConfigError("CreateContainerConfigError", text)
            if root:
                raise ConfigError("CreateContainerConfigError", "container has runAsNonRoot and image will run as root")
        if blueprint.group is None:
            return config.user
        return f"{details.user.partition(':')[0] or '0'}:{blueprint.group}"


def _existing(path: str) -> Path | None:
    """Return a directory of the engine's, if this agent sees it: they may be on two machines."""
    return Path(path) if Path(path).is_dir() else None


def directory_archive(name: str, mode: int, gid: int) -> bytes:
    """Return an archive that changes nothing but mode and group of a directory in the one that it is unpacked in."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        entry = tarfile.TarInfo(f"{name}/")
        entry.type, entry.mode, entry.gid = tarfile.DIRTYPE, mode, gid
        tar.addfile(entry)
    return stream.getvalue()


def _profile(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError as error:
        raise ConfigError("CreateContainerConfigError", f"cannot read seccomp profile {path}: {error.strerror}") from error
