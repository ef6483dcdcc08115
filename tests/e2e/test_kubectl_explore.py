"""What kubectl says about a server and its kinds: explain, describe, events, api-resources, access; and what is not served here."""

from __future__ import annotations

import json

import pytest

from lattice.testing.controlplane import ControlPlane
from lattice.testing.kubectl import Kubectl

pytestmark = [pytest.mark.e2e, pytest.mark.kubectl, pytest.mark.timeout(120), pytest.mark.asyncio(loop_scope="module")]

POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "busybox"}]}}


def squeezed(text: str) -> str:
    return "\n".join(" ".join(line.split()) for line in text.splitlines()).strip()


async def test_explain_a_custom_kind(k: Kubectl) -> None:
    text = await k.ok("explain sp.spec --recursive")
    assert squeezed(text) == (
        "GROUP: example.dev\nKIND: Specimen\nVERSION: v1\n\nFIELD: spec <Object>\n\n\nDESCRIPTION:\nDesired state.\n\nFIELDS:\n"
        "env <[]Object>\nname <string> -required-\nvalue <string>\nimage <string> -required-\nmode <string>\nenum: Fast, Slow\n"
        "ports <[]Object>\ncontainerPort <integer> -required-\nname <string>\nprotocol <string>\nreplicas <integer>\n"
        "resources <Object>\ncpu <Object>\nmemory <Object>"
    )
    text = await k.ok("explain specimens.spec.image")
    assert squeezed(text).endswith("FIELD: image <string>\n\n\nDESCRIPTION:\nImage to run.")
    text = await k.ok("explain sp --api-version=example.dev/v1")
    assert "Specimen runs containers." in text
    assert "  metadata\t<ObjectMeta>" in text
    assert await k.fails("explain nope") == 'the server doesn\'t have a resource type "nope"\n'
    assert await k.fails("explain sp.spec.nope") == 'error: field "nope" does not exist\n'


async def test_explain_built_in_kinds(k: Kubectl) -> None:
    for what in ("pod.spec.containers.resources", "node.spec.taints", "cm.data", "secret.stringData", "ns.status", "events.involvedObject"):
        assert "FIELD:" in await k.ok(f"explain {what}")
    assert "-required-" in await k.ok("explain pod.spec.containers")
    assert "  containers\t<[]Container>" in await k.ok("explain pod.spec")
    assert "claimTemplates" not in await k.ok("explain pod --recursive")
    assert "workload" in (await k.ok("explain workload.spec")).lower()
    assert "GROUP:      apiextensions.k8s.io" in await k.ok("explain crd.spec.versions")
    assert "leaseDurationSeconds" in await k.ok("explain lease.spec")


async def test_describe(k: Kubectl) -> None:
    await k.ok("apply -f s1.yaml")
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "web.1"},
        "involvedObject": {
            "apiVersion": "example.dev/v1",
            "kind": "Specimen",
            "name": "web",
            "namespace": k.namespace,
            "uid": (await k.json("get sp web"))["metadata"]["uid"],
        },
        "reason": "Baked",
        "message": "It is done",
        "type": "Warning",
        "source": {"component": "oven"},
        "count": 3,
        "firstTimestamp": "2026-11-21T08:00:00Z",
        "lastTimestamp": "2026-11-21T08:00:05Z",
    }
    await k.ok("create -f -", stdin=event)
    text = squeezed(await k.ok("describe sp web"))
    for part in (
        "Name: web",
        f"Namespace: {k.namespace}",
        "Labels: app=web",
        "API Version: example.dev/v1",
        "Image: nginx:1",
        "Replicas: 2",
    ):
        assert f"\n{part}\n" in f"\n{text}\n"
    assert text.splitlines()[-1].startswith("Warning Baked")
    assert text.splitlines()[-1].endswith("oven It is done")
    assert [(row["TYPE"], row["REASON"], row["OBJECT"], row["MESSAGE"]) for row in await k.table("get events")] == [
        ("Warning", "Baked", "specimen/web", "It is done")
    ]
    assert (await k.table("get events -o wide"))[0]["SOURCE"] == "oven"
    for command in ("events", "events --for=specimen/web", "events --types=Warning"):
        [row] = await k.table(command)
        assert (row["TYPE"], row["REASON"], row["OBJECT"], row["MESSAGE"]) == ("Warning", "Baked", "Specimen/web", "It is done")
    assert (await k("events --types=Normal")).stderr == f"No events found in {k.namespace} namespace.\n"
    assert "Baked" in await k.ok("get events --field-selector=reason=Baked,involvedObject.name=web")
    assert (await k("get events --field-selector=reason=Other")).stdout == ""
    text = squeezed(await k.ok("describe event web.1"))
    assert "Reason: Baked" in text


