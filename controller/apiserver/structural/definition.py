"""CustomResourceDefinitions themselves: what a new or changed one must fulfil, and what is filled in. Pure.

:func:`default_definition` ▸ :func:`check_definition`, both on decoded JSON of ``apiextensions.k8s.io/v1``; texts, reasons and fields as a
kube-apiserver gives them. As there, a schema that all versions share is reported under ``spec.validation``, and one that differs under
``spec.versions[N].schema`` (likewise subresources, columns and selectable fields). Not offered: conversion by webhook.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from controller.apiserver import shaping
from controller.apiserver.structural import defaultchecks, fieldpaths, rulechecks, schemachecks, schematypes
from controller.apiserver.structural.complaints import shaped
from controller.apiserver.structural.correlation import same
from lattice.api import validation
from lattice.api.errors import Cause

Object = dict[str, Any]
MAX_SELECTABLE_FIELDS: Final = 8
_APPROVED: Final = "api-approved.kubernetes.io"
_APPROVED_SEE: Final = "https://github.com/kubernetes/enhancements/pull/1111"
_APPROVALS: Final = frozenset({"approved", "bypassed"})
_LABEL: Final = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_LABEL_TEXT: Final = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an "
    "alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
)
_COLUMN_TYPES: Final = ("boolean", "date", "integer", "number", "string")
_COLUMN_FORMATS: Final = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")


def default_definition(definition: Object) -> None:
    """Fill in what a definition may leave out, in place: singular, listKind, the conversion strategy."""
    spec = definition.get("spec")
    if not isinstance(spec, dict):
        return
    names = spec.get("names")
    if isinstance(names, dict) and isinstance(names.get("kind"), str) and names["kind"]:
        if not names.get("singular"):
            names["singular"] = names["kind"].lower()
        if not names.get("listKind"):
            names["listKind"] = f"{names['kind']}List"
    if spec.get("conversion") is None:
        spec["conversion"] = {"strategy": "None"}
    if spec.get("preserveUnknownFields") is False:
        del spec["preserveUnknownFields"]


def initial_status(definition: Mapping[str, Any]) -> Object:
    """Return the status that a definition is created with, before its names have been judged."""
    stored = [version["name"] for version in definition["spec"]["versions"] if version.get("storage")]
    return {"conditions": None, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": stored}


def remember_storage(definition: Object) -> None:
    """Add the storage version to ``status.storedVersions``, in place: objects may be stored in it from now on."""
    status = definition.get("status")
    if not isinstance(status, dict):
        return
    stored = list(status.get("storedVersions") or ())
    missing = [version["name"] for version in definition["spec"]["versions"] if version.get("storage") and version["name"] not in stored]
    if missing:
        definition["status"] = {**status, "storedVersions": [*stored, *missing]}


def check_definition(new: Mapping[str, Any], old: Mapping[str, Any] | None = None) -> list[Cause]:
    """Return what is wrong with a definition that has passed the schema of its own kind; ``old`` is what it replaces.

    A schema that is as it was before is not checked again: it was accepted once.
    """
    spec = new["spec"]
    causes = list(_check_names(new)) + _check_approval(new, old)
    causes += _check_versions(spec)
    causes += _check_conversion(spec)
    if spec.get("preserveUnknownFields"):
        causes.append(shaped("spec.preserveUnknownFields", True, "must be false"))
    known = [version.get("schema") for version in old["spec"]["versions"]] if old is not None else []
    for path, _, version in _distinct_parts(spec, "schema", "validation"):
        if not any(same(version.get("schema"), before) for before in known):
            causes += _check_schema(version, path)
    for path, value, _ in _distinct_parts(spec, "subresources", "subresources"):
        causes += _check_subresources(value, path)
    for path, value, _ in _distinct_parts(spec, "additionalPrinterColumns", "additionalPrinterColumns"):
        for index, column in enumerate(value or ()):
            causes += _check_column(column, f"{path}[{index}]")
    for path, value, version in _distinct_parts(spec, "selectableFields", "selectableFields"):
        causes += _check_selectable(value or (), (version.get("schema") or {}).get("openAPIV3Schema") or {}, path)
    if old is not None:
        causes += _check_update(new, old)
    return list(dict.fromkeys(causes))


def _distinct_parts(spec: Mapping[str, Any], key: str, shared: str) -> Iterator[tuple[str, Any, Mapping[str, Any]]]:
    """Yield path, value and version of a per-version part: once where all versions have the same."""
    versions = spec["versions"]
    if versions and versions[0].get(key) is not None and all(same(version.get(key), versions[0][key]) for version in versions):
        yield f"spec.{shared}", versions[0][key], versions[0]
        return
    for index, version in enumerate(versions):
        yield f"spec.versions[{index}].{key}", version.get(key), version


def _label(value: str) -> str | None:
    if len(value) > 63:
        return "must be no more than 63 characters"
    return None if _LABEL.fullmatch(value) else _LABEL_TEXT


def _check_names(definition: Mapping[str, Any]) -> Iterator[Cause]:
    spec = definition["spec"]
    names, group, name = spec["names"], spec.get("group") or "", definition["metadata"].get("name") or ""
    if name != f"{names.get('plural') or ''}.{group}":
        yield shaped("metadata.name", name, 'must be spec.names.plural+"."+spec.group')
    if not group:
        yield shaping.required("spec.group")
    elif problem := validation.check_subdomain(group):
        yield shaped("spec.group", group, problem)
    elif "." not in group:
        yield shaped("spec.group", group, "should be a domain with at least one dot")
    for key in ("plural", "singular", "kind", "listKind"):
        value = names.get(key) or ""
        if not value:
            yield shaping.required(f"spec.names.{key}")
        elif problem := _label(value.lower() if key in {"kind", "listKind"} else value):
            mixed = "may have mixed case, but should otherwise match: " if key in {"kind", "listKind"} else ""
            yield shaped(f"spec.names.{key}", value, mixed + problem)
    if names.get("kind") and names["kind"] == names.get("listKind"):
        yield shaped("spec.names.listKind", names["listKind"], "kind and listKind may not be the same")
    for key in ("shortNames", "categories"):
        for index, value in enumerate(names.get(key) or ()):
            if problem := _label(value):
                yield shaped(f"spec.names.{key}[{index}]", value, problem)


def _check_approval(new: Mapping[str, Any], old: Mapping[str, Any] | None) -> list[Cause]:
    """Check that a definition in a group of Kubernetes' community says who approved it; one that was let through once stays so."""
    if not f".{new['spec'].get('group') or ''}".endswith((".k8s.io", ".kubernetes.io")):
        return []
    state, field = _approval(new), f"metadata.annotations[{_APPROVED}]"
    if state in _APPROVALS or (old is not None and state == _approval(old)):
        return []
    if state == "missing":
        return [shaping.required(field, f'protected groups must have approval annotation "{_APPROVED}", see {_APPROVED_SEE}')]
    text = f'protected groups must have approval annotation "{_APPROVED}" with either a URL or a reason starting with "unapproved"'
    return [shaped(field, new["metadata"]["annotations"][_APPROVED], f"{text}, see {_APPROVED_SEE}")]


