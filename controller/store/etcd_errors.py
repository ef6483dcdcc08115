"""What etcd's failures mean in the words of the store. Used by ``etcd_channel.py`` alone.

The difference that matters is whether a write may have happened. etcd refuses before it proposes (too large, no space, too many requests,
no such lease, no permission): nothing was written. When the connection broke or the time ran out, nobody knows.
"""

from __future__ import annotations

import grpc

from controller.store import base

_NO_SPACE = "database space exceeded"
_REFUSED = frozenset({grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED})
_FULL_HINT = "etcd has reached its quota: compact, defragment, then disarm the alarm (docs/reference/store.md), or delete objects"


class LeaseGoneError(base.StoreError):
    """The lease that a write named has expired. Nothing was written: take another and try again."""


class FutureCompactionError(base.StoreError):
    """A range or compaction names a revision that is not written yet."""


class PastRevisionError(base.StoreError):
    """A range or compaction names a revision that is compacted; which one is kept, etcd does not say here."""


def translate(error: grpc.aio.AioRpcError, *, what: str, write: bool) -> base.StoreError:
    """Return the store's error for one of gRPC.

    Args:
        error: of a call.
        what: the call, for the message.
        write: whether the call changes anything.
    """
    code, text = error.code(), error.details() or ""
    said = f"etcd answered {what} with {code.name}: {text}"
    match code:
        case grpc.StatusCode.OUT_OF_RANGE if "compacted" in text:
            return PastRevisionError(said)
        case grpc.StatusCode.OUT_OF_RANGE:
            return FutureCompactionError(said)
        case grpc.StatusCode.RESOURCE_EXHAUSTED if _NO_SPACE in text:
            return base.StoreFullError(_FULL_HINT)
        case grpc.StatusCode.RESOURCE_EXHAUSTED if "too many requests" not in text:
            return base.ValueTooLargeError(f"{said}; a transaction may have 1.5 MiB in all")
        case grpc.StatusCode.INVALID_ARGUMENT if "too large" in text:
            return base.ValueTooLargeError(f"{said}; a transaction may have 1.5 MiB in all")
        case grpc.StatusCode.NOT_FOUND if "lease" in text:
            return LeaseGoneError(said)
        case _ if code in _REFUSED or "user name is empty" in text:
            return base.StoreUnavailableError(f"{said}; check the user's role in etcd and the credentials given to the server")
        case grpc.StatusCode.RESOURCE_EXHAUSTED | grpc.StatusCode.INVALID_ARGUMENT | grpc.StatusCode.FAILED_PRECONDITION:
            return base.StoreUnavailableError(said)
        case _ if write:
            return base.OutcomeUnknownError(f"{said}; the write may or may not be there")
        case _:
            return base.StoreUnavailableError(said)


def transient(error: grpc.aio.AioRpcError) -> bool:
    """Return whether another try, perhaps with another member, may help."""
    return error.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL}


def stale_token(error: grpc.aio.AioRpcError) -> bool:
    """Return whether the token is at fault: expired, or from before a change of users. The call was refused."""
    text = error.details() or ""
    return (error.code() is grpc.StatusCode.UNAUTHENTICATED and "token" in text) or "revision of auth store is old" in text
