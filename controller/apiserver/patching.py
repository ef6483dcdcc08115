"""The kinds of patches, and JSON patch (RFC 6902). Pure: never changes its arguments.

JSON merge patch is ``lattice.api.mergepatch``, strategic merge patch ``strategic.py``, server-side apply ``fieldmanager``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from controller.apiserver import gojson
from controller.apiserver.fieldmanager.comparing import same_json
from lattice.api import errors

JSON_PATCH: Final = "application/json-patch+json"
MERGE_PATCH: Final = "application/merge-patch+json"
STRATEGIC_PATCH: Final = "application/strategic-merge-patch+json"
APPLY_PATCH: Final = "application/apply-patch+yaml"

MAX_OPERATIONS: Final = 10_000
"""Operations in one JSON patch, as kube-apiserver limits them."""
MAX_COPIED_BYTES: Final = 3 * 1024 * 1024
"""What the ``copy`` operations of one patch may copy together, as in kube-apiserver: each could double the object."""


class PatchFailedError(errors.InvalidError):
    """An operation of a JSON patch could not be done; kube-apiserver says no more than this."""

    def __init__(self) -> None:
        super().__init__("the server rejected our request due to an error in our request", details={})


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
    document, left_bytes = _duplicate(target), MAX_COPIED_BYTES
    for operation in operations:
        if not isinstance(operation, Mapping):
            raise errors.BadRequestError(f"json: cannot unmarshal {gojson.type_of(operation)} into Go value of type jsonpatch.Operation")
        if operation.get("op") == "copy":
            text = orjson.dumps(_resolve(document, _pointer(operation.get("from"))))
            left_bytes -= len(text)
            if left_bytes < 0:
                raise PatchFailedError
            document = _add(document, _pointer(operation.get("path")), orjson.loads(text))
        else:
            document = _apply(document, operation)
    return document


def _duplicate(value: Any) -> Any:
    """Return a deep copy of a JSON value, many times as fast as the ``copy`` module does."""
    return orjson.loads(orjson.dumps(value)) if isinstance(value, (dict, list)) else value


def _apply(document: Any, operation: Mapping[str, Any]) -> Any:
    path = _pointer(operation.get("path"))
    match operation.get("op"):
        case "add":
            return _add(document, path, _duplicate(_value(operation)))
        case "remove":
            return _remove(document, path)[0]
        case "replace":
            value = _duplicate(_value(operation))
            if not path:
                return value
            return _add(_remove(document, path)[0], path, value)
        case "move":
            source = _pointer(operation.get("from"))
            if path[: len(source)] == source and path != source:
                raise PatchFailedError
            document, value = _remove(document, source)
            return _add(document, path, value)
        case "test":
            if not same_json(_find(document, path), operation.get("value")):
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
