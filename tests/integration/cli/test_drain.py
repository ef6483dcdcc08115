"""`lattice node cordon|uncordon|drain|approve-removals` against a real API server, without kubectl and without an agent."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from lattice.api import configmap, names, node, pod
from lattice.cli import main
from lattice.testing.controlplane import ControlPlane


@pytest.fixture
async def plane(tmp_path: Path):
    async with ControlPlane(tmp_path / "plane") as made:
        await made.start_server()
        client = made.client_for("admin-token")
        for name in ("n1", "n2"):
            await client.create(node.Node.model_validate({"metadata": {"name": name}}))
        yield made


async def test_drain_refuses_before_it_evicts_and_evicts_what_may_go(plane: ControlPlane, capsys) -> None:
    client = plane.client_for("admin-token")
    keeper = await client.create(configmap.ConfigMap.model_validate({"metadata": {"name": "keeper", "namespace": "default"}}))
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "keeper", "uid": keeper.uid, "controller": True}

    async def bound(name: str, *, owned: bool, scratch: bool = False, on: str = "n1") -> None:
        volumes = [{"name": "s", "emptyDir": {}}] if scratch else []
        metadata = {"name": name, "namespace": "default", "ownerReferences": [owner] if owned else []}
        spec = {"containers": [{"name": "a", "image": "b"}], "volumes": volumes}
        made = await client.create(pod.Pod.model_validate({"metadata": metadata, "spec": spec}))
        await client.bind(name, "default", on, uid=made.uid)

    async def lattice(*arguments: str) -> tuple[int, str]:
        code = await asyncio.to_thread(main.run, ["--kubeconfig", str(plane.kubeconfig), "node", *arguments])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    async def going() -> set[str]:
        found = (await client.list(pod.Pod, "default")).items
        return {each.name for each in found if each.metadata.deletion_timestamp is not None}

    for name, owned, scratch in (("owned", True, False), ("alone", False, False), ("scratch", True, True)):
        await bound(name, owned=owned, scratch=scratch)
    await bound("elsewhere", owned=False, on="n2")
    code, said = await lattice("drain", "n1", "--dry-run")
    assert (code, "default/alone" in said, "default/scratch" in said) == (2, True, True)
    assert (await client.get(node.Node, "n1")).spec.unschedulable is None
    code, said = await lattice("drain", "n1", "--force")
    assert (code, "no Pod was evicted" in said, "--delete-emptydir-data loses it): default/scratch" in said) == (2, True, True)
    assert (await client.get(node.Node, "n1")).spec.unschedulable is True
    assert await going() == set()
    code, said = await lattice("drain", "n1", "--force", "--delete-emptydir-data", "--timeout", "1")
    assert (code, "the node stays cordoned, drain it again" in said) == (1, True)  # no agent confirms the ends
    assert await going() == {"owned", "alone", "scratch"}
    assert (await lattice("uncordon", "n1")) == (0, "node n1 uncordoned\n")
    assert (await lattice("uncordon", "n1")) == (0, "node n1 is uncordoned already\n")
    assert (await lattice("cordon", "absent"))[0] == 3

    assert (await lattice("approve-removals", "n1")) == (0, "node n1 holds no removals back\n")
    held = {"metadata": {"annotations": {names.ANNOTATION_REMOVALS_HELD: "abcd"}}}
    await client.patch(node.Node, "n1", None, held)
    code, said = await lattice("approve-removals", "n1")
    assert (code, said.startswith("approved: ")) == (0, True)
    assert (await client.get(node.Node, "n1")).metadata.annotations[names.ANNOTATION_REMOVALS_APPROVED] == "abcd"
