"""The operations of a document: what can be asked of each path of a resource, with the parameters and bodies. Pure.

Texts, operation ids, actions and parameters are those of kube-apiserver, since generators of clients name their functions by them.
Custom resources differ in two ways, there as here: they take no strategic merge patch, and they have no paths below ``/watch/``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from controller.apiserver import patching
from controller.apiserver.openapi import components
from controller.apiserver.openapi.components import Components
from controller.apiserver.resources import Resource, Subresource
from lattice.api import eviction, pod, schema

Operation = dict[str, Any]
Paths = dict[str, dict[str, Any]]

_MEDIA: Final = ("application/json", "application/yaml")
_WRITE: Final = ("dryRun", "fieldManager", "fieldValidation")
_APPLY: Final = ("dryRun", "fieldManager (patch)", "fieldValidation", "force")
_DELETE: Final = (
    "dryRun",
    "gracePeriodSeconds",
    "ignoreStoreReadErrorWithClusterBreakingPotential",
    "orphanDependents",
    "propagationPolicy",
)
_LIST: Final = (
    "allowWatchBookmarks",
    "continue",
    "fieldSelector",
    "labelSelector",
    "limit",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "shardSelector",
    "timeoutSeconds",
    "watch",
)
_STATUS_TEXTS: Final = {200: "OK", 201: "Created", 202: "Accepted"}
_DESCRIBED: Final = {("", "v1", "Binding"): pod.Binding, ("policy", "v1", "Eviction"): eviction.Eviction}
"""Bodies of subresources that have a type."""


def tag_of(group: str, version: str) -> str:
    """Return what all operations of a group and version are tagged with: ``core_v1``, ``exampleDev_v1``."""
    first, *rest = _words(group)
    return f"{first}{''.join(word.title() for word in rest)}_{version}"


def _words(group: str) -> list[str]:
    return (group.removesuffix(".k8s.io").replace("-", ".") or "core").split(".")


def family_of(group: str, version: str) -> str:
    """Return what stands in operation ids after the verb: ``CoreV1``, ``ExampleDevV1``; without a version the group alone."""
    return "".join(word[:1].upper() + word[1:] for word in [*_words(group), version])


def root_of(group: str, version: str) -> str:
    """Return the path below which a group's resources are."""
    return f"/apis/{group}/{version}" if group else f"/api/{version}"


def read_operation(tag: str, operation_id: str, description: str, answer: Mapping[str, Any]) -> Operation:
    """Return a plain read of something that is not an object."""
    return {"tags": [tag], "description": description, "operationId": operation_id, "responses": _responses((200,), answer)}


def paths_of(resource: Resource, collected: Components) -> Paths:
    """Return the path items of one resource, and collect the schemas they refer to."""
    return _Paths(resource, collected).build()