async def test_describe_built_in_kinds(k: Kubectl) -> None:
    await k.ok("create -f -", stdin=POD)
    text = squeezed(await k.ok("describe pod p"))
    for part in ("Name: p", "Image: busybox", "Node: <none>"):
        assert f"\n{part}\n" in f"\n{text}\n"
    await k.ok("create -f -", stdin={"apiVersion": "v1", "kind": "Node", "metadata": {"name": k.namespace}})
    text = squeezed(await k.ok(f"describe node {k.namespace}"))
    assert f"Name: {k.namespace}" in text
    assert "Unschedulable: false" in text
    await k.ok(f"delete node {k.namespace}")
    text = squeezed(await k.ok(f"describe ns {k.namespace}"))
    assert f"Name: {k.namespace}" in text
    assert "Status: Active" in text
    await k.ok("create secret generic s --from-literal=key=secret-value")
    text = await k.ok("describe secret s")
    assert "key:  12 bytes" in text
    assert "secret-value" not in text
    await k.ok("create cm c --from-literal=a=shown")
    assert "shown" in await k.ok("describe cm c")
    assert "Established" in await k.ok("describe crd specimens.example.dev")
    assert 'pods "nope" not found' in await k.fails("describe pod nope")


async def test_api_resources_and_versions(k: Kubectl) -> None:
    [row] = await k.table("api-resources --api-group=example.dev")
    assert row == {"NAME": "specimens", "SHORTNAMES": "sp", "APIVERSION": "example.dev/v1", "NAMESPACED": "true", "KIND": "Specimen"}
    [row] = await k.table("api-resources --api-group=example.dev -o wide")
    assert row["VERBS"] == "delete,deletecollection,get,list,patch,create,update,watch"
    assert row["CATEGORIES"] == "all"
    assert set((await k.ok("api-resources --namespaced=false -o name")).split()) >= {
        "namespaces",
        "nodes",
        "persistentvolumes",
        "customresourcedefinitions.apiextensions.k8s.io",
        "storageclasses.storage.k8s.io",
    }
    namespaced = (await k.ok("api-resources --namespaced=true -o name")).split()
    assert {"pods", "secrets", "specimens.example.dev", "workloads.lattice.dev"} <= set(namespaced)
    assert "nodes" not in namespaced
    listed = (await k.ok("api-resources --verbs=list,watch -o name")).split()
    assert "selfsubjectreviews.authentication.k8s.io" not in listed
    versions = (await k.ok("api-versions")).split()
    assert versions == sorted(versions)
    assert {"v1", "example.dev/v1", "lattice.dev/v1", "apiextensions.k8s.io/v1", "coordination.k8s.io/v1"} <= set(versions)
    version = await k.json("version")
    assert version["serverVersion"]["major"] == "1"
    assert await k.ok("get --raw /readyz") == "ok"


