"""The naming controller of CustomResourceDefinitions: judges names, writes the conditions, waits until the kind is served.

Called by the handler that creates a definition, before it answers, and in the background for definitions that nobody has judged.
"""

from __future__ import annotations

import logging
from typing import Final

import orjson

from controller.apiserver.definitions import accept_names
from controller.apiserver.registry import Object, Registry
from controller.apiserver.request import User
from controller.apiserver.resources import DEFINITIONS, Resource
from controller.apiserver.writing import WriteOptions
from controller.store import base
from lattice.api import errors, names

logger = logging.getLogger(__name__)

_USER: Final = User("system:apiserver", groups=(names.GROUP_MASTERS,))
MANAGER: Final = "kube-apiserver"
"""As Kubernetes' own controllers are recorded in managedFields."""


class Naming:
    """See the module."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        found = registry.table.find("apiextensions.k8s.io", "v1", DEFINITIONS)
        assert found is not None
        self._resource: Resource = found

    async def establish(self, name: str) -> None:
        """Write the conditions of a definition and wait until this server has taken them in.

        Raises:
            errors.ApiError: it cannot be written; the definition stays stored and is judged later.
        """
        registry = self._registry
        options = WriteOptions(_USER, manager=MANAGER)
        written = await registry.update(self._resource, "", name, self._judge, options, subresource="status", patched=True)
        version = orjson.loads(written)["metadata"]["resourceVersion"]
        await registry.feed(self._resource).wait(int(version))

    async def establish_quietly(self, name: str) -> None:
        """As :meth:`establish`, for nobody who waits."""
        try:
            await self.establish(name)
        except (errors.ApiError, base.StoreError) as error:
            logger.info("the names of a definition could not be judged yet", extra={"definition": name, "error": type(error).__name__})

    def _judge(self, definition: Object) -> Object:
        spec = definition["spec"]
        group, plural = spec["group"], spec["names"]["plural"]
        others = [row for row in self._registry.table.all if row.group == group and (row.plural != plural or row.brought)]
        return {**definition, "status": accept_names(definition, others, self._registry.clock.now())}
