"""cgroup v1 controllers that no init has mounted.

A container host or a small VM without systemd often mounts a few of them only; dockerd then refuses to start ("Devices
cgroup isn't mounted") or silently drops limits. On cgroup v2 there is nothing to do.
"""

from __future__ import annotations

from pathlib import Path

from kit.console import run

ROOT = Path("/sys/fs/cgroup")


def mount_missing_controllers() -> None:
    """Mount every enabled v1 controller that is not mounted yet; those the kernel refuses are left out."""
    if (ROOT / "cgroup.controllers").exists():  # v2
        return
    if not _is_mounted(ROOT):
        run(["mount", "-t", "tmpfs", "-o", "mode=755", "cgroup", ROOT], check=False)
    mounted = _mounted_controllers()
    for line in Path("/proc/cgroups").read_text().splitlines()[1:]:
        name, _hierarchy, _groups, enabled = line.split()
        if enabled != "1" or name in mounted:
            continue
        folder = ROOT / name
        folder.mkdir(exist_ok=True)
        if run(["mount", "-t", "cgroup", "-o", name, "cgroup", folder], check=False).returncode != 0:
            folder.rmdir()


def _mounts() -> list[list[str]]:
    return [line.split() for line in Path("/proc/mounts").read_text().splitlines()]


def _is_mounted(folder: Path) -> bool:
    return any(fields[1] == str(folder) for fields in _mounts())


def _mounted_controllers() -> set[str]:
    return {option for fields in _mounts() if fields[2] == "cgroup" for option in fields[3].split(",")}
