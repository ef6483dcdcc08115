"""The official Python client, synchronous: typed APIs, watches that resume, leader election, the dynamic client."""

import asyncio
import contextlib
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import kubernetes
import pytest
from kubernetes import client, dynamic, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock

from lattice.testing.controlplane import ControlPlane
from lattice.testing.polling import eventually
from lattice.testing.specimens import definition, specimen

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(60)]
NS = "default"
APPLY = {"field_manager": "gitops"}


@pytest.fixture
def api(plane: ControlPlane) -> Iterator[client.ApiClient]:
    with kubernetes.config.new_client_from_config(str(plane.kubeconfig)) as api:
        yield api


@pytest.fixture
def core(api: client.ApiClient) -> client.CoreV1Api:
    return client.CoreV1Api(api)


@pytest.fixture
def dyn(api: client.ApiClient) -> dynamic.DynamicClient:
    return dynamic.DynamicClient(api)


def config_map(name: str, data: dict[str, str] | None = None, **metadata: Any) -> client.V1ConfigMap:
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name, **metadata), data=data)


def status_of(error: pytest.ExceptionInfo[ApiException]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(error.value.body)
    return found


def test_a_typed_object_lives_its_life(core: client.CoreV1Api, name: str) -> None:
    made = core.create_namespaced_config_map(NS, config_map(name, {"a": "1"}, labels={"story": name}))
    assert made.metadata.uid
    with pytest.raises(ApiException) as taken:
        core.create_namespaced_config_map(NS, config_map(name))
    assert (taken.value.status, status_of(taken)["reason"]) == (409, "AlreadyExists")

    assert core.read_namespaced_config_map(name, NS).data == {"a": "1"}
    assert [each.metadata.name for each in core.list_namespaced_config_map(NS, label_selector=f"story={name}").items] == [name]
    assert not core.list_config_map_for_all_namespaces(label_selector=f"story={name},story!={name}").items
    patched = core.patch_namespaced_config_map(name, NS, {"data": {"a": None, "b": "2"}})
    assert patched.data == {"b": "2"}
    patched = core.patch_namespaced_config_map(name, NS, [{"op": "add", "path": "/data/c", "value": "3"}])
    assert patched.data == {"b": "2", "c": "3"}

    patched.data = {"d": "4"}
    replaced = core.replace_namespaced_config_map(name, NS, patched)
    assert replaced.data == {"d": "4"}
    with pytest.raises(ApiException) as stale:
        core.replace_namespaced_config_map(name, NS, patched)
    assert (stale.value.status, status_of(stale)["reason"]) == (409, "Conflict")
    with pytest.raises(ApiException) as another:
        core.delete_namespaced_config_map(name, NS, body={"preconditions": {"uid": "another"}})
    assert another.value.status == 409

    core.delete_namespaced_config_map(name, NS, propagation_policy="Background")
    with pytest.raises(ApiException) as absent:
        core.read_namespaced_config_map(name, NS)
    assert (absent.value.status, status_of(absent)["details"]) == (404, {"name": name, "kind": "configmaps"})


def test_generated_names_pages_and_deletion_of_a_collection(core: client.CoreV1Api, name: str) -> None:
    made = [core.create_namespaced_config_map(NS, config_map(None, generate_name=f"{name}-", labels={"story": name})) for _ in range(5)]
    assert len({each.metadata.name for each in made}) == 5
    first = core.list_namespaced_config_map(NS, limit=2)
    names, version = [each.metadata.name for each in first.items], first.metadata.resource_version
    while first.metadata._continue:
        core.create_namespaced_config_map(NS, config_map(None, generate_name=f"{name}-late-"))
        first = core.list_namespaced_config_map(NS, limit=2, _continue=first.metadata._continue)
        assert first.metadata.resource_version == version
        names += [each.metadata.name for each in first.items]
    assert names == sorted(set(names))
    assert {each.metadata.name for each in made} <= set(names)
    assert not any("-late-" in each for each in names)
    core.delete_collection_namespaced_config_map(NS, label_selector=f"story={name}")
    assert not core.list_namespaced_config_map(NS, label_selector=f"story={name}").items


async def test_a_namespace_comes_and_goes_with_what_is_in_it(core: client.CoreV1Api, name: str) -> None:
    core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=name)))
    await eventually(lambda: core.read_namespace(name).status.phase == "Active", 5, "the namespace to be Active")
    core.create_namespaced_config_map(name, config_map("inside", finalizers=["example.dev/wait"]))
    core.delete_namespace(name)
    assert core.read_namespace(name).status.phase == "Terminating"
    with pytest.raises(ApiException) as late:
        core.create_namespaced_config_map(name, config_map("late"))
    assert late.value.status == 403
    await eventually(
        lambda: core.read_namespaced_config_map("inside", name).metadata.deletion_timestamp, 5, "the deletion of what is inside"
    )
    core.patch_namespaced_config_map("inside", name, [{"op": "remove", "path": "/metadata/finalizers"}])
    await eventually(lambda: name not in [each.metadata.name for each in core.list_namespace().items], 10, "the namespace to be gone")


