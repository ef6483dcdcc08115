"""Objects to protobuf and back, driven by the tables of messages. See the package.

An envelope (``runtime.Unknown``: apiVersion, kind, raw message) stands around each object, behind four magic bytes. The messages form no
cycle, so the depth of a body is that of the tables.

A field that the tables do not know is refused unless it is zero: kubectl of a later release writes the zero values of fields that are new
there, and everything else would be lost without a word.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from controller.apiserver.protobuf import scalars, wire
from controller.apiserver.protobuf.messages_core import CORE
from controller.apiserver.protobuf.messages_meta import META, REVIEWS
from controller.apiserver.protobuf.messages_pod import POD
from controller.apiserver.protobuf.schema import SCALARS, SPECIAL, Field, Message, parse_messages
from lattice.api import errors

MEDIA_TYPE: Final = "application/vnd.kubernetes.protobuf"
MAX_JSON_BYTES: Final = 16 * 1024
"""JSON that is longer is answered as it is: to turn it costs a millisecond for each 2 KiB, and every client takes JSON too."""
_MAGIC: Final = b"k8s\0"

_KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "v1": ("Namespace", "ServiceAccount", "Secret", "ConfigMap", "Pod", "PersistentVolumeClaim", "Event"),
    "coordination.k8s.io/v1": ("Lease",),
    "authorization.k8s.io/v1": (
        "SelfSubjectAccessReview",
        "SelfSubjectRulesReview",
        "SubjectAccessReview",
        "LocalSubjectAccessReview",
    ),
    "authentication.k8s.io/v1": ("SelfSubjectReview", "TokenReview", "TokenRequest"),
}
_LISTED: Final = (*_KINDS["v1"], "Lease")
_LISTS: Final = {f"{kind}List": f"metadata=1 ListMeta, items=2 {kind}*" for kind in _LISTED}
_MESSAGES: Final = parse_messages({**META, **REVIEWS, **CORE, **POD, **_LISTS})


def _message_of(api_version: str, kind: str) -> Message | None:
    if kind == "DeleteOptions" or (kind, api_version) == ("Status", "v1"):
        return _MESSAGES[kind]  # DeleteOptions are sent in the group of what is deleted
    if api_version == "events.k8s.io/v1":
        return _MESSAGES.get(f"New{kind}") if kind in {"Event", "EventList"} else None
    known = _KINDS.get(api_version, ())
    return _MESSAGES[kind] if kind in known or (kind.removesuffix("List") in known and kind in _LISTS) else None


def decode(body: bytes) -> dict[str, Any]:
    """Return the object in a body, with apiVersion and kind.

    Raises:
        errors.BadRequestError: it is not the protobuf form of an object of a kind that is served in it.
    """
    if not body.startswith(_MAGIC):
        raise errors.BadRequestError(
            "the object provided is unrecognized: provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
        )
    budget = wire.Budget()
    try:
        api_version, kind, raw = _open_envelope(memoryview(body)[len(_MAGIC) :], budget)
        message = _message_of(api_version, kind)
        if message is None:
            raise errors.BadRequestError(f'no kind "{kind}" is registered for version "{api_version}" in protobuf: send it as JSON')
        return {"apiVersion": api_version, "kind": kind, "metadata": {}, **_read_message(message, raw, budget)}
    except wire.MalformedError as error:
        raise errors.BadRequestError(f"the object provided is unrecognized: the protobuf message cannot be read: {error}") from error


def _open_envelope(data: memoryview, budget: wire.Budget) -> tuple[str, str, memoryview]:
    type_meta = {1: "", 2: ""}
    raw = memoryview(b"")
    for number, wire_type, value in wire.read_fields(data, budget):
        if wire_type != wire.BYTES or isinstance(value, int):
            raise wire.MalformedError(f"wrong wire type {wire_type} of field {number} of the envelope")
        if number == 1:
            for part, _, text in wire.read_fields(value, budget):
                if part in type_meta and not isinstance(text, int):
                    type_meta[part] = scalars.read_scalar("string", text)
        elif number == 2:
            raw = value
        elif number == 3 and len(value):
            raise wire.MalformedError("the message is encoded, which is not supported")
        elif number == 4 and str(value, "utf-8", "replace") not in {"", MEDIA_TYPE}:
            raise wire.MalformedError("the envelope does not have a protobuf message in it")
    return type_meta[1], type_meta[2], raw


def _read_message(message: Message, data: memoryview, budget: wire.Budget) -> dict[str, Any]:
    found: dict[str, Any] = {}
    seen: set[int] = set()
    for number, wire_type, value in wire.read_fields(data, budget):
        field = message.by_number.get(number)
        if field is None:
            if (value if isinstance(value, int) else any(value)) or wire_type not in {wire.VARINT, wire.BYTES}:
                raise wire.MalformedError(f"{message.name} has no field {number} here: send the object as JSON to see its name")
            continue
        if field.shape in {"list", "map"}:
            _read_element(field, message, wire_type, value, found, budget)
            continue
        if number in seen:
            raise wire.MalformedError(f"{message.name}.{field.name} is there twice")
        seen.add(number)
        decoded = _read_value(field, message, wire_type, value, budget)
        if field.shape == "inline":
            found.update(decoded)
        elif decoded or (field.shape == "pointer" and decoded is not None):
            found[field.name] = decoded
    return found


def _read_element(
    field: Field, message: Message, wire_type: int, value: int | memoryview, found: dict[str, Any], budget: wire.Budget
) -> None:
    if field.shape == "list":
        elements = found.setdefault(field.name, [])
        if field.type == "int64" and not isinstance(value, int):  # packed, as a writer may choose
            elements.extend(scalars.read_scalar("int64", number) for number in wire.read_packed(value, budget))
        else:
            elements.append(_read_value(field, message, wire_type, value, budget))
        return
    if isinstance(value, int):
        raise wire.MalformedError(f"wrong wire type {wire_type} of {message.name}.{field.name}")
    key: str = ""
    element: Any = None
    for number, part_type, part in wire.read_fields(value, budget):
        if number == 1 and not isinstance(part, int):
            key = scalars.read_scalar("string", part)
        elif number == 2:
            element = _read_value(field, message, part_type, part, budget)
    found.setdefault(field.name, {})[key] = "" if element is None else element


def _read_value(field: Field, message: Message, wire_type: int, value: int | memoryview, budget: wire.Budget) -> Any:
    expected = wire.VARINT if field.type in {"bool", "int32", "int64"} else wire.BYTES
    if wire_type != expected:
        raise wire.MalformedError(f"wrong wire type {wire_type} of {message.name}.{field.name}")
    if field.type in SCALARS:
        return scalars.read_scalar(field.type, value)
    assert not isinstance(value, int)
    if field.type in SPECIAL:
        return scalars.read_special(field.type, value, budget)
    return _read_message(_MESSAGES[field.type], value, budget)


def encode(obj: Mapping[str, Any]) -> bytes | None:
    """Return the protobuf form of an object, byte for byte as Go writes it.

    ``None``: the kind has none here, or something of the object would be lost.
    """
    api_version, kind = obj.get("apiVersion"), obj.get("kind")
    if not isinstance(api_version, str) or not isinstance(kind, str):
        return None
    message = _message_of(api_version, kind)
    if message is None:
        return None
    try:
        raw = _write_message(message, obj, root=True)
    except scalars.UnencodableError:
        return None
    type_meta = wire.bytes_field(1, api_version.encode()) + wire.bytes_field(2, kind.encode())
    return _MAGIC + wire.bytes_field(1, type_meta) + wire.bytes_field(2, raw) + wire.bytes_field(3, b"") + wire.bytes_field(4, b"")


def _write_message(message: Message, obj: Any, *, root: bool = False) -> bytes:
    if not isinstance(obj, Mapping):
        raise scalars.UnencodableError
    extra = obj.keys() - message.names
    if extra and not (root and extra <= {"apiVersion", "kind"}):
        raise scalars.UnencodableError
    return b"".join(_write_field(field, obj) for field in message.fields)


def _write_field(field: Field, obj: Mapping[str, Any]) -> bytes:
    if field.shape == "inline":
        part = _MESSAGES[field.type]
        own = {name: value for name, value in obj.items() if name in part.names}
        return wire.bytes_field(field.number, _write_message(part, own))
    value = obj.get(field.name)
    match field.shape:
        case "value":
            return _write_value(field, field.number, value)
        case "pointer":
            return b"" if value is None else _write_value(field, field.number, value)
        case "list":
            if not isinstance(value, list | None):
                raise scalars.UnencodableError
            return b"".join(_write_value(field, field.number, element) for element in value or ())
        case _:
            if not isinstance(value, Mapping | None):
                raise scalars.UnencodableError
            return b"".join(
                wire.bytes_field(field.number, scalars.write_scalar(1, "string", key) + _write_value(field, 2, element))
                for key, element in sorted((value or {}).items())
            )


def _write_value(field: Field, number: int, value: Any) -> bytes:
    if field.type in SCALARS:
        return scalars.write_scalar(number, field.type, value)
    if field.type in SPECIAL:
        return wire.bytes_field(number, scalars.write_special(field.type, value))
    # Items of a list are whole objects, which may have apiVersion and kind in JSON.
    root = field.name == "items" and field.type in _LISTED
    return wire.bytes_field(number, _write_message(_MESSAGES[field.type], {} if value is None else value, root=root))
