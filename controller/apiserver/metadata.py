"""``metadata`` of every object: what the server sets, what may not change, and the syntax of names, labels and references."""

from __future__ import annotations

import random
import uuid
from datetime import datetime
from typing import Any, Final

from controller.apiserver import shaping
from controller.apiserver.resources import Resource
from lattice.api import errors, names, validation
from lattice.api.errors import Cause

_SUFFIX_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"
_SUFFIX_LENGTH: Final = 5
_MAX_GENERATE_PREFIX: Final = 58
_PLAIN_FINALIZERS: Final = frozenset({names.FINALIZER_FOREGROUND, names.FINALIZER_ORPHAN, "kubernetes"})
_KEPT: Final = ("name", "namespace", "creationTimestamp")
_IMMUTABLE: Final = ("uid", "deletionTimestamp", "deletionGracePeriodSeconds")


def timestamp(now: datetime) -> str:
    """Return a time as Kubernetes stores it."""
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")


def new_uid(rng: random.Random) -> str:
    """Return a random UUID."""
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def drop_empty(metadata: dict[str, Any]) -> None:
    """Remove empty maps and lists, as Kubernetes stores none: ``annotations: {}`` and no annotations are the same object."""
    for key in ("labels", "annotations", "finalizers", "ownerReferences"):
        if key in metadata and metadata[key] in ({}, []):
            del metadata[key]