def test_a_watch_resumes_where_it_stopped(core: client.CoreV1Api, name: str) -> None:
    selector = {"label_selector": f"story={name}"}
    start = core.list_namespaced_config_map(NS, **selector).metadata.resource_version
    core.create_namespaced_config_map(NS, config_map(name, {"n": "0"}, labels={"story": name}))
    for number in range(1, 4):
        core.patch_namespaced_config_map(name, NS, {"data": {"n": str(number)}})
    core.patch_namespaced_config_map(name, NS, {"metadata": {"labels": {"story": "another"}}})
    core.patch_namespaced_config_map(name, NS, {"metadata": {"labels": {"story": name}}})
    core.delete_namespaced_config_map(name, NS)

    seen, position = [], start
    for _ in range(7):  # one event, then a new watch from there
        watcher = watch.Watch()
        for event in watcher.stream(core.list_namespaced_config_map, NS, resource_version=position, timeout_seconds=10, **selector):
            seen.append((event["type"], event["object"].data["n"]))
            position = event["object"].metadata.resource_version
            watcher.stop()
    changes = [("ADDED", "0"), ("MODIFIED", "1"), ("MODIFIED", "2"), ("MODIFIED", "3"), ("DELETED", "3"), ("ADDED", "3"), ("DELETED", "3")]
    assert seen == changes
    unbroken = watch.Watch().stream(core.list_namespaced_config_map, NS, resource_version=start, timeout_seconds=1, **selector)
    assert [(event["type"], event["object"].data["n"]) for event in unbroken] == changes


async def test_a_watch_shows_what_happens_while_it_runs(core: client.CoreV1Api, name: str) -> None:
    watcher = watch.Watch()

    def follow() -> list[str]:
        seen = []
        for event in watcher.stream(core.list_namespaced_config_map, NS, field_selector=f"metadata.name={name}", timeout_seconds=20):
            seen.append(event["type"])
            if event["type"] == "DELETED":
                watcher.stop()
        return seen

    core.create_namespaced_config_map(NS, config_map(name, {"n": "0"}))
    following = asyncio.create_task(asyncio.to_thread(follow))
    await eventually(lambda: watcher.resource_version, 10, "the watch to show what is there")
    await asyncio.to_thread(core.patch_namespaced_config_map, name, NS, {"data": {"n": "1"}})
    await asyncio.to_thread(core.delete_namespaced_config_map, name, NS)
    assert await following == ["ADDED", "MODIFIED", "DELETED"]


def test_events_are_posted_and_found(core: client.CoreV1Api, api: client.ApiClient, name: str) -> None:
    involved = client.V1ObjectReference(api_version="v1", kind="ConfigMap", name=name, namespace=NS)
    body = client.CoreV1Event(
        metadata=client.V1ObjectMeta(generate_name="story-"), involved_object=involved, reason="Told", message="a story", type="Normal"
    )
    made = core.create_namespaced_event(NS, body)
    found = core.list_namespaced_event(NS, field_selector=f"involvedObject.name={name},reason=Told")
    assert [each.metadata.name for each in found.items] == [made.metadata.name]
    assert found.items[0].message == "a story"


def test_rights_are_reviewed(plane: ControlPlane, api: client.ApiClient) -> None:
    attributes = {"namespace": NS, "verb": "list", "resource": "configmaps"}
    review = {"spec": {"resourceAttributes": attributes}}
    assert client.AuthorizationV1Api(api).create_self_subject_access_review(review).status.allowed
    assert client.AuthenticationV1Api(api).create_self_subject_review({}).status.user_info.username == "admin"
    alice = kubernetes.config.new_client_from_config(str(plane.kubeconfig_for("alice", "alice-token")))
    with alice:
        assert not client.AuthorizationV1Api(alice).create_self_subject_access_review(review).status.allowed
        with pytest.raises(ApiException) as forbidden:
            client.CoreV1Api(alice).list_namespaced_config_map(NS)
        assert forbidden.value.status == 403
        assert (
            'User "alice" cannot list resource "configmaps" in API group "" in the namespace "default"' in status_of(forbidden)["message"]
        )


