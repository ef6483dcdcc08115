"""What the system says of this machine: identity, disk, memory, processes, CPU time. Read from ``/proc`` and the file system; no engine.

Called by the parts that report (``node.py``, ``pressure``, ``usage``). Each call costs some ten microseconds and blocks for no longer.
What cannot be read is ``None`` or empty, never guessed: the agent also starts where ``/proc`` is not Linux's.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nodeagent.nodestatus import Machine

_PROC: Final = Path("/proc")
_KIB: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """The file system of a directory."""

    size_bytes: int
    free_bytes: int
    """For an ordinary program: without what is reserved for root."""
    inodes: int
    """0: the file system makes them as needed (btrfs)."""
    inodes_free: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """The machine's memory."""

    size_bytes: int
    available_bytes: int
    """What programs can still have without swapping: the kernel's own estimate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Processes:
    """Process ids."""

    used: int
    """Threads count: each takes an id."""
    limit: int


def disk_of(paths: Sequence[Path]) -> Disk | None:
    """Return the disk of the first path that can be looked at, ``None`` if none can (the engine is on another machine)."""
    for path in paths:
        try:
            found = os.statvfs(path)
        except OSError:
            continue
        unit = found.f_frsize
        return Disk(size_bytes=found.f_blocks * unit, free_bytes=found.f_bavail * unit, inodes=found.f_files, inodes_free=found.f_favail)
    return None


def memory(proc: Path = _PROC) -> Memory | None:
    """Return the memory, ``None`` where it is not known."""
    fields = dict(line.split(":", 1) for line in _text(proc / "meminfo").splitlines() if ":" in line)
    try:
        size, available = (int(fields[name].split()[0]) * _KIB for name in ("MemTotal", "MemAvailable"))
    except (KeyError, ValueError, IndexError):
        return None
    return Memory(size_bytes=size, available_bytes=available)


def processes(proc: Path = _PROC) -> Processes | None:
    """Return the use of process ids, ``None`` where it is not known."""
    try:
        used = int(_text(proc / "loadavg").split()[3].partition("/")[2])
        limits = [int(_text(proc / "sys/kernel" / name)) for name in ("pid_max", "threads-max")]
    except (ValueError, IndexError):
        return None
    return Processes(used=used, limit=min(limits))


_MODES: Final = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
_WORK: Final = ("user", "nice", "system", "irq", "softirq")


def cpu_modes(proc: Path = _PROC) -> dict[str, dict[str, float]]:
    """Return core to mode to seconds since the start, empty where it is not known. Modes are node_exporter's."""
    found = {}
    for line in _text(proc / "stat").splitlines():
        name, *values = line.split()
        if name.startswith("cpu") and name != "cpu" and len(values) >= len(_MODES):
            found[name[3:]] = _modes(values)
    return found


def cpu_seconds(proc: Path = _PROC) -> float | None:
    """Return the CPU time that the machine has spent on work since its start, over all cores, ``None`` where it is not known."""
    name, *values = _text(proc / "stat").split("\n", 1)[0].split() or [""]
    if name != "cpu" or len(values) < len(_MODES):
        return None
    modes = _modes(values)
    return sum(modes[mode] for mode in _WORK)


def _modes(values: Sequence[str]) -> dict[str, float]:
    tick = os.sysconf("SC_CLK_TCK")
    return {mode: int(value) / tick for mode, value in zip(_MODES, values, strict=False)}


def load(proc: Path = _PROC) -> float | None:
    """Return the load of the last minute, ``None`` where it is not known."""
    try:
        return float(_text(proc / "loadavg").split()[0])
    except (ValueError, IndexError):
        return None


def describe(disk: Disk | None, proc: Path = _PROC) -> Machine:
    """Return what the Node object says of the machine."""
    return Machine(
        machine_id=_text(Path("/etc/machine-id")).strip(),
        boot_id=_text(proc / "sys/kernel/random/boot_id").strip(),
        disk_bytes=disk.size_bytes if disk is not None else None,
        disk_free_bytes=disk.free_bytes if disk is not None else None,
    )


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
