"""Bodies of requests: from bytes to a value, with what a kube-apiserver says about each way in which they can be wrong.

Called by ``writehandlers.py`` and, for options, by ``deletion.py``. Pure. Two promises:

* a good JSON body costs one ``orjson.loads``; looking for fields that occur twice costs one ``orjson.dumps`` and two counts more;
* an error names the first bytes of the body as kube-apiserver does, which only its sender sees, and nothing else of it.

As Go does, bytes that are not UTF-8 and halves of surrogate pairs become U+FFFD, and of fields that occur twice the last one counts.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from controller.apiserver import gojson, protobuf, yamltext
from lattice.api import errors

_TYPE_META: Final = 'struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }'
_YAML_TYPES: Final = frozenset({"application/yaml", "text/yaml", "application/x-yaml"})
_PARSE_ERROR: Final = "couldn't get version/kind; json parse error: "
_SUMMARY_BYTES: Final = 30
_MAX_REPORTED: Final = 100
_MAX_PATH: Final = 1_000
"""Characters of a path that are told."""
_COLON_ESCAPES: Final = (b"\\u003a", b"\\u003A")
UNSUPPORTED: Final = (
    "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, "
    "application/vnd.kubernetes.protobuf"
)


class BodyError(ValueError):
    """A body does not parse. The text is Go's."""


@dataclass(frozen=True, slots=True)
class Body:
    """A decoded body. ``duplicates``: one sentence for each field that occurs twice, as strict decoding reports it."""

    value: Any
    duplicates: list[str] = field(default_factory=list)


def parse(body: bytes, content_type: str, *, what: str, strict: bool = True, typed: bool = True) -> Body:
    """Decode the body of a create or an update, or options (``what`` empty).

    Args:
        body: as it came.
        content_type: the header; empty means JSON, as the Python clients rely on.
        what: Kind that is expected, for messages.
        strict: whether fields that occur twice are looked for (not with fieldValidation=Ignore).
        typed: whether protobuf is taken (not for custom resources).

    Raises:
        errors.UnsupportedMediaTypeError: of another type.
        errors.BadRequestError: it does not parse, or is not an object (``null`` is let through: it has no kind).
    """
    media_type = content_type.partition(";")[0].strip().lower()
    try:
        if media_type in {"", "application/json"}:
            found = Body(value := decode_json(body), duplicate_fields(body, value) if strict else [])
        elif media_type in _YAML_TYPES:
            found = decode_yaml(body)
        elif media_type == protobuf.MEDIA_TYPE and typed:
            found = Body(protobuf.decode(body))
        else:
            raise errors.UnsupportedMediaTypeError(UNSUPPORTED)
        _check_type_meta(found.value)
    except BodyError as error:
        raise unrecognized(what, str(error), body) from error
    return found


def parse_patch(body: bytes, *, array: bool, strict: bool = True) -> Body:
    """Decode a JSON patch (``array``) or a merge patch.

    Raises:
        errors.BadRequestError: it does not parse, or is not of that type.
    """
    wanted = list if array else dict
    try:
        value = decode_json(body)
    except BodyError as error:
        raise errors.BadRequestError(f"error decoding patch: {str(error).removeprefix(_PARSE_ERROR)}") from error
    if value is None:
        value = wanted()
    if not isinstance(value, wanted):
        go_type = "[]interface {}" if array else "map[string]interface {}"
        raise errors.BadRequestError(
            f"error decoding patch: json: cannot unmarshal {gojson.type_of(value)} into Go value of type {go_type}"
        )
    found = duplicate_fields(body, value) if strict else []
    return Body(value, [f"json patch {text}" for text in found] if array else found)


def parse_apply(body: bytes, *, strict: bool = True) -> Body:
    """Decode the body of a server-side apply: YAML, which kubectl writes as JSON.

    Raises:
        errors.BadRequestError: it does not parse, or is not a map.
    """
    try:
        value = orjson.loads(body)
        if not strict or not duplicate_fields(body, value):
            return _checked_map(Body(value))
    except orjson.JSONDecodeError:
        pass  # YAML then
    try:
        found = decode_yaml(body)
    except BodyError as error:
        raise errors.BadRequestError(f"error decoding YAML: error converting YAML to JSON: {error}") from error
    return _checked_map(Body(found.value, [f"error converting YAML to JSON: {text}" for text in found.duplicates] if strict else []))


def _checked_map(found: Body) -> Body:
    if found.value is None:
        return Body({}, found.duplicates)  # and then it does not say what it is
    if not isinstance(found.value, dict):
        problem = f"json: cannot unmarshal {gojson.type_of(found.value)} into Go value of type map[string]interface {{}}"
        raise errors.BadRequestError(f"error decoding YAML: error unmarshaling JSON: while decoding JSON: {problem}")
    return found