def test_the_dynamic_client_applies_and_conflicts(dyn: dynamic.DynamicClient, name: str) -> None:
    maps = dyn.resources.get(api_version="v1", kind="ConfigMap")
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": NS}, "data": {"a": "1", "b": "1"}}
    made = maps.server_side_apply(body=body, **APPLY)
    again = maps.server_side_apply(body=body, **APPLY)
    assert again.metadata.resourceVersion == made.metadata.resourceVersion

    theirs = {**body, "data": {"b": "2"}}
    with pytest.raises(dynamic.exceptions.ConflictError) as conflict:
        maps.server_side_apply(body=theirs, field_manager="person")
    causes = json.loads(conflict.value.body)["details"]["causes"]
    assert causes == [{"reason": "FieldManagerConflict", "message": 'conflict with "gitops"', "field": ".data.b"}]
    forced = maps.server_side_apply(body=theirs, field_manager="person", force_conflicts=True)
    assert forced.data.to_dict() == {"a": "1", "b": "2"}
    owners = {entry.manager: sorted(entry.fieldsV1.to_dict()["f:data"]) for entry in forced.metadata.managedFields}
    assert owners == {"gitops": ["f:a"], "person": ["f:b"]}
    left = maps.server_side_apply(body={**body, "data": {"c": "3"}}, **APPLY)
    assert left.data.to_dict() == {"b": "2", "c": "3"}, "what gitops applies no more goes, what is another's stays"
    maps.delete(name=name, namespace=NS)


