"""Structural schemas for tests: the kind Specimen with one of everything, and a short way to write an object schema."""

from __future__ import annotations

from typing import Any

STRING: dict[str, Any] = {"type": "string"}
INTEGER: dict[str, Any] = {"type": "integer"}


def make_object(**properties: Any) -> dict[str, Any]:
    """Return the schema of an object; ``required=[...]`` goes to the object itself."""
    out: dict[str, Any] = {"type": "object"}
    if "required" in properties:
        out["required"] = properties.pop("required")
    out["properties"] = properties
    return out


def make_list(items: dict[str, Any], *, keys: tuple[str, ...] = (), kind: str = "") -> dict[str, Any]:
    """Return the schema of a list; with ``keys`` of a list-type map."""
    out: dict[str, Any] = {"type": "array", "items": items}
    if keys or kind:
        out["x-kubernetes-list-type"] = kind or "map"
    if keys:
        out["x-kubernetes-list-map-keys"] = list(keys)
    return out


def int_or_string(**more: Any) -> dict[str, Any]:
    """Return the schema of a number or a text."""
    return {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}], **more}


def specimen_schema() -> dict[str, Any]:
    """Return the schema of Specimen, with its head."""
    port = make_object(
        containerPort={"type": "integer", "minimum": 1, "maximum": 65535},
        protocol={"type": "string", "default": "TCP"},
        name=STRING,
        required=["containerPort"],
    )
    spec = make_object(
        image={"type": "string", "minLength": 1},
        replicas={"type": "integer", "format": "int32", "minimum": 0, "default": 1},
        mode={"type": "string", "enum": ["Fast", "Slow"]},
        env=make_list(make_object(name=STRING, value=STRING, required=["name"]), keys=("name",)),
        ports=make_list(port, keys=("containerPort", "protocol")),
        resources=make_object(cpu=int_or_string(pattern=r"^[0-9]+(\.[0-9]+)?m?$"), memory=int_or_string()),
        required=["image"],
    )
    status = make_object(replicas=INTEGER, phase=STRING, lastSeen={"type": "string", "format": "date-time"})
    return make_object(
        apiVersion=STRING,
        kind=STRING,
        metadata=make_object(
            name=STRING,
            namespace=STRING,
            labels={"type": "object", "additionalProperties": STRING},
            annotations={"type": "object", "additionalProperties": STRING},
        ),
        spec=spec,
        status=status,
        required=["spec"],
    )


def specimen(**spec: Any) -> dict[str, Any]:
    """Return a Specimen; a field given as ``...`` is left out."""
    fields = {"image": "nginx:1", **spec}
    return {
        "apiVersion": "example.dev/v1",
        "kind": "Specimen",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {name: value for name, value in fields.items() if value is not ...},
    }
