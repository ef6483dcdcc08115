"""Room for images: what goes, what never goes, which pulls are refused. The disk is a number that fake images take from."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice.api import errors, names, pod
from lattice.testing.clock import FakeClock
from nodeagent import machine
from nodeagent.imagecare import plan
from nodeagent.imagecare.ledger import Ledger
from nodeagent.imagecare.shell import DiskReserveError, ImageCare
from nodeagent.pressure.plan import Share
from nodeagent.runtime import base
from nodeagent.runtime.fake import FakeRuntime

SIZE = 1000


def make_pod(*images: str, keep: str = "") -> pod.Pod:
    containers = [{"name": f"c{number}", "image": image} for number, image in enumerate(images)]
    annotations = {names.ANNOTATION_KEEP_IMAGES: keep} if keep else {}
    return pod.Pod.model_validate({"metadata": {"name": "p", "annotations": annotations}, "spec": {"containers": containers}})


def image(name: str, size_bytes: int = 10) -> base.Image:
    return base.Image(id=f"sha256:{name}", names=(name,), size_bytes=size_bytes)


def removable(images: list[base.Image], **fields: object) -> list[str]:
    values: dict[str, object] = {
        "pulled_at_s": {each.id: 0.0 for each in images}, "used_at_s": {}, "in_use": (), "wanted": (), "now_s": 1e6, **fields,
    }  # fmt: skip
    return [each.names[0] for each in plan.removable(images, **values)]  # type: ignore[arg-type]


@pytest.mark.parametrize(("used", "expected"), [(0, 0), (840, 0), (850, 50), (1000, 200)])
def test_collection_goes_from_the_upper_watermark_to_the_lower_one(used: int, expected: int) -> None:
    assert plan.bytes_to_free(SIZE, SIZE - used, high_percent=85, low_percent=80) == expected


def test_a_lower_watermark_above_the_upper_one_asks_for_nothing_strange() -> None:
    assert plan.bytes_to_free(SIZE, 100, high_percent=85, low_percent=99) == 50
    assert plan.bytes_to_free(0, 0, high_percent=85, low_percent=80) == 0


def test_the_image_that_was_used_longest_ago_goes_first() -> None:
    images = [image("a:1"), image("b:1"), image("c:1")]
    pulled = {"sha256:a:1": 30.0, "sha256:b:1": 20.0, "sha256:c:1": 10.0}
    assert removable(images, pulled_at_s=pulled, used_at_s={"sha256:c:1": 25.0}) == ["b:1", "c:1", "a:1"]


def test_an_image_stays_that_is_not_ours_in_use_wanted_or_new() -> None:
    images = [image("owners:1"), image("used:1"), image("byname:1"), image("wanted:latest"), image("new:1"), image("free:1")]
    pulled = {each.id: 0.0 for each in images if each.names[0] != "owners:1"} | {"sha256:new:1": 999_999.0}
    kept = plan.wanted_images([make_pod("docker.io/library/wanted")], [])
    assert removable(images, pulled_at_s=pulled, in_use=("sha256:used:1", "byname:1"), wanted=kept) == ["free:1"]


def test_wanted_are_images_of_all_containers_the_owners_and_those_of_kept_revisions() -> None:
    spec = {
        "initContainers": [{"name": "i", "image": "init:1"}],
        "containers": [{"name": "c", "image": "reg.example:5000/app"}],
        "ephemeralContainers": [{"name": "e", "image": "debug@sha256:abc"}],
    }
    one = pod.Pod.model_validate({"metadata": {"name": "p"}, "spec": spec})
    assert plan.wanted_images([one, make_pod("web:2", keep="web:1, web:0")], ["ahead"]) == {
        "init:1", "reg.example:5000/app:latest", "debug@sha256:abc", "web:2", "web:1", "web:0", "ahead:latest",
    }  # fmt: skip


@given(
    st.lists(st.tuples(st.integers(0, 9), st.booleans(), st.booleans(), st.booleans()), max_size=10, unique_by=lambda each: each[0]),
)
def test_nothing_goes_that_is_in_use_wanted_or_the_owners(rows: list[tuple[int, bool, bool, bool]]) -> None:
    images = [image(f"i{number}:1") for number, *_ in rows]
    pulled = {f"sha256:i{number}:1": 0.0 for number, ours, _, _ in rows if ours}
    used = {f"sha256:i{number}:1" for number, _, in_use, _ in rows if in_use}
    wanted = {f"i{number}:1" for number, _, _, kept in rows if kept}
    found = set(removable(images, pulled_at_s=pulled, in_use=used, wanted=wanted))
    assert found == {f"i{number}:1" for number, ours, in_use, kept in rows if ours and not in_use and not kept}


class World:
    """A machine whose disk holds a system of 400 bytes and the engine's images."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = FakeClock()
        self.runtime = FakeRuntime(self.clock, images=[])
        self.ledger = Ledger(directory / "images.json")
        self.pods: list[pod.Pod] = []
        self.other_bytes = 400
        self.care = ImageCare(
            self.runtime, self.ledger, self.clock, paths=lambda: (directory,), pods=lambda: self.pods, images=["ahead:1"],
            watermarks=(85, 80), reserve=Share(percent=5), parallel=2,
        )  # fmt: skip

        def disk_of(_paths: object) -> machine.Disk:
            held = sum(self.runtime.figures.image_bytes.get(name, 0) for name in self.runtime._images)
            return machine.Disk(size_bytes=SIZE, free_bytes=SIZE - self.other_bytes - held, inodes=0, inodes_free=0)

        monkeypatch.setattr(machine, "disk_of", disk_of)

    def put(self, name: str, size_bytes: int, *, pulled: bool = True) -> None:
        self.runtime._images.add(name)
        self.runtime.figures.image_bytes[name] = size_bytes
        if pulled:
            self.ledger.add(f"sha256:{name}", (self.clock.now() - timedelta(hours=1)).timestamp())

    def offer(self, name: str, size_bytes: int) -> None:
        self.runtime.registry.add(name)
        self.runtime.figures.image_bytes[name] = size_bytes

    def left(self) -> set[str]:
        return set(self.runtime._images)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