def fill_new(metadata: dict[str, Any], *, now: datetime, rng: random.Random) -> None:
    """Set what the server sets on a new object, over whatever the client sent."""
    for key in ("selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "resourceVersion", "generation"):
        metadata.pop(key, None)
    if not metadata.get("name") and metadata.get("generateName"):
        prefix = str(metadata["generateName"])[:_MAX_GENERATE_PREFIX]
        metadata["name"] = prefix + "".join(rng.choices(_SUFFIX_ALPHABET, k=_SUFFIX_LENGTH))
    metadata["uid"] = new_uid(rng)
    metadata["creationTimestamp"] = timestamp(now)


def keep_system_fields(resource: Resource, new: dict[str, Any], old: dict[str, Any], *, patched: bool) -> None:
    """Carry over what an update may leave out, and refuse a change of what the server owns.

    A uid is a precondition of a replacement; in a patch it is a change, which :func:`check_update` refuses.

    Raises:
        errors.ConflictError: the uid is of another life of this object.
    """
    metadata, previous = new["metadata"], old["metadata"]
    uid = metadata.get("uid")
    if uid and uid != previous["uid"] and not patched:
        message = (
            f'Operation cannot be fulfilled on {resource.qualified} "{previous["name"]}": StorageError: invalid object, Code: 4, '
            f"Key: /registry/{resource.root}/{'' if not previous.get('namespace') else previous['namespace'] + '/'}{previous['name']}, "
            f"ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {uid}, "
            f"UID in object meta: {previous['uid']}"
        )
        raise errors.ConflictError(message, details=resource.details(previous["name"]))
    for key in _KEPT:
        if key in previous:
            metadata[key] = previous[key]
        else:
            metadata.pop(key, None)
    for key in _IMMUTABLE:
        if key in previous and (not metadata.get(key) or key == "deletionTimestamp"):
            metadata[key] = previous[key]
        elif metadata.get(key) is None:
            metadata.pop(key, None)
    metadata.pop("selfLink", None)
    if metadata.get("managedFields") is None and "managedFields" in previous:
        metadata["managedFields"] = previous["managedFields"]
    if "generation" in previous:
        metadata["generation"] = previous["generation"]
    else:
        metadata.pop("generation", None)


def check(resource: Resource, metadata: dict[str, Any]) -> list[Cause]:
    """Return what is wrong with the syntax of ``metadata``, which has passed the schema."""
    causes: list[Cause] = []
    name, prefix = metadata.get("name", ""), metadata.get("generateName", "")
    check_name = validation.check_label if resource.plural == "namespaces" else validation.check_subdomain
    if prefix and (problem := check_name(f"{prefix[:-2]}a" if len(prefix) > 1 and prefix.endswith("-") else prefix)):
        causes.append(shaping.invalid("metadata.generateName", prefix, problem))
    if not name:
        causes.append(shaping.required("metadata.name", "name or generateName is required"))
    elif problem := check_name(name):
        causes.append(shaping.invalid("metadata.name", name, problem))
    causes += [
        shaping.invalid("metadata.finalizers", finalizer, problem)
        for finalizer in metadata.get("finalizers") or ()
        if finalizer not in _PLAIN_FINALIZERS and (problem := validation.check_qualified_name(finalizer))
    ]
    return causes + check_common(metadata)


def warnings(new: dict[str, Any], old: dict[str, Any] | None) -> list[str]:
    """Return what a client should be told of metadata that is accepted: finalizers that a write adds and that name no domain."""
    known = {*_PLAIN_FINALIZERS, *((old or {}).get("finalizers") or ())}
    added = sorted({name for name in new.get("finalizers") or () if "/" not in name} - known)
    advice = "prefer a domain-qualified finalizer name to avoid accidental conflicts with other finalizer writers"
    return [f"metadata.finalizers: {shaping.shown(name)}: {advice}" for name in added]


def check_common(metadata: dict[str, Any]) -> list[Cause]:
    """Return what is wrong with labels, annotations and owners, which Kubernetes looks at three times when it checks an update."""
    causes: list[Cause] = []
    for key, value in (metadata.get("labels") or {}).items():
        if problem := validation.check_qualified_name(key):
            causes.append(shaping.invalid("metadata.labels", key, problem))
        if problem := validation.check_label_value(value):
            causes.append(shaping.invalid("metadata.labels", value, problem))
    causes += _check_annotations(metadata.get("annotations") or {})
    return causes + _check_owners(metadata.get("ownerReferences") or ())


def _check_annotations(annotations: dict[str, str]) -> list[Cause]:
    causes = []
    size_bytes = 0
    for key, value in annotations.items():
        size_bytes += len(key.encode()) + len(value.encode())
        if problem := validation.check_qualified_name(key.lower()):
            causes.append(shaping.invalid("metadata.annotations", key, problem))
    if size_bytes > validation.MAX_ANNOTATIONS_BYTES:
        message = f"Too long: may not be more than {validation.MAX_ANNOTATIONS_BYTES} bytes"
        causes.append(Cause("FieldValueTooLong", message, "metadata.annotations"))
    return causes


def _check_owners(owners: Any) -> list[Cause]:
    causes = []
    controllers = 0
    for index, owner in enumerate(owners):
        where = f"metadata.ownerReferences[{index}]"
        causes += [
            shaping.required(f"{where}.{key}", "must not be empty") for key in ("apiVersion", "kind", "name", "uid") if not owner.get(key)
        ]
        controllers += bool(owner.get("controller"))
    if controllers > 1:
        message = "Only one reference can have Controller set to true"
        causes.append(shaping.invalid("metadata.ownerReferences", None, message))
    return causes


def check_update(new: dict[str, Any], old: dict[str, Any]) -> list[Cause]:
    """Return what is wrong with the change from ``old`` to ``new``; each cause twice.

    Kubernetes checks changes of metadata for all kinds and again for the kind, and clients see the causes of both.
    """
    causes = []
    known = frozenset(old.get("finalizers") or ())
    added = [name for name in new.get("finalizers") or () if name not in known] if old.get("deletionTimestamp") else []
    if added:
        listed = "{" + ", ".join(shaping.shown(name) for name in added) + "}"
        message = f"no new finalizers can be added if the object is being deleted, found new finalizers []string{listed}"
        causes.append(shaping.forbidden("metadata.finalizers", message))
    causes += [
        shaping.invalid(f"metadata.{key}", new[key], "field is immutable") for key in _IMMUTABLE if key in new and new[key] != old.get(key)
    ]
    return causes * 2
