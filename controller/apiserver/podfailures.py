"""``GET pods/<name>/failures``: the record of failures that the Pod's node keeps, also of containers that are gone.

For ``lattice describe pod``; nothing of it is stored here. Whoever may get ``pods/failures`` sees the last lines of the Pod's log in
it, as with ``pods/log``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from controller.apiserver.registry import Registry
from controller.apiserver.request import ApiResponse, RequestInfo
from controller.apiserver.resources import Resource
from controller.relay.lines import NodeLines
from lattice.api import errors, line, names

ASK_S: Final = 5.0
KIND: Final = "PodFailures"


class PodFailures:
    """Asks the node of a Pod."""

    def __init__(self, registry: Registry, lines: NodeLines) -> None:
        self._registry = registry
        self._lines = lines

    async def answer(self, info: RequestInfo, resource: Resource) -> ApiResponse:
        """Answer GET.

        Raises:
            errors.NotFoundError: there is no such Pod.
            errors.ServiceUnavailableError: its node has no line to any server.
        """
        pod: dict[str, Any] = orjson.loads(await self._registry.get(resource, info.namespace, info.name))
        data, node = pod["metadata"], (pod.get("spec") or {}).get("nodeName")
        found = await self._ask(node, data["uid"]) if node else []
        metadata = {key: data[key] for key in ("name", "namespace", "uid") if key in data}
        head = {"kind": KIND, "apiVersion": f"{names.GROUP}/v1", "metadata": metadata}
        return ApiResponse(200, orjson.dumps({**head, "failures": found}))

    async def _ask(self, node: str, uid: str) -> list[Any]:
        said = await self._lines.ask(node, {"kind": line.FAILURES, "podUid": uid}, timeout_s=ASK_S)
        found = said.get("failures") if isinstance(said, Mapping) else None
        # An agent is asked about its own Pods; what it says of others is not passed on.
        if not isinstance(found, list) or any(not isinstance(each, dict) or each.get("podUid") != uid for each in found):
            raise errors.InternalError(f"node {node} answered with what is no record of failures of this Pod")
        return found
