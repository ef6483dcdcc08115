"""Syntax rules of names, labels and annotations, with Kubernetes' sentences. Pure; used by the server and by the command line.

Each function returns ``None`` for a good value and else the sentence that a kube-apiserver gives after ``Invalid value: "…": ``.
Sources: k8s.io/apimachinery ``pkg/util/validation`` and ``pkg/apis/meta/v1/validation``.
"""

from __future__ import annotations

import re
from typing import Final

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_NAME = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_RE = re.compile(rf"{_LABEL}\Z")
_SUBDOMAIN_RE = re.compile(rf"{_SUBDOMAIN}\Z")
_NAME_RE = re.compile(rf"{_NAME}\Z")

MAX_ANNOTATIONS_BYTES: Final = 256 * 1024

SUBDOMAIN_TEXT: Final = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an "
    f"alphanumeric character (e.g. 'example.com', regex used for validation is '{_SUBDOMAIN}')"
)
LABEL_TEXT: Final = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an "
    f"alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '{_LABEL}')"
)
LABEL_VALUE_TEXT: Final = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    f"alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '({_NAME})?')"
)
_QUALIFIED_TEXT: Final = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character "
    f"(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '{_NAME}')"
)
QUALIFIED_TEXT: Final = f"name part {_QUALIFIED_TEXT}"
_PARTS_TEXT: Final = f"a qualified name {_QUALIFIED_TEXT} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"


def _too_long(limit: int) -> str:
    return f"must be no more than {limit} bytes"


def check_subdomain(value: str) -> str | None:
    """Check an object's name: a DNS-1123 subdomain of at most 253 characters."""
    if len(value.encode()) > 253:
        return _too_long(253)
    return None if _SUBDOMAIN_RE.match(value) else SUBDOMAIN_TEXT


def check_label(value: str) -> str | None:
    """Check a namespace's name or a container's: a DNS-1123 label of at most 63 characters."""
    if len(value.encode()) > 63:
        return _too_long(63)
    return None if _LABEL_RE.match(value) else LABEL_TEXT


def check_label_value(value: str) -> str | None:
    """Check the value of a label."""
    if len(value.encode()) > 63:
        return _too_long(63)
    return None if not value or _NAME_RE.match(value) else LABEL_VALUE_TEXT


def check_qualified_name(value: str) -> str | None:
    """Check the key of a label or an annotation: an optional DNS prefix, a slash, and a name of at most 63 characters."""
    prefix, slash, name = value.rpartition("/")
    if "/" in prefix:
        return _PARTS_TEXT
    if slash and not prefix:
        return "prefix part must be non-empty"
    if slash and (problem := check_subdomain(prefix)):
        return f"prefix part {problem}"
    if not name:
        return "name part must be non-empty"
    if len(name.encode()) > 63:
        return f"name part {_too_long(63)}"
    return None if _NAME_RE.match(name) else QUALIFIED_TEXT
