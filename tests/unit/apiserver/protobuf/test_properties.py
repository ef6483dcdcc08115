"""Properties of the protobuf form: it comes back, a protobuf library reads and writes the same bytes, hostile bytes do no harm."""

import string
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.apiserver.protobuf import codec, decode, encode, schema
from lattice.api import errors

pytest.importorskip("google.protobuf")
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

NAMES = st.text(string.ascii_lowercase, min_size=1, max_size=6)
KINDS = [(version, kind) for version, kinds in codec._KINDS.items() for kind in kinds]


def _time(micros: bool) -> st.SearchStrategy[str]:
    moments = st.datetimes(min_value=datetime(1700, 1, 1), max_value=datetime(2500, 1, 1))  # noqa: DTZ001 - hypothesis wants naive bounds
    return moments.map(lambda t: t.strftime("%Y-%m-%dT%H:%M:%S.%fZ" if micros else "%Y-%m-%dT%H:%M:%SZ"))


SPECIAL: dict[str, st.SearchStrategy[Any]] = {
    "Time": _time(False),
    "MicroTime": _time(True),
    "Quantity": st.sampled_from(["1", "100m", "1Gi"]),
    "IntOrString": st.integers(1, 65535) | NAMES,
    "FieldsV1": st.just({"f:metadata": {"f:labels": {".": {}, "f:a": {}}}}),
    "ExtraValue": st.lists(NAMES, max_size=2),
}
SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "string": st.text(max_size=8).filter(lambda text: text.isprintable()),
    "bytes": st.sampled_from(["", "AAH/", "/w=="]),
    "bool": st.booleans(),
    "int32": st.integers(-(1 << 31), (1 << 31) - 1),
    "int64": st.integers(-(1 << 63), (1 << 63) - 1),
}
LEAVES = {**SCALARS, **SPECIAL}


@st.composite
def objects(draw: st.DrawFn, name: str, depth: int = 0) -> dict[str, Any]:
    """An object with some of the fields of a message, without zero values that reading drops."""
    made: dict[str, Any] = {}
    for field in codec._MESSAGES[name].fields:
        if not draw(st.booleans()) or (depth > 4 and field.type not in schema.SCALARS):
            continue
        leaf = LEAVES.get(field.type)
        element = leaf if leaf is not None else objects(field.type, depth + 1)
        match field.shape:
            case "inline":
                made.update(draw(element))
            case "list":
                made[field.name] = draw(st.lists(element, min_size=1, max_size=2))
            case "map":
                made[field.name] = draw(st.dictionaries(NAMES, element, min_size=1, max_size=2))
            case "pointer":
                made[field.name] = draw(element)
            case _:
                value = draw(element)
                if value:
                    made[field.name] = value
    return made


@st.composite
def kinds(draw: st.DrawFn) -> dict[str, Any]:
    version, kind = draw(st.sampled_from(KINDS))
    return {"apiVersion": version, "kind": kind, "metadata": {}, **draw(objects(kind))}


@settings(max_examples=80, deadline=None)
@given(kinds())
def test_every_object_comes_back(obj):
    encoded = encode(obj)
    assert encoded is not None
    assert decode(encoded) == obj


def _library() -> dict[str, Any]:
    """The same messages for the protobuf library, in a pool of their own."""
    kinds = descriptor_pb2.FieldDescriptorProto
    types = {"string": 9, "bytes": 12, "bool": 8, "int32": 5, "int64": 3}
    special = {
        "Time": "seconds=1 int64?, nanos=2 int32?",
        "MicroTime": "seconds=1 int64?, nanos=2 int32?",
        "Quantity": "string=1 string?",
        "IntOrString": "type=1 int64?, intVal=2 int32?, strVal=3 string?",
        "FieldsV1": "Raw=1 bytes?",
        "ExtraValue": "items=1 string*",
    }
    file = descriptor_pb2.FileDescriptorProto(name="test/k8s.proto", package="k8s", syntax="proto2")
    fields_of = {name: message.fields for name, message in codec._MESSAGES.items()}
    fields_of |= {name: tuple(schema._parse_fields(text)) for name, text in special.items()}
    for name, fields in fields_of.items():
        message = file.message_type.add(name=name)
        for field in fields:
            target = message.field.add(name=field.name, number=field.number)
            target.label = kinds.LABEL_REPEATED if field.shape in {"list", "map"} else kinds.LABEL_OPTIONAL
            holder = target
            if field.shape == "map":
                entry = message.nested_type.add(name=f"{field.name[0].upper()}{field.name[1:]}Entry")
                entry.options.map_entry = True
                entry.field.add(name="key", number=1, type=9, label=kinds.LABEL_OPTIONAL)
                holder = entry.field.add(name="value", number=2, label=kinds.LABEL_OPTIONAL)
                target.type, target.type_name = kinds.TYPE_MESSAGE, f".k8s.{name}.{entry.name}"
            if field.type in types:
                holder.type = types[field.type]
            else:
                holder.type, holder.type_name = kinds.TYPE_MESSAGE, f".k8s.{field.type}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"k8s.{name}")) for name in fields_of}


LIBRARY = _library()


@settings(max_examples=80, deadline=None)
@given(kinds())
def test_a_protobuf_library_reads_what_we_write_and_writes_what_we_read(obj):
    encoded = encode(obj)
    assert encoded is not None
    _, _, raw = codec._open_envelope(memoryview(encoded)[4:], codec.wire.Budget())
    message = LIBRARY[obj["kind"]].FromString(bytes(raw))
    written = message.SerializeToString()
    assert len(written) == len(raw)  # the same fields; maps may stand in another order
    again = encoded[: -len(codec.wire.bytes_field(2, raw)) - 4] + codec.wire.bytes_field(2, written)
    assert decode(again) == obj


@settings(max_examples=120, deadline=None)
@given(kinds(), st.data())
def test_damaged_bytes_are_read_or_refused(obj, data):
    encoded = bytearray(encode(obj) or b"")
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(4, len(encoded) - 1))
        encoded[at] = data.draw(st.integers(0, 255))
    body = bytes(encoded[: data.draw(st.integers(4, len(encoded)))])
    try:
        found = decode(body)
    except errors.BadRequestError:
        return
    encode(found)


@settings(max_examples=120, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(KINDS))
def test_any_bytes_are_read_or_refused(raw, kind):
    head = codec.wire.bytes_field(1, codec.wire.bytes_field(1, kind[0].encode()) + codec.wire.bytes_field(2, kind[1].encode()))
    try:
        found = decode(b"k8s\0" + head + codec.wire.bytes_field(2, raw))
    except errors.BadRequestError:
        return
    encode(found)