@dataclass(frozen=True, slots=True)
class _Paths:
    resource: Resource
    components: Components

    def build(self) -> Paths:
        resource = self.resource
        root = f"{root_of(resource.group, resource.version)}/"
        base = f"{root}{'namespaces/{namespace}/' if resource.namespaced else ''}{resource.plural}"
        where = ["namespace"] if resource.namespaced else []
        paths: Paths = {base: self._item(self._collection(), where)}
        if resource.namespaced and "list" in resource.verbs:
            paths[f"{root}{resource.plural}"] = self._everywhere()
        one = self._one()
        if one:
            paths[f"{base}/{{name}}"] = self._item(one, ["name", *where])
        for sub in resource.subresources.values():
            paths[f"{base}/{{name}}/{sub.name}"] = self._item(self._subresource(sub), ["name", *where])
        if not resource.custom and "watch" in resource.verbs:
            paths |= self._watches(root, base.removeprefix(root), where)
        return paths

    def _item(self, operations: Mapping[str, Operation], where: Sequence[str], more: Sequence[str] = ()) -> dict[str, Any]:
        kind = self.resource.kind
        name = {
            "name": "name",
            "in": "path",
            "description": f"name of the {kind}",
            "required": True,
            "schema": {"type": "string", "uniqueItems": True},
        }
        common = _parameters([*(part for part in where if part != "name"), *sorted({*more, "pretty"})])
        return {**operations, "parameters": [*([name] if "name" in where else []), *common]}

    def _everywhere(self) -> dict[str, Any]:
        operation = self._operation("list", "list", f"{self.resource.kind}ForAllNamespaces", self.components.list(self.resource))
        return self._item({"get": operation}, [], _LIST)

    def _collection(self) -> dict[str, Operation]:
        resource, found = self.resource, {}
        body = self.components.kind(resource)
        if "list" in resource.verbs:
            found["get"] = self._operation("list", "list", self._noun, self.components.list(resource), parameters=_LIST)
        if "create" in resource.verbs:
            codes = (200, 201, 202)
            found["post"] = self._operation("post", "create", self._noun, body, parameters=_WRITE, body=body, codes=codes)
        if "deletecollection" in resource.verbs:
            status, noun = self.components.ref(components.STATUS), f"Collection{self._noun}"
            options = None if resource.custom else self.components.ref(components.DELETE_OPTIONS)
            parameters = _LIST if resource.custom else sorted({*_LIST, *_DELETE} - {"watch", "allowWatchBookmarks"})
            found["delete"] = self._operation(
                "deletecollection", "delete", noun, status, parameters=parameters, body=options, body_required=False
            )
        return found

    def _one(self) -> dict[str, Operation]:
        resource, found = self.resource, {}
        answer = self.components.kind(resource)
        if "get" in resource.verbs:
            found["get"] = self._operation("get", "read", self._noun, answer, parameters=self._get_parameters)
        if "update" in resource.verbs:
            found["put"] = self._operation("put", "replace", self._noun, answer, parameters=_WRITE, body=answer, codes=(200, 201))
        if "delete" in resource.verbs:
            found["delete"] = self._operation(
                "delete",
                "delete",
                self._noun,
                self.components.ref(components.STATUS),
                parameters=_DELETE,
                body=self.components.ref(components.DELETE_OPTIONS),
                body_required=False,
                codes=(200, 202),
            )
        if "patch" in resource.verbs:
            found["patch"] = self._patch(self._noun, answer)
        return found

    def _subresource(self, sub: Subresource) -> dict[str, Operation]:
        if sub.kind:
            described = _DESCRIBED.get((sub.group, sub.version, sub.kind))
            body = self.components.other(sub.group, sub.version, sub.kind, described and schema.object_schema(described))
        else:
            body = self.components.kind(self.resource)
        noun, found = f"{self._noun}{sub.name[:1].upper()}{sub.name[1:]}", {}
        if "get" in sub.verbs:
            found["get"] = self._operation("get", "read", noun, body, sub=sub, parameters=self._get_parameters)
        if "create" in sub.verbs:
            found["post"] = self._operation("post", "create", noun, body, sub=sub, parameters=_WRITE, body=body, codes=(200, 201, 202))
        if "update" in sub.verbs:
            found["put"] = self._operation("put", "replace", noun, body, sub=sub, parameters=_WRITE, body=body, codes=(200, 201))
        if "patch" in sub.verbs:
            found["patch"] = self._patch(noun, body, sub=sub)
        return found

    def _watches(self, root: str, base: str, where: list[str]) -> Paths:
        """Return the old form of a watch, which only the built-in kinds have."""
        event, kind = self.components.ref(components.WATCH_EVENT), self.resource.kind
        plural = [(f"{root}watch/{base}", f"{self._noun}List", where)]
        if where:
            plural.append((f"{root}watch/{self.resource.plural}", f"{kind}ListForAllNamespaces", []))
        paths = {
            path: self._item({"get": self._operation("watchlist", "watch", noun, event)}, scope, _LIST) for path, noun, scope in plural
        }
        if "get" in self.resource.verbs:
            one = self._operation("watch", "watch", self._noun, event)
            paths[f"{root}watch/{base}/{{name}}"] = self._item({"get": one}, ["name", *where], _LIST)
        return paths

    def _patch(self, noun: str, answer: Mapping[str, Any], sub: Subresource | None = None) -> Operation:
        kinds = [patching.APPLY_PATCH, patching.JSON_PATCH, patching.MERGE_PATCH]
        if not self.resource.custom:
            kinds.append(patching.STRATEGIC_PATCH)
        operation = self._operation(
            "patch",
            "patch",
            noun,
            answer,
            sub=sub,
            parameters=_APPLY,
            body=self.components.ref(components.PATCH),
            codes=(200,) if self.resource.custom else (200, 201),
        )
        schema_ = {"schema": self.components.ref(components.PATCH)}
        operation["requestBody"]["content"] = dict.fromkeys(kinds, schema_)
        return operation

    def _operation(
        self,
        action: str,
        verb: str,
        noun: str,
        answer: Mapping[str, Any],
        *,
        sub: Subresource | None = None,
        parameters: Sequence[str] = (),
        body: Mapping[str, Any] | None = None,
        body_required: bool = True,
        codes: Sequence[int] = (200,),
    ) -> Operation:
        resource = self.resource
        operation: Operation = {
            "tags": [tag_of(resource.group, resource.version)],
            "description": self._description(action, verb, sub),
            "operationId": f"{verb}{family_of(resource.group, resource.version)}{noun}",
        }
        if parameters:
            operation["parameters"] = _parameters(parameters)
        if body is not None:
            operation["requestBody"] = {"content": _content(body), **({"required": True} if body_required else {})}
        group, version, kind = resource.group, resource.version, resource.kind
        if sub is not None and sub.kind and not resource.custom:
            group, version, kind = sub.group, sub.version, sub.kind
        return {
            **operation,
            "responses": _responses(codes, answer),
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": components.group_version_kind(group, version, kind),
        }

    @property
    def _noun(self) -> str:
        return f"{'Namespaced' if self.resource.namespaced else ''}{self.resource.kind}"

    @property
    def _get_parameters(self) -> tuple[str, ...]:
        return ("resourceVersion",) if self.resource.custom else ()

    def _description(self, action: str, verb: str, sub: Subresource | None) -> str:
        kind = self.resource.kind
        of = f" {sub.name} of" if sub is not None else ""
        article = "an" if kind[:1] in "AEIOUaeiou" else "a"
        match action:
            case "list":
                return f"list {'' if self.resource.custom else 'or watch '}objects of kind {kind}"
            case "watchlist":
                return f"watch individual changes to a list of {kind}. deprecated: use the 'watch' parameter with a list operation instead."
            case "watch":
                return (
                    f"watch changes to an object of kind {kind}. deprecated: use the 'watch' parameter with a list operation instead, "
                    "filtered to a single item with the 'fieldSelector' parameter."
                )
            case "deletecollection":
                return f"delete collection of {kind}"
            case "patch":
                return f"partially update{of} the specified {kind}"
            case "get" | "put":
                return f"{verb}{of} the specified {kind}"
            case _:
                return f"{verb}{of} {article} {kind}"


def _parameters(given: Sequence[str]) -> list[Mapping[str, Any]]:
    known = components.shared()["parameters"]
    return [known[name] for name in given]


def _content(body: Mapping[str, Any]) -> dict[str, Any]:
    return {media: {"schema": body} for media in _MEDIA}


def _responses(codes: Sequence[int], answer: Mapping[str, Any]) -> dict[str, Any]:
    good = {str(code): {"description": _STATUS_TEXTS[code], "content": _content(answer)} for code in codes}
    return {**good, "401": {"description": "Unauthorized"}}
