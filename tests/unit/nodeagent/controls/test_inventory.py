"""What is listed for removal, and what the page of the local API says."""

import re
from datetime import UTC, datetime
from pathlib import Path

from lattice.api import pod
from nodeagent.controls import inventory
from nodeagent.controls.api import ROUTES
from nodeagent.failures.record import Failure
from nodeagent.runtime import base

PAGE = Path(__file__).resolve().parents[4] / "docs" / "reference" / "node-api.md"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def container(uid: str, *, running: bool = True) -> base.Container:
    labels = {base.LABEL_POD_UID: uid, base.LABEL_POD_NAMESPACE: "ns", base.LABEL_POD_NAME: f"pod-{uid}", base.LABEL_CONTAINER: "main"}
    state = base.ContainerState.RUNNING if running else base.ContainerState.EXITED
    return base.Container(id=base.ContainerId(uid), name=uid, image="x", image_id="y", labels=labels, state=state, created_at=NOW)


def test_unknown_is_what_neither_a_pod_nor_a_tombstone_nor_a_volume_of_the_server_explains() -> None:
    found = inventory.unknown_to_server(
        [container("known"), container("ending"), container("ghost")],
        {
            "scratch-known": {base.LABEL_POD_UID: "known"},
            "scratch-ghost": {base.LABEL_POD_UID: "ghost"},
            "data-known": {},
            "data-ghost": {},
        },
        pods={"known"},
        ended={"ending"},
        data_volumes={"data-known"},
    )
    assert [(item.kind, item.name, item.data) for item in found] == [
        ("container", "ns/pod-ghost main", False),
        ("volume", "data-ghost", True),
        ("volume", "scratch-ghost", False),
    ]


def test_a_digest_names_a_listing_whatever_its_order_and_no_other() -> None:
    one, other = inventory.container_item(container("a"), ""), inventory.container_item(container("b"), "")
    assert inventory.digest([one, other]) == inventory.digest([other, one])
    assert len({inventory.digest(items) for items in ([], [one], [other], [one, other])}) == 4
    assert inventory.digest([one]) == inventory.digest([inventory.container_item(container("a", running=False), "why")])


def test_a_pod_that_nobody_makes_again_is_marked_as_lost() -> None:
    owner = {"apiVersion": "lattice.dev/v1", "kind": "Workload", "name": "web", "uid": "u", "controller": True}
    pods = [
        pod.Pod.model_validate(
            {"metadata": {"name": name, "namespace": "ns", "uid": name, "ownerReferences": owners}, "spec": {"containers": [{"name": "a"}]}}
        )
        for name, owners in (("alone", []), ("owned", [owner]))
    ]
    items = inventory.pod_items(pods)
    assert [(item.name, item.data) for item in items] == [("ns/alone", True), ("ns/owned", False)]
    assert "Workload web" in items[1].why


def test_the_page_has_every_route_and_every_field_of_a_failure() -> None:
    text = PAGE.read_text()
    assert re.findall(r"^\| `(GET|POST) (/v1/\w+)` ", text, flags=re.MULTILINE) == [(method, path) for method, path, _ in ROUTES]
    record = Failure(
        namespace="n", pod="p", pod_uid="u", container="c", container_id="i", image="x", image_digest="d", exit_code=1
    ).to_dict()
    assert [field for field in record if f"`{field}`" not in text] == []