async def test_access(k: Kubectl, plane: ControlPlane) -> None:
    assert await k.ok("auth can-i create sp") == "yes\n"
    assert await k.ok("auth can-i delete namespaces -A") != ""
    refused = await k("auth can-i create sp --as alice")
    assert (refused.returncode, refused.stdout) == (1, "no\n")
    assert await k.ok("auth can-i get /healthz --as alice") == "yes\n"
    assert (await k("auth can-i '*' '*' -q --as alice")).returncode == 1
    assert "*.*" in await k.ok("auth can-i --list")
    assert "*.*" not in await k.ok("auth can-i --list --as alice")
    assert (await k.table("auth whoami"))[0] == {"ATTRIBUTE": "Username", "VALUE": "admin"}
    assert json.loads(await k.ok("auth whoami -o json --as alice"))["status"]["userInfo"]["username"] == "alice"
    forbidden = (
        'Error from server (Forbidden): specimens.example.dev is forbidden: User "alice" cannot list resource "specimens" in API group '
        f'"example.dev" in the namespace "{k.namespace}"\n'
    )
    assert await k.fails("get sp --as alice") == forbidden
    alice = Kubectl(
        k.binary,
        plane.kubeconfig_for("alice", "alice-token"),
        directory=k.directory,
        cache=plane.directory / "kube-cache-alice",
        namespace=k.namespace,
    )
    assert await alice.fails("get sp") == forbidden
    assert 'cannot impersonate resource "users"' in await alice.fails("get sp --as admin")
    assert 'specimens.example.dev "web" is forbidden: User "alice" cannot delete' in await alice.fails("delete sp web")
    assert "cannot list resource" in await alice.fails("get pods -A")
    stranger = Kubectl(
        k.binary, plane.kubeconfig_for("x", "wrong"), directory=k.directory, cache=plane.directory / "kube-cache", namespace=k.namespace
    )
    assert await stranger.fails("get sp") == "error: You must be logged in to the server (Unauthorized)\n"


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ("rollout status sp/web", 'error: no kind "Specimen" is registered'),
        ("rollout restart sp/web", 'error: no kind "Specimen" is registered'),
        ("top nodes", "error: Metrics API not available"),
        ("top pods", "error: Metrics API not available"),
        ("get deployments", 'error: the server doesn\'t have a resource type "deployments"'),
        ("create deployment x --image=x", "error: failed to create deployment: the server could not find the requested resource"),
        (
            "create role x --verb=get --resource=pods",
            "the server could not find the requested resource (post roles.rbac.authorization.k8s.io)",
        ),
        ("autoscale sp web --max=3", "the server could not find the requested resource (post horizontalpodautoscalers.autoscaling)"),
        ("cluster-info", 'error: the server doesn\'t have a resource type "services"'),
        ("certificate approve x", 'error: the server doesn\'t have a resource type "certificatesigningrequests"'),
        ("logs p -c nope", "error: container nope is not valid for pod p"),
        ("exec p -- true", "Error from server (BadRequest): pod p does not have a host assigned"),
        ("attach p", "Error from server (BadRequest): pod p does not have a host assigned"),
        ("cp p:/x ./x", "Error from server (BadRequest): pod p does not have a host assigned"),
        ("port-forward p 8080:80", "error: unable to forward port because pod is not running"),
        ("scale cm c --replicas=1", "Error from server (NotFound): the server could not find the requested resource"),
        ("logs nope", 'pods "nope" not found'),
    ],
)
async def test_what_is_not_served_is_refused_in_plain_words(k: Kubectl, command: str, complaint: str) -> None:
    await k.ok("create -f s1.yaml")
    await k.ok("create -f -", stdin=POD)
    await k.ok("create cm c")
    assert complaint in await k.fails(command)


def definition(group: str, plural: str = "widgets", *, versions: tuple[str, ...] = ("v1",)) -> dict:
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}}}
    singular = plural.removesuffix("s")
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": singular.capitalize(), "plural": plural, "singular": singular, "shortNames": [plural[:2] + "g"]},
            "versions": [
                {"name": version, "served": True, "storage": number == 0, "schema": {"openAPIV3Schema": schema}}
                for number, version in enumerate(versions)
            ],
        },
    }


