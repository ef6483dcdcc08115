"""The one error hierarchy: what a caller of the API can be told, by meaning.

Every error maps to one Kubernetes ``Status`` (code and reason as a real kube-apiserver answers, see the Kubernetes API
conventions, "Response Status Kind"). The API server raises these and renders them; the clients parse a ``Status`` back
into the same class, so a reconciler handles the same types in process and over HTTP. Transport errors of libraries never
leave the client package: they become :class:`UnavailableError`.

    LatticeError
    ├── ApiError                      an answer of the API server; has code, reason, details
    │   ├── BadRequestError           400
    │   ├── UnauthorizedError         401
    │   ├── ForbiddenError            403
    │   ├── NotFoundError             404
    │   ├── MethodNotAllowedError     405
    │   ├── NotAcceptableError        406
    │   ├── AlreadyExistsError        409  reason AlreadyExists
    │   ├── ConflictError             409  reason Conflict
    │   ├── GoneError                 410  reason Expired
    │   ├── TooLargeError             413
    │   ├── UnsupportedMediaTypeError 415
    │   ├── InvalidError              422  causes
    │   ├── TooManyRequestsError      429  retry_after_s
    │   ├── InternalError             500
    │   ├── ServiceUnavailableError   503  retry_after_s
    │   └── TimeoutStatusError        504  reason Timeout
    ├── UnavailableError              no answer: connection refused, reset, TLS failure, deadline
    ├── StalledError                  a reconciler gives up until the user acts (reason, message)
    └── UsageError                    the command line or a file was wrong; the message says what to do
        └── InUseError                another process has the data directory; it may be ending at this moment
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final


class LatticeError(Exception):
    """Base of everything that Lattice raises on purpose."""


@dataclass(frozen=True, slots=True)
class Cause:
    """One entry of ``status.details.causes``: machine-readable reason, sentence, JSON path of the field."""

    reason: str
    message: str
    field: str

    def to_dict(self) -> dict[str, str]:
        """Return the wire form, keys in the order a kube-apiserver sends them."""
        return {"reason": self.reason, "message": self.message, "field": self.field}


class ApiError(LatticeError):
    """An error answer of the API server.

    Args:
        message: one sentence for a person.
        details: the ``details`` of the Status (``name``, ``group``, ``kind``, ``uid``, ``causes``, ``retryAfterSeconds``).
        code: overrides the class's HTTP code (an answer of an unknown kind keeps its own).
        reason: overrides the class's reason.
    """

    code: ClassVar[int] = 500
    reason: ClassVar[str] = "InternalError"

    def __init__(
        self,
        message: str,
        *,
        details: Mapping[str, Any] | None = None,
        code: int | None = None,
        reason: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details: dict[str, Any] = dict(details or {})
        self._says_details = details is not None
        self.status_code = self.code if code is None else code
        self.status_reason = self.reason if reason is None else reason

    def to_status(self) -> dict[str, Any]:
        """Return the ``Status`` object that says this on the wire."""
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
        }
        if self.status_reason:
            status["reason"] = self.status_reason
        if self.details or self._says_details:
            status["details"] = self.details
        status["code"] = self.status_code
        return status


class BadRequestError(ApiError):
    """The request could not be understood."""

    code = 400
    reason = "BadRequest"


class UnauthorizedError(ApiError):
    """The credentials were not accepted."""

    code = 401
    reason = "Unauthorized"


class ForbiddenError(ApiError):
    """The user is known and has no right to do this."""

    code = 403
    reason = "Forbidden"


class NotFoundError(ApiError):
    """The object, or the resource, does not exist."""

    code = 404
    reason = "NotFound"


class MethodNotAllowedError(ApiError):
    """The resource exists and does not offer this verb."""

    code = 405
    reason = "MethodNotAllowed"


class NotAcceptableError(ApiError):
    """None of the media types in ``Accept`` can be served."""

    code = 406
    reason = "NotAcceptable"


class AlreadyExistsError(ApiError):
    """An object of this name exists."""

    code = 409
    reason = "AlreadyExists"


class ConflictError(ApiError):
    """The object has changed since it was read, or a precondition failed. Read again and retry."""

    code = 409
    reason = "Conflict"


class GoneError(ApiError):
    """The revision asked for has been compacted. List again."""

    code = 410
    reason = "Expired"


class TooLargeError(ApiError):
    """The request body is over the limit."""

    code = 413
    reason = "RequestEntityTooLarge"


class UnsupportedMediaTypeError(ApiError):
    """The body is of a type that this endpoint does not take."""

    code = 415
    reason = "UnsupportedMediaType"


MAX_CAUSES: Final = 1_000
_MAX_CAUSES_SIZE: Final = 512 * 1024
"""Characters in the causes of one error."""


class InvalidError(ApiError):
    """The object was understood and is not valid. ``causes`` has one entry for each field."""

    code = 422
    reason = "Invalid"

    @property
    def causes(self) -> tuple[Cause, ...]:
        """The field errors."""
        return tuple(
            Cause(cause.get("reason", ""), cause.get("message", ""), cause.get("field", "")) for cause in self.details.get("causes", ())
        )

    @classmethod
    def of(cls, *, kind: str, group: str, name: str, causes: Sequence[Cause]) -> InvalidError:
        """Build the answer of a kube-apiserver for field errors of one object.

        Args:
            kind: the Kind (not the plural), as Kubernetes names it in this error.
            group: API group, empty for core.
            name: the object's name, may be empty.
            causes: at least one.
        """
        causes = _worth_telling(causes)
        texts = list(dict.fromkeys(f"{cause.field}: {cause.message}" for cause in causes))  # twice in the causes is once in the message
        what = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
        qualified = f"{kind}.{group}" if group else kind
        details: dict[str, Any] = {"name": name} if name else {}
        if group:
            details["group"] = group
        if kind:
            details["kind"] = kind
        details["causes"] = [cause.to_dict() for cause in causes]
        return cls(f'{qualified} "{name}" is invalid: {what}', details=details)


def _worth_telling(causes: Sequence[Cause]) -> Sequence[Cause]:
    """Return the first so many: nobody reads more, and an answer should not be many times as large as what it is about."""
    size = 0
    for count, cause in enumerate(causes):
        size += len(cause.field) + len(cause.message)
        if count == MAX_CAUSES or (count and size > _MAX_CAUSES_SIZE):
            return causes[:count]
    return causes


class TooManyRequestsError(ApiError):
    """The server asks to slow down."""

    code = 429
    reason = "TooManyRequests"

    @property
    def retry_after_s(self) -> float:
        """Seconds to wait before the next try."""
        return float(self.details.get("retryAfterSeconds", 1))


class InternalError(ApiError):
    """The server failed. The outcome of a write is unknown."""

    code = 500
    reason = "InternalError"


class ServiceUnavailableError(ApiError):
    """The server cannot serve now: starting, its store is away, or its store is full."""

    code = 503
    reason = "ServiceUnavailable"

    @property
    def retry_after_s(self) -> float:
        """Seconds to wait before the next try."""
        return float(self.details.get("retryAfterSeconds", 1))


class TimeoutStatusError(ApiError):
    """The server did not finish in time. The outcome of a write is unknown."""

    code = 504
    reason = "Timeout"


class UnavailableError(LatticeError):
    """No answer came: connection refused or reset, TLS failure, deadline. The outcome of a write is unknown."""


class StalledError(LatticeError):
    """A reconciler cannot go on until the user changes something; it is not retried before the object changes.

    Args:
        reason: CamelCase, for machines.
        message: a sentence that stays the same as long as the problem stays the same.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class UsageError(LatticeError):
    """A command line, a manifest or a settings file was wrong; the message says what to do."""


