"""Schemas of the kinds: list types, patch strategies and what does not leave the built-in kinds."""

import pytest

from lattice.api import configmap, event, names, node, pod, schema, scheme, storage, workload


def nodes(root, path=""):
    yield path, root
    for name, child in root.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    if root.get("items"):
        yield from nodes(root["items"], f"{path}[]")
    if isinstance(root.get("additionalProperties"), dict):
        yield from nodes(root["additionalProperties"], f"{path}{{}}")


def at(kind, path):
    return dict(nodes(schema.object_schema(kind)))[path]


@pytest.mark.parametrize("kind", scheme.KINDS)
def test_every_list_says_how_it_is_merged(kind):
    for path, part in nodes(schema.object_schema(kind)):
        if part.get("type") == "array":
            assert part.get("x-kubernetes-list-type") in {"atomic", "set", "map"}, path
        if part.get("x-kubernetes-list-type") == "map":
            fields = part["items"]["properties"]
            assert set(part["x-kubernetes-list-map-keys"]) <= set(fields), path


@pytest.mark.parametrize("kind", scheme.KINDS)
def test_patch_strategies_and_times_are_marked_in_built_in_kinds_only(kind):
    marked = [
        path
        for path, part in nodes(schema.object_schema(kind))
        if part.keys() & {"x-kubernetes-patch-strategy", "x-kubernetes-patch-merge-key", "x-lattice-time"}
    ]
    assert bool(marked) == (kind.GROUP != names.GROUP)


@pytest.mark.parametrize(
    ("kind", "path", "list_type", "keys", "merge_key"),
    [
        # as in kubernetes/api/openapi-spec/v3/api__v1_openapi.json
        (pod.Pod, ".spec.containers", "map", ["name"], "name"),
        (pod.Pod, ".spec.containers[].ports", "map", ["containerPort", "protocol"], "containerPort"),
        (pod.Pod, ".spec.containers[].volumeMounts", "map", ["mountPath"], "mountPath"),
        (pod.Pod, ".spec.containers[].env", "map", ["name"], "name"),
        (pod.Pod, ".spec.containers[].envFrom", "atomic", None, None),
        (pod.Pod, ".spec.containers[].command", "atomic", None, None),
        (pod.Pod, ".spec.tolerations", "atomic", None, None),
        (pod.Pod, ".spec.imagePullSecrets", "map", ["name"], "name"),
        (pod.Pod, ".status.conditions", "map", ["type"], "type"),
        (pod.Pod, ".status.podIPs", "map", ["ip"], "ip"),
        (pod.Pod, ".status.containerStatuses", "atomic", None, None),
        (node.Node, ".spec.taints", "atomic", None, None),
        (node.Node, ".status.addresses", "map", ["type"], "type"),
        (node.Node, ".status.images[].names", "atomic", None, None),
        (storage.PersistentVolume, ".spec.accessModes", "atomic", None, None),
        (configmap.ConfigMap, ".metadata.ownerReferences", "map", ["uid"], "uid"),
        (configmap.ConfigMap, ".metadata.managedFields", "atomic", None, None),
        (configmap.ConfigMap, ".metadata.finalizers", "set", None, None),
        (workload.Workload, ".spec.env", "map", ["name"], None),
        (workload.Workload, ".metadata.ownerReferences", "map", ["uid"], None),
    ],
)
def test_list_types(kind, path, list_type, keys, merge_key):
    part = at(kind, path)
    assert part["x-kubernetes-list-type"] == list_type
    assert part.get("x-kubernetes-list-map-keys") == keys
    assert part.get("x-kubernetes-patch-merge-key") == merge_key


@pytest.mark.parametrize(
    ("kind", "path", "map_type"),
    [
        (pod.Pod, ".spec.nodeSelector", "atomic"),
        (pod.Pod, ".spec.imagePullSecrets[]", "atomic"),
        (pod.Pod, ".spec.containers[].env[].valueFrom.secretKeyRef", "atomic"),
        (pod.Pod, ".spec.containers[].env[].valueFrom.fieldRef", "atomic"),
        (pod.Pod, ".spec.containers[].resources.limits", None),
        (event.Event, ".involvedObject", "atomic"),
        (storage.PersistentVolume, ".spec.claimRef", "granular"),
        (storage.PersistentVolume, ".spec.nodeAffinity.required", "atomic"),
        (configmap.ConfigMap, ".metadata.labels", None),
        (configmap.ConfigMap, ".metadata.ownerReferences[]", "atomic"),
    ],
)
def test_map_types(kind, path, map_type):
    assert at(kind, path).get("x-kubernetes-map-type") == map_type


def test_volumes_may_retain_keys():
    assert at(pod.Pod, ".spec.volumes")["x-kubernetes-patch-strategy"] == "merge,retainKeys"


def test_metadata_of_custom_resources_is_the_whole_metadata():
    metadata = schema.object_meta_schema()
    assert metadata["properties"].keys() == at(pod.Pod, ".metadata")["properties"].keys()
    assert metadata["properties"]["managedFields"]["items"]["properties"]["fieldsV1"]["x-kubernetes-preserve-unknown-fields"]
