"""Docker's JSON as the values of ``runtime/base.py``. Pure; called by the parts of ``docker.py`` alone."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from nodeagent.runtime import base

OUTPUT_LIMIT_BYTES: Final = 64 * 1024
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}
_FRACTION = re.compile(r"\.(\d{1,6})\d*")
_STATES: Final = {
    "created": base.ContainerState.CREATED,
    "running": base.ContainerState.RUNNING,
    "restarting": base.ContainerState.RUNNING,
    "paused": base.ContainerState.PAUSED,
    "exited": base.ContainerState.EXITED,
    "removing": base.ContainerState.DEAD,
    "dead": base.ContainerState.DEAD,
}


def container(data: Mapping[str, Any]) -> base.Container:
    """Return the value of an answer of ``GET /containers/<id>/json``."""
    state = data["State"]
    networks = (data.get("NetworkSettings") or {}).get("Networks") or {}
    found = _STATES.get(state.get("Status", ""), base.ContainerState.DEAD)
    ended = found in (base.ContainerState.EXITED, base.ContainerState.DEAD)
    config = data.get("Config") or {}
    return base.Container(
        id=base.ContainerId(data["Id"]),
        name=data.get("Name", "").lstrip("/"),
        image=config.get("Image", ""),
        image_id=data.get("Image", ""),
        labels=config.get("Labels") or {},
        state=found,
        created_at=parse_time(data.get("Created", "")) or datetime(1970, 1, 1, tzinfo=UTC),
        started_at=parse_time(state.get("StartedAt", "")),
        finished_at=parse_time(state.get("FinishedAt", "")) if ended else None,
        exit_code=state.get("ExitCode") if ended else None,
        oom_killed=bool(state.get("OOMKilled")),
        error=state.get("Error", "") or "",
        ip=next((network["IPAddress"] for network in networks.values() if network.get("IPAddress")), ""),
        ports=tuple(_published((data.get("HostConfig") or {}).get("PortBindings") or {})),
        memory_limited=bool((data.get("HostConfig") or {}).get("Memory")),
        volumes=tuple(mount["Name"] for mount in data.get("Mounts") or () if mount.get("Type") == "volume" and mount.get("Name")),
    )


def _published(bindings: Mapping[str, Any]) -> list[base.PortBinding]:
    return [
        base.PortBinding(
            container_port=int(key.partition("/")[0]),
            host_port=int(host.get("HostPort") or 0),
            host_ip=host.get("HostIp") or "0.0.0.0",  # noqa: S104 - what Docker means by an empty address
            protocol=key.partition("/")[2].upper(),
        )
        for key, hosts in sorted(bindings.items())
        for host in hosts or ()
    ]


def parse_time(text: str) -> datetime | None:
    """Return a time of Docker's (nanoseconds, cut to microseconds), ``None`` for its zero time."""
    if not text or text.startswith("0001-"):
        return None
    return datetime.fromisoformat(_FRACTION.sub(lambda match: f".{match.group(1):0<6}", text)).astimezone(UTC)


def engine_info(data: Mapping[str, Any]) -> base.EngineInfo:
    """Return the value of an answer of ``GET /info``."""
    machine = data.get("Architecture", "")
    return base.EngineInfo(
        version=data.get("ServerVersion", ""),
        os_image=data.get("OperatingSystem", ""),
        kernel_version=data.get("KernelVersion", ""),
        architecture=_ARCHITECTURES.get(machine, machine),
        cpus=int(data.get("NCPU", 0)),
        memory_bytes=int(data.get("MemTotal", 0)),
        data_root=data.get("DockerRootDir", ""),
    )


def image(data: Mapping[str, Any]) -> base.Image:
    """Return the value of one entry of ``GET /images/json``."""
    names = [name for name in (*(data.get("RepoTags") or ()), *(data.get("RepoDigests") or ())) if "<none>" not in name]
    return base.Image(id=data["Id"], names=tuple(names), size_bytes=int(data.get("Size", 0)))


def image_details(data: Mapping[str, Any]) -> base.ImageDetails:
    """Return the value of an answer of ``GET /images/<name>/json``."""
    config = data.get("Config") or {}
    return base.ImageDetails(
        id=data["Id"],
        digests=tuple(name for name in data.get("RepoDigests") or () if "<none>" not in name),
        size_bytes=int(data.get("Size", 0)),
        user=config.get("User") or "",
        entrypoint=tuple(config.get("Entrypoint") or ()),
        command=tuple(config.get("Cmd") or ()),
        working_dir=config.get("WorkingDir") or "",
        stop_signal=config.get("StopSignal") or "",
    )


def event(data: Mapping[str, Any]) -> base.RuntimeEvent:
    """Return the value of one line of ``GET /events``."""
    actor = data.get("Actor") or {}
    attributes = actor.get("Attributes") or {}
    code, at_ns = attributes.get("exitCode", ""), data.get("timeNano")
    return base.RuntimeEvent(
        container_id=base.ContainerId(actor.get("ID", "")),
        action=data.get("Action", ""),
        labels=attributes,
        exit_code=int(code) if code.isdigit() else None,
        at=datetime.fromtimestamp(at_ns / 1e9, UTC) if isinstance(at_ns, int) else None,
    )


def digest_of(image: str, digests: Sequence[str]) -> str:
    """Return the name with digest that belongs to a reference: of the same repository, else any; empty: there is none."""
    repository = image.partition("@")[0]
    repository = repository if ":" not in repository.rpartition("/")[2] else repository.rpartition(":")[0]
    return next((digest for digest in digests if digest.partition("@")[0] == repository), digests[0] if digests else "")


def with_tag(reference: str) -> str:
    """Return an image reference that names one image: without a tag, a pull would fetch all of them."""
    last = reference.rpartition("/")[2]
    return reference if ":" in last or "@" in last else f"{reference}:latest"


def registry_auth(auth: Mapping[str, str]) -> str:
    """Return the value of the ``X-Registry-Auth`` header."""
    return base64.urlsafe_b64encode(orjson.dumps(dict(auth))).decode()


def demultiplex(data: bytes) -> bytes:
    """Join the 8-byte-framed streams of a log or exec answer; what is not framed (a terminal's output) is returned as it is."""
    parts: list[bytes] = []
    position = 0
    while position + 8 <= len(data):
        if data[position] > 2 or data[position + 1 : position + 4] != b"\0\0\0":
            return data if not parts else b"".join(parts)
        size = int.from_bytes(data[position + 4 : position + 8], "big")
        parts.append(data[position + 8 : position + 8 + size])
        position += 8 + size
    return b"".join(parts) if parts else data
