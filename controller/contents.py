"""What is in a namespace, or of a kind, read live; and its deletion. For the reconcilers that empty namespaces and definitions.

Live, because they delete and because what they let go afterwards does not come back; in pages, because there may be very many objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

from controller.facts import Item
from lattice.api import errors, meta
from lattice.client.client import Client, collection_path

_PAGE: Final = 500


async def list_items(client: Client, kind: type[meta.Object], namespace: str | None = None) -> tuple[Item, ...] | None:
    """Return all objects of a kind, of one namespace or of all; ``None`` if the kind is not served."""
    items: list[Item] = []
    query = {"limit": str(_PAGE)}
    while True:
        try:
            page = orjson.loads(await client.send("GET", collection_path(kind, namespace), query=query))
        except errors.NotFoundError:
            return None
        except errors.GoneError:
            items, query = [], {"limit": str(_PAGE)}  # the pages' revision is compacted: from the start
            continue
        items += [_item(obj.get("metadata") or {}) for obj in page.get("items") or ()]
        token = (page.get("metadata") or {}).get("continue")
        if not token:
            return tuple(items)
        query = {"limit": str(_PAGE), "continue": token}


def _item(metadata: Mapping[str, Any]) -> Item:
    return Item(
        name=metadata.get("name", ""),
        namespace=metadata.get("namespace", ""),
        uid=metadata.get("uid", ""),
        deleting=bool(metadata.get("deletionTimestamp")),
        finalizers=tuple(metadata.get("finalizers") or ()),
    )


async def delete_items(client: Client, kind: type[meta.Object], items: Iterable[Item]) -> str:
    """Ask for the end of all that are not ending yet; return why that was refused, for the first that was, else nothing.

    Raises:
        errors.UnavailableError: no answer; nothing is said of the rest.
    """
    problem = ""
    for item in items:
        if item.deleting:
            continue
        try:
            await client.delete(kind, item.name, item.namespace or None, uid=item.uid, propagation_policy="Background")
        except (errors.NotFoundError, errors.ConflictError):
            continue  # gone, or another one by now: the next look tells
        except errors.ApiError as error:
            problem = problem or error.message
    return problem
