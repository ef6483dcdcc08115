"""What kubectl sends in protobuf, and what it leaves to the controllers: reviews, `create`, namespaces, cascades."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from lattice.testing.controlplane import ControlPlane

pytestmark = [pytest.mark.e2e, pytest.mark.kubectl, pytest.mark.timeout(120), pytest.mark.asyncio(loop_scope="module")]

Run = Callable[..., Awaitable[subprocess.CompletedProcess[str]]]

DEFINITION = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: boxes.typed.example.dev}
spec:
  group: typed.example.dev
  scope: Namespaced
  names: {kind: Box, plural: boxes, singular: box}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"""


@pytest.fixture
def run(kubectl: str, plane: ControlPlane, tmp_path: Path) -> Run:
    env = {**os.environ, "KUBECACHEDIR": str(tmp_path / "cache"), "HOME": str(tmp_path), "KUBECONFIG": str(plane.kubeconfig)}

    async def call(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(
            subprocess.run, [kubectl, *arguments], input=stdin, env=env, capture_output=True, text=True, timeout=60
        )

    return call


async def ok(run: Run, *arguments: str, stdin: str = "") -> str:
    done = await run(*arguments, stdin=stdin)
    assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
    return done.stdout


async def test_reviews(run: Run) -> None:
    assert await ok(run, "auth", "can-i", "create", "pods") == "yes\n"
    assert await ok(run, "auth", "can-i", "get", "/healthz") == "yes\n"
    assert await ok(run, "auth", "can-i", "get", "pods/web", "--subresource=status", "-n", "other") == "yes\n"
    refused = await run("auth", "can-i", "create", "pods", "--token=alice-token")
    assert (refused.returncode, refused.stdout) == (1, "no\n")
    assert await ok(run, "auth", "can-i", "get", "/apis", "--token=alice-token") == "yes\n"
    rules = await ok(run, "auth", "can-i", "--list")
    assert "*.*" in rules
    assert "selfsubjectaccessreviews.authorization.k8s.io" in rules
    rules = await ok(run, "auth", "can-i", "--list", "--token=alice-token")
    assert "*.*" not in rules
    assert "[/openapi/*]" in rules


async def test_whoami(run: Run) -> None:
    found = json.loads(await ok(run, "auth", "whoami", "-o", "json"))
    assert found["status"]["userInfo"] == {"username": "admin", "uid": "1", "groups": ["system:masters", "system:authenticated"]}
    assert "alice" in await ok(run, "auth", "whoami", "--token=alice-token")


async def test_create_of_built_in_kinds(run: Run) -> None:
    assert await ok(run, "create", "namespace", "typed") == "namespace/typed created\n"
    again = await run("create", "namespace", "typed")
    assert again.stderr == 'Error from server (AlreadyExists): namespaces "typed" already exists\n'
    labels = json.loads(await ok(run, "get", "ns", "typed", "-o", "json"))["metadata"]["labels"]
    assert labels == {"kubernetes.io/metadata.name": "typed"}
    assert await ok(run, "create", "serviceaccount", "bob", "-n", "typed") == "serviceaccount/bob created\n"
    assert "bob" in await ok(run, "get", "sa", "-n", "typed")
    assert await ok(run, "create", "configmap", "c", "--from-literal=a=b", "-n", "typed") == "configmap/c created\n"
    assert await ok(run, "create", "secret", "generic", "s", "--from-literal=a=b", "-n", "typed", "-o", "jsonpath={.data.a}") == "Yg=="
    assert await ok(run, "run", "web", "--image=nginx:1", "--port=80", "--env=A=b", "-n", "typed") == "pod/web created\n"
    spec = json.loads(await ok(run, "get", "pod", "web", "-n", "typed", "-o", "json"))["spec"]
    assert spec["containers"][0]["env"] == [{"name": "A", "value": "b"}]
    assert "deployments.apps" in (await run("create", "deployment", "x", "--image=nginx:1")).stderr  # a kind that is not served
    assert await ok(run, "delete", "namespace", "typed", "--timeout=30s") == 'namespace "typed" deleted\n'
    assert "NotFound" in (await run("get", "configmap", "c", "-n", "typed")).stderr


async def test_cascades_with_a_kind_of_the_users_own(run: Run) -> None:
    await ok(run, "create", "-f", "-", stdin=DEFINITION)
    for policy, left in (("background", False), ("foreground", False), ("orphan", True)):
        await ok(
            run, "create", "-f", "-", stdin=json.dumps({"apiVersion": "typed.example.dev/v1", "kind": "Box", "metadata": {"name": "b"}})
        )
        uid = await ok(run, "get", "box", "b", "-o", "jsonpath={.metadata.uid}")
        owner = {"apiVersion": "typed.example.dev/v1", "kind": "Box", "name": "b", "uid": uid, "blockOwnerDeletion": True}
        owned = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owned", "ownerReferences": [owner]}}
        await ok(run, "create", "-f", "-", stdin=json.dumps(owned))
        await ok(run, "delete", "box", "b", f"--cascade={policy}", "--timeout=30s")
        if left:
            assert await ok(run, "get", "configmap", "owned", "-o", "jsonpath={.metadata.ownerReferences}") == ""
            await ok(run, "delete", "configmap", "owned")
        else:
            await ok(run, "wait", "--for=delete", "configmap/owned", "--timeout=30s")
    await ok(
        run, "create", "-f", "-", stdin=json.dumps({"apiVersion": "typed.example.dev/v1", "kind": "Box", "metadata": {"name": "last"}})
    )
    await ok(run, "delete", "crd", "boxes.typed.example.dev", "--timeout=30s")
    assert "boxes" not in await ok(run, "api-resources")
