"""An image as a file that `docker load` takes: one layer, one configuration, any number of tags.

Made by hand and not with `docker import`, which refuses a stop signal and needs a build for it. The same tree gives the
same bytes, hence the same image id on every engine.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}
EPOCH = "1970-01-01T00:00:00Z"
"""Nothing in an image tells when it was made, so that it is the same every time."""


def write_image(root: Path, target: Path, *, tags: list[str], config: Mapping[str, object], owners: Mapping[str, tuple[int, int]]) -> None:
    """Write the tree `root` as an image to `target`, all at once or not at all.

    Args:
        root: The file system.
        target: The file to write.
        tags: Names with tags.
        config: Docker's `config` part: Cmd, Env, Labels …
        owners: Path in the image → (uid, mode) for what is not root's.
    """
    partial = target.with_suffix(".part")
    with tempfile.TemporaryFile(dir=target.parent) as layer:
        _write_layer(root, layer, owners)
        digest = _digest(layer)
        description = {
            "architecture": ARCHITECTURE[platform.machine()],
            "os": "linux",
            "created": EPOCH,
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
            "history": [{"created": EPOCH, "created_by": "hack/images"}],
        }
        raw = json.dumps(description, sort_keys=True).encode()
        name = f"{hashlib.sha256(raw).hexdigest()}.json"
        manifest = [{"Config": name, "RepoTags": tags, "Layers": [f"{digest}/layer.tar"]}]
        with tarfile.open(partial, "w") as archive:
            _add_bytes(archive, name, raw)
            _add_bytes(archive, "manifest.json", json.dumps(manifest).encode())
            member = tarfile.TarInfo(f"{digest}/layer.tar")
            member.size = layer.seek(0, os.SEEK_END)
            layer.seek(0)
            archive.addfile(member, layer)
    partial.rename(target)


def _write_layer(root: Path, layer: IO[bytes], owners: Mapping[str, tuple[int, int]]) -> None:
    def normalize(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        member.mtime = 0
        if member.name in owners:
            uid, member.mode = owners[member.name]
            member.uid = member.gid = uid
        return member

    with tarfile.open(fileobj=layer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path in sorted(root.rglob("*")):
            archive.add(path, arcname=str(path.relative_to(root)), recursive=False, filter=normalize)


def _digest(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    file.seek(0)
    while chunk := file.read(1 << 20):
        digest.update(chunk)
    return digest.hexdigest()


def _add_bytes(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))
