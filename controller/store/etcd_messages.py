"""The part of etcd's wire format that we use, as protobuf messages in a pool of our own.

Used by the etcd client (``etcd.py`` and its parts) alone. Nothing is generated and nothing enters protobuf's global pool: two libraries
that both bring ``mvccpb.KeyValue`` there cannot be imported in one process, and ours must not be one of them. gRPC sees only the method
paths, so the server cannot tell. Numbers and names: etcd's ``rpc.proto``, ``kv.proto``; fields we never touch are left out (an unknown
field is skipped by its number). Enumerations are plain integers, which are the same on the wire.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_PACKAGE: Final = "etcdserverpb"

# name -> {field: "number type [repeated | in=<oneof>]"}; a type that starts with a capital letter is another message.
_SCHEMA: Final[dict[str, dict[str, str]]] = {
    "ResponseHeader": {"cluster_id": "1 uint64", "member_id": "2 uint64", "revision": "3 int64", "raft_term": "4 uint64"},
    "KeyValue": {
        "key": "1 bytes",
        "create_revision": "2 int64",
        "mod_revision": "3 int64",
        "version": "4 int64",
        "value": "5 bytes",
        "lease": "6 int64",
    },
    "Event": {"type": "1 int32", "kv": "2 KeyValue", "prev_kv": "3 KeyValue"},
    "RangeRequest": {
        "key": "1 bytes",
        "range_end": "2 bytes",
        "limit": "3 int64",
        "revision": "4 int64",
        "keys_only": "8 bool",
        "count_only": "9 bool",
    },
    "RangeResponse": {"header": "1 ResponseHeader", "kvs": "2 KeyValue repeated", "more": "3 bool", "count": "4 int64"},
    "PutRequest": {"key": "1 bytes", "value": "2 bytes", "lease": "3 int64", "prev_kv": "4 bool"},
    "PutResponse": {"header": "1 ResponseHeader", "prev_kv": "2 KeyValue"},
    "DeleteRangeRequest": {"key": "1 bytes", "range_end": "2 bytes", "prev_kv": "3 bool"},
    "DeleteRangeResponse": {"header": "1 ResponseHeader", "deleted": "2 int64", "prev_kvs": "3 KeyValue repeated"},
    "RequestOp": {
        "request_range": "1 RangeRequest in=request",
        "request_put": "2 PutRequest in=request",
        "request_delete_range": "3 DeleteRangeRequest in=request",
    },
    "ResponseOp": {
        "response_range": "1 RangeResponse in=response",
        "response_put": "2 PutResponse in=response",
        "response_delete_range": "3 DeleteRangeResponse in=response",
    },
    "Compare": {"result": "1 int32", "target": "2 int32", "key": "3 bytes", "mod_revision": "6 int64 in=target_union"},
    "TxnRequest": {"compare": "1 Compare repeated", "success": "2 RequestOp repeated", "failure": "3 RequestOp repeated"},
    "TxnResponse": {"header": "1 ResponseHeader", "succeeded": "2 bool", "responses": "3 ResponseOp repeated"},
    "CompactionRequest": {"revision": "1 int64", "physical": "2 bool"},
    "CompactionResponse": {"header": "1 ResponseHeader"},
    "WatchCreateRequest": {
        "key": "1 bytes",
        "range_end": "2 bytes",
        "start_revision": "3 int64",
        "prev_kv": "6 bool",
        "fragment": "8 bool",
    },
    "WatchRequest": {"create_request": "1 WatchCreateRequest in=request_union"},
    "WatchResponse": {
        "header": "1 ResponseHeader",
        "watch_id": "2 int64",
        "created": "3 bool",
        "canceled": "4 bool",
        "compact_revision": "5 int64",
        "cancel_reason": "6 string",
        "fragment": "7 bool",
        "events": "11 Event repeated",
    },
    "LeaseGrantRequest": {"TTL": "1 int64", "ID": "2 int64"},
    "LeaseGrantResponse": {"header": "1 ResponseHeader", "ID": "2 int64", "TTL": "3 int64", "error": "4 string"},
    "StatusRequest": {},
    "StatusResponse": {
        "header": "1 ResponseHeader",
        "version": "2 string",
        "dbSize": "3 int64",
        "leader": "4 uint64",
        "errors": "8 string repeated",
        "dbSizeInUse": "9 int64",
    },
    "AlarmMember": {"memberID": "1 uint64", "alarm": "2 int32"},
    "AlarmRequest": {"action": "1 int32", "memberID": "2 uint64", "alarm": "3 int32"},
    "AlarmResponse": {"header": "1 ResponseHeader", "alarms": "2 AlarmMember repeated"},
    "DefragmentRequest": {},
    "DefragmentResponse": {"header": "1 ResponseHeader"},
    "AuthenticateRequest": {"name": "1 string", "password": "2 string"},
    "AuthenticateResponse": {"header": "1 ResponseHeader", "token": "2 string"},
}

EQUAL: Final = 0
"""``Compare.result``."""
MOD: Final = 2
"""``Compare.target``: the key's mod_revision, 0 where it is absent."""
DELETE: Final = 1
"""``Event.type``; 0 is a put."""
ALARM_GET: Final = 0
ALARM_DEACTIVATE: Final = 2
NOSPACE: Final = 1
"""``AlarmMember.alarm``."""


def _build() -> dict[str, Any]:
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="lattice/etcd.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _SCHEMA.items():
        message = file.message_type.add(name=name)
        unions: list[str] = []
        for field_name, text in fields.items():
            number, kind, *rest = text.split()
            field = message.field.add(name=field_name, number=int(number))
            field.label = kinds.LABEL_REPEATED if "repeated" in rest else kinds.LABEL_OPTIONAL
            if kind[0].isupper():
                field.type, field.type_name = kinds.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
            else:
                field.type = kinds.Type.Value(f"TYPE_{kind.upper()}")
            for union in (item.removeprefix("in=") for item in rest if item.startswith("in=")):
                if union not in unions:
                    unions.append(union)
                    message.oneof_decl.add(name=union)
                field.oneof_index = unions.index(union)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _SCHEMA}


MESSAGES: Final = _build()
"""Message classes by name."""

KeyValue: Final = MESSAGES["KeyValue"]
RangeRequest: Final = MESSAGES["RangeRequest"]
RequestOp: Final = MESSAGES["RequestOp"]
Compare: Final = MESSAGES["Compare"]
TxnRequest: Final = MESSAGES["TxnRequest"]
CompactionRequest: Final = MESSAGES["CompactionRequest"]
WatchRequest: Final = MESSAGES["WatchRequest"]
WatchResponse: Final = MESSAGES["WatchResponse"]
LeaseGrantRequest: Final = MESSAGES["LeaseGrantRequest"]
StatusRequest: Final = MESSAGES["StatusRequest"]
AlarmRequest: Final = MESSAGES["AlarmRequest"]
DefragmentRequest: Final = MESSAGES["DefragmentRequest"]
AuthenticateRequest: Final = MESSAGES["AuthenticateRequest"]