def _approval(definition: Mapping[str, Any]) -> str:
    text = (definition["metadata"].get("annotations") or {}).get(_APPROVED) or ""
    if not text or text.startswith("unapproved"):
        return "bypassed" if text else "missing"
    try:
        url = urlsplit(text)
    except ValueError:
        return "invalid"
    return "approved" if url.scheme and url.netloc else "invalid"


def _check_versions(spec: Mapping[str, Any]) -> Iterator[Cause]:
    versions = spec["versions"]
    names = [version.get("name") or "" for version in versions]
    for index, name in enumerate(names):
        if problem := _label(name):
            yield shaped(f"spec.versions[{index}].name", name, problem)
    if len(set(names)) != len(names):
        yield shaped("spec.versions", versions, "must contain unique version names")
    if sum(bool(version.get("storage")) for version in versions) != 1:
        yield shaped("spec.versions", versions, "must have exactly one version marked as storage version")
    for index, version in enumerate(versions):
        if not (version.get("schema") or {}).get("openAPIV3Schema"):
            yield shaping.required(f"spec.versions[{index}].schema.openAPIV3Schema", "schemas are required")
        warning = version.get("deprecationWarning")
        if warning is not None:
            field = f"spec.versions[{index}].deprecationWarning"
            if not version.get("deprecated"):
                yield shaped(field, warning, "can only be set for deprecated versions")
            if len(warning) > 256:
                yield shaped(field, warning, "must be <= 256 characters long")
            if not warning:
                yield shaped(field, warning, "must not be an empty string")
            if not warning.isprintable():
                index = next(place for place, character in enumerate(warning) if not character.isprintable())
                text = f"must only contain printable UTF-8 characters; non-printable character found at index {index}"
                yield shaped(field, warning, text)


def _check_conversion(spec: Mapping[str, Any]) -> Iterator[Cause]:
    conversion = spec.get("conversion") or {}
    strategy = conversion.get("strategy") or ""
    if not strategy:
        yield shaping.required("spec.conversion.strategy")
    elif strategy == "Webhook":
        text = "conversion by webhook is not offered; use None, with schemas that differ only in optional fields"
        yield shaping.forbidden("spec.conversion.strategy", text)
    elif strategy != "None":
        yield shaping.unsupported("spec.conversion.strategy", strategy, ["None", "Webhook"])
    elif conversion.get("webhook") is not None:
        yield shaping.forbidden("spec.conversion.webhookClientConfig", "should not be set when strategy is not set to Webhook")


