"""Typed calls for every kind: get, list, create, replace, patch, delete, watch. Used by reconcilers, agent, CLI and integrators.

``Client`` builds a plain request, lets its transport carry it, and parses the answer or raises the error that the Status says
(``lattice.api.errors``). It never retries: retrying is the caller's policy (``lattice.machinery``). No state is kept between calls.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import quote

import orjson

from lattice.api import errors, meta
from lattice.client import base

T = TypeVar("T", bound=meta.Object)

_JSON: Final = {"content-type": "application/json", "accept": "application/json"}
MERGE_PATCH: Final = "application/merge-patch+json"
JSON_PATCH: Final = "application/json-patch+json"
STRATEGIC_MERGE_PATCH: Final = "application/strategic-merge-patch+json"


def collection_path(kind: type[meta.Object], namespace: str | None = None) -> str:
    """Return the path of a kind's collection; without ``namespace``, the one over all namespaces."""
    root = f"/apis/{kind.GROUP}/{kind.VERSION}" if kind.GROUP else f"/api/{kind.VERSION}"
    if kind.NAMESPACED and namespace:
        return f"{root}/namespaces/{quote(namespace, safe='')}/{kind.PLURAL}"
    return f"{root}/{kind.PLURAL}"


def object_path(kind: type[meta.Object], name: str, namespace: str | None = None, subresource: str | None = None) -> str:
    """Return the path of one object, or of its subresource.

    Raises:
        ValueError: no name, or no namespace for a namespaced kind.
    """
    if not name or (kind.NAMESPACED and not namespace):
        raise ValueError(f"{kind.KIND}: a name{' and a namespace' if kind.NAMESPACED else ''} must be given")
    path = f"{collection_path(kind, namespace)}/{quote(name, safe='')}"
    return f"{path}/{subresource}" if subresource else path


