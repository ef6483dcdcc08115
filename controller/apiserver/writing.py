"""From a request body to an object that may be stored: the checks and defaults that every write passes, in one order.

``match_request`` (does the body belong to this path) ▸ ``shape`` (null, unknown and default fields) ▸ what the server sets ▸
``validate`` (schema, metadata, the kind's own rules) ▸ ``own`` (managedFields). Pure but for the injected clock and randomness.
``registry.py`` calls these around the compare-and-swap.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from controller.apiserver import metadata, patching, shaping, strategy, subresources
from controller.apiserver.compiled import manager_of, structural_of
from controller.apiserver.encoding import media_type
from controller.apiserver.pods import updates
from controller.apiserver.request import TRUE, ApiRequest, User
from controller.apiserver.resources import Resource
from lattice.api import errors, names
from lattice.api.errors import Cause
from lattice.api.times import TimeFields

_FIELD_VALIDATION: Final = ("Ignore", "Warn", "Strict")
_KEEPS_STATUS: Final = frozenset({"Node"})
"""Kinds whose creator may send a status with the object: an agent registers its Node in one request."""
_WITH_STATUS: Final = (names.ANNOTATION_HOST_PORTS, names.ANNOTATION_STATUS_RECORD)
"""Annotations of a Pod that may be written with its status."""
MAX_WARNING_CHARACTERS: Final = 256
MAX_MANAGER_CHARACTERS: Final = 128


@dataclass(slots=True)
class WriteOptions:
    """What a write was asked with. ``warnings`` collects what the answer's Warning headers say."""

    user: User
    dry_run: bool = False
    field_validation: str = "Warn"
    manager: str = "unknown"
    """Who is recorded in managedFields."""
    force: bool = False
    """Server-side apply: take fields over from their owners."""
    duplicates: tuple[str, ...] = ()
    """A sentence for each field that the body names twice."""
    size_bytes: int = 0
    """Of the request's body."""
    warnings: list[str] = field(default_factory=list)


def parse_options(request: ApiRequest, user: User, kind: str) -> WriteOptions:
    """Read the options of a write from its query.

    Raises:
        errors.InvalidError: one of them has a value that does not exist.
    """
    causes = []
    dry_run = request.query.get("dryRun", "")
    if dry_run not in {"", "All"}:
        causes.append(shaping.unsupported("dryRun", [dry_run], ["All"]))
    checked = request.query.get("fieldValidation", "") or "Warn"
    if checked not in _FIELD_VALIDATION:
        causes.append(shaping.unsupported("fieldValidation", checked, ["", *_FIELD_VALIDATION]))
    manager = request.query.get("fieldManager", "")
    if len(manager) > MAX_MANAGER_CHARACTERS:
        causes.append(Cause("FieldValueTooLong", f"Too long: may not be more than {MAX_MANAGER_CHARACTERS} bytes", "fieldManager"))
    elif not manager.isprintable():
        causes.append(shaping.invalid("fieldManager", manager, "should only contain printable characters"))
    applied = media_type(request.headers.get("content-type", "")) == patching.APPLY_PATCH and kind == "PatchOptions"
    if applied and not manager:
        causes.append(shaping.required("fieldManager", "is required for apply patch"))
    force = request.query.get("force", "")
    if force and not applied and kind == "PatchOptions":
        causes.append(shaping.forbidden("force", "may not be specified for non-apply patch"))
    if causes:
        raise errors.InvalidError.of(kind=kind, group="meta.k8s.io", name="", causes=causes)
    return WriteOptions(user, dry_run == "All", checked, manager or agent_name(request), force in TRUE, size_bytes=len(request.body))


def agent_name(request: ApiRequest) -> str:
    """Return the manager of a write that names none: the client's program, from its User-Agent."""
    return request.headers.get("user-agent", "").partition("/")[0][:MAX_MANAGER_CHARACTERS] or "unknown"


