"""The writes of objects, from a routed request to the registry: create, replace, the four kinds of patch, scale, binding, reviews."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import orjson

from controller.apiserver import bodies, gometadata, patching, subresources
from controller.apiserver.aside import aside
from controller.apiserver.compiled import merge_of
from controller.apiserver.definitions import KIND as DEFINITION
from controller.apiserver.encoding import media_type
from controller.apiserver.registry import Object, Registry
from controller.apiserver.request import ApiRequest, ApiResponse, RequestInfo, User
from controller.apiserver.resources import Resource
from controller.apiserver.writing import WriteOptions, parse_options
from lattice.api import errors, mergepatch

_CUSTOM_PATCHES: Final = (patching.JSON_PATCH, patching.MERGE_PATCH, patching.APPLY_PATCH)
_PATCHES: Final = (patching.JSON_PATCH, patching.MERGE_PATCH, patching.STRATEGIC_PATCH, patching.APPLY_PATCH)
MAX_WARNINGS: Final = 100
"""Warning headers of one answer."""
Establish = Callable[[str], Awaitable[None]]
Review = Callable[[Resource, str, User, Any, WriteOptions], Awaitable[Object]]
_SUCCESS: Final = orjson.dumps({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201})


class WriteHandlers:
    """Answers requests that write an object.

    Args:
        registry: where they go.
        establish: called with the name of a new definition before its creation is answered.
        review: answers the creation of a virtual object.
    """

    def __init__(self, registry: Registry, establish: Establish, review: Review) -> None:
        self._registry = registry
        self._establish = establish
        self._review = review

    async def create(self, request: ApiRequest, info: RequestInfo, resource: Resource, user: User) -> ApiResponse:
        """Answer POST on a collection."""
        options = parse_options(request, user, "CreateOptions")
        body = await aside(options.size_bytes, lambda: _body(request, resource, options))
        if resource.virtual:
            return ApiResponse(201, orjson.dumps(await self._review(resource, info.namespace, user, body, options)))
        created = await self._registry.create(resource, info.namespace, body, options)
        if resource.native == DEFINITION and not options.dry_run:
            await self._establish(orjson.loads(created)["metadata"]["name"])
        return _written(201, created, options)

    async def write(self, request: ApiRequest, info: RequestInfo, resource: Resource, user: User) -> ApiResponse:
        """Answer PUT and PATCH on an object, or on the part of it that the path names."""
        patched = info.verb == "patch"
        options = parse_options(request, user, "PatchOptions" if patched else "UpdateOptions")
        namespace = _namespace(info, resource)
        if patched and _kind_of_patch(request, resource) == patching.APPLY_PATCH:
            body = await aside(options.size_bytes, lambda: _applied(request, options))
            created, written = await self._registry.apply(resource, namespace, info.name, body, options, subresource=info.subresource)
            if created and resource.native == DEFINITION and not options.dry_run:
                await self._establish(info.name)
            return _written(201 if created else 200, written, options)
        change = await aside(
            options.size_bytes,
            lambda: _patch_of(request, resource, options) if patched else _replacement(_body(request, resource, options)),
        )
        written = await self._registry.update(
            resource, namespace, info.name, change, options, subresource=info.subresource, patched=patched
        )
        return _written(200, written, options)

    async def bind(self, request: ApiRequest, info: RequestInfo, resource: Resource, user: User) -> ApiResponse:
        """Answer POST of a Binding."""
        options = parse_options(request, user, "CreateOptions")
        node, uid = subresources.parse_binding(bodies.parse(request.body, _content_type(request), what="Binding").value, name=info.name)
        now = self._registry.clock.now()
        await self._registry.update(
            resource,
            info.namespace,
            info.name,
            lambda pod: subresources.bind(pod, node, uid, now=now),
            options,
            subresource="binding",
            patched=True,
        )
        return ApiResponse(201, _SUCCESS)

    async def scale(self, info: RequestInfo, resource: Resource) -> ApiResponse:
        """Answer GET of a Scale."""
        obj = orjson.loads(await self._registry.get(resource, _namespace(info, resource), info.name))
        return ApiResponse(200, orjson.dumps(subresources.scale_of(resource, obj)))

    async def write_scale(self, request: ApiRequest, info: RequestInfo, resource: Resource, user: User) -> ApiResponse:
        """Answer PUT and PATCH of a Scale."""
        patched = info.verb == "patch"
        options = parse_options(request, user, "PatchOptions" if patched else "UpdateOptions")
        namespace = _namespace(info, resource)
        if patched and _kind_of_patch(request, resource) == patching.APPLY_PATCH:
            scale = _applied(request, options)
            part = subresources.applied_scale(resource, info.name, scale)
            _, body = await self._registry.apply(resource, namespace, info.name, part, options, subresource="scale")
        else:
            if patched:
                change = _patch_of(request, resource, options)
            else:
                change = _replacement(bodies.parse(request.body, _content_type(request), what="Scale").value)
            body = await self._registry.update(
                resource,
                namespace,
                info.name,
                lambda obj: subresources.apply_scale(resource, obj, change(subresources.scale_of(resource, obj))),
                options,
                subresource="scale",
                patched=patched,
            )
        return _written(200, orjson.dumps(subresources.scale_of(resource, orjson.loads(body))), options)


def _namespace(info: RequestInfo, resource: Resource) -> str:
    return info.namespace if resource.namespaced else ""


def _content_type(request: ApiRequest) -> str:
    return request.headers.get("content-type", "")


def _body(request: ApiRequest, resource: Resource, options: WriteOptions) -> Any:
    """Return the object in a body; fields that it names twice are noted in ``options``.

    Raises:
        errors.UnsupportedMediaTypeError, errors.BadRequestError: it cannot be read, or a custom resource does not say what it is.
    """
    strict = options.field_validation != "Ignore"
    body = bodies.parse(request.body, _content_type(request), what=resource.kind, strict=strict, typed=not resource.custom)
    options.duplicates = tuple(body.duplicates)
    value = body.value or {}
    if resource.custom and not value.get("kind"):
        raise bodies.missing_kind(resource.kind, request.body)
    if resource.custom and not value.get("apiVersion"):
        message = f"the API version in the data () does not match the expected API version ({resource.group_version})"
        raise errors.BadRequestError(message)
    if resource.custom and (problem := gometadata.problem_of(value.get("metadata"))):
        version = value["apiVersion"].rpartition("/")[2]
        raise errors.BadRequestError(f'{value["kind"]} in version "{version}" cannot be handled as a {resource.kind}: {problem}')
    return value


def _applied(request: ApiRequest, options: WriteOptions) -> Any:
    """Return what a server-side apply applies.

    Raises:
        errors.BadRequestError: it cannot be read, or names a field twice under ``fieldValidation=Strict``.
    """
    body = bodies.parse_apply(request.body, strict=options.field_validation != "Ignore")
    if body.duplicates and options.field_validation == "Strict":
        raise errors.BadRequestError(f"error strict decoding YAML: {body.duplicates[0]}")
    options.duplicates = tuple(body.duplicates)
    return body.value


def _replacement(body: Any) -> Callable[[Object], Object]:
    """Return a change that ignores the present object. Each call gets its own copy, for a write may be tried again."""
    text = orjson.dumps(body)
    return lambda _obj: orjson.loads(text)


def _kind_of_patch(request: ApiRequest, resource: Resource) -> str:
    """Return the kind of patch that a request sends.

    Raises:
        errors.UnsupportedMediaTypeError: it is not served for this resource.
    """
    kind = media_type(_content_type(request))
    accepted = _CUSTOM_PATCHES if resource.custom else _PATCHES
    if kind not in accepted:
        raise errors.UnsupportedMediaTypeError(
            f"the body of the request was in an unknown format - accepted media types include: {', '.join(accepted)}"
        )
    return kind


def _patch_of(request: ApiRequest, resource: Resource, options: WriteOptions) -> Callable[[Object], Object]:
    """Return the change that a PATCH asks for.

    Raises:
        errors.UnsupportedMediaTypeError: the kind of patch is not served here.
        errors.BadRequestError: the patch does not parse.
    """
    kind = _kind_of_patch(request, resource)
    body = bodies.parse_patch(request.body, array=kind == patching.JSON_PATCH, strict=options.field_validation != "Ignore")
    options.duplicates, patch = tuple(body.duplicates), body.value
    if kind == patching.JSON_PATCH:
        return lambda obj: patching.json_patch(obj, patch)
    if kind == patching.MERGE_PATCH:
        return lambda obj: _copied(mergepatch.apply(obj, patch))
    merge = merge_of(resource)
    return lambda obj: _copied(merge.patch(obj, patch))


def _copied(obj: Any) -> Object:
    """Return a copy that shares nothing with the patch, which may be applied again."""
    copied: Object = orjson.loads(orjson.dumps(obj))
    return copied


def _written(status: int, body: bytes, options: WriteOptions) -> ApiResponse:
    return ApiResponse(status, body, warnings=options.warnings[:MAX_WARNINGS])