class Client:
    """Typed access to the API through one transport.

    Args:
        transport: HTTP or in-process. The client does not close it unless :meth:`close` is called.
        field_manager: recorded as the writer of fields.
    """

    def __init__(self, transport: base.Transport, *, field_manager: str = "lattice") -> None:
        self.transport = transport
        self._field_manager = field_manager

    async def get(self, kind: type[T], name: str, namespace: str | None = None) -> T:
        """Return an object.

        Raises:
            errors.NotFoundError: it does not exist.
        """
        return self._parse(kind, await self.send("GET", object_path(kind, name, namespace)))

    async def list(
        self, kind: type[T], namespace: str | None = None, *, label_selector: str = "", field_selector: str = ""
    ) -> meta.ObjectList[T]:
        """Return all objects of a kind, of one namespace or of all, at one revision."""
        raw = await self.list_raw(kind, namespace, label_selector=label_selector, field_selector=field_selector)
        items = tuple(self._parse(kind, item) for item in raw.items)
        return meta.ObjectList[T](items=items, resource_version=raw.resource_version)

    async def list_raw(
        self, kind: type[meta.Object], namespace: str | None = None, *, label_selector: str = "", field_selector: str = ""
    ) -> base.RawList:
        """As :meth:`list`, with each item as JSON text: for caches, which do not keep models."""
        query = _selectors(label_selector, field_selector)
        body = await self.send("GET", collection_path(kind, namespace), query=query)
        head = {"apiVersion": kind.group_version(), "kind": kind.KIND}
        try:
            data = orjson.loads(body)
            items = tuple(orjson.dumps({**head, **item}) for item in data.get("items") or ())
            return base.RawList(items=items, resource_version=str(data.get("metadata", {}).get("resourceVersion", "")))
        except (ValueError, TypeError, AttributeError):
            raise _not_understood(kind) from None  # the cause would show what came, perhaps a Secret

    async def create(self, obj: T) -> T:
        """Store a new object and return it as stored.

        Raises:
            errors.AlreadyExistsError: one of this name exists.
            errors.InvalidError: a field is not valid.
        """
        path = collection_path(type(obj), obj.namespace or None)
        return self._parse(type(obj), await self.send("POST", path, body=obj.to_json(), query=self._manager()))

    async def replace(self, obj: T, *, subresource: str | None = None) -> T:
        """Store a whole object (or its ``status``), on the condition that its resourceVersion is the present one, where it has one.

        Raises:
            errors.ConflictError: it has changed since it was read.
        """
        path = object_path(type(obj), obj.name, obj.namespace or None, subresource)
        return self._parse(type(obj), await self.send("PUT", path, body=obj.to_json(), query=self._manager()))

    async def patch(
        self,
        kind: type[T],
        name: str,
        namespace: str | None,
        patch: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        subresource: str | None = None,
        content_type: str | None = None,
    ) -> T:
        """Change some fields. A mapping is a JSON merge patch, a sequence a JSON patch, unless ``content_type`` says otherwise.

        Raises:
            errors.NotFoundError: it does not exist.
            errors.ConflictError: the patch names a resourceVersion that is not the present one.
        """
        chosen = content_type or (MERGE_PATCH if isinstance(patch, Mapping) else JSON_PATCH)
        path = object_path(kind, name, namespace, subresource)
        body = await self.send("PATCH", path, body=orjson.dumps(patch), content_type=chosen, query=self._manager())
        return self._parse(kind, body)

    async def delete(
        self,
        kind: type[meta.Object],
        name: str,
        namespace: str | None = None,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        grace_period_s: int | None = None,
        propagation_policy: str | None = None,
    ) -> None:
        """Ask for an object's end. It may take time (finalizers, grace); an absent object raises ``NotFoundError``.

        Raises:
            errors.ConflictError: ``uid`` or ``resource_version`` is not the present one.
        """
        preconditions = {key: value for key, value in (("uid", uid), ("resourceVersion", resource_version)) if value}
        options: dict[str, Any] = {"kind": "DeleteOptions", "apiVersion": "v1"}
        if preconditions:
            options["preconditions"] = preconditions
        if grace_period_s is not None:
            options["gracePeriodSeconds"] = grace_period_s
        if propagation_policy:
            options["propagationPolicy"] = propagation_policy
        await self.send("DELETE", object_path(kind, name, namespace), body=orjson.dumps(options))

    async def bind(self, pod_name: str, namespace: str, node_name: str, *, uid: str) -> None:
        """Bind a Pod to a Node.

        Raises:
            errors.ConflictError: it is bound already, or it is another Pod (uid).
        """
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": pod_name, "namespace": namespace, "uid": uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node_name},
        }
        path = f"/api/v1/namespaces/{quote(namespace, safe='')}/pods/{quote(pod_name, safe='')}/binding"
        await self.send("POST", path, body=orjson.dumps(body))

    async def evict(self, pod_name: str, namespace: str, *, uid: str | None = None, grace_period_s: int | None = None) -> None:
        """Ask a Pod to leave its node.

        Raises:
            errors.ConflictError: it is another Pod (uid).
            errors.TooManyRequestsError: it may not leave now.
        """
        options: dict[str, Any] = {"preconditions": {"uid": uid}} if uid else {}
        if grace_period_s is not None:
            options["gracePeriodSeconds"] = grace_period_s
        head = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod_name, "namespace": namespace}}
        path = f"/api/v1/namespaces/{quote(namespace, safe='')}/pods/{quote(pod_name, safe='')}/eviction"
        await self.send("POST", path, body=orjson.dumps({**head, "deleteOptions": options}))

    def watch_raw(
        self,
        kind: type[meta.Object],
        namespace: str | None = None,
        *,
        resource_version: str = "",
        label_selector: str = "",
        field_selector: str = "",
        timeout_s: int | None = None,
    ) -> AsyncGenerator[base.RawEvent]:
        """Yield changes after ``resource_version``, bookmarks included, until the server ends the stream.

        Raises:
            errors.GoneError: the revision is not retained any more: list again.
        """
        query = {**_selectors(label_selector, field_selector), "watch": "true", "allowWatchBookmarks": "true"}
        if resource_version:
            query["resourceVersion"] = resource_version
        if timeout_s is not None:
            query["timeoutSeconds"] = str(timeout_s)
        return self.stream_events(collection_path(kind, namespace), query=query)

    async def stream_events(self, path: str, *, query: Mapping[str, str]) -> AsyncGenerator[base.RawEvent]:
        """Yield the events of any endpoint that speaks the watch format (``nodes/<name>/desired`` does).

        Raises:
            errors.ApiError: an ERROR line, as the error that its Status says.
        """
        request = base.Request("GET", path, query=query, headers={"accept": "application/json"}, timeout_s=None)
        lines = self.transport.stream(request)
        try:
            async for line in lines:
                event = orjson.loads(line)
                if event["type"] == "ERROR":
                    raise errors.from_status(event["object"])
                yield base.RawEvent(event["type"], orjson.dumps(event["object"]))
        finally:
            await lines.aclose()

    async def send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        content_type: str = "application/json",
        timeout_s: float | None = 30.0,
    ) -> bytes:
        """Send any request and return the body of a 2xx answer.

        Raises:
            errors.ApiError: any other answer.
            errors.UnavailableError: no answer.
        """
        headers = {**_JSON, "content-type": content_type}
        request = base.Request(method, path, query=query or {}, headers=headers, body=body, timeout_s=timeout_s)
        response = await self.transport.send(request)
        if 200 <= response.status < 300:
            return response.body
        raise parse_error(response)

    async def close(self) -> None:
        """Close the transport."""
        await self.transport.close()

    def _manager(self) -> dict[str, str]:
        return {"fieldManager": self._field_manager}

    @staticmethod
    def _parse(kind: type[T], body: bytes) -> T:
        try:
            return kind.model_validate_json(body)
        except ValueError:
            raise _not_understood(kind) from None  # the cause would show what came, perhaps a Secret


def _not_understood(kind: type[meta.Object]) -> errors.UnavailableError:
    """Return the error for a 2xx that is no answer of an API server: the page of a captive portal, say. What it was about is unknown."""
    return errors.UnavailableError(f"what answered is no {kind.KIND}; is there something between here and the API server?")


def parse_error(response: base.Response) -> errors.ApiError:
    """Return the error that an answer says; text answers (an unknown path) become the error of their code."""
    try:
        status = orjson.loads(response.body)
    except orjson.JSONDecodeError:
        status = None
    if isinstance(status, dict):
        return errors.from_status(status, code=response.status)
    text = response.body.decode(errors="replace").strip()
    return errors.from_status({"message": text[:500]}, code=response.status)


def _selectors(label_selector: str, field_selector: str) -> dict[str, str]:
    query = {}
    if label_selector:
        query["labelSelector"] = label_selector
    if field_selector:
        query["fieldSelector"] = field_selector
    return query