def unrecognized(what: str, problem: str, body: bytes) -> errors.BadRequestError:
    """Return the error about a body whose kind could not be read. ``what`` empty: of options."""
    if not what:
        return errors.BadRequestError(problem)
    return errors.BadRequestError(f"the object provided is unrecognized (must be of type {what}): {problem} ({summary(body)})")


def missing_kind(what: str, body: bytes) -> errors.BadRequestError:
    """Return the error about an object without ``kind``, which custom resources need."""
    return unrecognized(what, f"Object 'Kind' is missing in '{body.decode(errors='replace')}'", body)


def summary(body: bytes) -> str:
    """Return the beginning of a body as kube-apiserver's messages show it."""
    if not body:
        return "<empty>"
    head = body[:_SUMMARY_BYTES]
    shown = head.decode(errors="replace") if body[:1] == b"{" else head.hex()
    return f"{shown} ..." if len(body) > _SUMMARY_BYTES else shown


def decode_json(body: bytes) -> Any:
    """Decode JSON as Go would.

    Raises:
        BodyError: it is none.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        with contextlib.suppress(orjson.JSONDecodeError):
            return orjson.loads(body.decode(errors="replace"))
        if (problem := gojson.problem_of(body)) is not None:
            raise BodyError(_PARSE_ERROR + problem) from error
    try:
        value = json.loads(body.decode(errors="replace"))
        text = json.dumps(value, ensure_ascii=False)
        return orjson.loads(text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace"))
    except (ValueError, RecursionError) as error:
        raise BodyError(f"{_PARSE_ERROR}exceeded max depth") from error


def _check_type_meta(value: Any) -> None:
    """Check that apiVersion and kind can be read from a value."""
    if value is None:
        return
    if not isinstance(value, dict):
        raise BodyError(f"{_PARSE_ERROR}json: cannot unmarshal {gojson.type_of(value)} into Go value of type {_TYPE_META}")
    for name in ("apiVersion", "kind"):
        if not isinstance(value.get(name), (str, type(None))):
            found = gojson.type_of(value[name])
            raise BodyError(f"{_PARSE_ERROR}json: cannot unmarshal {found} into Go struct field .{name} of type string")


def duplicate_fields(body: bytes, value: Any) -> list[str]:
    """Return a sentence for each field that occurs twice in a JSON text, in the order of the text.

    Every field has one colon, and a colon in a text stays one unless it is written as an escape. So a text with as many colons as its
    value has once encoded has no field twice, and only others are parsed again, slowly.
    """
    if body.count(b":") == orjson.dumps(value).count(b":") and not any(escape in body for escape in _COLON_ESCAPES):
        return []
    try:
        root = json.loads(body.decode(errors="replace"), object_pairs_hook=_Pairs)
    except (ValueError, RecursionError):
        return []
    found: dict[str, None] = {}
    _find_twice(root, found)
    return [f'duplicate field "{path}"' for path in found]


class _Pairs(list[tuple[str, Any]]):
    """An object with all its fields, also those that occur twice."""


_Link = tuple["_Link | None", "str | int"]
"""A step of a path, with the step before it. Paths are written out only where they are reported: there are as many as values."""


def _find_twice(root: Any, found: dict[str, None]) -> None:
    waiting: list[tuple[Any, _Link | None]] = [(root, None)]
    while waiting and len(found) < _MAX_REPORTED:
        value, link = waiting.pop()
        children: list[tuple[Any, _Link | None]] = []
        if isinstance(value, _Pairs):
            seen = set()
            for name, child in value:
                if name in seen and len(found) < _MAX_REPORTED:
                    found[_path((link, name))] = None
                seen.add(name)
                if isinstance(child, list):  # a list or an object
                    children.append((child, (link, name)))
        elif isinstance(value, list):
            children = [(child, (link, index)) for index, child in enumerate(value) if isinstance(child, list)]
        waiting.extend(reversed(children))


def _path(link: _Link | None) -> str:
    steps: list[str] = []
    while link is not None:
        link, step = link
        steps.append(f"[{step}]" if isinstance(step, int) else f".{step}")
    text = "".join(reversed(steps)).removeprefix(".")
    return text if len(text) <= _MAX_PATH else f"{text[:_MAX_PATH]}…"


def decode_yaml(body: bytes) -> Body:
    """Decode YAML into what the same JSON would give.

    Raises:
        BodyError: it does not parse, or has no JSON form.
    """
    try:
        value, duplicates = yamltext.load(body)
        value = orjson.loads(orjson.dumps(value))
    except yamltext.YamlError as error:
        raise BodyError(f"yaml: {error}") from error
    except (TypeError, ValueError) as error:
        raise BodyError(f"yaml: {type(error).__name__}") from error  # an integer of more than 64 bits, half of a surrogate pair
    return Body(value, [_yaml_text(duplicates)] if duplicates else [])


def _yaml_text(lines: Iterable[str]) -> str:
    return "\n  ".join(["yaml: unmarshal errors:", *lines])