class Writer:
    """The pipeline for one resource."""

    def __init__(self, resource: Resource) -> None:
        self.resource = resource
        self.strategy = strategy.strategy_of(resource)
        self._structural = structural_of(resource)
        self._times = TimeFields(resource.schema)
        self._manager = manager_of(resource)

    def match_request(self, obj: Any, *, namespace: str, name: str = "", named: bool = False) -> dict[str, Any]:
        """Return the body as an object of this resource, with the kind and namespace of the path filled in.

        ``named``: it has to say its name, though the path does.

        Raises:
            errors.BadRequestError, errors.InvalidError: it belongs elsewhere.
        """
        resource = self.resource
        if not isinstance(obj, dict):
            raise errors.BadRequestError(
                f"the object provided is unrecognized (must be of type {resource.kind}): the body is not a JSON object"
            )
        kind, version = obj.get("kind"), obj.get("apiVersion")
        if resource.custom and not kind:
            message = (
                f"the object provided is unrecognized (must be of type {resource.kind}): Object 'Kind' is missing in {shaping.shown(obj)}"
            )
            raise errors.BadRequestError(message)
        data = obj.get("metadata")
        found = data.get("name", "") if isinstance(data, dict) else ""
        found = found if isinstance(found, str) else ""
        if kind and kind != resource.kind:
            cause = shaping.invalid("kind", kind, f"must be {resource.kind}")
            raise errors.InvalidError.of(kind=str(kind), group=resource.group, name=found, causes=[cause])
        if version and version != resource.group_version:
            message = f"the API version in the data ({version}) does not match the expected API version ({resource.group_version})"
            raise errors.BadRequestError(message)
        if data is None:
            data = {}
        if not isinstance(data, dict):
            raise self.invalid("", [Cause("FieldValueTypeInvalid", "Invalid value: metadata must be of type object", "metadata")])
        if resource.namespaced:
            if data.get("namespace") not in {None, "", namespace} if isinstance(data.get("namespace"), (str, type(None))) else True:
                raise errors.BadRequestError("the namespace of the provided object does not match the namespace sent on the request")
            data["namespace"] = namespace
        else:
            data.pop("namespace", None)
        if name:
            if found and found != name:
                raise errors.BadRequestError(f"the name of the object ({found}) does not match the name on the URL ({name})")
            if named and not found:
                raise errors.BadRequestError(f"the name of the object ({name} based on URL) was undeterminable: name must be provided")
            data["name"] = name
        return {**obj, "apiVersion": resource.group_version, "kind": resource.kind, "metadata": data}

    def shape(self, obj: dict[str, Any], options: WriteOptions, *, patched: bytes = b"") -> None:
        """Apply defaults, drop nulls and unknown fields, bring times into one form, in place; warn of or refuse the unknown.

        ``patched``: the object before that, where it is the result of a patch.

        Raises:
            errors.BadRequestError, errors.InvalidError: unknown fields under ``fieldValidation=Strict``.
        """
        self.strategy.default(obj)
        unknown = [*self._structural.normalise(obj), *self.strategy.prune(obj)]
        self._times.normalise(obj)
        metadata.drop_empty(obj["metadata"])
        if not (unknown or options.duplicates) or options.field_validation == "Ignore":
            return
        texts = [*options.duplicates, *(f'unknown field "{path}"' for path in unknown)]
        if options.field_validation == "Warn":
            options.warnings += [text[:MAX_WARNING_CHARACTERS] for text in texts]
            return
        found = f"strict decoding error: {', '.join(texts)}"
        kind = self.resource.kind
        if patched:
            raise self.not_patched(patched, found)
        raise errors.BadRequestError(f'{kind} in version "{self.resource.version}" cannot be handled as a {kind}: {found}')

    def prepare_create(self, obj: dict[str, Any], *, now: datetime, rng: random.Random) -> None:
        """Set what the server sets on a new object."""
        metadata.fill_new(obj["metadata"], now=now, rng=rng)
        if self.resource.counts_generations:
            obj["metadata"]["generation"] = 1
        if self.resource.has_status and self.resource.native not in _KEEPS_STATUS:
            obj.pop("status", None)
        self.strategy.prepare_create(obj)

    def own(self, new: dict[str, Any], old: dict[str, Any] | None, options: WriteOptions, *, now: datetime, subresource: str = "") -> None:
        """Record in ``new``'s managedFields what this write changed."""
        fields = self._manager.update(old, new, manager=options.manager, now=now, subresource=subresource)
        if fields:
            new["metadata"]["managedFields"] = fields
        else:
            new["metadata"].pop("managedFields", None)

    def merge(
        self, old: dict[str, Any] | None, applied: dict[str, Any], options: WriteOptions, *, now: datetime, subresource: str = ""
    ) -> dict[str, Any]:
        """Return ``old`` with what a manager applies, and who owns what.

        Raises:
            errors.ConflictError: another manager owns a field that would change.
            errors.BadRequestError, errors.InvalidError: it cannot be applied.
        """
        return self._manager.apply(old, applied, manager=options.manager, force=options.force, now=now, subresource=subresource)

    def check_create(self, obj: dict[str, Any]) -> None:
        """Validate a new object.

        Raises:
            errors.InvalidError: with a cause for each wrong field.
        """
        self._refuse(obj, self._checks(obj) or self.strategy.check_create(obj))

    def finish_update(self, new: dict[str, Any], old: dict[str, Any], *, subresource: str, patched: bool = False) -> dict[str, Any]:
        """Return the object to store: ``new`` where this (sub)resource may write, else ``old``, validated.

        Raises:
            errors.ConflictError: the uid is another.
            errors.InvalidError: with a cause for each wrong field.
        """
        metadata.keep_system_fields(self.resource, new, old, patched=patched)
        if subresource == "status":
            new = self._status_only(new, old)
        elif subresource == "finalize":
            new = {**old, "spec": new.get("spec", {})}
        elif subresource == "ephemeralcontainers":
            new = updates.keep_but_ephemeral(new, old)
        elif self.resource.has_status and subresource != "binding":
            if "status" in old:
                new["status"] = old["status"]
            else:
                new.pop("status", None)
        causes = self._checks(new, old, subresource)
        if not causes and subresource not in {"status", "finalize"}:
            causes = metadata.check_update(new["metadata"], old["metadata"])
            if subresource == "ephemeralcontainers":
                causes += updates.check_ephemeral(new, old)
            elif not subresource:
                causes += self.strategy.check_update(new, old)
        self._refuse(new, causes)
        if self.resource.counts_generations and subresource != "status" and self._spec_changed(new, old):
            new["metadata"]["generation"] = int(old["metadata"].get("generation", 0)) + 1
        return new

    def warn(self, new: Mapping[str, Any], old: Mapping[str, Any] | None, options: WriteOptions) -> None:
        """Note in ``options`` what the client should be told of an object that is accepted."""
        if self.resource.custom and new["metadata"].get("finalizers"):
            options.warnings += metadata.warnings(new["metadata"], old["metadata"] if old else None)
        options.warnings += [text[:MAX_WARNING_CHARACTERS] for text in self.strategy.warnings(dict(new), dict(old) if old else None)]

    def _status_only(self, new: dict[str, Any], old: dict[str, Any]) -> dict[str, Any]:
        result = dict(old)
        if "status" in new:
            result["status"] = new["status"]
        else:
            result.pop("status", None)
        if (fields := new["metadata"].get("managedFields")) is not None:
            result["metadata"] = {**old["metadata"], "managedFields": fields}  # of an apply; ``own`` sees to those of other writes
        given = new["metadata"].get("annotations")
        if self.resource.native == "Pod" and isinstance(given, Mapping):  # not validated: the rest is not written
            # The metadata that goes with a Pod's status: the published ports that the agent observed, and the number of its record.
            told = {key: given[key] for key in _WITH_STATUS if given.get(key) is not None}
            if told:
                result["metadata"] = {**result["metadata"], "annotations": {**(old["metadata"].get("annotations") or {}), **told}}
        return result

    def _checks(self, obj: dict[str, Any], old: dict[str, Any] | None = None, subresource: str = "") -> list[Cause]:
        part = subresource if subresource == "status" and self.resource.custom else ""
        causes = self._structural.check(obj, old, subresource=part)
        causes += subresources.check_scale(self.resource, obj, subresource)
        if not causes:
            # The rules below rely on the types that the schema guarantees.
            causes = [_no_time(path, text) for path, text in self._times.wrong(obj)]
            causes += metadata.check(self.resource, obj["metadata"])
            if self.resource.native != "Pod" or subresource != "status":  # what an older release let pass may still report its end
                causes += self.strategy.check(obj)
            causes += metadata.check_common(obj["metadata"]) * 2 if old is not None and causes else []
        return causes

    def _refuse(self, obj: Mapping[str, Any], causes: list[Cause]) -> None:
        if causes:
            name = obj["metadata"].get("name", "")
            raise self.invalid(name if isinstance(name, str) else "", causes)

    def not_patched(self, patched: bytes, problem: str) -> errors.InvalidError:
        """Return the error for a patch whose result cannot be taken. It shows that result, of a Secret nothing."""
        text = "{}" if self.resource.native == "Secret" else patched.decode(errors="replace")
        return errors.InvalidError.of(kind="", group="", name="", causes=[shaping.patched(text, problem)])

    def of_another_version(self, patched: Mapping[str, Any], name: str) -> errors.InvalidError:
        """Return the error for a patch that changed ``apiVersion``: the object is then named after the group that it claims."""
        version = str(patched["apiVersion"])
        cause = shaping.invalid("apiVersion", version, f"must be {self.resource.group_version}")
        return errors.InvalidError.of(kind=str(patched["kind"]), group=version.rpartition("/")[0], name=name, causes=[cause])

    def invalid(self, name: str, causes: list[Cause]) -> errors.InvalidError:
        """Return the error for ``causes``."""
        return errors.InvalidError.of(kind=self.resource.kind, group=self.resource.group, name=name, causes=causes)

    def _spec_changed(self, new: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
        skipped = {"metadata", "status"} if self.resource.has_status else {"metadata"}
        return {key: value for key, value in new.items() if key not in skipped} != {
            key: value for key, value in old.items() if key not in skipped
        }


def _no_time(path: str, text: str) -> Cause:
    return shaping.invalid(path, text, f"{path} in body must be of type date-time: {shaping.shown(text)}")
