"""Hostile Pods: whatever fits the schema, and much that does not, is stored or refused, and never an error of the server."""

import random
from datetime import UTC, datetime

import pytest

from controller.apiserver.request import User
from controller.apiserver.resources import build_table
from controller.apiserver.writing import WriteOptions, Writer
from controller.scheduler.model import project_pod
from lattice.api import errors, pod

POD = next(resource for resource in build_table().stored if resource.kind == "Pod")
WRITER = Writer(POD)
NOW = datetime(2026, 11, 21, tzinfo=UTC)
WORDS = ("", "a", "A", "..", "/", "../x", "$(X)", "a/b", "example.dev/x", "1", "0", "-1", "x" * 70, "Always", "None", "Exists", "é", "a\0b")
NUMBERS = (-1, 0, 1, 511, 65536, 2**31, 2**63 - 1)


def shaped(rng, node, depth=0):
    """Return a value that fits a schema, mostly; now and then anything."""
    if rng.random() < 0.01:
        return rng.choice([None, 3, "x", [], {}, [{}], True])
    if "enum" in node and rng.random() < 0.9:
        return rng.choice(node["enum"])
    if node.get("x-kubernetes-int-or-string"):
        return rng.choice([*WORDS, *NUMBERS])
    match node.get("type"):
        case "object" if "properties" in node:
            chance = 0.6 / (1 + depth / 3)
            needed = set(node.get("required", ()))
            return {
                name: shaped(rng, child, depth + 1)
                for name, child in node["properties"].items()
                if (name in needed and rng.random() < 0.98) or rng.random() < chance
            }
        case "object":
            child = node.get("additionalProperties")
            return {rng.choice(WORDS): shaped(rng, child, depth + 1) if child else rng.choice(WORDS) for _ in range(rng.randrange(3))}
        case "array":
            return [shaped(rng, node["items"], depth + 1) for _ in range(rng.randrange(3))]
        case "integer":
            return rng.choice(NUMBERS)
        case "boolean":
            return rng.random() < 0.5
        case _:
            return rng.choice(WORDS)


@pytest.mark.parametrize("seed", range(12))
def test_a_pod_of_any_shape_is_stored_or_refused(seed):
    rng = random.Random(seed)
    spec = POD.schema["properties"]["spec"]
    for _ in range(25):
        obj = WRITER.match_request(
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": shaped(rng, spec)}, namespace="default"
        )
        options = WriteOptions(User("u"))
        try:
            WRITER.shape(obj, options)
            WRITER.prepare_create(obj, now=NOW, rng=rng)
            WRITER.check_create(obj)
        except errors.InvalidError:
            continue
        WRITER.warn(obj, None, options)
        pod.Pod.model_validate(obj)
        project_pod(obj)


@pytest.mark.parametrize("seed", range(12))
def test_one_field_of_any_shape_in_a_good_pod(seed):
    """One field at a time, so that the deeper rules are reached; what is stored can be read, scheduled and changed into itself."""
    rng = random.Random(1000 + seed)
    spec, stored = POD.schema["properties"]["spec"]["properties"], 0
    container = spec["containers"]["items"]["properties"]
    for _ in range(60):
        good = {"containers": [{"name": "a", "image": "b"}]}
        if rng.random() < 0.5:
            name = rng.choice(sorted(spec))
            good[name] = shaped(rng, spec[name], 2)
        else:
            name = rng.choice(sorted(container))
            good["containers"][0][name] = shaped(rng, container[name], 2)
        obj = WRITER.match_request({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": good}, namespace="default")
        options = WriteOptions(User("u"))
        try:
            WRITER.shape(obj, options)
            WRITER.prepare_create(obj, now=NOW, rng=rng)
            WRITER.check_create(obj)
        except errors.InvalidError:
            continue
        stored += 1
        WRITER.warn(obj, None, options)
        pod.Pod.model_validate(obj)
        project_pod(obj)
        again = WRITER.match_request({**obj, "metadata": dict(obj["metadata"])}, namespace="default", name="p")
        WRITER.shape(again, WriteOptions(User("u")))
        assert WRITER.finish_update(again, obj, subresource="")["metadata"]["generation"] == 1
    assert stored
