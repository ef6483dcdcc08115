"""Volumes whose files the agent writes: Secrets, ConfigMaps, the downward API, and projections of them into one directory. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from lattice.api import pod
from nodeagent.blueprint import fields
from nodeagent.blueprint.content import content
from nodeagent.blueprint.values import Address, ConfigError, Node, References, missing
from nodeagent.volumes import files

DEFAULT_MODE: Final = 0o644
_GROUP_READ: Final = 0o440


def is_file_volume(volume: pod.Volume) -> bool:
    """Return whether the agent writes the files of a volume."""
    return any(source is not None for source in (volume.secret, volume.config_map, volume.downward_api, volume.projected))


def make_file_volume(wanted: pod.Pod, volume: pod.Volume, references: References, node: Node, address: Address) -> files.FileVolume:
    """Return the files of a volume as they are to be now.

    Raises:
        ConfigError: an object or key is missing, or a path leads out of the volume.
    """
    maker = _Maker(wanted, volume.name, references, node, address)
    if volume.secret is not None:
        secret = volume.secret
        made = maker.keys(secret.secret_name or "", secret.items, secret=True, optional=bool(secret.optional), mode=secret.default_mode)
    elif volume.config_map is not None:
        source = volume.config_map
        made = maker.keys(source.name, source.items, secret=False, optional=bool(source.optional), mode=source.default_mode)
    elif volume.downward_api is not None:
        made = maker.facts(volume.downward_api.items, mode=volume.downward_api.default_mode)
    elif volume.projected is not None:
        made = [file for part in volume.projected.sources for file in maker.part(part, mode=volume.projected.default_mode)]
    else:
        raise ConfigError("Unsupported", f"volume {volume.name!r} has a source that this version does not know")
    last = {file.path: file for file in made}  # where two have one path, the later one is seen
    group = wanted.spec.security_context.fs_group if wanted.spec.security_context else None
    if group is not None:
        last = {path: replace(file, mode=file.mode | _GROUP_READ) for path, file in last.items()}
    return files.FileVolume(name=volume.name, files=tuple(last[path] for path in sorted(last)), gid=group)


class _Maker:
    """The files of one volume of one Pod."""

    def __init__(self, wanted: pod.Pod, volume: str, references: References, node: Node, address: Address) -> None:
        self._wanted = wanted
        self._volume = volume
        self._references = references
        self._node = node
        self._address = address

    def part(self, part: pod.VolumeProjection, *, mode: int | None) -> list[files.File]:
        if part.secret is not None:
            return self.keys(part.secret.name, part.secret.items, secret=True, optional=bool(part.secret.optional), mode=mode)
        if part.config_map is not None:
            source = part.config_map
            return self.keys(source.name, source.items, secret=False, optional=bool(source.optional), mode=mode)
        if part.downward_api is not None:
            return self.facts(part.downward_api.items, mode=mode)
        raise ConfigError("Unsupported", f"volume {self._volume!r} projects a source that this version does not know")

    def keys(self, name: str, items: Iterable[pod.KeyToPath], *, secret: bool, optional: bool, mode: int | None) -> list[files.File]:
        held = content(self._wanted.namespace, name, self._references, secret=secret, optional=optional)
        made = []
        for item in items or tuple(pod.KeyToPath(key=key, path=key) for key in sorted(held)):
            if item.key not in held:
                if optional:
                    continue
                raise missing(f"references non-existent key {item.key} of {name}")
            made.append(self._file(item.path, held[item.key], item.mode, mode))
        return made

    def facts(self, items: Iterable[pod.DownwardAPIVolumeFile], *, mode: int | None) -> list[files.File]:
        made = []
        for item in items:
            if item.field_ref is not None:
                text = fields.field_text(self._wanted, item.field_ref.field_path, self._node, self._address)
            elif item.resource_field_ref is not None:
                text = fields.resource_text(self._wanted, self._wanted.spec.containers[0], item.resource_field_ref, self._node)
            else:
                text = ""
            made.append(self._file(item.path, text.encode(), item.mode, mode))
        return made

    def _file(self, path: str, data: bytes, own_mode: int | None, volume_mode: int | None) -> files.File:
        if not files.is_safe_path(path):
            raise missing(f"path {path!r} of volume {self._volume!r} must stay inside the volume")
        chosen = own_mode if own_mode is not None else volume_mode
        return files.File(path=path, content=data, mode=DEFAULT_MODE if chosen is None else chosen)
