"""kubectl edit, replace, patch, label, annotate and scale; what needs an object's right version, and what refuses."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from lattice.testing.kubectl import Kubectl

pytestmark = [pytest.mark.e2e, pytest.mark.kubectl, pytest.mark.timeout(120), pytest.mark.asyncio(loop_scope="module")]


@pytest.fixture
async def web(k: Kubectl) -> Kubectl:
    assert await k.ok("create --save-config -f s1.yaml") == "specimen.example.dev/web created\n"
    return k


async def revision(k: Kubectl, what: str = "sp web") -> str:
    return await k.ok(f"get {what} -o jsonpath={{.metadata.resourceVersion}}")


async def spec(k: Kubectl) -> dict:
    return (await k.json("get sp web"))["spec"]


async def test_edit(web: Kubectl) -> None:
    k = web
    assert await k.ok("edit sp web", env={"KUBE_EDITOR": "sed -i s/nginx:1/nginx:9/"}) == "specimen.example.dev/web edited\n"
    assert (await spec(k))["image"] == "nginx:9"
    untouched = await k("edit sp web", env={"KUBE_EDITOR": "true"})
    assert (untouched.returncode, untouched.stderr) == (0, "Edit cancelled, no changes made.\n")
    await k.ok("create cm c --from-literal=a=old")
    assert await k.ok("edit cm c", env={"KUBE_EDITOR": "sed -i s/old/new/"}) == "configmap/c edited\n"
    assert (await k.json("get cm c"))["data"] == {"a": "new"}


async def test_an_edit_that_is_refused_is_kept_in_a_file(web: Kubectl) -> None:
    k = web
    before = await revision(k)
    refused = await k("edit sp web", env={"KUBE_EDITOR": "sed -i 's/replicas: 2/replicas: -2/'"})
    assert refused.returncode == 1
    assert 'error: specimens.example.dev "web" is invalid' in refused.stderr
    assert "A copy of your changes has been stored to" in refused.stderr
    [kept] = [line.split('"')[1] for line in refused.stderr.splitlines() if line.startswith("A copy of your changes")]
    written = await asyncio.to_thread(Path(kept).read_text)
    assert "# * spec.replicas: Invalid value: -2: spec.replicas in body should be greater than or equal to 0" in written
    assert await revision(k) == before


async def test_an_edit_of_several_and_of_the_status(web: Kubectl) -> None:
    k = web
    await k.ok("create cm c --from-literal=a=nginx:1")
    both = await k.ok("edit sp/web cm/c", env={"KUBE_EDITOR": "sed -i s/nginx:1/nginx:7/"})
    assert both.splitlines() == ["specimen.example.dev/web edited", "configmap/c edited"]
    await k.ok("""patch sp web --subresource=status --type=merge -p '{"status":{"node":"n1"}}'""")
    assert await k.ok("edit sp web --subresource=status", env={"KUBE_EDITOR": "sed -i s/n1/n2/"}) == "specimen.example.dev/web edited\n"
    assert (await k.table("get sp web -o wide"))[0]["NODE"] == "n2"


async def test_replace(web: Kubectl) -> None:
    k = web
    assert await k.ok("replace -f s2.yaml") == "specimen.example.dev/web replaced\n"
    assert (await spec(k))["env"] == [{"name": "A", "value": "1"}]
    missing = (k.directory / "s1.yaml").read_text().replace("name: web", "name: nope")
    assert await k.fails("replace -f -", stdin=missing) == (
        'Error from server (NotFound): error when replacing "STDIN": specimens.example.dev "nope" not found\n'
    )
    stale = await k.json("get sp web")
    await k.ok("label sp web a=b")
    assert await k.fails("replace -f -", stdin=stale) == (
        'Error from server (Conflict): error when replacing "STDIN": Operation cannot be fulfilled on specimens.example.dev "web": '
        "the object has been modified; please apply your changes to the latest version and try again\n"
    )
    uid = (await k.json("get sp web"))["metadata"]["uid"]
    forced = (await k.ok("replace --force -f s1.yaml")).splitlines()
    assert forced[0].startswith('specimen.example.dev "web" deleted')
    assert forced[1] == "specimen.example.dev/web replaced"
    assert (await k.json("get sp web"))["metadata"]["uid"] != uid


async def test_patches_of_a_custom_resource(web: Kubectl) -> None:
    k = web
    assert await k.ok("""patch sp web --type=merge -p '{"spec":{"replicas":5}}'""") == "specimen.example.dev/web patched\n"
    assert await k.ok("""patch sp web --type=merge -p '{"spec":{"replicas":5}}'""") == "specimen.example.dev/web patched (no change)\n"
    await k.ok("""patch sp web --type=json -p '[{"op":"replace","path":"/spec/replicas","value":6},{"op":"remove","path":"/spec/env"}]'""")
    assert ((await spec(k))["replicas"], "env" in await spec(k)) == (6, False)
    assert await k.fails("""patch sp web -p '{"spec":{"replicas":5}}'""") == (
        "error: application/strategic-merge-patch+json is not supported by example.dev/v1, Kind=Specimen: the body of the request was in "
        "an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, "
        "application/apply-patch+yaml\n"
    )
    assert await k.fails("""patch sp nope --type=merge -p '{"spec":{"replicas":5}}'""") == (
        'Error from server (NotFound): specimens.example.dev "nope" not found\n'
    )
    failed_test = await k.fails("""patch sp web --type=json -p '[{"op":"test","path":"/spec/replicas","value":99}]'""")
    assert failed_test == "The request is invalid: the server rejected our request due to an error in our request\n"
    await k.ok("""patch sp web --type=merge -p '{"spec":{"replicas":null}}'""")
    assert (await spec(k))["replicas"] == 1  # the default
    k.write("patch.yaml", "spec: {mode: Fast}\n")
    await k.ok("patch -f s1.yaml --type=merge --patch-file=patch.yaml")
    assert (await spec(k))["mode"] == "Fast"
    wrong = await k.fails("""patch sp web --type=merge -p '{"spec":{"mode":"Other"}}'""")
    assert wrong == 'The Specimen "web" is invalid: spec.mode: Unsupported value: "Other": supported values: "Fast", "Slow"\n'


async def test_patches_of_built_in_kinds(k: Kubectl) -> None:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "s"}, "secrets": [{"name": "a"}, {"name": "b"}]}
    await k.ok("create -f -", stdin=account)

    async def secrets() -> list[str]:
        return [each["name"] for each in (await k.json("get sa s"))["secrets"]]

    assert await k.ok("""patch sa s -p '{"secrets":[{"name":"c"}]}'""") == "serviceaccount/s patched\n"
    assert sorted(await secrets()) == ["a", "b", "c"]  # strategic: by the key
    await k.ok("""patch sa s -p '{"secrets":[{"name":"a","$patch":"delete"}]}'""")
    assert sorted(await secrets()) == ["b", "c"]
    await k.ok("""patch sa s --type=merge -p '{"secrets":[{"name":"d"}]}'""")
    assert await secrets() == ["d"]
    await k.ok("""patch sa s --type=json -p '[{"op":"add","path":"/secrets/-","value":{"name":"e"}}]'""")
    assert await secrets() == ["d", "e"]
    await k.ok("""patch sa s -p '{"secrets":[{"$patch":"replace"},{"name":"f"}]}'""")
    assert await secrets() == ["f"]


@pytest.mark.parametrize("what", ["sp web", "cm c"])
async def test_labels_and_annotations(web: Kubectl, what: str) -> None:
    k = web
    await k.ok("create cm c")
    shown = {"sp web": "specimen.example.dev/web", "cm c": "configmap/c"}[what]
    assert await k.ok(f"label {what} tier=one") == f"{shown} labeled\n"
    assert await k.ok(f"label {what} tier=one") == f"{shown} not labeled\n"
    assert "'tier' already has a value (one), and --overwrite is false" in await k.fails(f"label {what} tier=two")
    assert await k.ok(f"label {what} tier=two --overwrite") == f"{shown} labeled\n"
    assert await k.ok(f"label {what} tier-") == f"{shown} unlabeled\n"
    assert "tier" not in (await k.json(f"get {what}"))["metadata"].get("labels", {})
    assert await k.ok(f"annotate {what} note='some text' other=x") == f"{shown} annotated\n"
    assert (await k.json(f"get {what}"))["metadata"]["annotations"]["note"] == "some text"
    assert "--overwrite is false" in await k.fails(f"annotate {what} note=else")
    assert await k.ok(f"annotate {what} note=else --overwrite") == f"{shown} annotated\n"
    assert await k.ok(f"annotate {what} note- other-") == f"{shown} annotated\n"
    assert "note" not in (await k.json(f"get {what}"))["metadata"].get("annotations", {})
    assert "a valid label must be" in await k.fails(f"label {what} tier='not valid!'")
    version = await revision(k, what)
    await k.ok(f"label {what} x=y")
    assert "the object has been modified" in await k.fails(f"label {what} x=z --overwrite --resource-version={version}")


async def test_labels_of_all_that_a_selector_finds(k: Kubectl) -> None:
    for name in "ab":
        await k.ok(f"create cm {name}")
    assert set((await k.ok("label cm a b group=g")).splitlines()) == {"configmap/a labeled", "configmap/b labeled"}
    assert (await k.ok("annotate cm -l group=g found=yes")).splitlines() == ["configmap/a annotated", "configmap/b annotated"]
    assert await k.ok("label cm --list a") == "group=g\n"


async def test_scale(web: Kubectl) -> None:
    k = web
    assert await k.ok("scale sp web --replicas=3") == "specimen.example.dev/web scaled\n"
    assert await k.fails("scale sp web --replicas=5 --current-replicas=9") == "error: Expected replicas to be 9, was 3\n"
    assert await k.ok("scale sp web --replicas=5 --current-replicas=3") == "specimen.example.dev/web scaled\n"
    assert (await spec(k))["replicas"] == 5
    scale = await k.json("get sp web --subresource=scale")
    assert (scale["apiVersion"], scale["kind"], scale["spec"], scale["status"]) == (
        "autoscaling/v1",
        "Scale",
        {"replicas": 5},
        {"replicas": 0},
    )
    assert "should be a non-negative integer" in await k.fails(
        """patch sp web --subresource=scale --type=merge -p '{"spec":{"replicas":-1}}'"""
    )
    assert 'specimens.example.dev "nope" not found' in await k.fails("scale sp nope --replicas=1")
    workload = {"apiVersion": "lattice.dev/v1", "kind": "Workload", "metadata": {"name": "w"}, "spec": {"image": "busybox", "replicas": 0}}
    await k.ok("create -f -", stdin=workload)
    assert await k.ok("scale workload w --replicas=2") == "workload.lattice.dev/w scaled\n"
    assert json.loads(await k.ok("get wl w -o jsonpath={.spec.replicas}")) == 2


async def test_nodes_are_cordoned_and_tainted(k: Kubectl) -> None:
    node = k.namespace
    await k.ok("create -f -", stdin={"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}})
    assert await k.ok(f"cordon {node}") == f"node/{node} cordoned\n"
    assert "SchedulingDisabled" in (await k.table(f"get node {node}"))[0]["STATUS"]
    assert await k.ok(f"uncordon {node}") == f"node/{node} uncordoned\n"
    assert await k.ok(f"taint node {node} gpu=yes:NoSchedule") == f"node/{node} tainted\n"
    taints = (await k.json(f"get node {node}"))["spec"]["taints"]
    assert {"key": "gpu", "value": "yes", "effect": "NoSchedule"} in taints
    assert await k.ok(f"taint node {node} gpu-") == f"node/{node} untainted\n"
    await k.ok(f"delete node {node}")
