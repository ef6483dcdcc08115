"""A small kind that users might add, for tests of clients and operators: Specimen, with defaults, a list-map, status and scale.

Each test that needs one of its own names a group; two groups never disturb each other.
"""

from __future__ import annotations

from typing import Any


def definition(group: str, *, namespaced: bool = True) -> dict[str, Any]:
    """Return the CustomResourceDefinition ``specimens.<group>``. Its status takes any field, as operators write results there."""
    port = {
        "type": "object",
        "required": ["containerPort"],
        "properties": {"containerPort": {"type": "integer", "minimum": 1}, "protocol": {"type": "string", "default": "TCP"}},
    }
    ports = {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["containerPort", "protocol"], "items": port}
    spec = {
        "type": "object",
        "required": ["image"],
        "properties": {
            "image": {"type": "string", "minLength": 1},
            "replicas": {"type": "integer", "minimum": 0, "default": 1},
            "ports": ports,
        },
    }
    status = {
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": True,
        "properties": {"replicas": {"type": "integer"}, "phase": {"type": "string"}},
    }
    schema = {"type": "object", "required": ["spec"], "properties": {"spec": spec, "status": status}}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}},
        "additionalPrinterColumns": [{"name": "Image", "type": "string", "jsonPath": ".spec.image"}],
    }
    names = {"kind": "Specimen", "listKind": "SpecimenList", "plural": "specimens", "singular": "specimen", "shortNames": ["sp"]}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"specimens.{group}"},
        "spec": {"group": group, "scope": "Namespaced" if namespaced else "Cluster", "names": names, "versions": [version]},
    }


def specimen(group: str, name: str, **spec: Any) -> dict[str, Any]:
    """Return a Specimen of a group in the namespace default."""
    head = {"apiVersion": f"{group}/v1", "kind": "Specimen", "metadata": {"name": name, "namespace": "default"}}
    return {**head, "spec": {"image": "busybox", **spec}}
