"""The writes of objects, from a routed request to the registry: create, replace, the four kinds of patch, scale, binding, reviews."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import orjson

from controller.apiserver import patching, subresources
from controller.apiserver.compiled import merge_of
from controller.apiserver.definitions import KIND as DEFINITION
from controller.apiserver.encoding import media_type, parse_body, parse_yaml
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
        body = _body(request, resource)
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
            body = parse_yaml(request.body, what=resource.kind)
            created, written = await self._registry.apply(resource, namespace, info.name, body, options, subresource=info.subresource)
            if created and resource.native == DEFINITION and not options.dry_run:
                await self._establish(info.name)
            return _written(201 if created else 200, written, options)
        change = _patch_of(request, resource) if patched else _replacement(_body(request, resource))
        written = await self._registry.update(
            resource, namespace, info.name, change, options, subresource=info.subresource, patched=patched
        )
        return _written(200, written, options)

    async def bind(self, request: ApiRequest, info: RequestInfo, resource: Resource, user: User) -> ApiResponse:
        """Answer POST of a Binding."""
        options = parse_options(request, user, "CreateOptions")
        node, uid = subresources.parse_binding(parse_body(request.body, _content_type(request), what="Binding"), name=info.name)
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
            scale = parse_yaml(request.body, what="Scale")
            part = subresources.applied_scale(resource, info.name, scale)
            _, body = await self._registry.apply(resource, namespace, info.name, part, options, subresource="scale")
        else:
            change = (
                _patch_of(request, resource) if patched else _replacement(parse_body(request.body, _content_type(request), what="Scale"))
            )
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


def _body(request: ApiRequest, resource: Resource) -> Any:
    return parse_body(request.body, _content_type(request), what=resource.kind)


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


def _patch_of(request: ApiRequest, resource: Resource) -> Callable[[Object], Object]:
    """Return the change that a PATCH asks for.

    Raises:
        errors.UnsupportedMediaTypeError: the kind of patch is not served here.
        errors.BadRequestError: the patch does not parse.
    """
    kind = _kind_of_patch(request, resource)
    try:
        patch = orjson.loads(request.body)
    except orjson.JSONDecodeError as error:
        raise errors.BadRequestError(f"error decoding patch: {error}") from error
    if kind == patching.JSON_PATCH:
        return lambda obj: patching.json_patch(obj, patch)
    if not isinstance(patch, Mapping):
        raise errors.BadRequestError("error decoding patch: json: cannot unmarshal the body into a map")
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
