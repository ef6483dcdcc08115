"""From a routed request to the registry: which handler answers a verb, and the reads. Knows HTTP's query and headers, no kind by name."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import orjson

from controller.apiserver import nodesockets, protobuf, selection, views
from controller.apiserver.compiled import codec_of
from controller.apiserver.deletion import Deleter, parse_delete_options
from controller.apiserver.desired import DesiredView
from controller.apiserver.eviction import Evictor
from controller.apiserver.negotiation import PROTOBUF, finish, negotiate
from controller.apiserver.nodesockets import NodeSockets
from controller.apiserver.podfailures import PodFailures
from controller.apiserver.podstreams import handlers as podstreams
from controller.apiserver.podstreams.handlers import PodStreams
from controller.apiserver.reading import Page, Reader, list_response, parse_position
from controller.apiserver.registry import Registry
from controller.apiserver.request import JSON, Answer, ApiRequest, ApiResponse, ApiStream, RequestInfo, User, path_not_found
from controller.apiserver.resources import Resource
from controller.apiserver.usage import Usage
from controller.apiserver.views import View
from controller.apiserver.watching import WatchStarter
from controller.apiserver.writehandlers import WriteHandlers
from lattice.api import errors, metrics
from lattice.machinery.tasks import breathe

_SLICE: Final = 100
"""Objects that are converted, or deleted, before others get their turn."""


class ObjectHandlers:
    """Answers requests about objects."""

    def __init__(
        self,
        registry: Registry,
        writes: WriteHandlers,
        deleter: Deleter,
        reader: Reader,
        watches: WatchStarter,
        desired: DesiredView,
        sockets: NodeSockets,
        failures: PodFailures,
        usage: Usage,
        streams: PodStreams,
    ) -> None:
        self._registry = registry
        self._writes = writes
        self._deleter = deleter
        self._evictor = Evictor(registry, deleter)
        self._reader = reader
        self._watches = watches
        self._desired = desired
        self._sockets = sockets
        self._failures = failures
        self._usage = usage
        self._streams = streams

    async def handle(self, request: ApiRequest, info: RequestInfo, resource: Resource, user: User) -> Answer:
        """Answer one request about ``resource``, in the form that it accepts."""
        if resource.native == "Node" and info.subresource in {nodesockets.LINE, nodesockets.STREAMS} and info.verb == "get":
            return await self._sockets.answer(request, info.name, info.subresource)
        if resource.native == "Pod" and info.subresource in podstreams.SUBRESOURCES:
            if info.verb not in resource.subresources[info.subresource].verbs:
                raise _not_supported(info.verb, resource)
            return await self._streams.answer(request, info, resource)
        watched = info.verb == "watch"
        listed = info.verb in {"list", "deletecollection"}
        form = negotiate(request, stream=watched, listed=listed, protobuf=not resource.custom)
        now = self._registry.clock.now
        view = views.choose(form, resource, request.query, now, listed=listed, watched=watched, subresource=info.subresource)
        answer = await self._handle(request, info, resource, user, view)
        if isinstance(answer, ApiStream):
            return answer
        if view is not None and not listed and answer.content_type == JSON:
            answer.body = views.shown(view, resource, answer.body)
        if resource.deprecation:
            answer.warnings.append(resource.deprecation)
        if form.encoding == "protobuf" and answer.content_type == JSON and answer.size_bytes <= protobuf.MAX_JSON_BYTES:
            encoded = protobuf.encode(orjson.loads(answer.whole()))
            if encoded is not None:
                answer.body, answer.items, answer.content_type = encoded, None, PROTOBUF
        return answer if form.plain else finish(answer, form)

    async def _handle(
        self, request: ApiRequest, info: RequestInfo, resource: Resource, user: User, view: View | None
    ) -> ApiResponse | ApiStream:
        if info.subresource:
            return await self._subresource(request, info, resource, user)
        if resource.namespaced and not info.namespace and (info.name or info.verb not in {"list", "watch"}):
            return path_not_found()
        if not resource.namespaced and info.namespace and resource.plural != "namespaces":
            return path_not_found()
        if info.verb in {"update", "patch"} and not info.name:
            raise errors.BadRequestError("name must be provided")
        if info.verb not in resource.verbs or (info.verb == "create" and info.name and not resource.custom):
            raise _not_supported(info.verb, resource)
        if resource.group == metrics.GROUP:
            return await self._usage.answer(info, resource, request.query, view)
        match info.verb:
            case "get":
                version = request.query.get("resourceVersion", "")
                revision = parse_position(version) if version else None
                return ApiResponse(200, await self._registry.get(resource, _namespace(info, resource), info.name, revision=revision))
            case "list":
                return await self._list(request, info, resource, view)
            case "watch":
                return await self._watch(request, info, resource, view)
            case "create":
                return await self._writes.create(request, info, resource, user)
            case "update" | "patch":
                return await self._writes.write(request, info, resource, user)
            case "delete":
                options_ = parse_delete_options(request, user)
                return ApiResponse(200, await self._deleter.delete(resource, _namespace(info, resource), info.name, options_))
            case _:
                return await self._delete_collection(request, info, resource, user, view)

    async def _list(self, request: ApiRequest, info: RequestInfo, resource: Resource, view: View | None) -> ApiResponse:
        chosen = selection.parse_selection(resource, _namespace(info, resource), request.query)
        return await _listed(resource, await self._reader.list(resource, chosen, request.query), view)

    async def _watch(self, request: ApiRequest, info: RequestInfo, resource: Resource, view: View | None) -> ApiStream:
        chosen = selection.parse_selection(resource, _namespace(info, resource), request.query, name=info.name)
        stream = await self._watches.open(resource, chosen, request.query)
        if resource.converted:
            stream.batches = codec_of(resource).view_lines(stream.batches)
        if view is not None:
            stream.batches = views.convert(stream.batches, view)
        return stream

    async def _delete_collection(
        self, request: ApiRequest, info: RequestInfo, resource: Resource, user: User, view: View | None
    ) -> ApiResponse:
        options = parse_delete_options(request, user)
        chosen = selection.parse_selection(resource, _namespace(info, resource), request.query)
        page = await self._reader.list(resource, chosen, {})
        for place, entry in enumerate(page.entries):
            if place and not place % _SLICE:
                await breathe()  # a dry run, and an object that is going already, wait for nothing
            try:
                await self._deleter.delete(resource, entry.namespace, entry.name, options)
            except errors.NotFoundError:
                continue
        return await _listed(resource, page, view)

    async def _subresource(self, request: ApiRequest, info: RequestInfo, resource: Resource, user: User) -> ApiResponse | ApiStream:
        sub = resource.subresources.get(info.subresource)
        if sub is None and not resource.custom:
            return path_not_found()  # the routes of built-in kinds are fixed; custom ones are looked up for each request
        if sub is None or (resource.namespaced and not info.namespace):
            raise self._registry.not_found(resource, info.name) if info.name else errors.BadRequestError("name must be provided")
        if info.verb not in sub.verbs:
            raise _not_supported(info.verb, resource)
        match info.subresource:
            case "desired":
                return await self._desired.answer(info.name, watch=request.flag("watch"), query=request.query)
            case "binding":
                return await self._writes.bind(request, info, resource, user)
            case "eviction":
                return await self._evictor.evict(request, info, resource, user)
            case "failures":
                return await self._failures.answer(info, resource)
            case "scale" if info.verb == "get":
                return await self._writes.scale(info, resource)
            case "scale":
                return await self._writes.write_scale(request, info, resource, user)
            case _ if info.verb == "get":
                return ApiResponse(200, await self._registry.get(resource, _namespace(info, resource), info.name))
            case _:
                return await self._writes.write(request, info, resource, user)


async def _listed(resource: Resource, page: Page, view: View | None) -> ApiResponse:
    """Return the answer for a list. What is made anew for each item is made in slices: others are answered meanwhile."""
    if view is None and not resource.converted:
        return list_response(resource, page.entries, page.metadata)
    codec = codec_of(resource)
    items: list[bytes] = []
    for place, entry in enumerate(page.entries):
        if place and not place % _SLICE:
            await breathe()
        raw = codec.view(entry.raw)
        items.append(view.item(raw) if view is not None else raw if resource.custom else codec.without_head(raw))
    if view is None:
        return replace(list_response(resource, (), page.metadata), items=items)
    return ApiResponse(200, view.head(page.metadata), items=items)


def _namespace(info: RequestInfo, resource: Resource) -> str:
    return info.namespace if resource.namespaced else ""


def _not_supported(verb: str, resource: Resource) -> errors.MethodNotAllowedError:
    message = f'{verb} is not supported on resources of kind "{resource.qualified}"'
    return errors.MethodNotAllowedError(message, details=resource.details())