async def test_below_the_upper_watermark_nothing_is_looked_at(world: World) -> None:
    world.put("a:1", 440)
    await world.care.look()
    assert world.runtime.calls == 0


async def test_above_it_unused_images_go_until_the_lower_one(world: World) -> None:
    for name in ("a:1", "b:1", "c:1"):
        world.put(name, 160)
    await world.care.look()
    assert len(world.left()) == 2  # 880 of 1000 are used, then 720
    assert (world.care.removed, world.care.removed_bytes) == (1, 160)


async def test_what_is_used_by_anybody_wanted_or_the_owners_stays_on_a_full_disk(world: World) -> None:
    for name in ("used:1", "wanted:1", "kept:1", "ahead:1"):
        world.put(name, 120)
    world.put("owners:1", 120, pulled=False)
    world.pods = [make_pod("wanted:1", keep="kept:1")]
    made = await world.runtime.create(base.ContainerConfig(name="foreign", image="used:1", labels={}))
    before = world.left()
    await world.care.look()
    assert world.left() == before
    await world.runtime.remove(made)
    await world.care.look()
    assert world.left() == before - {"used:1"}


async def test_a_pull_is_remembered_as_ours_also_by_the_next_agent(world: World, tmp_path: Path) -> None:
    world.offer("app:1", 100)
    await world.care.pull("app:1", None)
    assert "sha256:app:1" in Ledger(tmp_path / "images.json").pulled_at_s


async def test_an_image_that_was_there_before_a_pull_stays_the_owners(world: World) -> None:
    world.put("app:1", 100, pulled=False)
    world.runtime.registry.add("app:1")
    await world.care.pull("app:1", None)
    assert world.ledger.pulled_at_s == {}


async def test_who_brings_a_collected_image_again_owns_it(world: World) -> None:
    world.put("app:1", 500)
    await world.care.look()
    assert world.left() == set()
    await world.care.collect(SIZE)  # sees that it is gone
    world.put("app:1", 500, pulled=False)
    await world.care.collect(SIZE)
    assert world.left() == {"app:1"}


async def test_a_pull_that_would_cross_the_reserve_is_refused_and_leaves_nothing(world: World) -> None:
    world.offer("big:1", 190)  # unpacked, three times that: 970 of 1000
    with pytest.raises(DiskReserveError, match=r"5 % of the disk .* must stay free"):
        await world.care.pull("big:1", None)
    assert world.left() == set()
    assert world.ledger.pulled_at_s == {}
    world.offer("small:1", 100)
    await world.care.pull("small:1", None)
    assert world.left() == {"small:1"}


async def test_a_pull_on_a_full_disk_makes_room_first(world: World) -> None:
    world.other_bytes = 800
    world.put("old:1", 160)
    world.offer("new:1", 20)
    await world.care.pull("new:1", None)
    assert world.left() == {"new:1"}


async def test_without_room_to_make_a_pull_does_not_begin(world: World) -> None:
    world.other_bytes = 960
    world.offer("new:1", 1)
    with pytest.raises(DiskReserveError):
        await world.care.pull("new:1", None)
    assert world.runtime.changes == []


async def test_the_engine_being_away_ends_nothing(world: World) -> None:
    world.put("a:1", 500)
    world.runtime.set_down(True)
    with pytest.raises(errors.LatticeError):
        await world.care.look()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"format": 1}', b'{"format": 1, "pulled": [1]}', b'{"format": 99, "pulled": {"x": 1}}']
)
def test_a_ledger_that_cannot_be_read_owns_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "images.json").write_bytes(content)
    assert Ledger(tmp_path / "images.json").pulled_at_s == {}


def test_a_ledger_that_cannot_be_written_stops_no_pull(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "no" / "such" / "images.json")
    ledger.add("sha256:a", 1.0)
    assert ledger.pulled_at_s == {"sha256:a": 1.0}
