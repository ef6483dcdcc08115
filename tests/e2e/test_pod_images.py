"""Images from a private registry, on a real engine and a real registry."""

import base64
import contextlib
import os
from pathlib import Path

import orjson
import pytest

from lattice.api import configmap
from lattice.testing.cluster import LocalCluster
from lattice.testing.engine import EngineError
from lattice.testing.inside import Inside, shell
from lattice.testing.processes import free_port
from lattice.testing.registry import PASSWORD, USER, Registry, find_registry

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.timeout(240)]


def login(name: str, server: str, password: str, *, old: bool = False) -> configmap.Secret:
    auths = {server: {"auth": base64.b64encode(f"{USER}:{password}".encode()).decode()}}
    kind, key = ("dockercfg", ".dockercfg") if old else ("dockerconfigjson", ".dockerconfigjson")
    data = base64.b64encode(orjson.dumps(auths if old else {"auths": auths})).decode()
    body = {"metadata": {"name": name, "namespace": "default"}, "type": f"kubernetes.io/{kind}", "data": {key: data}}
    return configmap.Secret.model_validate(body)


async def test_images_come_from_a_private_registry_or_it_is_said_why_not(cluster: LocalCluster, tmp_path: Path) -> None:
    if find_registry() is None:
        if os.environ.get("CI"):
            pytest.fail("CI needs a registry: install docker-registry, or name it in LATTICE_REGISTRY")
        pytest.skip("needs a registry program (apt-get install docker-registry)")
    inside = Inside(cluster)
    async with Registry(tmp_path / "registry") as registry:
        digest = await registry.push(cluster.engine, "busybox:latest", "team/app", "1")
        image = f"{registry.address}/team/app"
        try:
            await run_all(inside, registry, image, digest)
        finally:
            for box in await cluster.engine.containers(cluster.node_label()):
                await cluster.engine.remove(box["Id"])
            names = [f"{image}:1", f"{image}@{digest}"]
            for found in await cluster.engine.call("GET", "/images/json"):
                for name in (*(found["RepoTags"] or ()), *(found["RepoDigests"] or ())):
                    if name in names:
                        with contextlib.suppress(EngineError):  # the digest goes with the tag
                            await cluster.engine.call("DELETE", f"/images/{name}")


async def run_all(inside: Inside, registry: Registry, image: str, digest: str) -> None:
    client = inside.cluster.client
    await client.create(login("right", registry.address, PASSWORD))
    await client.create(login("wrong", f"{registry.address}/team", "guessed"))
    await client.create(login("older", f"https://{registry.address}/v1/", PASSWORD, old=True))

    async def make(name: str, reference: str, *secrets: str, **container: object) -> None:
        pulled = {"image": reference, "imagePullPolicy": "IfNotPresent", **container}
        await inside.create(name, {**shell("main"), **pulled}, imagePullSecrets=[{"name": secret} for secret in secrets])

    failed = ("ErrImagePull", "ImagePullBackOff")
    await make("nobody", f"{image}:1")
    await inside.waiting("nobody", *failed, text="no basic auth credentials")
    await make("guesser", f"{image}:1", "wrong")
    await inside.waiting("guesser", *failed, text="unauthorized")

    # The login that fails is the more specific one, so the right one is tried after it.
    await make("member", f"{image}:1", "wrong", "right", imagePullPolicy="Always")
    (status,) = (await inside.running("member")).status.container_statuses
    assert (status.image, status.image_id) == (f"{image}:1", f"{image}@{digest}")
    await make("pinned", f"{image}@{digest}", "older")
    (status,) = (await inside.running("pinned")).status.container_statuses
    assert status.image_id == f"{image}@{digest}"

    await make("absent", f"{image}:2", "right")
    await make("never", f"{image}:2", "right", imagePullPolicy="Never")
    await make("away", f"127.0.0.1:{free_port()}/team/app:1")
    await make("nameless", "Not/An/Image")
    await inside.waiting("absent", *failed, text="manifest unknown")
    await inside.waiting("never", "ErrImageNeverPull")
    await inside.waiting("away", "RegistryUnavailable", "ImagePullBackOff", text="connection refused")
    await inside.waiting("nameless", "InvalidImageName", text="invalid reference format")
