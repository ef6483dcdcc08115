"""Whether a custom resource's ``metadata`` can be read as an ObjectMeta, and what Go's decoder says where it cannot. Pure.

kube-apiserver decodes metadata before it looks at the schema, so a wrong type there is a request that cannot be read, not a field that is
invalid. ``registry.py`` asks for every write of a custom resource but server-side apply, which reads by the schema.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from controller.apiserver import gojson

_TEXTS: Final = dict.fromkeys(("name", "generateName", "namespace", "selfLink", "resourceVersion"), "string") | {"uid": "types.UID"}
_NUMBERS: Final = ("generation", "deletionGracePeriodSeconds")
_MAPS: Final = ("labels", "annotations")
_TIMES: Final = ("creationTimestamp", "deletionTimestamp")
_OWNER: Final = {"apiVersion": "string", "kind": "string", "name": "string", "uid": "types.UID"}
_RFC_3339: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d([.,]\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)
_FLAGS: Final = ("controller", "blockOwnerDeletion")


def problem_of(metadata: Any) -> str:
    """Return why ``metadata`` cannot be read, empty where it can."""
    if metadata is None:
        return ""
    if not isinstance(metadata, Mapping):
        return f"json: cannot unmarshal {gojson.type_of(metadata)} into Go value of type v1.ObjectMeta"
    for key in sorted(metadata):
        value = metadata[key]
        if value is not None and (problem := _problem(key, value)):
            return problem
    return ""


def _problem(key: str, value: Any) -> str:
    where = f"ObjectMeta.{key}"
    if key in _TEXTS:
        return "" if isinstance(value, str) else _wrong(value, where, _TEXTS[key])
    if key in _NUMBERS:
        return "" if type(value) is int else _wrong(value, where, "int64")
    if key in _MAPS:
        if not isinstance(value, Mapping):
            return _wrong(value, where, "map[string]string")
        return next((_wrong(text, where, "string") for text in value.values() if not isinstance(text, (str, type(None)))), "")
    if key in _TIMES:
        return _time(value, where)
    if key == "finalizers":
        if not isinstance(value, list):
            return _wrong(value, where, "[]string")
        return next((_wrong(text, where, "string") for text in value if not isinstance(text, (str, type(None)))), "")
    if key == "ownerReferences":
        return _owners(value, where)
    if key == "managedFields" and not isinstance(value, list):
        return _wrong(value, where, "[]v1.ManagedFieldsEntry")
    return ""


def _owners(value: Any, where: str) -> str:
    if not isinstance(value, list):
        return _wrong(value, where, "[]v1.OwnerReference")
    for owner in value:
        if owner is None:
            continue
        if not isinstance(owner, Mapping):
            return _wrong(owner, where, "v1.OwnerReference")
        for key in sorted(owner):
            field = f"OwnerReference.ownerReferences.{key}"
            found = owner[key]
            if key in _OWNER and not isinstance(found, (str, type(None))):
                return _wrong(found, field, _OWNER[key])
            if key in _FLAGS and not isinstance(found, (bool, type(None))):
                return _wrong(found, field, "bool")
    return ""


def _time(value: Any, where: str) -> str:
    if not isinstance(value, str):
        return _wrong(value, where, "string")
    try:
        datetime.fromisoformat(value if _RFC_3339.fullmatch(value) else "")
    except ValueError:
        return f'parsing time "{value[:64]}" as "2006-01-02T15:04:05Z07:00": cannot parse "{value[:64]}" as "2006"'
    return ""


def _wrong(value: Any, where: str, go_type: str) -> str:
    shown = f"number {value}" if isinstance(value, float) and go_type == "int64" else gojson.type_of(value)
    return f"json: cannot unmarshal {shown} into Go struct field {where} of type {go_type}"
