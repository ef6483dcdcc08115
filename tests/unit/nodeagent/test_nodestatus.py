"""What the Node object says of a machine."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lattice.api import node
from nodeagent import machine
from nodeagent.config import AgentConfig
from nodeagent.facts import Fact
from nodeagent.nodestatus import MAX_IMAGES, Machine, make_status, ready_fact
from nodeagent.runtime import base

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CONFIG = AgentConfig(name="n1", data_dir=Path("/nowhere"))
GIB = 1024**3
INFO = base.EngineInfo(
    version="24.0", os_image="Debian", kernel_version="6.1", architecture="arm64", cpus=4, memory_bytes=8 * GIB, data_root="/var/lib/docker"
)
MACHINE = Machine(machine_id="m", boot_id="b", disk_bytes=100 * GIB, disk_free_bytes=50 * GIB)
PAUSED = Fact(type="Paused", status="True", reason="Asked", message="paused")


def status(
    config: AgentConfig = CONFIG, info: base.EngineInfo | None = INFO, before: node.NodeStatus | None = None, machine: Machine = MACHINE,
    images: tuple[base.Image, ...] = (), facts: tuple[Fact, ...] = (ready_fact(""),), now: datetime = NOW,
) -> node.NodeStatus:  # fmt: skip
    return make_status(config, "uid", info, machine, images, facts, before or node.NodeStatus(), now)


def test_capacity_is_the_machine_and_allocatable_what_is_left_for_pods() -> None:
    made = status()
    assert made.capacity == {"cpu": "4", "memory": str(8 * GIB), "pods": "110", "ephemeral-storage": "100Gi"}
    assert made.allocatable == {"cpu": "4", "memory": "7372Mi", "pods": "110", "ephemeral-storage": "45Gi"}
    assert made.node_info is not None
    assert (made.node_info.machine_id, made.node_info.boot_id, made.node_info.system_uuid) == ("m", "b", "uid")
    assert (made.node_info.architecture, made.node_info.container_runtime_version) == ("arm64", "docker://24.0")


def test_an_offer_counts_instead_of_what_the_machine_has() -> None:
    made = status(replace(CONFIG, cpu="1500m", memory="2Gi", disk="20Gi", max_pods=7, gpus=2))
    assert made.allocatable == {"cpu": "1500m", "memory": "2Gi", "pods": "7", "ephemeral-storage": "20Gi", "nvidia.com/gpu": "2"}
    assert made.capacity["cpu"] == "4"
    assert made.capacity["nvidia.com/gpu"] == "2"


def test_what_pods_write_takes_nothing_from_the_disk_that_is_offered() -> None:
    first = status()
    later = status(before=first, machine=replace(MACHINE, disk_free_bytes=GIB))
    assert later == first


def test_the_largest_images_are_shown_and_no_more_than_five_names_of_each() -> None:
    images = [base.Image(id=f"i{size}", names=(f"app:{size}",), size_bytes=size) for size in range(60)]
    many = base.Image(id="many", names=tuple(f"n:{number}" for number in range(9)), size_bytes=1000)
    shown = status(images=(*images, many, base.Image(id="unnamed", names=(), size_bytes=9999))).images
    assert len(shown) == MAX_IMAGES
    assert shown[0].names == many.names[:5]
    assert [image.size_bytes for image in shown[1:3]] == [59, 58]


def test_conditions_change_their_time_with_their_status_and_go_with_their_part() -> None:
    first = status(facts=(ready_fact(""), PAUSED))
    later = NOW + timedelta(minutes=5)
    away = status(info=None, before=first, facts=(ready_fact("no answer"), PAUSED), now=later)
    by_type = {condition.type: condition for condition in away.conditions}
    assert by_type["Ready"].reason == "DockerUnavailable"
    assert by_type["Ready"].last_transition_time == later
    assert by_type["Paused"].last_transition_time == NOW
    assert (away.capacity, away.images, away.node_info) == (first.capacity, first.images, first.node_info)
    assert [condition.type for condition in status(before=away).conditions] == ["Ready"]


def test_the_machine_is_read_from_proc(tmp_path: Path) -> None:
    (tmp_path / "sys/kernel/random").mkdir(parents=True)
    (tmp_path / "meminfo").write_text("MemTotal:        1000 kB\nMemFree: 1 kB\nMemAvailable:    400 kB\n")
    (tmp_path / "loadavg").write_text("0.1 0.2 0.3 2/345 999\n")
    (tmp_path / "stat").write_text("cpu  100 20 30 1000 50 6 4 7 0 0\ncpu0 1 2 3\n")
    (tmp_path / "sys/kernel/pid_max").write_text("32768\n")
    (tmp_path / "sys/kernel/threads-max").write_text("20000\n")
    (tmp_path / "sys/kernel/random/boot_id").write_text("boot-1\n")
    assert machine.memory(tmp_path) == machine.Memory(size_bytes=1000 * 1024, available_bytes=400 * 1024)
    assert machine.processes(tmp_path) == machine.Processes(used=345, limit=20000)
    assert machine.cpu_seconds(tmp_path) == pytest.approx(1.6)  # a hundredth of a second each: waiting and idle do not count
    assert machine.describe(None, tmp_path).boot_id == "boot-1"


def test_a_machine_that_does_not_tell_is_unknown_not_empty(tmp_path: Path) -> None:
    assert machine.memory(tmp_path) is None
    assert machine.processes(tmp_path) is None
    assert machine.cpu_seconds(tmp_path) is None
    assert machine.disk_of([tmp_path / "absent"]) is None
    found = machine.disk_of([tmp_path / "absent", tmp_path])
    assert found is not None
    assert 0 < found.free_bytes <= found.size_bytes