def _check_schema(version: Mapping[str, Any], path: str) -> list[Cause]:
    schema = (version.get("schema") or {}).get("openAPIV3Schema")
    if schema is None:
        return []
    path = f"{path}.openAPIV3Schema"
    if causes := schematypes.check(schema, path):
        return causes
    has_status = (version.get("subresources") or {}).get("status") is not None
    if causes := schemachecks.check(schema, path, has_status=has_status):
        return causes
    return list(defaultchecks.check(schema, path)) or rulechecks.check(schema, path)


def _check_subresources(value: Any, path: str) -> Iterator[Cause]:
    scale = value.get("scale") if isinstance(value, Mapping) else None
    if not isinstance(scale, Mapping):
        return
    for key, roots in (
        ("specReplicasPath", (".spec.",)),
        ("statusReplicasPath", (".status.",)),
        ("labelSelectorPath", (".spec.", ".status.")),
    ):
        field, given = f"{path}.scale.{key}", scale.get(key)
        if not given:
            if key != "labelSelectorPath":
                yield shaping.required(field)
        elif not isinstance(given, str) or given[0] != ".":
            yield shaped(field, given, "must be a simple json path starting with .")
        elif not given.startswith(roots):
            where = "under either .spec or .status" if len(roots) > 1 else f"under {roots[0].rstrip('.')}"
            yield shaped(field, given, f"should be a json path {where}")


def _check_column(column: Any, path: str) -> Iterator[Cause]:
    if not column.get("name"):
        yield shaping.required(f"{path}.name")
    kinds = ",".join(_COLUMN_TYPES)
    if not column.get("type"):
        yield shaping.required(f"{path}.type", f"must be one of {kinds}")
    elif column["type"] not in _COLUMN_TYPES:
        yield shaped(f"{path}.type", column["type"], f"must be one of {kinds}")
    if column.get("format") and column["format"] not in _COLUMN_FORMATS:
        yield shaped(f"{path}.format", column["format"], f"must be one of {','.join(_COLUMN_FORMATS)}")
    given = column.get("jsonPath")
    if not given:
        yield shaping.required(f"{path}.JSONPath")
    elif not isinstance(given, str) or given[0] != ".":
        yield shaped(f"{path}.JSONPath", given, "must be a simple json path starting with .")


def _check_selectable(fields: Sequence[Any], schema: Mapping[str, Any], path: str) -> Iterator[Cause]:
    seen = set()
    for index, item in enumerate(fields):
        field, given = f"{path}[{index}].jsonPath", item.get("jsonPath")
        if not given:
            yield shaping.required(field)
            continue
        try:
            names, found = fieldpaths.resolve(given, schema, brackets=False)
        except fieldpaths.PathError as error:
            yield shaped(field, given, f"is an invalid path: {error}")
            continue
        if names[:1] == ("metadata",):
            yield shaped(field, given, "must not point to fields in metadata")
        if found.get("type") not in {"string", "boolean", "integer"}:
            text = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed."
            yield shaped(field, given, text)
        if names in seen:
            yield shaping.duplicate(field, given)
        seen.add(names)
    if len(seen) > MAX_SELECTABLE_FIELDS:
        message = f"Too many: {len(seen)}: must have at most {MAX_SELECTABLE_FIELDS} items"
        yield Cause("FieldValueTooMany", message, path)


def _check_update(new: Mapping[str, Any], old: Mapping[str, Any]) -> Iterator[Cause]:
    spec, before = new["spec"], old["spec"]
    conditions = (old.get("status") or {}).get("conditions") or ()
    established = any(condition.get("type") == "Established" and condition.get("status") == "True" for condition in conditions)
    if established:
        if spec.get("scope") != before.get("scope"):
            yield shaped("spec.scope", spec.get("scope"), "field is immutable")
        if spec["names"].get("kind") != before["names"].get("kind"):
            yield shaped("spec.names.kind", spec["names"].get("kind"), "field is immutable")
    if spec.get("group") != before.get("group"):
        yield shaped("spec.group", spec.get("group"), "field is immutable")
    if spec["names"].get("plural") != before["names"].get("plural"):
        yield shaped("spec.names.plural", spec["names"].get("plural"), "field is immutable")
    yield from _check_stored_versions(new, old)


def _check_stored_versions(new: Mapping[str, Any], old: Mapping[str, Any]) -> Iterator[Cause]:
    stored = (new.get("status") or old.get("status") or {}).get("storedVersions") or []
    if not stored:
        yield shaped("status.storedVersions", stored, "must have at least one stored version")
        return
    present = {version["name"] for version in new["spec"]["versions"]}
    for index, name in enumerate(stored):
        if name not in present:
            text = (
                f"missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a storage "
                f"migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"
            )
            yield shaped(f"status.storedVersions[{index}]", name, text)
