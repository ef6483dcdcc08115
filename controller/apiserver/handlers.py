"""From a routed request to the registry: one method a verb. Knows HTTP's query and headers, no kind by name but in subresources."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from controller.apiserver import patching, selection, subresources
from controller.apiserver.deletion import Deleter, parse_delete_options
from controller.apiserver.desired import DesiredView
from controller.apiserver.encoding import media_type, parse_body
from controller.apiserver.reading import Reader, list_body, parse_revision
from controller.apiserver.registry import Object, Registry
from controller.apiserver.request import ApiRequest, ApiResponse, ApiStream, RequestInfo, User, path_not_found
from controller.apiserver.resources import Resource
from controller.apiserver.tables import TableMaker, wants_table
from controller.apiserver.watching import WatchStarter
from controller.apiserver.writing import WriteOptions, parse_options
from lattice.api import errors, names

_PATCH_TYPES = (patching.JSON_PATCH, patching.MERGE_PATCH, patching.STRATEGIC_PATCH)


class ObjectHandlers:
    """Answers requests about objects."""

    def __init__(self, registry: Registry, deleter: Deleter, reader: Reader, watches: WatchStarter, desired: DesiredView) -> None:
        self._registry = registry
        self._deleter = deleter
        self._reader = reader
        self._watches = watches
        self._desired = desired

    async def handle(self, request: ApiRequest, info: RequestInfo, resource: Resource, user: User) -> ApiResponse | ApiStream:
        """Answer one request about ``resource``."""
        if info.subresource:
            return await self._subresource(request, info, resource, user)
        if resource.namespaced and not info.namespace and (info.name or info.verb == "create"):
            return path_not_found()
        if not resource.namespaced and info.namespace and resource.plural != "namespaces":
            return path_not_found()
        if info.verb in {"update", "patch"} and not info.name:
            raise errors.BadRequestError("name must be provided")
        if info.verb not in resource.verbs or (info.verb == "create" and info.name):
            raise _not_supported(info.verb, resource)
        match info.verb:
            case "get":
                version = request.query.get("resourceVersion", "")
                revision = parse_revision(version) if version else None
                table = self._table(request, resource)
                raw = await self._registry.get(resource, _namespace(info, resource), info.name, revision=revision)
                return ApiResponse(200, raw if table is None else table.render([raw], {}))
            case "list":
                return await self._list(request, info, resource)
            case "watch":
                chosen = selection.parse_selection(resource, _namespace(info, resource), request.query, name=info.name)
                table = self._table(request, resource)
                stream = await self._watches.open(resource, chosen, request.query)
                if table is not None:
                    stream.batches = table.convert(stream.batches)
                return stream
            case "create":
                options = parse_options(request, user, "CreateOptions")
                body = _body(request, resource)
                return _written(201, await self._registry.create(resource, info.namespace, body, options), options)
            case "update" | "patch":
                return await self._write(request, info, resource, user)
            case "delete":
                options_ = parse_delete_options(request, user)
                return ApiResponse(200, await self._deleter.delete(resource, _namespace(info, resource), info.name, options_))
            case _:
                return await self._delete_collection(request, info, resource, user)

    async def _list(self, request: ApiRequest, info: RequestInfo, resource: Resource) -> ApiResponse:
        chosen = selection.parse_selection(resource, _namespace(info, resource), request.query)
        table = self._table(request, resource)
        entries, metadata = await self._reader.list(resource, chosen, request.query)
        if table is not None:
            return ApiResponse(200, table.render((entry.raw for entry in entries), metadata))
        return ApiResponse(200, list_body(resource, entries, metadata))

    def _table(self, request: ApiRequest, resource: Resource) -> TableMaker | None:
        """Return what makes the answer a Table, where the request asks for one."""
        if not wants_table(request.headers.get("accept", "")):
            return None
        return TableMaker(resource, request.query.get("includeObject", ""), self._registry.clock.now())

    async def _write(self, request: ApiRequest, info: RequestInfo, resource: Resource, user: User) -> ApiResponse:
        patched = info.verb == "patch"
        options = parse_options(request, user, "PatchOptions" if patched else "UpdateOptions")
        change = _patch_of(request, resource) if patched else _replacement(_body(request, resource))
        namespace = _namespace(info, resource)
        body = await self._registry.update(resource, namespace, info.name, change, options, subresource=info.subresource, patched=patched)
        return _written(200, body, options)

    async def _delete_collection(self, request: ApiRequest, info: RequestInfo, resource: Resource, user: User) -> ApiResponse:
        options = parse_delete_options(request, user)
        chosen = selection.parse_selection(resource, _namespace(info, resource), request.query)
        entries, metadata = await self._reader.list(resource, chosen, {})
        for entry in entries:
            try:
                await self._deleter.delete(resource, entry.namespace, entry.name, options)
            except errors.NotFoundError:
                continue
        return ApiResponse(200, list_body(resource, entries, metadata))

    async def _subresource(self, request: ApiRequest, info: RequestInfo, resource: Resource, user: User) -> ApiResponse | ApiStream:
        sub = resource.subresources.get(info.subresource)
        if sub is None or (resource.namespaced and not info.namespace):
            raise self._registry.not_found(resource, info.name) if info.name else errors.BadRequestError("name must be provided")
        if info.verb not in sub.verbs:
            raise _not_supported(info.verb, resource)
        match info.subresource:
            case "desired":
                return await self._desired.answer(info.name, watch=request.flag("watch"), query=request.query)
            case "binding":
                return await self._bind(request, info, resource, user)
            case "scale":
                return await self._scale(request, info, resource, user)
            case _ if info.verb == "get":
                return ApiResponse(200, await self._registry.get(resource, _namespace(info, resource), info.name))
            case _:
                return await self._write(request, info, resource, user)

    async def _bind(self, request: ApiRequest, info: RequestInfo, resource: Resource, user: User) -> ApiResponse:
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
        return ApiResponse(201, orjson.dumps({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}))

    async def _scale(self, request: ApiRequest, info: RequestInfo, resource: Resource, user: User) -> ApiResponse:
        if info.verb == "get":
            obj = orjson.loads(await self._registry.get(resource, info.namespace, info.name))
            return ApiResponse(200, orjson.dumps(subresources.scale_of(obj)))
        patched = info.verb == "patch"
        options = parse_options(request, user, "PatchOptions" if patched else "UpdateOptions")
        whole = None if patched else parse_body(request.body, _content_type(request), what="Scale")
        patch = _patch_of(request, None) if patched else _replacement(whole)
        body = await self._registry.update(
            resource,
            info.namespace,
            info.name,
            lambda obj: subresources.apply_scale(resource, obj, patch(subresources.scale_of(obj))),
            options,
            subresource="scale",
            patched=patched,
        )
        return _written(200, orjson.dumps(subresources.scale_of(orjson.loads(body))), options)


def _namespace(info: RequestInfo, resource: Resource) -> str:
    return info.namespace if resource.namespaced else ""


def _content_type(request: ApiRequest) -> str:
    return request.headers.get("content-type", "")


def _body(request: ApiRequest, resource: Resource) -> Any:
    return parse_body(request.body, _content_type(request), what=resource.kind)


def _replacement(body: Any) -> Any:
    """Return a change that ignores the present object. Each call gets its own copy, for a write may be tried again."""
    text = orjson.dumps(body)
    return lambda _obj: orjson.loads(text)


def _patch_of(request: ApiRequest, resource: Resource | None) -> Any:
    """Return the change that a PATCH asks for.

    Raises:
        errors.UnsupportedMediaTypeError: the kind of patch is not served here.
        errors.BadRequestError: the patch does not parse.
    """
    kind = media_type(_content_type(request))
    custom = resource is None or resource.group == names.GROUP
    accepted = _PATCH_TYPES[:2] if custom else _PATCH_TYPES
    if kind not in accepted:
        raise errors.UnsupportedMediaTypeError(
            f"the body of the request was in an unknown format - accepted media types include: {', '.join(accepted)}"
        )
    try:
        patch = orjson.loads(request.body)
    except orjson.JSONDecodeError as error:
        raise errors.BadRequestError(f"error decoding patch: {error}") from error
    if kind == patching.JSON_PATCH:
        return lambda obj: patching.json_patch(obj, patch)
    if not isinstance(patch, Mapping):
        raise errors.BadRequestError("error decoding patch: json: cannot unmarshal the body into a map")
    if kind == patching.MERGE_PATCH:
        return lambda obj: _copied(patching.merge_patch(obj, patch))
    return lambda obj: _copied(patching.strategic_patch(obj, patch))


def _copied(obj: Any) -> Object:
    """Return a copy that shares nothing with the patch, which may be applied again."""
    copied: Object = orjson.loads(orjson.dumps(obj))
    return copied


def _written(status: int, body: bytes, options: WriteOptions) -> ApiResponse:
    response = ApiResponse(status, body)
    if options.warnings:
        response.headers["Warning"] = ", ".join(f'299 - "{_quoted(text)}"' for text in options.warnings[:100])
    return response


def _quoted(text: str) -> str:
    printable = "".join(character if character.isprintable() and character.isascii() else "?" for character in text)
    return printable.replace("\\", "\\\\").replace('"', '\\"')


def _not_supported(verb: str, resource: Resource) -> errors.MethodNotAllowedError:
    message = f'{verb} is not supported on resources of kind "{resource.qualified}"'
    return errors.MethodNotAllowedError(message, details=resource.details())
