"""One answer to one hostile request: may a correct server give it? Pure.

A real kube-apiserver has four answers above 499 (docs of the wire, section 1), and this allows no other. What is below must be a Status,
or one of the texts that come from layers before the API: an unknown path, and bytes that are no HTTP.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import yaml

from lattice.testing.fuzz.wire import BROKEN_FRAMINGS, Request, Response

ANSWER_WITHIN_S: Final = 5.0
MAX_BODY_BYTES: Final = 3 * 2**20
_KNOWN_5XX: Final = (
    (500, "resourceVersion should not be set on objects to be created"),
    (500, "strconv.ParseUint: parsing"),
    (500, "etcdserver: request is too large"),
    (504, "Too large resource version"),
)
_NO_API_REASON: Final = frozenset({400, 404, 405, 413, 431})
_ENCODED: Final = ("application/vnd.kubernetes.protobuf", "application/yaml", "text/plain", "application/com.github")


def judge(request: Request, response: Response, elapsed_s: float) -> str | None:
    """Return what is wrong with an answer, ``None`` if nothing is."""
    if elapsed_s > ANSWER_WITHIN_S:
        return f"hang: no answer within {ANSWER_WITHIN_S:g} s"
    status = response.status
    if status == 0:
        expected = request.framing in BROKEN_FRAMINGS or len(request.body) > MAX_BODY_BYTES or _is_odd_http(request)
        return None if expected else "no answer: the connection was closed"
    if response.partial or request.method == "HEAD":
        return None if status < 500 else f"{status} as the head of an answer"
    if status >= 500:
        text = response.body.decode(errors="replace")
        return None if any(status == code and part in text for code, part in _KNOWN_5XX) else f"{status}: {text[:300]}"
    if 300 <= status < 400:
        return None if status in {301, 304} else f"unexpected redirection {status}"
    if status >= 400:
        return _judge_refusal(request, response)
    return _judge_success(request, response)


def _is_odd_http(request: Request) -> bool:
    """Return whether an HTTP server may refuse it before it is a request at all."""
    head = f"{request.method}{request.target}" + "".join(f"{name}{value}" for name, value in request.headers)
    doubled = {"host", "content-length", "transfer-encoding", "connection", "upgrade"} & {name.lower() for name, _ in request.headers}
    return (
        len(head) > 8000
        or bool(doubled)
        or not head.isascii()
        or request.target[:1] != "/"
        or request.method not in {"GET", "POST", "PUT", "PATCH", "DELETE"}
    )


def _judge_refusal(request: Request, response: Response) -> str | None:
    if response.status == 404 and (response.body == b"404 page not found\n" or request.target.startswith("/openapi/")):
        return None
    content_type = response.headers.get("content-type", "")
    if content_type == "application/vnd.kubernetes.protobuf" and "protobuf" in request.header("accept"):
        return None if response.body.startswith(b"k8s\0") and b"Failure" in response.body else f"{response.status} without a Status"
    if not content_type.startswith(("application/json", "application/yaml")):
        early = response.status in _NO_API_REASON and (request.framing in BROKEN_FRAMINGS or _is_odd_http(request))
        return None if early else f"{response.status} is no Status but {content_type}: {response.body[:200]!r}"
    document = yaml.safe_load(response.body) if content_type.startswith("application/yaml") else _json(response)
    if not isinstance(document, Mapping):
        return f"{response.status} without a JSON object: {response.body[:200]!r}"
    problems = [
        name
        for name, holds in (
            ("kind", document.get("kind") == "Status"),
            ("apiVersion", document.get("apiVersion") == "v1"),
            ("metadata", isinstance(document.get("metadata"), Mapping)),
            ("status", document.get("status") == "Failure"),
            ("code", document.get("code") == response.status),
            ("message", bool(document.get("message")) and isinstance(document.get("message"), str)),
            ("reason", isinstance(document.get("reason", ""), str)),
            ("details", isinstance(document.get("details", {}), Mapping)),
            ("details.causes", _good_causes(document.get("details"))),
        )
        if not holds
    ]
    return f"{response.status} with a bad Status ({', '.join(problems)}): {response.body[:300]!r}" if problems else None


def _good_causes(details: Any) -> bool:
    causes = details.get("causes", []) if isinstance(details, Mapping) else []
    return isinstance(causes, list) and all(isinstance(cause, Mapping) and isinstance(cause.get("message", ""), str) for cause in causes)


def _judge_success(request: Request, response: Response) -> str | None:
    content_type = response.headers.get("content-type", "")
    if content_type.startswith(_ENCODED) or response.headers.get("content-encoding"):
        return None
    document = _json(response)
    if document is None:
        return f"{response.status} without JSON: {response.body[:200]!r}"
    if request.method in {"POST", "PUT", "PATCH"} and "metadata" not in document and document.get("kind") != "Table":
        return f"{response.status} for a write without an object: {response.body[:200]!r}"
    return None


def _json(response: Response) -> Any:
    try:
        return json.loads(response.body)
    except (ValueError, RecursionError):
        return None


def document(response: Response) -> dict[str, Any]:
    """Return the JSON object of an answer, an empty one where there is none."""
    if response.partial or not response.headers.get("content-type", "").startswith("application/json"):
        return {}
    found = _json(response)
    return found if isinstance(found, dict) else {}