def test_the_dynamic_client_merges_strategically(dyn: dynamic.DynamicClient, core: client.CoreV1Api, name: str) -> None:
    pods = dyn.resources.get(api_version="v1", kind="Pod")
    container = {"name": "main", "image": "busybox", "resources": {"limits": {"cpu": "1"}}}
    gate = {"nodeSelector": {"example.dev/none": "true"}}
    pods.create(
        body={"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [container], **gate}}, namespace=NS
    )
    first = {"type": "example.dev/First", "status": "True"}
    second = {"type": "example.dev/Second", "status": "False"}
    for conditions in ([first], [second], [{**second, "status": "True"}]):
        core.patch_namespaced_pod_status(name, NS, {"status": {"conditions": conditions}})
    found = {each.type: each.status for each in pods.get(name=name, namespace=NS).status.conditions}
    assert (found["example.dev/First"], found["example.dev/Second"]) == ("True", "True"), "conditions are merged by their type"
    dropped = pods.patch(
        body={"status": {"conditions": [{"$patch": "delete", "type": "example.dev/First"}]}}, name=f"{name}/status", namespace=NS
    )
    assert "example.dev/First" not in {each.type for each in dropped.status.conditions}
    pods.delete(name=name, namespace=NS)


async def test_a_kind_of_the_users_own(api: client.ApiClient, name: str) -> None:
    group = f"{name}.example.dev"
    definitions = client.ApiextensionsV1Api(api)
    made = definitions.create_custom_resource_definition(definition(group))
    assert made.spec.names.plural == "specimens"
    conditions = definitions.read_custom_resource_definition(f"specimens.{group}").status.conditions
    assert {each.type: each.status for each in conditions} == {"NamesAccepted": "True", "Established": "True"}

    custom = client.CustomObjectsApi(api)
    at = (group, "v1", NS, "specimens")
    assert custom.create_namespaced_custom_object(*at, specimen(group, name))["spec"]["replicas"] == 1
    assert [each["metadata"]["name"] for each in custom.list_cluster_custom_object(group, "v1", "specimens")["items"]] == [name]
    assert custom.patch_namespaced_custom_object(*at, name, {"spec": {"replicas": 2}})["metadata"]["generation"] == 2
    with pytest.raises(ApiException) as refused:
        custom.patch_namespaced_custom_object(*at, name, [{"op": "replace", "path": "/spec/replicas", "value": 3}])
    assert "error decoding patch: json: cannot unmarshal array" in refused.value.body  # the client sends it as a merge patch
    custom.patch_namespaced_custom_object_status(*at, name, {"status": {"phase": "Running"}})
    assert custom.get_namespaced_custom_object_scale(*at, name)["spec"] == {"replicas": 2}
    custom.patch_namespaced_custom_object_scale(*at, name, {"spec": {"replicas": 4}})
    found = custom.get_namespaced_custom_object(*at, name)
    assert (found["spec"]["replicas"], found["status"]["phase"]) == (4, "Running")
    found["spec"]["image"] = ""
    with pytest.raises(ApiException) as invalid:
        custom.replace_namespaced_custom_object(*at, name, found)
    assert [cause["field"] for cause in status_of(invalid)["details"]["causes"]] == ["spec.image"]

    dyn = dynamic.DynamicClient(api)
    specimens = dyn.resources.get(api_version=f"{group}/v1", kind="Specimen")
    with pytest.raises(dynamic.exceptions.DynamicApiError) as unsupported:
        specimens.patch(body={"spec": {"replicas": 5}}, name=name, namespace=NS)  # strategic merge, which no custom kind has
    assert unsupported.value.status == 415
    specimens.status.patch(body={"status": {"phase": "Stopped"}}, name=name, namespace=NS, content_type="application/merge-patch+json")
    applied = specimens.server_side_apply(body=specimen(group, f"{name}-2", ports=[{"containerPort": 80}]), namespace=NS, **APPLY)
    assert applied.spec.ports[0].protocol == "TCP"

    definitions.delete_custom_resource_definition(f"specimens.{group}")
    await eventually(
        lambda: group not in [each.name for each in client.ApisApi(api).get_api_versions().groups], 10, "the group to leave discovery"
    )


def test_a_definition_that_wants_a_webhook_is_refused(api: client.ApiClient, name: str) -> None:
    webhook = {"conversionReviewVersions": ["v1"], "clientConfig": {"url": "https://127.0.0.1/convert"}}
    body = definition(f"{name}.example.dev")
    body["spec"]["conversion"] = {"strategy": "Webhook", "webhook": webhook}
    with pytest.raises(ApiException) as refused:
        client.ApiextensionsV1Api(api).create_custom_resource_definition(body)
    assert [cause["field"] for cause in status_of(refused)["details"]["causes"]] == ["spec.conversion.strategy"]
    with pytest.raises(ApiException) as kept:
        client.ApiextensionsV1Api(api).delete_custom_resource_definition("workloads.lattice.dev")
    assert kept.value.status == 403


async def test_a_watch_from_a_forgotten_revision_says_so(tmp_path: Path) -> None:
    async with ControlPlane(tmp_path / "plane") as plane:
        await plane.start_server()
        plane.lattice("backup", str(tmp_path / "backup"))
        with kubernetes.config.new_client_from_config(str(plane.kubeconfig)) as api:
            core = client.CoreV1Api(api)
            before = core.list_namespaced_config_map(NS).metadata.resource_version
            await plane.server.stop()
            plane.lattice("restore", str(tmp_path / "backup"), "--data-dir", str(plane.data_dir), "--replace")
            await plane.start_server()
            with pytest.raises(ApiException, match="Expired: too old resource version") as expired:
                next(watch.Watch().stream(core.list_namespaced_config_map, NS, resource_version=before, timeout_seconds=5))
            assert expired.value.status == 410
            assert int(core.list_namespaced_config_map(NS).metadata.resource_version) > int(before)


async def test_one_of_two_candidates_leads(api: client.ApiClient, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client.ApiClient, "_default", api, raising=False)
    monkeypatch.setattr(client.Configuration, "_default", api.configuration)
    leading: list[str] = []
    dead: set[str] = set()

    class Mortal(LeaseLock):
        """A lock whose holder can die, as a process does: it simply renews no more."""

        def get(self, *arguments: Any) -> Any:
            if self.identity in dead:
                raise SystemExit
            return super().get(*arguments)

    def elect(identity: str) -> None:
        config = electionconfig.Config(
            Mortal(name, NS, identity),
            lease_duration=3,
            renew_deadline=2,
            retry_period=1,
            onstarted_leading=lambda: leading.append(identity),
            onstopped_leading=lambda: None,
        )
        leaderelection.LeaderElection(config).run()

    leases = client.CoordinationV1Api(api)
    async with asyncio.TaskGroup() as group:
        group.create_task(until_dead(elect, "first"))
        await eventually(lambda: leading == ["first"], 10, "the first candidate to lead")
        group.create_task(until_dead(elect, "second"))
        before = leases.read_namespaced_lease(name, NS).spec
        assert before.holder_identity == "first"
        await eventually(
            lambda: leases.read_namespaced_lease(name, NS).spec.renew_time >= before.renew_time + timedelta(seconds=1), 10, "renewals"
        )
        assert leading == ["first"]
        dead.add("first")
        await eventually(lambda: leading == ["first", "second"], 15, "the second candidate to lead")
        dead.add("second")
    assert leases.read_namespaced_lease(name, NS).spec.holder_identity == "second"


async def until_dead(elect: Any, identity: str) -> None:
    with contextlib.suppress(SystemExit):
        await asyncio.to_thread(elect, identity)