async def test_a_definition_and_its_objects_right_after_one_another(k: Kubectl) -> None:
    group = f"{k.namespace}.example.dev"
    widget = {"apiVersion": f"{group}/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"size": 3}}
    assert await k.fails("get wig") == 'error: the server doesn\'t have a resource type "wig"\n'
    assert await k.ok("apply -f -", stdin=definition(group)) == f"customresourcedefinition.apiextensions.k8s.io/widgets.{group} created\n"
    assert await k.ok("apply -f -", stdin=widget) == f"widget.{group}/w created\n"
    assert await k.ok("get wig -o name") == f"widget.{group}/w\n"
    assert "size\t<integer>" in await k.ok("explain wig.spec")
    assert await k.ok("apply -f -", stdin=definition(group)) == f"customresourcedefinition.apiextensions.k8s.io/widgets.{group} unchanged\n"
    await k.ok(f"wait --for=condition=Established crd/widgets.{group} --timeout=10s")
    assert (await k.ok(f"delete crd widgets.{group} --timeout=30s")).startswith("customresourcedefinition.apiextensions.k8s.io")
    assert "could not find the requested resource" in await k.fails("get wig")  # kubectl still has it in its cache, as with any server
    assert f"widgets.{group}" not in await k.ok("api-resources -o name")
    assert await k.fails("get wig") == 'error: the server doesn\'t have a resource type "wig"\n'
    assert 'no matches for kind "Widget"' in await k.fails("apply -f -", stdin=widget)
    await k.ok("apply -f -", stdin=definition(group))
    assert (await k.json("get wig"))["items"] == []  # the old object went with the old definition


async def test_a_kind_in_two_versions(k: Kubectl) -> None:
    group = f"{k.namespace}.example.dev"
    await k.ok("apply -f -", stdin=definition(group, "gizmos", versions=("v1", "v1beta1")))
    await k.ok("apply -f -", stdin={"apiVersion": f"{group}/v1beta1", "kind": "Gizmo", "metadata": {"name": "w"}, "spec": {"size": 3}})
    assert (await k.json("get gig w"))["apiVersion"] == f"{group}/v1"  # the preferred one
    assert (await k.json(f"get gizmos.v1beta1.{group} w"))["apiVersion"] == f"{group}/v1beta1"
    assert {f"{group}/v1", f"{group}/v1beta1"} <= set((await k.ok("api-versions")).split())
    assert "VERSION:    v1beta1" in await k.ok(f"explain gig --api-version={group}/v1beta1")
    changed = {"apiVersion": f"{group}/v1", "kind": "Gizmo", "metadata": {"name": "w"}, "spec": {"size": 4}}
    assert await k.ok("apply -f -", stdin=changed) == f"gizmo.{group}/w configured\n"
    assert (await k.json(f"get gizmos.v1beta1.{group} w"))["spec"] == {"size": 4}


async def test_typed_creates(k: Kubectl) -> None:
    assert await k.ok("create secret generic s --from-literal=a=b") == "secret/s created\n"
    assert await k.ok("create secret docker-registry r --docker-server=x --docker-username=u --docker-password=p") == "secret/r created\n"
    assert (await k.json("get secret r"))["type"] == "kubernetes.io/dockerconfigjson"
    k.write("f.txt", "content")
    assert await k.ok("create configmap c --from-file=f.txt --from-literal=a=b") == "configmap/c created\n"
    assert (await k.json("get cm c"))["data"] == {"a": "b", "f.txt": "content"}
    assert await k.ok("create serviceaccount bob") == "serviceaccount/bob created\n"
    assert await k.fails("create serviceaccount bob") == 'error: failed to create serviceaccount: serviceaccounts "bob" already exists\n'
    assert await k.ok(f"create namespace {k.namespace}-x") == f"namespace/{k.namespace}-x created\n"
    assert await k.ok("create cm dry --dry-run=client -o name") == "configmap/dry\n"
    assert await k.ok("run p --image=busybox --restart=Never -- sleep 1") == "pod/p created\n"
    assert (await k.json("get pod p"))["spec"]["containers"][0]["args"] == ["sleep", "1"]
