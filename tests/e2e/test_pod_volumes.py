"""Volumes as the containers of a Pod see them, on a real engine."""

import base64

import pytest

from lattice.api import configmap, pod, storage
from lattice.testing.cluster import LocalCluster
from lattice.testing.inside import FOREVER, Inside, shell
from lattice.testing.polling import eventually
from lattice.testing.stories import wait_gone

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.timeout(240)]


def make_settings(**data: str) -> configmap.ConfigMap:
    return configmap.ConfigMap.model_validate({"metadata": {"name": "settings", "namespace": "default"}, "data": data})


async def test_files_of_objects_and_of_the_pod_itself_follow_their_changes(cluster: LocalCluster) -> None:
    inside = Inside(cluster)
    await cluster.client.create(make_settings(mode="slow", extra="e"))
    secret = {"metadata": {"name": "login", "namespace": "default"}, "data": {"password": base64.b64encode(b"s3cret").decode()}}
    await cluster.client.create(configmap.Secret.model_validate(secret))
    facts = [
        {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
        {"path": "cpu", "resourceFieldRef": {"containerName": "main", "resource": "limits.cpu", "divisor": "1m"}},
    ]
    volumes = [
        {"name": "map", "configMap": {"name": "settings", "items": [{"key": "mode", "path": "deep/mode", "mode": 0o400}]}},
        {"name": "secret", "secret": {"secretName": "login", "defaultMode": 0o400}},
        {"name": "facts", "downwardAPI": {"items": facts}},
        {
            "name": "all",
            "projected": {
                "defaultMode": 0o440,
                "sources": [
                    {"configMap": {"name": "settings"}},
                    {"secret": {"name": "login", "items": [{"key": "password", "path": "private/pw"}]}},
                    {"downwardAPI": {"items": facts[:1]}},
                    {"secret": {"name": "nowhere", "optional": True}},
                ],
            },
        },
    ]
    mounts = [{"name": name, "mountPath": f"/{name}"} for name in ("map", "secret", "facts", "all")]
    mounts.append({"name": "all", "mountPath": "/etc/one", "subPath": "mode"})
    main = shell("main", volumeMounts=mounts, resources={"limits": {"cpu": "300m"}})
    await inside.create("files", main, volumes=volumes)
    await inside.running("files")

    assert await inside.sh("files", "cat /map/deep/mode /secret/password /facts/cpu") == "slows3cret300"
    assert await inside.sh("files", "stat -L -c %a /map/deep/mode /secret/password /all/extra") == "400\n400\n440"
    assert await inside.sh("files", "cat /facts/labels; echo; cat /all/labels") == 'app="files"\napp="files"'
    assert await inside.sh("files", "cat /all/mode /all/extra /all/private/pw") == "slowes3cret"
    assert await inside.sh("files", "readlink /all/mode") == "..data/mode"
    with pytest.raises(AssertionError, match="Read-only file system"):
        await inside.sh("files", "echo x > /all/new")

    changed = await cluster.client.get(configmap.ConfigMap, "settings", "default")
    await cluster.client.patch(configmap.ConfigMap, changed.name, "default", {"data": {"mode": "fast", "extra": None}})
    await cluster.client.patch(pod.Pod, "files", "default", {"metadata": {"labels": {"tier": "web"}}})

    async def renewed() -> bool:
        seen = await inside.sh("files", "cat /map/deep/mode /all/mode; echo; cat /facts/labels; echo; ls -1 /all")
        assert seen.split() == ["fastfast", 'app="files"', 'tier="web"', "labels", "mode", "private"], seen
        return True

    await eventually(renewed, 30, "the changes to reach the files")
    assert await inside.sh("files", "cat /etc/one") == "slow"  # a sub-path does not follow, as in Kubernetes
    found = await cluster.client.get(pod.Pod, "files", "default")
    assert [status.restart_count for status in found.status.container_statuses] == [0]


async def test_directories_are_shared_and_kept_by_the_rules_of_kubernetes(cluster: LocalCluster) -> None:
    inside = Inside(cluster)
    claim = {
        "metadata": {"name": "data", "namespace": "default"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    await cluster.client.create(storage.PersistentVolumeClaim.model_validate(claim))
    volumes = [
        {"name": "disk", "emptyDir": {}},
        {"name": "fast", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
    ]
    mounts = [
        {"name": "disk", "mountPath": "/disk"},
        {"name": "fast", "mountPath": "/fast"},
        {"name": "data", "mountPath": "/data"},
        {"name": "disk", "mountPath": "/mine", "subPathExpr": "by/$(POD)"},
        {"name": "data", "mountPath": "/part", "subPath": "a/part"},
    ]
    env = [{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]
    first = shell("first", "touch /disk/by-init && chmod 755 /disk/by-init", volumeMounts=mounts[:1])
    # Ends once, so that what it has written is seen again by its next run.
    main = shell("main", f"test -e /fast/again || {{ echo kept > /fast/again; exit 1; }}; {FOREVER}", volumeMounts=mounts, env=env)
    side = shell("side", volumeMounts=mounts[:2])
    security = {"runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 2000}
    await inside.create("dirs", main, side, initContainers=[first], volumes=volumes, securityContext=security)

    async def restarted() -> bool:
        found = await inside.running("dirs")
        counts = {status.name: status.restart_count for status in found.status.container_statuses}
        assert counts == {"main": 1, "side": 0}, counts
        return True

    await eventually(restarted, 60, "the container that ends once to run again")

    assert await inside.sh("dirs", "stat -c '%a %g' /disk /fast /data") == "2777 2000\n2777 2000\n2775 2000"
    assert await inside.sh("dirs", "cat /fast/again; ls -1 /disk", "side") == "kept\nby\nby-init"
    await inside.sh("dirs", "echo 1 > /mine/x; echo 2 > /part/y; echo 3 > /data/z")
    assert await inside.sh("dirs", "cat /disk/by/dirs/x /data/a/part/y; stat -c %g /data/z /part/y") == "1\n2\n2000\n2000"
    with pytest.raises(AssertionError, match=r"I/O error|No space left"):
        await inside.sh("dirs", "head -c 2000000 /dev/zero > /fast/big")

    uid = (await cluster.client.get(pod.Pod, "dirs", "default")).uid
    await cluster.client.delete(pod.Pod, "dirs", "default")
    await wait_gone(cluster.client, pod.Pod, "dirs")
    assert await cluster.engine.volumes(f"lattice.dev/pod-uid={uid}") == []

    # The claim is still there with all in it; a link in it does not lead out.
    plant = shell("plant", "ln -sfn /etc /data/evil && ln -sfn ../../.. /data/up", volumeMounts=mounts[2:3])
    evil = shell("main", volumeMounts=[{"name": "data", "mountPath": "/out", "subPath": "evil"}])
    await inside.create("evil", evil, initContainers=[plant], volumes=volumes[2:])
    assert "is a link" in await inside.waiting("evil", "CreateContainerConfigError")
    await cluster.client.delete(pod.Pod, "evil", "default")
    await wait_gone(cluster.client, pod.Pod, "evil")

    await inside.create("again", shell("main", volumeMounts=mounts[2:3]), volumes=volumes[2:])
    await inside.running("again")
    assert await inside.sh("again", "cat /data/z /data/a/part/y") == "3\n2"