class InUseError(UsageError):
    """Another process has the data directory open. It may be ending at this moment: who restarts a program tries again for some seconds."""


_BY_CODE_AND_REASON: dict[tuple[int, str], type[ApiError]] = {
    (cls.code, cls.reason): cls
    for cls in (
        BadRequestError, UnauthorizedError, ForbiddenError, NotFoundError, MethodNotAllowedError, NotAcceptableError,
        AlreadyExistsError, ConflictError, GoneError, TooLargeError, UnsupportedMediaTypeError, InvalidError,
        TooManyRequestsError, InternalError, ServiceUnavailableError, TimeoutStatusError,
    )
}  # fmt: skip
_BY_CODE: dict[int, type[ApiError]] = {code: cls for (code, reason), cls in _BY_CODE_AND_REASON.items() if reason != "AlreadyExists"}


def from_status(status: Mapping[str, Any], *, code: int = 0) -> ApiError:
    """Parse a ``Status`` object into the error that it says.

    Args:
        status: the decoded body; fields that are missing or of another type are treated as absent.
        code: the HTTP code, used where the body has none.
    """
    body_code = status.get("code")
    actual = body_code if isinstance(body_code, int) and body_code else code or 500
    reason = status.get("reason")
    reason = reason if isinstance(reason, str) else ""
    details = status.get("details")
    message = status.get("message")
    cls = _BY_CODE_AND_REASON.get((actual, reason)) or _BY_CODE.get(actual) or ApiError
    return cls(
        message if isinstance(message, str) and message else f"the server answered {actual} without a message",
        details=details if isinstance(details, Mapping) else None,
        code=actual,
        reason=reason,
    )
