"""Patches: JSON patch (RFC 6902), JSON merge patch (RFC 7386), strategic merge. Pure: never changes its arguments.

Strategic merge treats maps and scalars as merge patch does; a list is merged by key where Kubernetes' types name one
(``_MERGE_KEYS``), else replaced; ``$patch: delete|replace`` and ``$retainKeys`` of list entries and maps are honoured.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Final

from lattice.api import errors

JSON_PATCH: Final = "application/json-patch+json"
MERGE_PATCH: Final = "application/merge-patch+json"
STRATEGIC_PATCH: Final = "application/strategic-merge-patch+json"
APPLY_PATCH: Final = "application/apply-patch+yaml"

MAX_OPERATIONS: Final = 10_000
"""Operations in one JSON patch, as kube-apiserver limits them."""

_MERGE_KEYS: Final = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
    "conditions": "type",
    "ownerReferences": "uid",
    "imagePullSecrets": "name",
    "taints": "key",
    "addresses": "type",
}


class PatchFailedError(errors.InvalidError):
    """An operation of a JSON patch could not be done; kube-apiserver says no more than this."""

    def __init__(self) -> None:
        super().__init__("the server rejected our request due to an error in our request")


def merge_patch(target: Any, patch: Any) -> Any:
    """Return ``target`` with a JSON merge patch applied."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping):
            result[key] = merge_patch(result.get(key), value)
        else:
            result[key] = value
    return result


def strategic_patch(target: Any, patch: Any, field: str = "") -> Any:
    """Return ``target`` with a strategic merge patch applied. ``field``: name of the field that holds ``target``."""
    if isinstance(patch, list):
        return _merge_list(target if isinstance(target, list) else [], patch, _MERGE_KEYS.get(field))
    if not isinstance(patch, Mapping):
        return patch
    if patch.get("$patch") == "replace":
        return {key: value for key, value in patch.items() if key != "$patch"}
    result = dict(target) if isinstance(target, Mapping) else {}
    retain = patch.get("$retainKeys")
    if isinstance(retain, list):
        result = {key: value for key, value in result.items() if key in retain}
    for key, value in patch.items():
        if key.startswith("$"):
            if key.startswith("$deleteFromPrimitiveList/") and isinstance(value, list):
                name = key.partition("/")[2]
                result[name] = [item for item in result.get(name) or () if item not in value]
            continue
        if value is None or (isinstance(value, Mapping) and value.get("$patch") == "delete"):
            result.pop(key, None)
        else:
            result[key] = strategic_patch(result.get(key), value, key)
    return result


def _merge_list(target: list[Any], patch: list[Any], merge_key: str | None) -> list[Any]:
    mergeable = merge_key is not None and all(isinstance(item, Mapping) for item in (*target, *patch))
    replace = any(isinstance(item, Mapping) and item.get("$patch") == "replace" for item in patch)
    if not mergeable or replace:
        return [item for item in patch if not (isinstance(item, Mapping) and "$patch" in item)]
    result = list(target)
    for item in patch:
        position = next((i for i, old in enumerate(result) if merge_key in item and old.get(merge_key) == item[merge_key]), None)
        if item.get("$patch") == "delete":
            if position is not None:
                del result[position]
        elif position is None:
            result.append(strategic_patch({}, item))
        else:
            result[position] = strategic_patch(result[position], item)
    return result


def json_patch(target: Any, operations: Any) -> Any:
    """Return ``target`` with a JSON patch applied; all operations or none.

    Raises:
        errors.BadRequestError: the patch is not a list of operations.
        PatchFailedError: an operation cannot be done, or a test failed.
    """
    if not isinstance(operations, list):
        raise errors.BadRequestError("error decoding patch: json: cannot unmarshal the body into a list of operations")
    if len(operations) > MAX_OPERATIONS:
        message = f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(operations)}"
        raise errors.TooLargeError(message)
    document = copy.deepcopy(target)
    for operation in operations:
        if not isinstance(operation, Mapping):
            raise errors.BadRequestError("error decoding patch: json: cannot unmarshal an operation into a map")
        document = _apply(document, operation)
    return document


def _apply(document: Any, operation: Mapping[str, Any]) -> Any:
    path = _pointer(operation.get("path"))
    match operation.get("op"):
        case "add":
            return _add(document, path, copy.deepcopy(_value(operation)))
        case "remove":
            return _remove(document, path)[0]
        case "replace":
            value = copy.deepcopy(_value(operation))
            if not path:
                return value
            return _add(_remove(document, path)[0], path, value)
        case "move":
            source = _pointer(operation.get("from"))
            if path[: len(source)] == source and path != source:
                raise PatchFailedError
            document, value = _remove(document, source)
            return _add(document, path, value)
        case "copy":
            return _add(document, path, copy.deepcopy(_resolve(document, _pointer(operation.get("from")))))
        case "test":
            if not _same(_find(document, path), operation.get("value")):
                raise PatchFailedError
            return document
        case _:
            raise PatchFailedError


def _value(operation: Mapping[str, Any]) -> Any:
    if "value" not in operation:
        raise PatchFailedError
    return operation["value"]


def _pointer(text: Any) -> list[str]:
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise PatchFailedError
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def _index(part: str, length: int) -> int:
    if not part.isascii() or not part.isdigit() or (len(part) > 1 and part[0] == "0") or len(part) > 9 or int(part) >= length:
        raise PatchFailedError
    return int(part)


def _step(node: Any, part: str) -> Any:
    if isinstance(node, dict) and part in node:
        return node[part]
    if isinstance(node, list):
        return node[_index(part, len(node))]
    raise PatchFailedError


def _resolve(document: Any, path: list[str]) -> Any:
    for part in path:
        document = _step(document, part)
    return document


def _find(document: Any, path: list[str]) -> Any:
    """As :func:`_resolve`; an absent member of a map is null, as a test sees it in kube-apiserver."""
    if not path:
        return document
    parent = _resolve(document, path[:-1])
    if isinstance(parent, dict):
        return parent.get(path[-1])
    return _step(parent, path[-1])


def _add(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    parent, last = _resolve(document, path[:-1]), path[-1]
    if isinstance(parent, dict):
        parent[last] = value
    elif isinstance(parent, list):
        parent.insert(len(parent) if last == "-" else _index(last, len(parent) + 1), value)
    else:
        raise PatchFailedError
    return document


def _remove(document: Any, path: list[str]) -> tuple[Any, Any]:
    if not path:
        raise PatchFailedError
    parent, last = _resolve(document, path[:-1]), path[-1]
    value = _step(parent, last)
    if isinstance(parent, dict):
        del parent[last]
    else:
        del parent[_index(last, len(parent))]
    return document, value


def _same(left: Any, right: Any) -> bool:
    """Compare as JSON does: true is not 1."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(_same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(_same(a, b) for a, b in zip(left, right, strict=True))
    return bool(left == right)
